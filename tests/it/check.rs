//! `pgvigil check` on real servers: privileges, queries that do not run, settings of the log; and a
//! server that is too old for it, which is a fake.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::agent::{Agent, pgvigil, sample};
use crate::support::postgres::{Cluster, Options, majors};

/// What is said of a configuration: problems, notes, and how it ends.
fn check(directory: &TempDir, configuration: &str) -> (String, String, Option<i32>) {
    let file = directory.path().join("pgvigil.yaml");
    fs::write(&file, configuration).unwrap();
    let output = pgvigil(&["check", "--config"]).arg(&file).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

/// Without TLS and without a word about it.
fn plain(dsn: &str) -> String {
    format!("{dsn}?sslmode=disable")
}

/// The one line that holds `part`; it must say what to do.
#[track_caller]
fn line<'t>(printed: &'t str, part: &str) -> &'t str {
    let mut lines = printed.lines().filter(|line| line.contains(part));
    let line = lines.next().unwrap_or_else(|| panic!("no line holds `{part}`:\n{printed}"));
    assert_eq!(lines.next(), None, "twice: {part}");
    line
}

const PACK: &str = "
own_secret:
  query: SELECT count(*) AS v FROM public.secret
  metrics: [{v: {usage: GAUGE, metric: own_secret, description: d}}]
own_needs:
  requires: {extension: no_such_extension}
  query: SELECT 1 AS v
  metrics: [{v: {usage: GAUGE, metric: own_needs, description: d}}]
";

#[test]
fn what_does_not_run_is_told_with_its_cause() {
    for major in majors() {
        let Some(cluster) = Cluster::start(major) else { return };
        cluster.sql("CREATE DATABASE helped");
        cluster.sql("CREATE TABLE public.secret ()");
        cluster.sql_in("helped", include_str!("../../queries/helpers.sql"));
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join("packs")).unwrap();
        fs::write(directory.path().join("packs/own.yaml"), PACK).unwrap();
        let (said, notes, code) = check(
            &directory,
            &format!(
                "instances:\n  - {{name: shop, dsn: \"{}\"}}\npacks: {{directories: [packs]}}\n",
                plain(&cluster.monitor_dsn())
            ),
        );
        assert_eq!(code, Some(0), "{major}: {said}{notes}");
        // The user's own queries stand as problems at their place, the built-in ones in a table.
        let secret = line(&said, "own_secret");
        assert!(
            secret.contains("packs/own.yaml:2:") && secret.contains("(permission)"),
            "{secret}"
        );
        let needs = line(&said, "own_needs");
        assert!(needs.contains("lacks the extension no_such_extension; make what"), "{needs}");
        assert_eq!(said.lines().count(), 2, "{major}: {said}");
        // Missing in one database, there in the other.
        let bloat = line(&notes, "the function pgvigil.column_width");
        assert!(bloat.contains("  postgres ") && bloat.contains("bloat/pg_bloat"), "{bloat}");
        assert!(!bloat.contains("helped"), "{bloat}");
        let standby = line(&notes, "it is for a standby");
        assert!(standby.contains("pg_standby"), "{standby}");
        assert!(notes.contains(&format!("shop: PostgreSQL {major}.")), "{notes}");
    }
}

#[test]
fn who_the_agent_is_and_should_be() {
    let Some(cluster) = Cluster::start(17) else { return };
    cluster.sql("CREATE ROLE plain LOGIN");
    let directory = TempDir::new().unwrap();
    let of =
        |dsn: &str| check(&directory, &format!("instances: [{{name: shop, dsn: \"{dsn}\"}}]\n"));
    let (said, notes, code) = of(&plain(&cluster.dsn()));
    assert_eq!(code, Some(0), "{said}{notes}");
    let superuser = line(&said, "superuser postgres");
    assert!(superuser.contains("pgvigil.yaml:1:") && superuser.contains("pgvigil export grants"));
    assert!(superuser.contains("GRANT pg_monitor TO pgvigil;"), "{superuser}");
    let (said, _, code) = of(&plain(&cluster.dsn()).replace("postgres@", "plain@"));
    assert_eq!(code, Some(0), "{said}");
    let stranger = line(&said, "not in pg_monitor");
    assert!(
        stranger.contains("the role plain") && stranger.contains("GRANT pg_monitor TO \"plain\";")
    );
    // Without it, some of the built-in queries fail, and are named.
    assert!(said.contains("(permission)") && said.contains("pgvigil export grants"), "{said}");
    let (said, notes, _) = of(&plain(&cluster.monitor_dsn()));
    assert!(said.is_empty() && notes.contains("no problem found"), "{said}{notes}");
}

