//! Figures as families. What cannot be seen is a 0 of `pg_host_visible` with its reason, never a blank.

use std::sync::Arc;

use super::directories::Purpose;
use super::files::Seen;
use super::reading::{Cpu, Memory, Pressure, Scope, Space};
use super::sizes::Sizes;
use crate::metric::{Family, Kind, Labels};
use crate::postgres::HostReason;

/// Everything about one instance's machine.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) cpu: Seen<Cpu>,
    pub(super) memory: Seen<Memory>,
    pub(super) pressure: Seen<Pressure>,
    pub(super) load: Seen<[f64; 3]>,
    pub(super) volumes: Vec<Volume>,
    /// The user says that WAL has a place of its own.
    pub(super) wal_apart: bool,
}

/// One directory.
#[derive(Clone, Debug)]
pub(super) struct Volume {
    pub(super) purpose: Purpose,
    pub(super) space: Seen<Space>,
    pub(super) allotted: Option<u64>,
    /// What its own files take, where that is asked for and known.
    pub(super) taken: Option<u64>,
}

/// The families of one instance; `base`: the labels of all of them, `sizes`: the server's own word.
pub(super) fn families(base: &Labels, reading: &Reading, sizes: &Sizes) -> Vec<Arc<Family>> {
    let mut page = Page { base, families: Vec::new() };
    visible(&mut page, reading);
    if let Ok(found) = &reading.cpu {
        cpu(&mut page, found);
    }
    if let Ok(found) = &reading.memory {
        memory(&mut page, found);
    }
    if let Ok(found) = &reading.pressure {
        for (resource, extent, seconds) in &found.stalls {
            let labels = [scope(found.scope), ("resource", *resource), ("extent", *extent)];
            page.push("pg_host_pressure_stalled_seconds_total", &labels, *seconds);
        }
    }
    if let Ok([one, five, fifteen]) = reading.load {
        page.push("pg_host_load1", &[], one);
        page.push("pg_host_load5", &[], five);
        page.push("pg_host_load15", &[], fifteen);
    }
    for found in &reading.volumes {
        let said = match found.purpose {
            Purpose::Data => sizes.data(reading.wal_apart),
            Purpose::Wal => sizes.wal,
            Purpose::Log | Purpose::Tablespace(_) => None,
        };
        volume(&mut page, found, said);
    }
    page.families.into_iter().map(Arc::new).collect()
}

/// Every family with its type and meaning.
const FAMILIES: &[(&str, Kind, &str)] = &[
    (
        "pg_host_visible",
        Kind::Gauge,
        "Whether this can be seen from where the agent runs; the reason is ok, or why not.",
    ),
    (
        "pg_host_cpu_usage_seconds_total",
        Kind::Counter,
        "Processor time that was used; scope: container (the server's control group) or machine.",
    ),
    ("pg_host_cpu_user_seconds_total", Kind::Counter, "The part of it that programs used."),
    ("pg_host_cpu_system_seconds_total", Kind::Counter, "The part of it that the kernel used."),
    (
        "pg_host_cpu_throttled_seconds_total",
        Kind::Counter,
        "How long the container was held back by its CPU quota.",
    ),
    (
        "pg_host_cpu_throttled_periods_total",
        Kind::Counter,
        "Periods in which the container was held back by its CPU quota.",
    ),
    ("pg_host_cpu_periods_total", Kind::Counter, "Periods in which the container used CPU."),
    (
        "pg_host_cpu_limit_cores",
        Kind::Gauge,
        "Cores' worth of time that may be used: the container's quota, or all its cores.",
    ),
    ("pg_host_cpu_cores", Kind::Gauge, "Cores of the machine."),
    (
        "pg_host_memory_limit_bytes",
        Kind::Gauge,
        "Memory that may be used: the container's limit, or all that the machine has.",
    ),
    ("pg_host_memory_used_bytes", Kind::Gauge, "Memory in use, page cache included."),
    (
        "pg_host_memory_working_set_bytes",
        Kind::Gauge,
        "Memory in use, less file pages that were not touched lately, as the kubelet counts it.",
    ),
    (
        "pg_host_memory_available_bytes",
        Kind::Gauge,
        "Memory that can still be had before the limit, without swapping.",
    ),
    ("pg_host_memory_page_cache_bytes", Kind::Gauge, "Memory that holds pages of files."),
    (
        "pg_host_memory_oom_kills_total",
        Kind::Counter,
        "Processes that the kernel killed for want of memory.",
    ),
    (
        "pg_host_pressure_stalled_seconds_total",
        Kind::Counter,
        "How long work stood still for want of a resource: some of it, or full, all of it at once.",
    ),
    ("pg_host_load1", Kind::Gauge, "The machine's load average over 1 minute."),
    ("pg_host_load5", Kind::Gauge, "The machine's load average over 5 minutes."),
    ("pg_host_load15", Kind::Gauge, "The machine's load average over 15 minutes."),
    (
        "pg_host_filesystem_size_bytes",
        Kind::Gauge,
        "Room of the file system that the directory lies in, or less where less is allotted to it.",
    ),
    (
        "pg_host_filesystem_used_bytes",
        Kind::Gauge,
        "What is used of it: of an allotment by the directory's files, else by all.",
    ),
    (
        "pg_host_filesystem_available_bytes",
        Kind::Gauge,
        "What can still be written there: the smaller of what is free and what is left of the \
         allotment.",
    ),
    ("pg_host_filesystem_inodes", Kind::Gauge, "Inodes of the file system."),
    ("pg_host_filesystem_inodes_available", Kind::Gauge, "Inodes that are free."),
    (
        "pg_host_directory_used_bytes",
        Kind::Gauge,
        "What the files in the directory take, where that is measured: of logs and allotments.",
    ),
];

