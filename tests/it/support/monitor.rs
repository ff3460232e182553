//! A session such as the agent's, on a real server: the built-in queries are run through it one by one.

use std::collections::BTreeMap;

use pgvigil::packs::{self, Query, select};
use pgvigil::postgres::{Facts, LogSettings, Role, Version};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::postgres::{Cluster, MONITOR};

/// One row of a result, by column.
pub type Row = BTreeMap<String, Option<String>>;

/// A session such as the agent's: the monitoring role, with the settings that it connects with.
pub struct Monitor {
    runtime: tokio::runtime::Runtime,
    client: Client,
    pub facts: Facts,
}

impl Monitor {
    pub fn connect(cluster: &Cluster) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let client = runtime.block_on(async {
            let options = "-c search_path=pg_catalog,pg_temp -c default_transaction_read_only=on \
                           -c statement_timeout=10s -c lock_timeout=500ms -c timezone=UTC \
                           -c datestyle=ISO";
            let (client, connection) = Config::new()
                .host("127.0.0.1")
                .port(cluster.port)
                .user(MONITOR)
                .dbname("postgres")
                .options(options)
                .connect(NoTls)
                .await
                .expect("a session");
            runtime.spawn(connection);
            client
        });
        let mut monitor = Self { runtime, client, facts: no_facts() };
        let rows = monitor.rows(
            "SELECT current_setting('server_version_num') AS v, pg_is_in_recovery() AS r, \
             (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS s",
        );
        let is = |column: &str| text(&rows[0], column) == "t";
        assert!(!is("s"), "the test is worth nothing as a superuser");
        monitor.facts.version = Version(text(&rows[0], "v").parse().expect("a number"));
        monitor.facts.role = if is("r") { Role::Standby } else { Role::Primary };
        monitor
    }

    pub fn rows(&self, sql: &str) -> Vec<Row> {
        self.try_rows(sql).unwrap_or_else(|e| panic!("{e:?}\n{sql}"))
    }

    pub fn try_rows(&self, sql: &str) -> Result<Vec<Row>, tokio_postgres::Error> {
        // On a thread of its own, for a test may ask from inside another session's runtime.
        let messages = std::thread::scope(|scope| {
            scope.spawn(|| self.runtime.block_on(self.client.simple_query(sql))).join()
        });
        let messages = messages.expect("the thread ends")?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        Ok(rows
            .map(|row| {
                let columns = row.columns().iter().enumerate();
                columns
                    .map(|(i, column)| (column.name().to_owned(), row.get(i).map(str::to_owned)))
                    .collect()
            })
            .collect())
    }

    /// The rows of a built-in query; none where it is not for this server.
    pub fn query(&self, name: &str) -> Option<Vec<Row>> {
        let packs = packs::builtin();
        let query = packs.queries.iter().find(|q| &*q.name == name).expect("a built-in query");
        self.selected(query).map(|sql| self.rows(&sql))
    }

    /// A query's SQL, placeholders filled in; none where it is not for this server and database.
    pub fn selected(&self, query: &Query) -> Option<String> {
        let sql = select(query, &self.facts).ok()?;
        let open = |gate: &str| {
            self.rows(gate)
                .first()
                .is_some_and(|row| row.values().all(|v| v.as_deref() == Some("t")))
        };
        query
            .gates()
            .iter()
            .all(|gate| open(gate))
            .then(|| sql.replace("{tables}", "400").replace("{indexes}", "400"))
    }

    /// The only row of a built-in query.
    pub fn row(&self, name: &str) -> Row {
        let mut rows = self.query(name).expect("a query for this server");
        assert_eq!(rows.len(), 1, "{name}: {rows:?}");
        rows.remove(0)
    }

    /// The result's columns with their types, as `prepare` tells them.
    pub fn columns(&self, sql: &str) -> Vec<(String, Type)> {
        let statement = self.runtime.block_on(self.client.prepare(sql));
        let statement = statement.unwrap_or_else(|e| panic!("{e:?}\n{sql}"));
        statement.columns().iter().map(|c| (c.name().to_owned(), c.type_().clone())).collect()
    }
}

fn no_facts() -> Facts {
    Facts {
        version: Version::OLDEST,
        role: Role::Primary,
        system_identifier: String::new(),
        timeline: 1,
        cluster_name: String::new(),
        data_directory: None,
        database: "postgres".to_owned(),
        databases: Vec::new(),
        extensions: BTreeMap::new(),
        settings: BTreeMap::new(),
        superuser: false,
        monitor: true,
        log: LogSettings::default(),
        whereabouts: Default::default(),
    }
}

pub fn text<'r>(row: &'r Row, column: &str) -> &'r str {
    row[column].as_deref().unwrap_or_else(|| panic!("{column} is NULL in {row:?}"))
}

pub fn number(row: &Row, column: &str) -> f64 {
    match text(row, column) {
        "t" => 1.0,
        "f" => 0.0,
        text => text.parse().unwrap_or_else(|_| panic!("{column} is {text}")),
    }
}
