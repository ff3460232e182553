//! The room's face: workers started, scrapes answered, the state of everything told.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::board::Board;
use super::claims::Claims;
use super::report::{self, Subject};
use super::status::InstanceStatus;
use super::worker::Worker;
use crate::config::Settings;
use crate::instances::{Budgets, Connector};
use crate::metric::Family;
use crate::packs::Packs;
use crate::postgres::{LogSettings, Whereabouts};
use crate::task::Group;

/// Collects from every configured instance.
pub struct Collector {
    workers: Vec<Arc<Worker>>,
}

impl Collector {
    /// Starts the workers, which connect by themselves; ends with `group`. `budgets` are those of the
    /// whole process: sessions of an earlier collector still count.
    pub fn start(
        settings: &Settings,
        packs: &Packs,
        budgets: &Budgets,
        group: &Group,
    ) -> Arc<Self> {
        let claims = Arc::new(Claims::of(packs.queries.iter().map(|query| &**query)));
        let now = Instant::now();
        let workers = settings
            .instances
            .iter()
            .map(|instance| {
                let queries = packs.of(instance.kind, &instance.exclude_packs);
                let board = Board::new(
                    &instance.name,
                    queries,
                    &settings.collection,
                    &instance.databases,
                    now,
                );
                Arc::new(Worker::new(
                    instance,
                    settings.labels_of(instance),
                    Connector::new(instance, budgets),
                    Arc::clone(&claims),
                    settings.collection.max_series,
                    board,
                ))
            })
            .collect::<Vec<_>>();
        for worker in &workers {
            worker.start(group);
        }
        Arc::new(Self { workers })
    }

    /// What is known of every instance, or of the one named: asks for whatever is fast and older
    /// than 1 s to be renewed, waits at most `patience` for instances that may answer, and gives
    /// what there is. The work is the workers': dropping the future costs and leaves nothing.
    pub async fn scrape(&self, patience: Duration, instance: Option<&str>) -> Vec<Arc<Family>> {
        let begin = Instant::now();
        let chosen: Vec<&Arc<Worker>> = self
            .workers
            .iter()
            .filter(|worker| instance.is_none_or(|name| worker.name == name))
            .collect();
        for worker in &chosen {
            worker.demand(begin);
        }
        let deadline = begin + patience;
        for worker in &chosen {
            worker.settled(begin, deadline).await;
        }
        chosen.iter().flat_map(|worker| page(worker, begin)).collect()
    }

    /// How every instance stands, in the order of the configuration.
    pub fn status(&self) -> Vec<InstanceStatus> {
        let now = Instant::now();
        self.workers
            .iter()
            .map(|worker| {
                let mut status =
                    InstanceStatus::of(&worker.board(), &worker.name, &worker.cluster, now);
                status.notices.extend(worker.connector.notices());
                if let Some(failure) = worker.probes().failure().filter(|_| worker.is_pooler()) {
                    status.notices.push(format!("the last probe failed: {}", failure.message));
                }
                InstanceStatus {
                    certificates: worker
                        .connector
                        .certificates()
                        .into_iter()
                        .map(|seen| (seen.usage.to_owned(), seen.expires))
                        .collect(),
                    ..status
                }
            })
            .collect()
    }

    /// How the server of an instance (by its index in the configuration) writes its log: none
    /// before its first session, followed whenever it changes.
    pub fn log_settings(&self, instance: usize) -> watch::Receiver<Option<LogSettings>> {
        match self.workers.get(instance) {
            Some(worker) => worker.log_settings(),
            None => watch::Sender::new(None).subscribe(),
        }
    }

    /// Where the server of an instance is, as its sessions learn it; as [`Self::log_settings`].
    pub fn whereabouts(&self, instance: usize) -> watch::Receiver<Option<Whereabouts>> {
        match self.workers.get(instance) {
            Some(worker) => worker.whereabouts(),
            None => watch::Sender::new(None).subscribe(),
        }
    }
}

/// One instance's families for a scrape that began at `begin`.
fn page(worker: &Worker, begin: Instant) -> Vec<Arc<Family>> {
    let certificates = worker.connector.certificates();
    let now = Instant::now();
    let probed = worker.probes().families(&worker.base);
    let board = worker.board();
    let verdict = board.verdict(begin);
    let subject = Subject {
        kind: worker.kind,
        base: &worker.base,
        verdict: &verdict,
        certificates: &certificates,
        now,
    };
    let mut families = report::families(&board, &subject);
    families.extend(probed);
    for entry in &board.entries {
        if let Some(shown) = board.present(entry, now) {
            families.extend(shown.families.iter().cloned());
        }
    }
    for (_, cell) in board.databases.cells() {
        if let Some(shown) = board.databases.present(cell, now) {
            families.extend(shown.families.iter().cloned());
        }
    }
    families
}
