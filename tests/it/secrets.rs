//! Nothing that the program can print holds a password, however the connection string is spelt.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::agent::{Agent, pgvigil, sample};
use crate::support::postgres::{MONITOR, Options, PASSWORD};

/// Every spelling of a connection string that libpq takes, with a password.
fn spellings(port: u16, password: &str) -> Vec<String> {
    vec![
        format!("postgresql://{MONITOR}:{password}@127.0.0.1:{port}/postgres"),
        format!("postgres://{MONITOR}:{password}@127.0.0.1:{port}/postgres?sslmode=prefer"),
        format!("postgresql://127.0.0.1:{port}/postgres?user={MONITOR}&password={password}"),
        format!("host=127.0.0.1 port={port} user={MONITOR} password={password} dbname=postgres"),
        format!(
            "host = 127.0.0.1 port = {port} user = {MONITOR} password = '{password}' dbname = postgres"
        ),
        // Broken ones: the error must not repeat what it could not read.
        format!("postgresql://{MONITOR}:{password}@127.0.0.1:{port}/postgres?sslmode=perhaps"),
        format!("postgresql://{MONITOR}:{password}@127.0.0.1:99999/postgres"),
        format!("host=127.0.0.1 port={port} user={MONITOR} password='{password} dbname=postgres"),
        format!("postgresql://{MONITOR}:{password}%zz@127.0.0.1:{port}/postgres"),
        format!("{MONITOR}:{password}@127.0.0.1"),
    ]
}

#[test]
fn no_output_holds_the_password() {
    let hba = "host all all 127.0.0.1/32 scram-sha-256";
    let Some(cluster) = Options::default().hba(hba).start(17) else { return };
    for (right, password) in [(true, PASSWORD), (false, "wrong-pass-0815")] {
        for dsn in spellings(cluster.port, password) {
            let directory = TempDir::new().unwrap();
            let file = directory.path().join("pgvigil.yml");
            fs::write(
                &file,
                format!("instances: [{{name: a, dsn: {}}}]\n", serde_json::json!(dsn)),
            )
            .unwrap();
            let mut printed = String::new();
            for arguments in [
                &["check", "--config"][..],
                &["check", "--format", "json", "--config"],
                &["query", "instance", "--config"],
            ] {
                let output =
                    pgvigil(arguments).arg(&file).env("PGVIGIL_LOG", "trace").output().unwrap();
                printed.push_str(&String::from_utf8_lossy(&output.stdout));
                printed.push_str(&String::from_utf8_lossy(&output.stderr));
            }
            let output = pgvigil(&["query", "instance"])
                .env("DATA_SOURCE_NAME", &dsn)
                .env("PGVIGIL_LOG", "trace")
                .output()
                .unwrap();
            printed.push_str(&String::from_utf8_lossy(&output.stderr));
            // On the command line it is not repeated either: refused, or not understood.
            let output = pgvigil(&["query", "instance", "--dsn", &dsn]).output().unwrap();
            printed.push_str(&String::from_utf8_lossy(&output.stderr));
            assert!(matches!(output.status.code(), Some(64 | 78)), "{dsn}: {output:?}");
            assert!(!printed.contains(password), "{dsn}:\n{printed}");
            assert!(printed.len() > 100, "something was printed");
        }
        for dsn in spellings(cluster.port, password).into_iter().take(5) {
            let configuration =
                format!("instances: [{{name: a, dsn: {}}}]\n", serde_json::json!(dsn));
            let directory = std::sync::Arc::new(TempDir::new().unwrap());
            let agent = Agent::start_in(directory, &configuration, &[("PGVIGIL_LOG", "trace")]);
            agent.await_metrics(Duration::from_secs(20), |page| {
                sample(page, "pg_up", &[]) == Some(f64::from(u8::from(right)))
                    && (right
                        || sample(page, "pgvigil_instance_state", &[("reason", "authentication")])
                            == Some(1.0))
            });
            let mut printed = String::new();
            for path in ["/", "/metrics", "/sd", "/probe?target=a", "/readyz", "/nothing"] {
                printed.push_str(&agent.get(path).body);
            }
            let command_line = fs::read(format!("/proc/{}/cmdline", agent.pid())).unwrap();
            printed.push_str(&String::from_utf8_lossy(&command_line));
            printed.push_str(&agent.log());
            assert!(!printed.contains(password), "{dsn}:\n{printed}");
        }
    }
}