#[test]
fn settings_that_keep_the_log_from_telling_are_told() {
    for major in [13, 18] {
        let Some(cluster) = Options::default().log_to_file().start(major) else { return };
        let directory = TempDir::new().unwrap();
        let dsn = plain(&cluster.monitor_dsn());
        let of = |files: &str, more: &str| {
            let logs = format!(
                "instances: [{{name: shop, dsn: \"{dsn}\"}}]\nlogs:\n  sources:\n    - files: [\"{}/{files}\"]\n{more}",
                cluster.directory().display()
            );
            check(&directory, &logs)
        };
        let (said, _, code) = of("log/*.log", "  routes: [{name: admin}, {name: audit}]\n");
        assert_eq!(code, Some(0), "{said}");
        for (setting, words) in [
            (
                "log_line_prefix",
                "user (%u), database (%d), client's address (%r), application (%a)",
            ),
            ("log_statement", "set log_statement = ddl"),
            ("pgaudit", "add pgaudit to shared_preload_libraries"),
        ] {
            let told = line(&said, setting);
            assert!(told.contains("pgvigil.yaml:4:7: shop: ") && told.contains(words), "{told}");
        }
        assert!(line(&said, "log_connections is off").contains("who logged in"));

        cluster.sql("ALTER SYSTEM SET log_line_prefix = '%m [%p] %e %q%u@%d %r %a '");
        cluster.sql("ALTER SYSTEM SET log_statement = 'ddl'");
        cluster.sql("ALTER SYSTEM SET log_connections = on");
        cluster.sql("SELECT pg_reload_conf()");
        cluster.await_sql("SHOW log_statement", "ddl");
        let (said, notes, code) = of("log/*.log", "");
        assert_eq!((code, said.as_str()), (Some(0), ""), "{notes}");
        // What leaves a record without its statement, its parameters, its time and its process.
        for setting in [
            "log_min_error_statement = panic",
            "log_parameter_max_length = 0",
            "log_line_prefix = '%u@%d %r %a %e '",
            "log_connections = off",
        ] {
            cluster.sql(&format!("ALTER SYSTEM SET {setting}"));
        }
        if major >= 18 {
            cluster.sql("ALTER SYSTEM SET log_connections = 'receipt, setup_durations'");
        }
        cluster.sql("SELECT pg_reload_conf()");
        cluster.await_sql("SHOW log_parameter_max_length", "0");
        let (said, _, _) = of("log/*.log", "  routes: [{name: admin}, {name: audit}]\n");
        for (part, words) in [
            ("log_min_error_statement is panic", "set log_min_error_statement = error"),
            ("log_parameter_max_length is 0", "route audit is for audits"),
            ("log_line_prefix", "does not name time (%m), process (%p);"),
            ("log_connections is", if major >= 18 { "add authorization" } else { "is off, so" }),
        ] {
            let told = line(&said, part);
            assert!(told.contains("pgvigil.yaml:4:7: shop: ") && told.contains(words), "{told}");
        }
        // The developers' route alone wants no parameters.
        let (said, _, _) = of("log/*.log", "");
        assert!(!said.contains("log_parameter_max_length"), "{said}");
        // All that 18 can say of a login.
        if major >= 18 {
            cluster.sql("ALTER SYSTEM SET log_connections = 'authorization'");
            cluster.sql("SELECT pg_reload_conf()");
            cluster.await_sql("SHOW log_connections", "authorization");
            let (said, _, _) = of("log/*.log", "");
            assert!(!said.contains("log_connections"), "{said}");
        }
        // A pattern that no file of the server fits.
        let (said, _, _) = of("log/*.txt", "");
        assert!(
            line(&said, "the server writes to").contains("/postgresql.log, and no pattern"),
            "{said}"
        );
        // Without a source of this instance nobody asks for more.
        cluster.sql("ALTER SYSTEM RESET ALL");
        cluster.sql("SELECT pg_reload_conf()");
        cluster.await_sql("SHOW log_statement", "none");
        let (said, _, _) = of("log/*.log", "      server: elsewhere\n");
        assert!(!said.contains("log_statement"), "{said}");
    }
}

/// A server that says its version to whoever logs in, and nothing more.
fn fake(version: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let message = |tag: u8, body: &[u8]| {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[tag], &length.to_be_bytes()[..], body].concat()
    };
    let login = [
        message(b'R', &[0, 0, 0, 0]),
        message(b'S', format!("server_version\0{version}\0").as_bytes()),
        message(b'Z', b"I"),
    ]
    .concat();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let login = login.clone();
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                let _ = stream.read(&mut bytes).and_then(|_| stream.write_all(&login));
                while stream.read(&mut bytes).is_ok_and(|n| n > 0) {}
            });
        }
    });
    port
}

#[test]
fn a_server_that_is_too_old_is_one_sentence_and_one_reason() {
    let configuration = format!(
        "instances:\n  - {{name: old, dsn: \"host=127.0.0.1 port={} user=u sslmode=disable\"}}\n",
        fake("12.22 (Debian 12.22-1)")
    );
    let directory = TempDir::new().unwrap();
    let (said, _, code) = check(&directory, &configuration);
    assert_eq!(code, Some(69), "{said}");
    let told = line(&said, "12.22");
    assert!(told.contains("older than 13, the oldest that is supported; upgrade it"), "{told}");
    assert_eq!(said.lines().count(), 1, "{said}");

    let agent = Agent::start(&configuration);
    let state = [("server", "old"), ("reason", "unsupported")];
    let page = agent.await_metrics(Duration::from_secs(20), |page| {
        sample(page, "pgvigil_instance_state", &state) == Some(1.0)
    });
    assert_eq!(sample(&page, "pg_up", &[("server", "old")]), Some(0.0));
    // No query fails, for none is tried.
    let failing = page.lines().filter(|line| {
        line.starts_with("pgvigil_query_outcome")
            && line.ends_with(" 1")
            && !line.contains("\"connect\"")
    });
    assert_eq!(failing.count(), 0, "{page}");
    assert!(agent.get("/").body.contains("older than 13"));
    assert_eq!(agent.stop(), 0);
}
