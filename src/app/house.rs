//! What the door is shown: the rivers that run now, as plain values.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::rivers::Rivers;
use super::rows;
use crate::http::{House, Scrape, Status, Target};

/// The rivers now in force; a reload puts others in their place.
pub(super) struct Occupied {
    rivers: RwLock<Arc<Rivers>>,
    leaving: AtomicBool,
}

impl Occupied {
    pub(super) fn new(rivers: Rivers) -> Self {
        Self { rivers: RwLock::new(Arc::new(rivers)), leaving: AtomicBool::new(false) }
    }

    pub(super) fn rivers(&self) -> Arc<Rivers> {
        Arc::clone(&self.rivers.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn move_in(&self, rivers: Rivers) {
        *self.rivers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rivers);
    }

    /// From now on the agent is not ready.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }
}

impl House for Occupied {
    fn scrape<'a>(&'a self, patience: Duration, instance: Option<&'a str>) -> Scrape<'a> {
        let rivers = self.rivers();
        Box::pin(async move {
            let (mut families, ()) = tokio::join!(
                rivers.collector.scrape(patience, instance),
                rivers.host.refresh(patience, instance),
            );
            families.extend(rivers.host.families(instance, &families));
            families.extend(rivers.backups.families(instance));
            if instance.is_none() {
                families.extend(rivers.shipper.iter().flat_map(|shipper| shipper.families()));
                families.extend(rivers.retention.iter().flat_map(|watch| watch.families()));
                families.extend(rivers.telemetry.families());
            }
            families
        })
    }

    fn targets(&self) -> Vec<Target> {
        let rivers = self.rivers();
        let instances = rivers.settings.instances.iter();
        instances
            .map(|instance| Target {
                name: instance.name.clone(),
                cluster: instance.cluster.clone(),
                labels: instance.labels.clone(),
            })
            .collect()
    }

    fn status(&self) -> Status {
        rows::status(&self.rivers())
    }

    fn ready(&self) -> bool {
        !self.leaving.load(Ordering::Relaxed)
    }
}
