//! A real PgBouncer in front of a real server: what its console tells, how it is told apart from
//! others, and how its failures look.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::agent::{Agent, pgvigil};
use crate::support::exposition::parse_text;
use crate::support::pgbouncer::{APP, Pooler};
use crate::support::pki::Authority;
use crate::support::postgres::{Cluster, MONITOR, PASSWORD, Stop, write_owned};

fn value(page: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    parse_text(page).unwrap_or_else(|e| panic!("{e}\n{page}")).value(name, labels)
}

#[test]
fn pools_of_two_poolers_of_one_cluster() {
    let Some(cluster) = Cluster::start(17) else { return };
    let (Some(rw), Some(mut ro)) = (Pooler::start(&cluster, ""), Pooler::start(&cluster, ""))
    else {
        return;
    };
    // The kind is told, or seen by the console's name; the console need not be named.
    let agent = Agent::start(&format!(
        "cluster: shop\ninstances:\n  - {{name: shop-1, dsn: '{}'}}\n  \
         - {{name: rw, kind: pgbouncer, dsn: 'host=127.0.0.1 port={} user={MONITOR} password={PASSWORD}'}}\n  \
         - {{name: ro, dsn: '{}'}}\n",
        cluster.monitor_dsn(),
        rw.port,
        ro.dsn(MONITOR, "pgbouncer")
    ));
    let holder = rw.client(APP, "shop");
    holder.run("BEGIN");
    holder.run("SELECT 1");
    let waiter = rw.client(APP, "shop");
    let waiting = waiter.send("SELECT 2");
    let pool = [("cluster", "shop"), ("server", "rw"), ("database", "shop"), ("user", APP)];
    let page = agent.await_metrics(Duration::from_secs(20), |page| {
        let waits = value(page, "pgbouncer_pools_client_waiting_connections", &pool) == Some(1.0);
        let ready =
            |server| value(page, "pgbouncer_config_default_pool_size", &[("server", server)]);
        waits
            && value(page, "pgbouncer_pools_client_maxwait_seconds", &pool) > Some(1.0)
            && ready("rw").is_some()
            && ready("ro").is_some()
    });
    assert_eq!(value(&page, "pgbouncer_pools_server_active_connections", &pool), Some(1.0));
    assert_eq!(value(&page, "pgbouncer_pools_client_active_connections", &pool), Some(1.0));
    let parsed = parse_text(&page).unwrap();
    let of = |name: &str, server: &str| parsed.value(name, &[("server", server)]);
    for server in ["rw", "ro"] {
        assert_eq!(of("pgbouncer_up", server), Some(1.0));
        let state = [("server", server), ("reason", "ok")];
        assert_eq!(parsed.value("pgvigil_instance_state", &state), Some(1.0));
        assert_eq!(of("pgvigil_sessions", server), Some(1.0), "the console needs no second");
        let info = [("server", server), ("kind", "pgbouncer"), ("cluster", "shop")];
        assert_eq!(parsed.value("pgvigil_instance_info", &info), Some(1.0));
        assert_eq!(of("pgbouncer_version_info", server), Some(1.0));
        let size = [("server", server), ("name", "shop"), ("database", "postgres")];
        assert_eq!(parsed.value("pgbouncer_databases_pool_size", &size), Some(1.0));
        assert_eq!(parsed.value("pgbouncer_databases_paused", &size), Some(0.0));
        assert!(of("pgbouncer_used_clients", server) >= Some(1.0));
        assert_eq!(of("pgbouncer_config_max_client_connections", server), Some(100.0));
        let asked = [("server", server), ("database", "pgbouncer")];
        assert!(parsed.value("pgbouncer_stats_queries_pooled_total", &asked) > Some(0.0));
        // Neither asks what is the other's.
        assert_eq!(of("pg_up", server), None);
        for query in
            parsed.series("pgvigil_query_outcome").filter(|s| s.label("server") == Some(server))
        {
            assert!(query.label("query").unwrap().starts_with("pgbouncer_"), "{query:?}");
            let old = query.label("query") == Some("pgbouncer_state")
                && query.label("reason") == Some("unavailable");
            assert!(old || query.label("reason") == Some("ok"), "{query:?}");
        }
    }
    assert!(
        parsed
            .series("pgbouncer_pools_client_active_connections")
            .all(|s| { s.label("server") != Some("ro") || s.label("user") != Some(APP) })
    );
    assert_eq!((of("pg_up", "shop-1"), of("pgbouncer_up", "shop-1")), (Some(1.0), None));
    assert_eq!(parsed.value("pgvigil_instance_info", &[("kind", "postgres")]), Some(1.0));
    assert_eq!(parsed.family("pgbouncer_stats_queries_pooled_total").unwrap().kind, "counter");
    assert!(agent.get("/").body.contains("1.18") || agent.get("/").body.contains("1.2"));

    holder.run("COMMIT");
    assert!(waiter.wait(waiting));
    let database = [("server", "rw"), ("database", "shop")];
    let page = agent.await_metrics(Duration::from_secs(20), |page| {
        value(page, "pgbouncer_pools_client_waiting_connections", &pool) == Some(0.0)
    });
    let waited = value(&page, "pgbouncer_stats_client_wait_seconds_total", &database).unwrap();
    assert!((1.0..60.0).contains(&waited), "microseconds are no seconds: {waited}");

    ro.stop();
    let page = agent.await_metrics(Duration::from_secs(20), |page| {
        value(page, "pgbouncer_up", &[("server", "ro")]) == Some(0.0)
    });
    assert_eq!(value(&page, "pgbouncer_up", &[("server", "rw")]), Some(1.0));
    agent.await_metrics(Duration::from_secs(20), |page| {
        let refused = [("server", "ro"), ("reason", "refused")];
        value(page, "pgvigil_instance_state", &refused) == Some(1.0)
    });
    ro.start_again();
    agent.await_metrics(Duration::from_secs(20), |page| {
        value(page, "pgbouncer_up", &[("server", "ro")]) == Some(1.0)
    });

    // Nothing that the agent does is an error to PgBouncer.
    assert_eq!(agent.stop(), 0);
    for output in [rw.output(), ro.output()] {
        let bad = |line: &&str| line.contains(MONITOR) && line.contains("pooler error");
        assert_eq!(output.lines().find(bad), None);
        assert!(!output.contains("invalid command"), "{output}");
    }
}

