//! Pods of a Kubernetes node and Docker's containers: found as they come, each under its own identity.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use crate::support::agent::pgvigil;
use crate::support::loki::Stub;
use crate::support::river::{Bed, append, record};

/// A line as the container runtime writes it.
fn cri(message: &str) -> String {
    let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.9fZ");
    format!("{time} stderr F {}", record(Duration::ZERO, 7, "LOG", message))
}

/// A line as Docker's json-file driver keeps it.
fn docker(message: &str) -> String {
    let line = serde_json::to_string(&record(Duration::ZERO, 7, "LOG", message)).unwrap();
    let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.9fZ");
    format!("{{\"log\":{line},\"stream\":\"stderr\",\"time\":\"{time}\"}}\n")
}

fn arrived(stub: &Stub, labels: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    for push in stub.pushes() {
        if labels.iter().all(|label| push.labels.contains(label)) {
            lines.extend(push.entries.into_iter().map(|entry| entry.line));
        }
    }
    lines.sort();
    lines
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    append(path, text);
}

#[test]
fn pods_come_restart_rotate_and_go() {
    let (bed, stub) = (Bed::new(), Stub::start());
    let root = bed.log("pods");
    let file = |pod: &str, name: &str| root.join(pod).join("postgres").join(name);
    write(&file("shop_shop-db-1_u1", "0.log"), &cri("first"));
    write(&file("other_shop-db-1_u2", "0.log"), &cri("of another namespace"));
    write(&root.join("shop_shop-db-1_u1/sidecar/0.log"), &cri("of another container"));
    let logs = format!(
        "{{sources: [{{name: k8s, kubernetes: {{root: \"{}\", namespaces: [shop], containers: \
         [postgres]}}}}], loki: {{url: \"{}\"}}}}",
        root.display(),
        stub.url()
    );
    let river = bed.river_of(&logs);
    let own = [("namespace", "shop"), ("pod", "shop-db-1")];
    river.await_value("pg_log_records_total", &own, |count| count >= 1.0);
    // The kubelet renames, the runtime goes on in a new file; then the container starts anew.
    let rotated = file("shop_shop-db-1_u1", "0.log.20260304-091501");
    append(&file("shop_shop-db-1_u1", "0.log"), &cri("last before the rotation"));
    fs::rename(file("shop_shop-db-1_u1", "0.log"), &rotated).unwrap();
    append(&rotated, &cri("written to the old file"));
    write(&file("shop_shop-db-1_u1", "0.log"), &cri("after the rotation"));
    write(&file("shop_shop-db-1_u1", "1.log"), &cri("after the restart"));
    river.await_value("pg_log_records_total", &own, |count| count >= 5.0);
    // A pod that is made anew under its name, and one that is new.
    write(&file("shop_shop-db-1_u3", "0.log"), &cri("of the new pod"));
    write(&file("shop_shop-db-2_u4", "0.log"), &cri("of its sibling"));
    fs::remove_dir_all(root.join("shop_shop-db-1_u1")).unwrap();
    river.await_value("pg_log_records_total", &own, |count| count >= 6.0);
    let sibling = [("server", "shop-db-2"), ("cluster", "shop-db")];
    river.await_value("pg_log_records_total", &sibling, |count| count >= 1.0);
    assert!(river.stop(Duration::from_secs(10)));
    let first = arrived(
        &stub,
        &["server=\"shop-db-1\"", "cluster=\"shop-db\"", "namespace=\"shop\"", "pod=\"shop-db-1\""],
    );
    let expected = [
        "LOG:  after the restart",
        "LOG:  after the rotation",
        "LOG:  first",
        "LOG:  last before the rotation",
        "LOG:  of the new pod",
        "LOG:  written to the old file",
    ];
    assert_eq!(first, expected);
    assert_eq!(arrived(&stub, &["server=\"shop-db-2\""]), ["LOG:  of its sibling"]);
    assert_eq!(arrived(&stub, &[]).len(), 7);

    // A restart repeats nothing, and finds what was written meanwhile.
    append(&file("shop_shop-db-2_u4", "0.log"), &cri("meanwhile"));
    let river = bed.river_of(&logs);
    river.await_value("pg_log_records_total", &sibling, |count| count >= 1.0);
    assert!(river.stop(Duration::from_secs(10)));
    assert_eq!(
        arrived(&stub, &["server=\"shop-db-2\""]),
        ["LOG:  meanwhile", "LOG:  of its sibling"]
    );
    assert_eq!(arrived(&stub, &[]).len(), 8);
}