/// Families as they grow.
struct Page<'a> {
    base: &'a Labels,
    families: Vec<Family>,
}

impl Page<'_> {
    fn push(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels = self.base.over(&Labels::new(labels.iter().copied()));
        match self.families.iter_mut().find(|family| *family.name == *name) {
            Some(family) => family.push(labels, value),
            None => {
                let known = FAMILIES.iter().find(|(known, ..)| *known == name);
                let (_, kind, help) = known.unwrap_or(&("", Kind::Untyped, ""));
                self.families.push(Family::new(name, *help, *kind).with(labels, value));
            }
        }
    }

    /// Where there is a value.
    fn may_push(&mut self, name: &str, labels: &[(&str, &str)], value: Option<f64>) {
        if let Some(value) = value {
            self.push(name, labels, value);
        }
    }
}

fn scope(scope: Scope) -> (&'static str, &'static str) {
    ("scope", scope.as_str())
}

fn visible(page: &mut Page<'_>, reading: &Reading) {
    let reasons = [
        ("cpu", reading.cpu.as_ref().err()),
        ("memory", reading.memory.as_ref().err()),
        ("pressure", reading.pressure.as_ref().err()),
        ("load", reading.load.as_ref().err()),
    ];
    let mut push = |labels: &[(&str, &str)], hidden: Option<&HostReason>| {
        let reason = ("reason", hidden.unwrap_or(&HostReason::Ok).as_str());
        let labels: Vec<_> = labels.iter().copied().chain([reason]).collect();
        page.push("pg_host_visible", &labels, f64::from(u8::from(hidden.is_none())));
    };
    for (subject, hidden) in reasons {
        push(&[("subject", subject)], hidden);
    }
    for Volume { purpose, space, .. } in &reading.volumes {
        let mut labels = vec![("subject", "filesystem"), ("directory", purpose.as_str())];
        if let Purpose::Tablespace(name) = purpose {
            labels.push(("tablespace", name));
        }
        push(&labels, space.as_ref().err());
    }
}

fn cpu(page: &mut Page<'_>, cpu: &Cpu) {
    let labels = [scope(cpu.scope)];
    let count = |number: Option<u64>| number.map(|number| number as f64);
    page.push("pg_host_cpu_usage_seconds_total", &labels, cpu.usage);
    page.may_push("pg_host_cpu_user_seconds_total", &labels, cpu.user);
    page.may_push("pg_host_cpu_system_seconds_total", &labels, cpu.system);
    page.may_push("pg_host_cpu_throttled_seconds_total", &labels, cpu.throttled);
    page.may_push("pg_host_cpu_throttled_periods_total", &labels, count(cpu.throttled_periods));
    page.may_push("pg_host_cpu_periods_total", &labels, count(cpu.periods));
    page.push("pg_host_cpu_limit_cores", &labels, cpu.limit);
    page.push("pg_host_cpu_cores", &[], cpu.cores);
}

fn memory(page: &mut Page<'_>, memory: &Memory) {
    let labels = [scope(memory.scope)];
    page.push("pg_host_memory_limit_bytes", &labels, memory.limit as f64);
    page.push("pg_host_memory_used_bytes", &labels, memory.used as f64);
    page.push("pg_host_memory_working_set_bytes", &labels, memory.working_set as f64);
    page.push("pg_host_memory_available_bytes", &labels, memory.available as f64);
    let number = |number: Option<u64>| number.map(|number| number as f64);
    page.may_push("pg_host_memory_page_cache_bytes", &labels, number(memory.cache));
    page.may_push("pg_host_memory_oom_kills_total", &labels, number(memory.oom_kills));
}

