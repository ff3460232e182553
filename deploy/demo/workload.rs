//! A small shop that is always open: orders come and change, and now and then something goes wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio_postgres::{Client, NoTls};

/// What the shop needs: two databases' worth of tables and a role for the application.
pub(crate) const SCHEMA: &str = "
CREATE TABLE orders (id bigint PRIMARY KEY, customer int NOT NULL, total numeric(10,2) NOT NULL);
CREATE TABLE stock (product int PRIMARY KEY, quantity int NOT NULL);
INSERT INTO orders SELECT i, i % 97, i % 1000 FROM generate_series(1, 5000) i;
INSERT INTO stock SELECT i, 1000 FROM generate_series(1, 100) i;
ANALYZE;
";

/// The running workload; [`Workload::stop`] ends it.
pub(crate) struct Workload {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Workload {
    /// Starts on the superuser's connection string of the primary, in the database `shop`.
    pub(crate) fn start(dsn: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let mut round = 0u64;
                while !told.load(Ordering::Relaxed) {
                    // A server that is down or starts again is a pause, not the end.
                    let _ = shop(&dsn, &told, &mut round).await;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            });
        });
        Self { stop, thread }
    }

    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
    }
}

/// Two sessions, as long as both live.
async fn shop(dsn: &str, told: &AtomicBool, round: &mut u64) -> Result<(), tokio_postgres::Error> {
    let (one, first) = tokio_postgres::connect(dsn, NoTls).await?;
    let (two, second) = tokio_postgres::connect(dsn, NoTls).await?;
    tokio::select! {
        ended = first => ended,
        ended = second => ended,
        ended = rounds(&one, &two, told, round) => ended,
    }
}

async fn rounds(
    one: &Client,
    two: &Client,
    told: &AtomicBool,
    round: &mut u64,
) -> Result<(), tokio_postgres::Error> {
    while !told.load(Ordering::Relaxed) {
        *round += 1;
        let key = 1_000_000
            + i64::from(std::process::id()) * 1_000_000
            + i64::try_from(*round).unwrap_or(0);
        let product = *round % 100 + 1;
        one.batch_execute(&format!(
            "BEGIN; INSERT INTO orders VALUES ({key}, {product}, 9.90);
             UPDATE stock SET quantity = quantity - 1 WHERE product = {product}; COMMIT;
             DELETE FROM orders WHERE id = {key} - 200; SELECT count(*) FROM orders WHERE customer = 7"
        ))
        .await?;
        match *round % 50 {
            5 => drop(two.batch_execute("INSERT INTO orders VALUES (1, 1, 1)").await),
            10 => drop(two.batch_execute("SELECT * FROM no_such_table").await),
            15 => deadlock(one, two).await?,
            25 => drop(two.batch_execute("SELECT pg_sleep(0.3)").await),
            // More than work_mem: a temporary file.
            35 => drop(
                two.batch_execute(
                    "SELECT md5(i::text) FROM generate_series(1, 40000) i ORDER BY 1 OFFSET 39999",
                )
                .await,
            ),
            45 => drop(
                two.batch_execute(
                    "BEGIN; UPDATE stock SET quantity = quantity WHERE product = 1; ROLLBACK",
                )
                .await,
            ),
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Each session holds what the other wants: one of them is chosen as the victim.
async fn deadlock(one: &Client, two: &Client) -> Result<(), tokio_postgres::Error> {
    let take =
        |product: u8| format!("UPDATE stock SET quantity = quantity + 1 WHERE product = {product}");
    one.batch_execute(&format!("BEGIN; {}", take(1))).await?;
    two.batch_execute(&format!("BEGIN; {}", take(2))).await?;
    let (take_one, take_two) = (take(1), take(2));
    let _ = tokio::join!(one.batch_execute(&take_two), two.batch_execute(&take_one));
    one.batch_execute("ROLLBACK").await?;
    two.batch_execute("ROLLBACK").await
}
