//! The figures of a machine or container, as plain values.

use std::path::PathBuf;

/// Whose figures they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Of the control group that the server runs in: its container or service.
    Container,
    Machine,
}

impl Scope {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Machine => "machine",
        }
    }
}

/// Processor time since its group or machine began, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cpu {
    pub(super) scope: Scope,
    pub(super) usage: f64,
    pub(super) user: Option<f64>,
    pub(super) system: Option<f64>,
    /// How long, and in how many of its periods, the group was held back by its quota.
    pub(super) throttled: Option<f64>,
    pub(super) throttled_periods: Option<u64>,
    pub(super) periods: Option<u64>,
    /// Cores' worth of time that may be used: the quota, or all cores there are.
    pub(super) limit: f64,
    /// Cores of the machine.
    pub(super) cores: f64,
}

/// In bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) scope: Scope,
    /// Of the group and of those that it is part of the smallest, or what the machine has.
    pub(super) limit: u64,
    /// With the page cache.
    pub(super) used: u64,
    /// As the kubelet counts: used, less file pages that nobody has touched lately.
    pub(super) working_set: u64,
    pub(super) available: u64,
    pub(super) cache: Option<u64>,
    pub(super) oom_kills: Option<u64>,
}

/// How long work stood still for want of a resource.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pressure {
    pub(super) scope: Scope,
    /// Resource, `some` or `full`, seconds.
    pub(super) stalls: Vec<(&'static str, &'static str, f64)>,
}

/// The resources that pressure files are about.
pub(super) const RESOURCES: [&str; 3] = ["cpu", "memory", "io"];

/// A directory's file system, in bytes and inodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Space {
    /// Where the agent finds it.
    pub(super) path: PathBuf,
    /// What it is called where the server lives.
    pub(super) called: String,
    pub(super) device: String,
    pub(super) size: u64,
    pub(super) used: u64,
    /// For others than root.
    pub(super) available: u64,
    /// All, free; none where the file system makes them as they are needed.
    pub(super) inodes: Option<(u64, u64)>,
}