/// One directory; `said`: what the server says that its files take.
fn volume(page: &mut Page<'_>, volume: &Volume, said: Option<u64>) {
    let mut labels = vec![("directory", volume.purpose.as_str())];
    let taken = volume.taken.or(said);
    let Ok(space) = &volume.space else {
        // What was allotted, and how much of it is gone, is known from afar too.
        if let (Some(allotted), Some(taken)) = (volume.allotted, taken) {
            let left = allotted.saturating_sub(taken);
            page.push("pg_host_filesystem_size_bytes", &labels, allotted as f64);
            page.push("pg_host_filesystem_used_bytes", &labels, taken as f64);
            page.push("pg_host_filesystem_available_bytes", &labels, left as f64);
        }
        return;
    };
    labels.extend([("path", space.called.as_str()), ("device", space.device.as_str())]);
    if let Purpose::Tablespace(name) = &volume.purpose {
        labels.push(("tablespace", name));
    }
    let size = volume.allotted.map_or(space.size, |allotted| allotted.min(space.size));
    page.push("pg_host_filesystem_size_bytes", &labels, size as f64);
    // Of an allotment whose use is not known, what is free is not known either.
    let known = match (volume.allotted, taken) {
        (None, _) => Some((space.used, space.available)),
        (Some(allotted), Some(taken)) => {
            Some((taken, space.available.min(allotted.saturating_sub(taken))))
        }
        (Some(_), None) => None,
    };
    if let Some((used, available)) = known {
        page.push("pg_host_filesystem_used_bytes", &labels, used as f64);
        page.push("pg_host_filesystem_available_bytes", &labels, available as f64);
    }
    if let Some((all, free)) = space.inodes {
        page.push("pg_host_filesystem_inodes", &labels, all as f64);
        page.push("pg_host_filesystem_inodes_available", &labels, free as f64);
    }
    page.may_push("pg_host_directory_used_bytes", &labels, volume.taken.map(|taken| taken as f64));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::metric::Point;

    fn all() -> Reading {
        let space = Space {
            path: "/mnt".into(),
            called: "/data".into(),
            device: "/dev/a".into(),
            size: 1000,
            used: 300,
            available: 600,
            inodes: Some((50, 20)),
        };
        let volume = |purpose, space, allotted, taken| Volume { purpose, space, allotted, taken };
        Reading {
            cpu: Ok(Cpu {
                scope: Scope::Container,
                usage: 3.0,
                user: Some(2.0),
                system: Some(1.0),
                throttled: Some(0.5),
                throttled_periods: Some(1),
                periods: Some(2),
                limit: 1.5,
                cores: 4.0,
            }),
            memory: Ok(Memory {
                scope: Scope::Container,
                limit: 8,
                used: 6,
                working_set: 4,
                available: 4,
                cache: Some(3),
                oom_kills: Some(0),
            }),
            pressure: Ok(Pressure { scope: Scope::Machine, stalls: vec![("io", "full", 1.0)] }),
            load: Ok([1.0, 2.0, 3.0]),
            volumes: vec![
                volume(Purpose::Data, Ok(space.clone()), Some(500), Some(100)),
                volume(Purpose::Wal, Err(HostReason::Remote), Some(40), None),
                volume(Purpose::Log, Err(HostReason::Permission), None, None),
                volume(Purpose::Tablespace("fast".into()), Ok(space), None, None),
            ],
            wal_apart: true,
        }
    }

    fn value(page: &[Arc<Family>], name: &str, directory: &str) -> Option<f64> {
        let family = page.iter().find(|family| *family.name == *name)?;
        let mut samples = family.samples.iter();
        let sample = samples.find(|s| s.labels.get("directory") == Some(directory))?;
        match sample.point {
            Point::Number(value) => Some(value),
            Point::Histogram(_) => None,
        }
    }

    #[test]
    fn every_family_is_known_and_written() {
        let base = Labels::new([("server", "a")]);
        let page = families(&base, &all(), &Sizes::default());
        let written: BTreeSet<&str> = page.iter().map(|family| &*family.name).collect();
        let known: BTreeSet<&str> = FAMILIES.iter().map(|(name, ..)| *name).collect();
        assert_eq!(written, known);
        for family in &page {
            assert_eq!(family.name.ends_with("_total"), family.kind == Kind::Counter);
            assert!(family.samples.iter().all(|sample| sample.labels.get("server") == Some("a")));
        }
    }

    #[test]
    fn the_smaller_of_what_is_free_and_what_is_left() {
        let (base, mut reading) = (Labels::default(), all());
        let of = |reading: &Reading, sizes: &Sizes, name: &str, directory: &str| {
            let name = format!("pg_host_filesystem_{name}_bytes");
            value(&families(&base, reading, sizes), &name, directory)
        };
        let none = Sizes::default();
        assert_eq!(of(&reading, &none, "size", "data"), Some(500.0));
        assert_eq!(of(&reading, &none, "available", "data"), Some(400.0));
        assert_eq!(of(&reading, &none, "available", "tablespace"), Some(600.0));
        reading.volumes[0].allotted = Some(5000);
        assert_eq!(of(&reading, &none, "size", "data"), Some(1000.0));
        assert_eq!(of(&reading, &none, "available", "data"), Some(600.0));
        reading.volumes[0].allotted = Some(70);
        assert_eq!(of(&reading, &none, "available", "data"), Some(0.0));
        // Nothing is said of what is not known.
        reading.volumes[0].taken = None;
        assert_eq!(of(&reading, &none, "available", "data"), None);
        assert_eq!(of(&reading, &none, "available", "wal"), None);
        let mut said = none;
        said.wal = Some(30);
        assert_eq!(of(&reading, &said, "available", "wal"), Some(10.0));
    }
}
