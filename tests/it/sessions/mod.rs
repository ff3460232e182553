//! Sessions with real servers.

mod budget; // three connections, whatever happens
mod limits; // caps, deadlines, cancel requests, bytes that are no text
mod refusals; // why there is no session, in a sentence without secrets
mod tls; // encryption and certificates, as libpq means it

use std::time::Duration;

use pgvigil::config::{
    DatabaseFilter, Instance, InstanceKind, PgEnvironment, Place, SecretSource, Storage,
};
use pgvigil::instances::{Budgets, ConnectError, Connector, Limits, SEARCH_PATH, Session};
use pgvigil::postgres::Role;
use pgvigil::secret::Secret;
use pgvigil::task::Group;
use pgvigil::telemetry::Telemetry;
use tokio::time::Instant;

use crate::support::postgres::{Cluster, MONITOR, Options, majors};

fn instance(dsn: &str) -> Instance {
    Instance {
        name: "it".into(),
        cluster: "it".into(),
        kind: InstanceKind::Postgres,
        dsn: SecretSource::Value(Secret::new(dsn)),
        password: None,
        environment: PgEnvironment::capture(&|name| (name == "HOME").then(|| "/nowhere".into())),
        databases: DatabaseFilter { include: vec!["*".into()], exclude: Vec::new() },
        probe: None,
        labels: Default::default(),
        exclude_packs: Vec::new(),
        storage: Storage::default(),
        backups: Vec::new(),
        place: Place::default(),
    }
}

fn budgets() -> Budgets {
    Budgets::new(&Group::new(), &Telemetry::new())
}

fn connector(dsn: &str) -> Connector {
    Connector::new(&instance(dsn), &budgets())
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

async fn session(dsn: &str) -> Session {
    connector(dsn).connect(None, soon()).await.unwrap_or_else(|e| panic!("{dsn}: {e}"))
}

/// Why this connection string gives no session.
async fn refusal(dsn: &str) -> ConnectError {
    match connector(dsn).connect(None, soon()).await {
        Ok(_) => panic!("{dsn} connects"),
        Err(error) => error,
    }
}

fn limits() -> Limits {
    Limits {
        statement_timeout: Duration::from_secs(5),
        deadline: soon(),
        max_rows: 1000,
        max_bytes: 1 << 20,
        search_path: SEARCH_PATH,
    }
}

async fn one(session: &mut Session, sql: &str) -> String {
    let rows = session.run(sql, &limits()).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    rows.rows[0][0].as_deref().unwrap_or("NULL").to_owned()
}

#[tokio::test]
async fn facts_on_every_major_and_role() {
    for major in majors() {
        let Some(primary) = Options::default().conf("cluster_name = 'shop'").start(major) else {
            continue;
        };
        primary.sql("CREATE ROLE plain LOGIN; CREATE EXTENSION pg_stat_statements");
        primary.sql("CREATE DATABASE shop");
        primary.sql("CREATE DATABASE closed ALLOW_CONNECTIONS false");
        let standby = Cluster::standby_of(&primary, &Options::default());
        let mut identifiers = Vec::new();
        for (cluster, role) in [(&primary, Role::Primary), (&standby, Role::Standby)] {
            for (user, monitor, superuser) in
                [(MONITOR, true, false), ("plain", false, false), ("postgres", true, true)]
            {
                let dsn =
                    format!("host=127.0.0.1 port={} user={user} dbname=postgres", cluster.port);
                let mut session = session(&dsn).await;
                let facts = session.facts(soon()).await.unwrap();
                assert_eq!(facts.version.major(), major);
                assert_eq!(facts.version, session.version());
                assert_eq!((facts.role, facts.database.as_str()), (role, "postgres"));
                assert_eq!((facts.monitor, facts.superuser), (monitor, superuser), "{user}");
                assert_eq!(facts.databases, ["postgres", "shop"]);
                assert_eq!(facts.extensions["pg_stat_statements"].schema, "public");
                assert_eq!(facts.settings["track_io_timing"], "off");
                assert_eq!(facts.data_directory.is_some(), user != "plain");
                assert_eq!((facts.timeline, facts.log.time_zone.as_str()), (1, "UTC"));
                assert_eq!(facts.log.verbosity, "default");
                assert!(!facts.settings.contains_key("primary_conninfo"), "a secret");
                identifiers.push(facts.system_identifier);
                session.close().await;
            }
        }
        assert!(identifiers[0].len() > 10 && identifiers.iter().all(|i| *i == identifiers[0]));

        primary.sql("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC");
        let facts = session(&primary.monitor_dsn()).await.facts(soon()).await.unwrap();
        assert_eq!((facts.system_identifier.as_str(), facts.timeline), ("", 0));
    }
}

#[tokio::test]
async fn the_session_keeps_its_contract() {
    for major in majors() {
        let Some(cluster) = Cluster::start(major) else { continue };
        cluster.sql("ALTER ROLE pgvigil SET search_path = public; ALTER DATABASE postgres SET datestyle = German");
        cluster.sql("ALTER DATABASE postgres SET default_transaction_read_only = off");
        cluster.sql("CREATE SEQUENCE public.s; GRANT ALL ON SEQUENCE public.s TO pgvigil");
        cluster.sql(
            "CREATE FUNCTION public.touch() RETURNS int LANGUAGE sql \
             AS 'SELECT nextval(''public.s'')::int'",
        );
        let dsn = format!("{}?options=-c%20search_path%3Dpublic", cluster.monitor_dsn());
        let mut session = session(&dsn).await;
        for (setting, expected) in [
            ("search_path", "pg_catalog,pg_temp"),
            ("default_transaction_read_only", "on"),
            ("lock_timeout", "500ms"),
            ("statement_timeout", "5s"),
            ("idle_in_transaction_session_timeout", "10s"),
            ("datestyle", "ISO, DMY"),
            ("timezone", "UTC"),
            ("client_encoding", "UTF8"),
            ("jit", "off"),
            ("max_parallel_workers_per_gather", "0"),
            ("application_name", "pgvigil"),
            ("tcp_keepalives_idle", "10"),
        ] {
            let found = one(&mut session, &format!("SELECT current_setting('{setting}')")).await;
            // The date's order is a database's own; the style is ours.
            if setting == "datestyle" {
                assert!(found.starts_with("ISO"), "{found}");
            } else {
                assert_eq!(found, expected, "{major}: {setting}");
            }
        }
        let later = "SELECT string_agg(setting, ' ' ORDER BY name) FROM pg_settings WHERE name IN \
                     ('idle_session_timeout', 'stats_fetch_consistency')";
        let expected = match major {
            13 => "NULL",
            14 => "0",
            _ => "0 none",
        };
        assert_eq!(one(&mut session, later).await, expected);
        let error = session.run("SELECT public.touch()", &limits()).await.unwrap_err();
        assert_eq!(error.sqlstate.as_deref(), Some("25006"), "{}", error.message);
        // A foreign dialect's path holds for its own statement, and ours comes back.
        let foreign = Limits { search_path: "pg_catalog, public, pg_temp", ..limits() };
        let error = session.run("SELECT touch()", &foreign).await.unwrap_err();
        assert_eq!(error.sqlstate.as_deref(), Some("25006"));
        let error = session.run("SELECT touch()", &limits()).await;
        assert!(error.is_err());
        assert_eq!(
            one(&mut session, "SELECT current_setting('search_path')").await,
            "pg_catalog, pg_temp"
        );
    }
}
