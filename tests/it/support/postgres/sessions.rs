//! Superusers' sessions: statements, and work with a client.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::Cluster;

impl Cluster {
    /// Runs statements as the superuser in the database `postgres`; the rows of all of them, NULL as "".
    pub fn sql(&self, sql: &str) -> Vec<Vec<String>> {
        self.sql_in("postgres", sql)
    }

    pub fn sql_in(&self, database: &str, sql: &str) -> Vec<Vec<String>> {
        let text = sql.to_owned();
        let messages =
            self.with_client(database, async move |client| client.simple_query(&text).await);
        rows(&messages.unwrap_or_else(|e| panic!("{sql}: {e:?}")))
    }

    /// Repeats a query until its first value is `expected`; fails after 30 s.
    pub fn await_sql(&self, sql: &str, expected: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let rows = self.sql(sql);
            if rows.first().is_some_and(|row| row[0] == expected) {
                return;
            }
            assert!(Instant::now() < deadline, "{sql}: {rows:?}, expected {expected}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Works with a superuser's session of tokio-postgres over the Unix socket, on a thread of its own,
    /// so that tests inside and outside a runtime can use it. When it returns, the session has ended at
    /// the server too: its locks are free, and nobody counts it.
    pub fn with_client<T: Send>(
        &self,
        database: &str,
        work: impl AsyncFnOnce(&tokio_postgres::Client) -> T + Send,
    ) -> T {
        let socket = UnixStream::connect(self.directory.join(format!(".s.PGSQL.{}", self.port)))
            .unwrap_or_else(|e| panic!("no socket: {e}\n{}", self.output()));
        let mut end = socket.try_clone().expect("a second handle");
        let made = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(async {
                    socket.set_nonblocking(true).expect("a socket that waits for nothing");
                    let socket = tokio::net::UnixStream::from_std(socket).expect("a socket");
                    let (client, mut connection) = tokio_postgres::Config::new()
                        .user("postgres")
                        .dbname(database)
                        .connect_raw(socket, tokio_postgres::NoTls)
                        .await
                        .unwrap_or_else(|e| panic!("no session: {e:?}\n{}", self.output()));
                    let made = tokio::select! {
                        result = work(&client) => result,
                        ended = &mut connection => panic!("the session ended: {ended:?}"),
                    };
                    drop(client);
                    connection.await.expect("the session is told to end");
                    made
                })
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        // The socket closes with the backend's process, behind all that it gives back.
        end.set_nonblocking(false).expect("a socket that waits");
        end.set_read_timeout(Some(Duration::from_secs(30))).expect("a deadline");
        std::io::copy(&mut end, &mut std::io::sink()).expect("the backend ends");
        made
    }
}

fn rows(messages: &[tokio_postgres::SimpleQueryMessage]) -> Vec<Vec<String>> {
    let rows = messages.iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    rows.map(|row| (0..row.len()).map(|i| row.get(i).unwrap_or_default().to_owned()).collect())
        .collect()
}

pub(super) fn first_value(messages: &[tokio_postgres::SimpleQueryMessage]) -> String {
    rows(messages).swap_remove(0).swap_remove(0)
}
