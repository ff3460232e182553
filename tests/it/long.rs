//! Statements that are longer than a record may be: what stands behind them in csv and json survives.

use std::fs;

use serde_json::{Map, Value};

use crate::support::agent::pgvigil;
use crate::support::postgres::{Options, Stop, edges};

#[test]
fn columns_behind_a_long_statement_survive() {
    for major in edges() {
        let json = major >= 15;
        let destinations = if json { "csvlog,jsonlog" } else { "csvlog" };
        let Some(mut cluster) = Options::default()
            .log_to_file()
            .conf(&format!("log_destination = '{destinations}'\nlog_statement = none"))
            .start(major)
        else {
            return;
        };
        // Of one line, of many, of quotes alone; the first fits into what is kept of a line.
        let texts = [
            "x".repeat(150_000),
            "x".repeat(900_000),
            "a \"b\" \\ c\n".repeat(100_000),
            "''\"".repeat(300_000),
        ];
        cluster.with_client("postgres", async |client| {
            client.batch_execute("SET application_name = 'long'").await.unwrap();
            for text in &texts {
                assert!(client.batch_execute(&format!("SELECT '{text}' FRO M")).await.is_err());
                assert!(client.batch_execute("SELECT short").await.is_err());
            }
            // A long message and a long statement.
            let raise = format!(
                "DO $$ BEGIN RAISE EXCEPTION '%', repeat('m', 400000); END $$; -- {}",
                texts[1]
            );
            assert!(client.batch_execute(&raise).await.is_err());
            assert!(client.batch_execute("SELECT short").await.is_err());
        });
        cluster.stop(Stop::Fast);
        for ending in ["csv", "json"].into_iter().take(1 + usize::from(json)) {
            let log = cluster.directory().join(format!("log/postgresql.{ending}"));
            let output =
                pgvigil(&["logs", "parse", "--format", "json"]).arg(&log).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let records: Vec<Map<String, Value>> =
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let errors: Vec<_> = records.iter().filter(|r| r["severity"] == "ERROR").collect();
            assert_eq!(errors.len(), 10, "{major} {ending}");
            for (number, record) in errors.iter().enumerate() {
                for (name, wanted) in [
                    ("application_name", "long"),
                    ("backend_type", "client backend"),
                    ("dbname", "postgres"),
                ] {
                    assert_eq!(
                        record.get(name).and_then(Value::as_str),
                        Some(wanted),
                        "{major} {ending} {number}"
                    );
                }
                let line = record["line"].as_str().unwrap();
                assert_eq!(line.contains("\n[cut: "), number % 2 == 0, "{major} {ending} {number}");
                assert!(line.len() < 129 * 1024, "{major} {ending} {number}");
                let sqlstate = ["42601", "42703"][number % 2];
                let sqlstate = if number == 8 { "P0001" } else { sqlstate };
                assert_eq!(record["sqlstate"], sqlstate, "{major} {ending} {number}");
            }
            let plain = records.iter().filter(|r| r.get("format").is_some_and(|f| f == "plain"));
            assert_eq!(plain.count(), 0, "{major} {ending}");
            assert_eq!(
                fs::metadata(&log).unwrap().len(),
                records.last().unwrap()["end"].as_u64().unwrap()
            );
        }
    }
}
