//! Dashboards and alert rules: they keep the conventions that make them work in any Grafana and
//! Prometheus, and name only metrics that the agent has.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::agent::project;
use crate::support::process::component;

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(project(folder)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == ending));
    paths.sort();
    assert!(!paths.is_empty(), "{folder} holds no {ending}");
    paths
}

/// Every string of the board with the path that leads to it.
fn strings<'v>(value: &'v Value, path: &str, found: &mut Vec<(String, &'v str)>) {
    match value {
        Value::String(text) => found.push((path.to_owned(), text)),
        Value::Array(items) => items.iter().for_each(|item| strings(item, path, found)),
        Value::Object(map) => {
            map.iter().for_each(|(key, item)| strings(item, &format!("{path}.{key}"), found));
        }
        _ => {}
    }
}

#[test]
fn boards_keep_the_conventions() {
    for file in files("dashboards", "json") {
        let board: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let name = file.file_stem().unwrap().to_str().unwrap();
        // A stable uid equal to the file's name; no placeholders that provisioning never fills.
        assert_eq!(board["uid"], name);
        assert_eq!(board["id"], Value::Null);
        assert_eq!(board["schemaVersion"], 39);
        assert_eq!(board["editable"], false);
        assert!(board.get("__inputs").is_none());
        let mut ids = Vec::new();
        for panel in board["panels"].as_array().unwrap() {
            ids.push(panel["id"].as_u64().unwrap());
            if panel["type"] == "row" {
                continue;
            }
            let title = panel["title"].as_str().unwrap();
            assert!(
                panel["description"].as_str().is_some_and(|d| d.ends_with('.')),
                "{title}: description"
            );
            let defaults = &panel["fieldConfig"]["defaults"];
            assert!(defaults["noValue"].is_string(), "{title}: says why it may be empty");
            assert!(panel["type"] == "logs" || defaults["unit"].is_string(), "{title}: unit");
            let core = [
                "timeseries",
                "stat",
                "gauge",
                "bargauge",
                "table",
                "state-timeline",
                "heatmap",
                "logs",
                "text",
            ];
            assert!(core.contains(&panel["type"].as_str().unwrap()), "{title}: core panels only");
            for target in panel["targets"].as_array().unwrap() {
                let expression = target["expr"].as_str().unwrap();
                let on_loki = target["datasource"]["type"] == "loki";
                if expression.contains("rate(") {
                    let range = if on_loki { "[$__auto]" } else { "[$__rate_interval]" };
                    assert!(expression.contains(range), "{title}: {expression}");
                }
                assert!(expression.contains("cluster=~\"$cluster\""), "{title}: {expression}");
            }
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), board["panels"].as_array().unwrap().len(), "panel ids are unique");
        let variables: Vec<&str> = board["templating"]["list"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v["name"].as_str().unwrap())
            .collect();
        assert_eq!(
            variables,
            ["datasource", "loki", "environment", "cluster", "server", "database"]
        );
        let mut found = Vec::new();
        strings(&board, "", &mut found);
        for (path, text) in found {
            if path.ends_with("datasource.uid") {
                assert!(matches!(text, "${datasource}" | "${loki}"), "{path}: {text}");
            }
        }
    }
}

#[test]
fn rules_are_accepted_by_both_prometheus_versions() {
    for variable in ["PROMTOOL", "PROMTOOL_OLD"] {
        let Some(promtool) = component(variable) else { continue };
        for file in files("alerts", "yaml") {
            let output = Command::new(&promtool)
                .args(["check", "rules", "--lint=all", "--lint-fatal"])
                .arg(&file)
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{variable}: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

#[test]
fn every_alert_tells_what_to_do() {
    for file in files("alerts", "yaml") {
        let text = std::fs::read_to_string(&file).unwrap();
        for alert in text.split("- alert: ").skip(1) {
            let name = alert.lines().next().unwrap();
            for part in ["severity: ", "summary: ", "description: ", "runbook: ", "for: "] {
                assert!(alert.contains(part), "{name} lacks {part}");
            }
            // A value in a label makes a new alert of every sample.
            let labels = alert.lines().find(|l| l.trim_start().starts_with("labels:")).unwrap();
            assert!(!labels.contains("$value"), "{name}: {labels}");
        }
    }
}
