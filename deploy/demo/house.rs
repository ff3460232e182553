//! Everything that runs in the demonstration, in the order in which it is started.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::screen::Screen;
use crate::support::agent::{Agent, binary, pgvigil, project};
use crate::support::loki::Loki;
use crate::support::pgbouncer::Pooler;
use crate::support::postgres::{Cluster, MONITOR, Options, PASSWORD, write_owned};
use crate::support::prometheus::Prometheus;
use crate::workload::{SCHEMA, Workload};

/// The prefix that tells most: time, process, user, database, application, session, line, SQLSTATE.
const LOG: &str = "
log_line_prefix = '%m [%p] %q%u@%d/%a %c %l %e '
log_min_duration_statement = 200
log_temp_files = 0
log_lock_waits = on
deadlock_timeout = 200ms
log_checkpoints = on
log_autovacuum_min_duration = 0
work_mem = 1MB
wal_level = replica
archive_mode = on
archive_timeout = 5s
checkpoint_timeout = 30s
hot_standby_feedback = on
";

/// All of it; dropped in the order of its fields.
pub(crate) struct House {
    workload: Workload,
    pub(crate) prometheus: Prometheus,
    pub(crate) agent: Agent,
    pub(crate) loki: Option<Loki>,
    pub(crate) pooler: Option<Pooler>,
    standby: Cluster,
    pub(crate) primary: Cluster,
}

impl House {
    /// Starts everything; None where something cannot be had, which the screen has told.
    pub(crate) fn start(screen: &Screen) -> Option<Self> {
        let major =
            [18, 17, 16, 15].into_iter().find(|m| std::env::var_os(format!("PG{m}")).is_some());
        let Some(major) = major else {
            screen.say("no PostgreSQL: deploy/demo/run sets PG18 or PG15");
            return None;
        };

        screen.begin("PostgreSQL");
        let archive = "archive_command = 'true'\n";
        let primary = Options::default().log_to_file().conf(LOG).conf(archive).start(major)?;
        primary.sql("CREATE DATABASE shop");
        primary.sql_in("shop", SCHEMA);
        primary.sql("SELECT pg_create_physical_replication_slot('standby')");
        screen.end(true, &format!("PostgreSQL {major}, primary, on 127.0.0.1:{}", primary.port));

        screen.begin("a standby");
        let slot = "primary_slot_name = 'standby'\n";
        let standby =
            Cluster::standby_of(&primary, &Options::default().log_to_file().conf(LOG).conf(slot));
        screen.end(true, &format!("PostgreSQL {major}, standby, on 127.0.0.1:{}", standby.port));

        let pooler = std::env::var_os("PGBOUNCER").is_some().then(|| {
            screen.begin("PgBouncer");
            let pooler = Pooler::start(&primary, "");
            screen.end(pooler.is_some(), "PgBouncer");
            pooler
        });
        let pooler = pooler.flatten();
        if pooler.is_none() {
            screen.say("--  no PgBouncer here: the panels about it stay empty");
        }

        let workload =
            Workload::start(format!("postgresql://postgres@127.0.0.1:{}/shop", primary.port));

        let loki = std::env::var_os("LOKI").is_some().then(|| {
            screen.begin("Loki");
            let loki = Loki::start();
            screen.end(loki.is_some(), "Loki");
            loki
        });
        let loki = loki.flatten();
        if loki.is_none() {
            screen.say("--  no Loki here (--with-loki builds it): the log goes to the local store");
        }

        screen.begin("pgvigil");
        let directory = Arc::new(TempDir::new().ok()?);
        let configuration =
            configuration(directory.path(), &primary, &standby, pooler.as_ref(), loki.as_ref());
        let file = directory.path().join("pgvigil.yml");
        std::fs::write(&file, configuration).ok()?;
        let mut command = pgvigil(&["run", "--config"]);
        command.arg(&file).stdin(Stdio::null());
        let agent = Agent::spawn(command, directory);
        screen.end(true, &format!("pgvigil on {}", agent.address));

        screen.begin("Prometheus");
        let program = std::env::var_os("PROMETHEUS_OLD").map(std::path::PathBuf::from)?;
        let rules = project("alerts/pgvigil.yaml");
        let prometheus = Prometheus::start_program(
            &program,
            Duration::from_secs(5),
            &[agent.address],
            &[&rules],
        );
        screen.end(true, &format!("Prometheus on {}", prometheus.address));
        Some(Self { workload, prometheus, agent, loki, pooler, standby, primary })
    }