#[test]
fn who_may_not_use_the_console_is_told_so() {
    let Some(cluster) = Cluster::start(17) else { return };
    let Some(pooler) = Pooler::start(&cluster, "") else { return };
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("pgvigil.yml");
    let check = |dsn: &str| {
        fs::write(
            &file,
            format!("instances:\n  - {{name: pool, kind: pgbouncer, dsn: '{dsn}'}}\n"),
        )
        .unwrap();
        let output = pgvigil(&["check", "--config"]).arg(&file).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(!said.contains(PASSWORD), "{said}");
        (output.status.code().unwrap(), said)
    };
    let (code, said) = check(&pooler.dsn(MONITOR, "pgbouncer"));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("pool: PgBouncer 1."), "{said}");

    for (dsn, words) in [
        (pooler.dsn("nobody", "pgbouncer"), "stats_users"),
        (pooler.dsn("stranger", "pgbouncer"), "does not let `stranger` in"),
        (pooler.dsn(MONITOR, "pgbouncer").replace(PASSWORD, "wrong"), "correct the password"),
        (pooler.dsn(APP, "shop"), "is not PgBouncer's console"),
        (
            pooler.dsn(MONITOR, "pgbouncer?options=-c%20x%3D1"),
            "remove it from the connection string",
        ),
        (cluster.dsn(), "is not PgBouncer's console"),
    ] {
        let (code, said) = check(&dsn);
        assert_eq!(code, 69, "{dsn}: {said}");
        assert!(said.contains(words), "{dsn}: {said}");
    }

    // Over TLS, as libpq means it.
    let authority = Authority::new("Shop CA");
    let issued = authority.server(&["localhost"]);
    let at = |name: &str| cluster.directory().join(name);
    let files = [("pool.crt", &issued.certificate), ("pool.key", &issued.key)];
    for (name, text) in files.into_iter().chain([("ca.crt", &authority.certificate)]) {
        write_owned(&at(name), text, 0o600);
    }
    let lines = format!(
        "client_tls_sslmode = require\nclient_tls_cert_file = {}\nclient_tls_key_file = {}",
        at("pool.crt").display(),
        at("pool.key").display()
    );
    let secure = Pooler::start(&cluster, &lines).unwrap();
    let over = |mode: &str, host: &str| {
        let more = format!("pgbouncer?sslmode={mode}&sslrootcert={}", at("ca.crt").display());
        check(&secure.dsn(MONITOR, &more).replace("127.0.0.1", host))
    };
    assert_eq!(over("verify-full", "localhost").0, 0);
    for (mode, host, words) in
        [("verify-full", "127.0.0.1", "127.0.0.1"), ("disable", "localhost", "without TLS")]
    {
        let (code, said) = over(mode, host);
        assert_eq!(code, 69, "{mode}: {said}");
        assert!(said.contains(words), "{mode}: {said}");
    }

    let query = |pack: &str, dsn: &str| {
        let output = pgvigil(&["query", pack, "--dsn", &dsn.replace(&format!(":{PASSWORD}"), "")])
            .env("PGPASSWORD", PASSWORD)
            .output()
            .unwrap();
        let page = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), page, String::from_utf8(output.stderr).unwrap())
    };
    let console = pooler.dsn(MONITOR, "pgbouncer");
    let (code, page, said) = query("pgbouncer", &console);
    assert_eq!(code, 0, "{said}");
    assert_eq!(value(&page, "pgbouncer_databases_pool_size", &[("name", "shop")]), Some(1.0));
    let (code, page, said) = query("locks", &console);
    assert_eq!((code, page.as_str()), (0, ""), "{said}");
    assert!(said.contains("it is for PostgreSQL, and this server is PgBouncer"), "{said}");
    let (_, page, said) = query("pgbouncer", &cluster.monitor_dsn());
    assert!(page.is_empty() && said.contains("it is for PgBouncer"), "{said}");

    // Other programs' files for it, as they are; a command that there is not costs itself alone.
    let pack = directory.path().join("pgsty.yaml");
    fs::write(
        &pack,
        "pgbouncer_pool:\n  query: SHOW POOLS;\n  ttl: 10\n  min_version: 010800\n  tags: [pgbouncer]\n  \
         metrics:\n    - database: {usage: LABEL, rename: datname}\n    \
         - cl_active: {usage: GAUGE, rename: active_clients}\n    \
         - maxwait_us: {usage: GAUGE, rename: maxwait, scale: 1e-6}\n\
         newer:\n  query: SHOW POOLS;\n  min_version: 990000\n  tags: [pgbouncer]\n  metrics: [{a: {usage: GAUGE}}]\n\
         unknown:\n  query: SHOW NONSENSE;\n  tags: [pgbouncer]\n  metrics: [{a: {usage: GAUGE}}]\n",
    )
    .unwrap();
    let (code, page, said) = query(pack.to_str().unwrap(), &console);
    assert_eq!(code, 0, "{said}");
    assert_eq!(
        value(&page, "pgbouncer_pool_active_clients", &[("datname", "pgbouncer")]),
        Some(1.0)
    );
    assert!(said.contains("it has no SQL for PgBouncer 1."), "{said}");
    assert!(said.contains("missing_object"), "{said}");
}

