//! The figures of the control group that a process runs in, of version 2, version 1, or both at once.
//!
//! None means that the process is in no group that is seen here, or in the root of them all: then the
//! machine's figures are the right ones. Limits are those of the group and of all that it is part of.

use std::path::{Path, PathBuf};

use super::files::{Seen, read};
use super::machine::tick;
use super::reading::{Cpu, Memory, Pressure, RESOURCES, Scope};
use super::text::{self, Membership};

/// Where the files are: `/proc`, `/sys/fs/cgroup`, and which groups are meant.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) proc: &'a Path,
    pub(super) cgroup: &'a Path,
    /// A process's groups, in the kernel's words: they may outlive it.
    pub(super) groups: &'a str,
    /// The process, while it runs.
    pub(super) process: Option<u32>,
}

/// A process's groups, in the kernel's words.
pub(super) fn groups(proc: &Path, process: u32) -> Seen<String> {
    read(&proc.join(process.to_string()).join("cgroup"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A group and those above it, the innermost first; never the root of all.
#[derive(Debug, PartialEq, Eq)]
struct Chain {
    version: Version,
    groups: Vec<PathBuf>,
}

impl Chain {
    fn own(&self) -> &Path {
        &self.groups[0]
    }

    /// A number in a file of the group itself.
    fn number(&self, file: &str) -> Option<u64> {
        text::number(&read(&self.own().join(file)).ok()?)
    }
}

/// Processor time, and how much of the machine's the group may have.
pub(super) fn cpu(place: &Place<'_>, machine: &Cpu) -> Option<Cpu> {
    let time = chain(place, "cpuacct")?;
    let quota = chain(place, "cpu");
    let stat = |chain: &Chain| read(&chain.own().join("cpu.stat")).ok();
    let (usage, user, system) = match time.version {
        Version::Two => {
            let stat = stat(&time)?;
            let seconds = |key: &str| text::keyed(&stat, key).map(|micros| micros as f64 / 1e6);
            (seconds("usage_usec")?, seconds("user_usec"), seconds("system_usec"))
        }
        Version::One => {
            let split = read(&time.own().join("cpuacct.stat")).ok();
            let seconds =
                |key: &str| text::keyed(split.as_deref()?, key).map(|ticks| ticks as f64 * tick());
            (time.number("cpuacct.usage")? as f64 / 1e9, seconds("user"), seconds("system"))
        }
    };
    let held = quota.as_ref().and_then(|quota| Some((quota.version, stat(quota)?)));
    let held = |key: &str| held.as_ref().and_then(|(_, stat)| text::keyed(stat, key));
    let throttled = held("throttled_usec").map(|micros| micros as f64 / 1e6);
    let cores = allowed(place).map_or(machine.cores, |allowed| allowed.min(machine.cores));
    let quotas = quota.iter().flat_map(|chain| {
        chain.groups.iter().filter_map(|group| self::quota(group, chain.version))
    });
    Some(Cpu {
        scope: Scope::Container,
        usage,
        user,
        system,
        throttled: throttled.or_else(|| held("throttled_time").map(|nanos| nanos as f64 / 1e9)),
        throttled_periods: held("nr_throttled"),
        periods: held("nr_periods"),
        limit: quotas.fold(cores, f64::min),
        cores: machine.cores,
    })
}

/// Cores' worth of time that one group may use; none where it has no quota.
fn quota(group: &Path, version: Version) -> Option<f64> {
    let (quota, period): (f64, f64) = match version {
        Version::Two => {
            let text = read(&group.join("cpu.max")).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            (quota.parse().ok()?, period.parse().ok()?)
        }
        Version::One => {
            let number = |file: &str| text::number(&read(&group.join(file)).ok()?);
            (number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
        }
    };
    (quota > 0.0 && period > 0.0 && (quota / period).is_finite()).then_some(quota / period)
}

/// Processors that the process may run on.
fn allowed(place: &Place<'_>) -> Option<f64> {
    let status = read(&place.proc.join(place.process?.to_string()).join("status")).ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    text::processors(list).map(|count| count as f64)
}

/// Memory of the group, within what the groups above it and the machine leave.
pub(super) fn memory(place: &Place<'_>, machine: &Memory) -> Option<Memory> {
    let chain = chain(place, "memory")?;
    let mut own = level(chain.own(), chain.version)?;
    let mut limit = machine.limit;
    let mut available = machine.available;
    for group in &chain.groups {
        let Some(level) = level(group, chain.version) else { continue };
        let Some(most) = level.limit.filter(|most| *most < machine.limit) else { continue };
        limit = limit.min(most);
        available = available.min(most.saturating_sub(level.working_set));
    }
    Some(Memory {
        scope: Scope::Container,
        limit,
        used: own.used,
        working_set: own.working_set,
        available,
        cache: own.cache.take(),
        oom_kills: match chain.version {
            Version::Two => counted(&chain, "memory.events"),
            Version::One => counted(&chain, "memory.oom_control"),
        },
    })
}

fn counted(chain: &Chain, file: &str) -> Option<u64> {
    text::keyed(&read(&chain.own().join(file)).ok()?, "oom_kill")
}

/// The memory of one group.
struct Level {
    limit: Option<u64>,
    used: u64,
    working_set: u64,
    cache: Option<u64>,
}

fn level(group: &Path, version: Version) -> Option<Level> {
    let (limit, usage, inactive, cache) = match version {
        Version::Two => ("memory.max", "memory.current", "inactive_file", "file"),
        Version::One => {
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "total_cache")
        }
    };
    let number = |file: &str| text::number::<u64>(&read(&group.join(file)).ok()?);
    let stat = read(&group.join("memory.stat")).ok()?;
    let used = number(usage)?;
    Some(Level {
        // `max` is no number, hence no limit; version 1 writes one beyond all memory instead.
        limit: number(limit),
        used,
        working_set: used.saturating_sub(text::keyed(&stat, inactive)?),
        cache: text::keyed(&stat, cache),
    })
}

/// How long the group's work stood still; version 1 does not tell.
pub(super) fn pressure(place: &Place<'_>) -> Option<Pressure> {
    let Membership::Common { path } = text::membership(place.groups, "pressure")? else {
        return None;
    };
    let chain = above(place, &common(place.cgroup)?, path, Version::Two)?;
    let mut stalls = Vec::new();
    for resource in RESOURCES {
        let told = read(&chain.own().join(format!("{resource}.pressure"))).ok()?;
        let told = text::stalls(&told).into_iter();
        stalls.extend(told.map(|(extent, micros)| (resource, extent, micros as f64 / 1e6)));
    }
    Some(Pressure { scope: Scope::Container, stalls })
}

/// The group in which `controller` counts the process.
fn chain(place: &Place<'_>, controller: &str) -> Option<Chain> {
    match text::membership(place.groups, controller)? {
        Membership::Own { controllers, path } => {
            let base = [controller, controllers]
                .iter()
                .map(|name| place.cgroup.join(name))
                .find(|base| base.is_dir())?;
            above(place, &base, path, Version::One)
        }
        Membership::Common { path } => above(place, &common(place.cgroup)?, path, Version::Two),
    }
}

/// Where version 2 is mounted: alone, or beside version 1.
fn common(cgroup: &Path) -> Option<PathBuf> {
    [cgroup.to_path_buf(), cgroup.join("unified")]
        .into_iter()
        .find(|base| base.join("cgroup.controllers").is_file())
}

/// The group at `path` below `base`, and those between.
fn above(place: &Place<'_>, base: &Path, path: &str, version: Version) -> Option<Chain> {
    let path = Path::new(path.strip_prefix('/')?);
    // A group outside of what this agent may see is written as `/../…`.
    if path.components().any(|part| part == std::path::Component::ParentDir) {
        return None;
    }
    let mut group = base.join(path);
    if !group.is_dir() {
        // A container may have only its own group mounted, at the place of the root: that is ours.
        if !shared(place, version) {
            return None;
        }
        group = base.to_path_buf();
    }
    let mut groups = Vec::new();
    loop {
        if !is_root(&group, version) {
            groups.push(group.clone());
        }
        if group == base || !group.pop() {
            break;
        }
    }
    (!groups.is_empty()).then_some(Chain { version, groups })
}

/// Whether the groups are the agent's own.
fn shared(place: &Place<'_>, version: Version) -> bool {
    let of_version = |line: &&str| line.starts_with("0::") == (version == Version::Two);
    read(&place.proc.join("self/cgroup"))
        .is_ok_and(|own| own.lines().filter(of_version).eq(place.groups.lines().filter(of_version)))
}

/// Whether this is the root of all groups, which holds the whole machine and has no limits.
fn is_root(group: &Path, version: Version) -> bool {
    match version {
        Version::Two => !group.join("cgroup.type").is_file(),
        Version::One => group.join("cgroup.sane_behavior").is_file(),
    }
}