    pub(crate) fn print_addresses(&self, screen: &Screen) {
        let link = |address: SocketAddr, path: &str| {
            screen.paint("36", &format!("http://{address}{path}"))
        };
        screen.say("");
        screen.say(&format!("  status page   {}", link(self.agent.address, "/")));
        screen.say(&format!("  metrics       {}", link(self.agent.address, "/metrics")));
        screen.say(&format!(
            "  Prometheus    {}",
            link(self.prometheus.address, "/graph?g0.expr=pg_up")
        ));
        screen.say(&format!("  alert rules   {}", link(self.prometheus.address, "/alerts")));
        match &self.loki {
            Some(loki) => screen
                .say(&format!("  Loki          {}", link(loki.address, "/loki/api/v1/labels"))),
            None => screen.say(&format!(
                "  log           {} logs cat --follow --config {}",
                binary().display(),
                self.agent.directory.path().join("pgvigil.yml").display()
            )),
        }
        screen.say(&format!(
            "  psql          psql -h 127.0.0.1 -p {} -U postgres shop",
            self.primary.port
        ));
        screen.say("");
    }

    /// Stops everything, the agent first asked and not killed; whether it ended well.
    pub(crate) fn stop(self) -> bool {
        self.workload.stop();
        drop(self.prometheus);
        let code = self.agent.stop();
        drop(self.loki);
        drop(self.pooler);
        drop(self.standby);
        drop(self.primary);
        code == 0
    }
}

/// What a user would write for these two servers and what is before and behind them.
fn configuration(
    directory: &Path,
    primary: &Cluster,
    standby: &Cluster,
    pooler: Option<&Pooler>,
    loki: Option<&Loki>,
) -> String {
    let password = directory.join("password");
    write_owned(&password, PASSWORD, 0o600);
    let instance = |name: &str, server: &Cluster| {
        format!(
            "  - name: {name}\n    dsn: postgresql://{MONITOR}@127.0.0.1:{}/postgres\n    password_file: {}\n",
            server.port,
            password.display()
        )
    };
    let source = |name: &str, server: &Cluster| {
        format!(
            "    - {{name: {name}, files: [\"{}/log/*.log\"], server: {name}}}\n",
            server.directory().display()
        )
    };
    // The standby began as a base backup of the primary, a moment ago.
    let backups = directory.join("backups.json");
    let taken = format!("{{\"ended\": \"{}\", \"type\": \"full\"}}\n", jiff::Timestamp::now());
    write_owned(&backups, &taken, 0o600);
    let mut text = format!(
        "cluster: shop\nlabels: {{environment: demo}}\nstate_directory: {}\nhttp: {{listen: [\"127.0.0.1:0\"]}}\ninstances:\n",
        directory.join("state").display()
    );
    text.push_str(&instance("shop-1", primary));
    text.push_str(&format!("    backups: [{{source: json, file: {}}}]\n", backups.display()));
    text.push_str(&instance("shop-2", standby));
    if let Some(pooler) = pooler {
        text.push_str(&format!(
            "  - name: pool\n    kind: pgbouncer\n    dsn: postgresql://{MONITOR}@127.0.0.1:{}/pgbouncer\n    password_file: {}\n    probe: {{database: shop}}\n",
            pooler.port,
            password.display()
        ));
    }
    text.push_str("logs:\n  sources:\n");
    text.push_str(&source("shop-1", primary));
    text.push_str(&source("shop-2", standby));
    if let Some(loki) = loki {
        text.push_str(&format!("  loki: {{url: \"http://{}\"}}\n", loki.address));
    }
    text
}