#[test]
fn the_way_through_is_probed_and_a_stuck_pool_costs_one_connection() {
    let Some(mut cluster) = Cluster::start(17) else { return };
    let Some(pooler) = Pooler::start(&cluster, "") else { return };
    let configuration = format!(
        "cluster: shop\ncollection: {{intervals: {{fast: 1s}}}}\ninstances:\n  \
         - {{name: shop-1, dsn: '{}'}}\n  \
         - {{name: pool, dsn: '{}', probe: {{database: shop, timeout: 700ms}}}}\n",
        cluster.monitor_dsn(),
        pooler.dsn(MONITOR, "pgbouncer")
    );
    let agent = Agent::start(&configuration);
    let within = Duration::from_secs(30);
    let through = [("server", "pool"), ("via", "pooler"), ("datname", "shop")];
    let direct = [("server", "shop-1"), ("via", "direct")];
    let with =
        |base: &[(&'static str, &'static str)], reason| [base, &[("reason", reason)]].concat();
    let count = |page: &str, base: &[(&'static str, &'static str)], reason| {
        value(page, "pg_probes_total", &with(base, reason)).unwrap_or(0.0)
    };
    let page = agent.await_metrics(within, |page| {
        count(page, &through, "ok") >= 2.0 && count(page, &direct, "ok") >= 2.0
    });
    for labels in [&through[..], &direct] {
        let parsed = parse_text(&page).unwrap();
        let family = parsed.family("pg_probe_duration_seconds").unwrap();
        assert_eq!(family.kind, "histogram");
        let ok = count(&page, labels, "ok");
        assert_eq!(value(&page, "pg_probe_duration_seconds_count", labels), Some(ok));
        let whole = [labels, &[("le", "5.0")]].concat();
        assert_eq!(value(&page, "pg_probe_duration_seconds_bucket", &whole), Some(ok));
        assert_eq!(value(&page, "pg_probe_success", labels), Some(1.0));
        assert_eq!(count(&page, labels, "timeout"), 0.0);
    }
    assert!(value(&page, "pg_probe_connect_duration_seconds_count", &through) >= Some(2.0));

    // The pool's only server connection is held by another: whoever comes waits.
    let stuck = |then: &dyn Fn()| {
        let before = count(&agent.metrics(), &through, "timeout");
        let page = agent.await_metrics(within, |page| {
            // However long it lasts, one connection of ours waits there.
            let clients = pooler.clients(MONITOR, "shop");
            assert!(clients.iter().filter(|state| *state == "waiting").count() <= 1, "{clients:?}");
            count(page, &through, "timeout") >= before + 4.0
        });
        assert_eq!(value(&page, "pg_probe_success", &through), Some(0.0));
        assert_eq!(value(&page, "pg_probe_success", &direct), Some(1.0));
        assert_eq!(value(&page, "pgbouncer_up", &[]), Some(1.0));
        assert_eq!(count(&page, &through, "budget"), 0.0);
        assert!(agent.get("/").body.contains("the last probe failed"));
        then();
        let before = count(&page, &through, "ok");
        let page = agent.await_metrics(within, |page| count(page, &through, "ok") > before + 1.0);
        assert_eq!(value(&page, "pg_probe_success", &through), Some(1.0));
    };
    let holder = pooler.client(MONITOR, "shop");
    holder.run("BEGIN");
    holder.run("SELECT 1");
    stuck(&|| drop(holder.run("COMMIT")));
    pooler.console("PAUSE shop");
    stuck(&|| drop(pooler.console("RESUME shop")));
    assert!(pooler.clients(MONITOR, "shop").len() <= 2, "the holder, and at most a probe");

    // A pooler that hangs holds no more of our connections than the budget has.
    pooler.signal(Signal::STOP);
    let before = count(&agent.metrics(), &through, "timeout");
    agent.await_metrics(within, |page| {
        assert!(connections(agent.pid(), pooler.port) <= 3);
        value(page, "pgbouncer_up", &[]) == Some(0.0)
            && count(page, &through, "timeout") >= before + 3.0
    });
    pooler.signal(Signal::CONT);
    agent.await_metrics(within, |page| {
        value(page, "pgbouncer_up", &[]) == Some(1.0)
            && value(page, "pg_probe_success", &through) == Some(1.0)
    });

    // The server behind it is gone: its console is not.
    cluster.stop(Stop::Fast);
    let page = agent.await_metrics(within, |page| {
        value(page, "pg_probe_success", &through) == Some(0.0)
            && value(page, "pg_probe_success", &direct) == Some(0.0)
    });
    assert_eq!(value(&page, "pgbouncer_up", &[]), Some(1.0));
    cluster.start_again();
    agent.await_metrics(within, |page| {
        value(page, "pg_probe_success", &through) == Some(1.0)
            && value(page, "pg_probe_success", &direct) == Some(1.0)
    });

    let file = agent.directory.path().join("pgvigil.yml");
    let output = pgvigil(&["check", "--config"]).arg(&file).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("pool: shop answers through it in "), "{said}");
    assert_eq!(agent.stop(), 0);
    assert!(!pooler.output().contains("unsupported startup parameter"));
}

/// The established TCP connections of a process to that loopback port.
fn connections(pid: u32, port: u16) -> usize {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let remote = format!("0100007F:{port:04X}");
    let sockets: Vec<String> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.get(2) == Some(&remote.as_str()) && fields[3] == "01")
        .map(|fields| format!("socket:[{}]", fields[9]))
        .collect();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().filter_map(Result::ok);
    let links = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str())).count()
}