#[test]
fn containers_are_read_by_name_and_a_driver_without_file_is_told() {
    let (bed, stub) = (Bed::new(), Stub::start());
    let root = bed.log("containers");
    let container = |id: &str, name: &str, driver: &str| {
        let folder = root.join(id);
        fs::create_dir_all(&folder).unwrap();
        let config = format!("{{\"ID\":\"{id}\",\"Name\":\"/{name}\"}}");
        fs::write(folder.join("config.v2.json"), config).unwrap();
        let host = format!("{{\"LogConfig\":{{\"Type\":\"{driver}\",\"Config\":{{}}}}}}");
        fs::write(folder.join("hostconfig.json"), host).unwrap();
        folder.join(format!("{id}-json.log"))
    };
    append(&container("aa", "pg-1", "json-file"), &docker("one"));
    append(&container("bb", "web", "json-file"), &docker("of no database"));
    container("cc", "pg-2", "journald");
    let source =
        format!("{{name: docker, docker: {{root: \"{}\", names: [\"pg-*\"]}}}}", root.display());
    let logs = format!("{{sources: [{source}], loki: {{url: \"{}\"}}}}", stub.url());
    let river = bed.river_of(&logs);
    let own = [("server", "pg-1")];
    river.await_value("pg_log_records_total", &own, |count| count >= 1.0);
    // Made anew under its name, with another file.
    fs::remove_dir_all(root.join("aa")).unwrap();
    append(&container("dd", "pg-1", "json-file"), &docker("two"));
    river.await_value("pg_log_records_total", &own, |count| count >= 2.0);
    assert!(river.stop(Duration::from_secs(10)));
    assert_eq!(arrived(&stub, &["server=\"pg-1\""]), ["LOG:  one", "LOG:  two"]);
    assert_eq!(arrived(&stub, &[]).len(), 2);

    // `check` names the container that leaves no file.
    let file = bed.log("check.yaml");
    fs::write(&file, format!("logs: {{sources: [{source}]}}\n")).unwrap();
    let output = pgvigil(&["check", "--config", &file.display().to_string()]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = "docker: the container pg-2 logs with Docker's driver journald, which leaves no file to read";
    assert!(text.contains(expected), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn pods_on_docker_are_links_to_its_files() {
    let (bed, stub) = (Bed::new(), Stub::start());
    let (pods, containers) = (bed.log("pods"), bed.log("containers"));
    let file = |id: &str| containers.join(id).join(format!("{id}-json.log"));
    let folder = pods.join("shop_shop-db-1_u1/postgres");
    fs::create_dir_all(&folder).unwrap();
    // Two links behind one another; the second container's file is not there yet.
    let between = bed.log("between.json");
    symlink(file("aa"), &between).unwrap();
    symlink(&between, folder.join("0.log")).unwrap();
    symlink(file("bb"), folder.join("1.log")).unwrap();
    write(&file("aa"), &docker("first"));
    let source = format!(
        "{{name: k8s, cluster: prod, kubernetes: {{root: \"{}\", namespaces: [shop]}}}}",
        pods.display()
    );
    // `check` tells of the one that leads nowhere.
    let config = bed.log("check.yaml");
    fs::write(&config, format!("logs: {{sources: [{source}]}}\n")).unwrap();
    let output = pgvigil(&["check", "--config", &config.display().to_string()]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = format!(
        "{} leads to {}, which is not there",
        folder.join("1.log").display(),
        file("bb").display()
    );
    assert!(text.contains(&expected), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains("0.log"), "{text}");

    let logs = format!("{{sources: [{source}], loki: {{url: \"{}\"}}}}", stub.url());
    let river = bed.river_of(&logs);
    let own = [("cluster", "prod"), ("server", "shop-db-1"), ("pod", "shop-db-1")];
    river.await_value("pg_log_records_total", &own, |count| count >= 1.0);
    // Docker rotates its file behind the links: another name, and a new file under the old one.
    let rotated = containers.join("aa/aa-json.log.1");
    append(&file("aa"), &docker("last before the rotation"));
    fs::rename(file("aa"), &rotated).unwrap();
    append(&rotated, &docker("written to the old file"));
    append(&file("aa"), &docker("after the rotation"));
    write(&file("bb"), &docker("of the next container"));
    river.await_value("pg_log_records_total", &own, |count| count >= 5.0);
    // Rotated while nobody looks, twice, and a link that leads nowhere again.
    assert!(river.stop(Duration::from_secs(10)));
    append(&file("aa"), &docker("meanwhile"));
    fs::rename(&rotated, containers.join("aa/aa-json.log.2")).unwrap();
    fs::rename(file("aa"), &rotated).unwrap();
    append(&file("aa"), &docker("in the newest"));
    fs::remove_dir_all(containers.join("bb")).unwrap();
    let river = bed.river_of(&logs);
    river.await_value("pg_log_records_total", &own, |count| count >= 2.0);
    river.await_value("pgvigil_log_file_bytes_behind", &own, |bytes| bytes == 0.0);
    assert!(river.stop(Duration::from_secs(10)));
    let expected = [
        "LOG:  after the rotation",
        "LOG:  first",
        "LOG:  in the newest",
        "LOG:  last before the rotation",
        "LOG:  meanwhile",
        "LOG:  of the next container",
        "LOG:  written to the old file",
    ];
    assert_eq!(arrived(&stub, &["cluster=\"prod\"", "namespace=\"shop\""]), expected);
    assert_eq!(arrived(&stub, &[]).len(), expected.len());
}
