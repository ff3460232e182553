//! The machine's own figures, from `/proc`.

use std::path::Path;

use super::files::{Seen, read};
use super::reading::{Cpu, Memory, Pressure, RESOURCES, Scope};
use super::text;
use crate::postgres::HostReason;

/// The kernel's unit of processor time, in seconds.
pub(super) fn tick() -> f64 {
    1.0 / rustix::param::clock_ticks_per_second() as f64
}

pub(super) fn cpu(proc: &Path) -> Seen<Cpu> {
    let stat = read(&proc.join("stat"))?;
    let ticks = text::ticks(&stat).ok_or(HostReason::Unsupported)?;
    let (user, system) = (ticks.user as f64 * tick(), ticks.system as f64 * tick());
    let cores = ticks.cores as f64;
    Ok(Cpu {
        scope: Scope::Machine,
        usage: user + system,
        user: Some(user),
        system: Some(system),
        throttled: None,
        throttled_periods: None,
        periods: None,
        limit: cores,
        cores,
    })
}

pub(super) fn memory(proc: &Path) -> Seen<Memory> {
    let info = read(&proc.join("meminfo"))?;
    let bytes = |key: &str| text::kibibytes(&info, key);
    let known = || {
        let total = bytes("MemTotal")?;
        let used = total.checked_sub(bytes("MemFree")?)?;
        Some(Memory {
            scope: Scope::Machine,
            limit: total,
            used,
            working_set: used.saturating_sub(bytes("Inactive(file)")?),
            available: bytes("MemAvailable")?,
            cache: bytes("Cached").zip(bytes("Buffers")).map(|(cached, buffers)| cached + buffers),
            oom_kills: None,
        })
    };
    let mut memory = known().ok_or(HostReason::Unsupported)?;
    let counts = read(&proc.join("vmstat")).ok();
    memory.oom_kills = counts.and_then(|counts| text::keyed(&counts, "oom_kill"));
    Ok(memory)
}

pub(super) fn pressure(proc: &Path) -> Seen<Pressure> {
    let mut stalls = Vec::new();
    for resource in RESOURCES {
        let told = match read(&proc.join("pressure").join(resource)) {
            Ok(text) => text::stalls(&text),
            // Older kernels have none, newer ones may have it switched off.
            Err(HostReason::NotFound) => return Err(HostReason::Unsupported),
            Err(reason) => return Err(reason),
        };
        // Of a whole machine the kernel cannot tell when all work waits for a processor: it says 0.
        let told = told.into_iter().filter(|(extent, _)| (resource, *extent) != ("cpu", "full"));
        stalls.extend(told.map(|(extent, micros)| (resource, extent, micros as f64 / 1e6)));
    }
    if stalls.is_empty() {
        return Err(HostReason::Unsupported);
    }
    Ok(Pressure { scope: Scope::Machine, stalls })
}

/// Over 1, 5 and 15 minutes.
pub(super) fn load(proc: &Path) -> Seen<[f64; 3]> {
    text::load(&read(&proc.join("loadavg"))?).ok_or(HostReason::Unsupported)
}
