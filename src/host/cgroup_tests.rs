//! Control groups of every kind, as trees of files.

use std::fs;

use tempfile::TempDir;

use super::cgroup::{Place, cpu, groups, memory, pressure};
use super::machine;
use super::reading::{Cpu, Memory, Pressure, Scope};
use crate::postgres::HostReason;

const GIB: u64 = 1 << 30;

/// A machine of 4 cores and 16 GiB, of which 10 are available.
const MACHINE: &[(&str, &str)] = &[
    (
        "proc/stat",
        "cpu  100 0 50 0 0 0 0 0 0 0\ncpu0 1\ncpu1 1\ncpu2 1\ncpu3 1\nbtime 1700000000\n",
    ),
    (
        "proc/meminfo",
        "MemTotal: 16777216 kB\nMemFree: 4194304 kB\nMemAvailable: 10485760 kB\n\
         Buffers: 1024 kB\nCached: 2048 kB\nInactive(file): 4194304 kB\n",
    ),
    ("proc/vmstat", "oom_kill 2\n"),
    ("proc/loadavg", "0.5 1.5 2.5 1/100 4711\n"),
    ("proc/pressure/cpu", "some avg10=0 total=5000000\nfull avg10=0 total=0\n"),
    ("proc/pressure/memory", "some avg10=0 total=1000000\nfull avg10=0 total=500000\n"),
    ("proc/pressure/io", "some avg10=0 total=3000000\nfull avg10=0 total=2000000\n"),
    ("proc/7/status", "Name:\tpostgres\nCpus_allowed_list:\t0-3\n"),
];

const STAT_2: &str = "usage_usec 9000000\nuser_usec 6000000\nsystem_usec 3000000\n\
                      nr_periods 40\nnr_throttled 4\nthrottled_usec 1500000\n";
const MEMORY_2: &str = "anon 1\nfile 1073741824\ninactive_file 536870912\n";

/// A tree of files; what comes later replaces what came before.
struct Tree(TempDir);

impl Tree {
    fn new(files: &[&[(&str, &str)]]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for (path, text) in files.iter().copied().flatten() {
            tree.write(path, text);
        }
        tree
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.0.path().join(path)).unwrap();
    }

    fn read(&self) -> (Option<Cpu>, Option<Memory>, Option<Pressure>) {
        let (proc, cgroup) = (self.0.path().join("proc"), self.0.path().join("cgroup"));
        let groups = groups(&proc, 7).unwrap_or_default();
        let place = Place { proc: &proc, cgroup: &cgroup, groups: &groups, process: Some(7) };
        let cpu = cpu(&place, &machine::cpu(&proc).unwrap());
        (cpu, memory(&place, &machine::memory(&proc).unwrap()), pressure(&place))
    }
}

/// A service below a slice, of version 2: 2 cores of 4 by its slice, 4 GiB of its own.
const TWO: &[(&str, &str)] = &[
    ("proc/7/cgroup", "0::/system.slice/pg.service\n"),
    ("cgroup/cgroup.controllers", "cpu memory io\n"),
    ("cgroup/cpu.stat", "usage_usec 99000000\n"),
    ("cgroup/system.slice/cgroup.type", "domain\n"),
    ("cgroup/system.slice/cpu.max", "200000 100000\n"),
    ("cgroup/system.slice/memory.max", "max\n"),
    ("cgroup/system.slice/memory.current", "9663676416\n"),
    ("cgroup/system.slice/memory.stat", "inactive_file 0\n"),
    ("cgroup/system.slice/pg.service/cgroup.type", "domain\n"),
    ("cgroup/system.slice/pg.service/cpu.stat", STAT_2),
    ("cgroup/system.slice/pg.service/cpu.max", "max 100000\n"),
    ("cgroup/system.slice/pg.service/memory.max", "4294967296\n"),
    ("cgroup/system.slice/pg.service/memory.current", "3221225472\n"),
    ("cgroup/system.slice/pg.service/memory.stat", MEMORY_2),
    ("cgroup/system.slice/pg.service/memory.events", "oom 5\noom_kill 3\n"),
    ("cgroup/system.slice/pg.service/cpu.pressure", "some total=1000000\nfull total=500000\n"),
    ("cgroup/system.slice/pg.service/memory.pressure", "some total=0\nfull total=0\n"),
    ("cgroup/system.slice/pg.service/io.pressure", "some total=2000000\nfull total=0\n"),
];
const SERVICE: &str = "cgroup/system.slice/pg.service";

#[test]
fn version_2() {
    let tree = Tree::new(&[MACHINE, TWO]);
    let (cpu, memory, pressure) = tree.read();
    let cpu = cpu.unwrap();
    assert_eq!((cpu.scope, cpu.usage, cpu.limit, cpu.cores), (Scope::Container, 9.0, 2.0, 4.0));
    assert_eq!((cpu.user, cpu.system, cpu.throttled), (Some(6.0), Some(3.0), Some(1.5)));
    assert_eq!((cpu.periods, cpu.throttled_periods), (Some(40), Some(4)));
    let expected = Memory {
        scope: Scope::Container,
        limit: 4 * GIB,
        used: 3 * GIB,
        working_set: 3 * GIB - GIB / 2,
        available: GIB + GIB / 2,
        cache: Some(GIB),
        oom_kills: Some(3),
    };
    assert_eq!(memory, Some(expected));
    let pressure = pressure.unwrap();
    assert_eq!(pressure.scope, Scope::Container);
    assert_eq!(pressure.stalls[..2], [("cpu", "some", 1.0), ("cpu", "full", 0.5)]);
    assert_eq!(pressure.stalls[4], ("io", "some", 2.0));

    // What the slice has left is less, and then what the machine has left.
    tree.write("cgroup/system.slice/memory.max", "10737418240\n");
    tree.write(&format!("{SERVICE}/memory.max"), "max\n");
    let memory = tree.read().1.unwrap();
    assert_eq!((memory.limit, memory.available), (10 * GIB, GIB));
    tree.write("cgroup/system.slice/memory.max", "max\n");
    let memory = tree.read().1.unwrap();
    assert_eq!((memory.limit, memory.available), (16 * GIB, 10 * GIB));

    // Fewer cores than the quota gives.
    tree.write("proc/7/status", "Cpus_allowed_list:\t2\n");
    assert_eq!(tree.read().0.unwrap().limit, 1.0);
}

#[test]
fn what_is_missing_or_odd_is_absent() {
    let tree = Tree::new(&[MACHINE, TWO]);
    // The controllers are not switched on for the group: time is counted all the same.
    for file in ["cpu.max", "memory.current", "memory.events", "io.pressure"] {
        tree.remove(&format!("{SERVICE}/{file}"));
    }
    tree.write(&format!("{SERVICE}/cpu.stat"), "usage_usec 9000000\nnr_periods x\n");
    let (cpu, memory, pressure) = tree.read();
    let cpu = cpu.unwrap();
    assert_eq!((cpu.usage, cpu.user, cpu.periods, cpu.throttled), (9.0, None, None, None));
    assert_eq!((memory, pressure), (None, None));

    for odd in ["", "max", "0 0", "x y", "-1 100000", "100000", "\u{0}", "1e999 1"] {
        tree.write("cgroup/system.slice/cpu.max", odd);
        tree.write(&format!("{SERVICE}/cpu.max"), odd);
        assert_eq!(tree.read().0.unwrap().limit, 4.0, "{odd:?}");
    }
    for odd in ["", "usage_usec", "usage_usec -1", "usage_usec 9.5\n", "\u{0}\u{0}"] {
        tree.write(&format!("{SERVICE}/cpu.stat"), odd);
        assert_eq!(tree.read().0, None, "{odd:?}");
    }
    for odd in ["", "nonsense", "0::", "0::relative", "x:y", "0::/../other", "0::/gone"] {
        tree.write("proc/7/cgroup", odd);
        assert_eq!(tree.read(), (None, None, None), "{odd:?}");
    }
    tree.remove("proc/7/cgroup");
    assert_eq!(tree.read(), (None, None, None));
}

#[test]
fn the_root_of_all_is_the_machine() {
    let tree = Tree::new(&[MACHINE, TWO]);
    tree.write("proc/7/cgroup", "0::/\n");
    assert_eq!(tree.read(), (None, None, None));
    // In a container the root is its own group.
    for (file, text) in [
        ("cgroup.type", "domain\n"),
        ("memory.max", "2147483648"),
        ("memory.current", "1073741824"),
        ("memory.stat", "inactive_file 0"),
        ("cpu.max", "50000 100000"),
    ] {
        tree.write(&format!("cgroup/{file}"), text);
    }
    let (cpu, memory, _) = tree.read();
    let cpu = cpu.unwrap();
    assert_eq!((cpu.usage, cpu.limit, cpu.user), (99.0, 0.5, None));
    let memory = memory.unwrap();
    assert_eq!((memory.limit, memory.available, memory.oom_kills), (2 * GIB, GIB, None));
}

/// A container of version 1: half a core, 2 GiB.
const ONE: &[(&str, &str)] = &[
    ("proc/7/cgroup", "5:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n1:name=systemd:/docker/a\n"),
    ("cgroup/cpu,cpuacct/cgroup.sane_behavior", "0\n"),
    ("cgroup/cpu,cpuacct/cpuacct.usage", "99000000000\n"),
    ("cgroup/cpu,cpuacct/docker/a/cpuacct.usage", "9000000000\n"),
    ("cgroup/cpu,cpuacct/docker/a/cpuacct.stat", "user 600\nsystem 300\n"),
    (
        "cgroup/cpu,cpuacct/docker/a/cpu.stat",
        "nr_periods 40\nnr_throttled 4\nthrottled_time 1500000000\n",
    ),
    ("cgroup/cpu,cpuacct/docker/a/cpu.cfs_quota_us", "50000\n"),
    ("cgroup/cpu,cpuacct/docker/a/cpu.cfs_period_us", "100000\n"),
    ("cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "-1\n"),
    ("cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n"),
    ("cgroup/memory/cgroup.sane_behavior", "0\n"),
    ("cgroup/memory/docker/a/memory.usage_in_bytes", "1073741824\n"),
    ("cgroup/memory/docker/a/memory.limit_in_bytes", "2147483648\n"),
    (
        "cgroup/memory/docker/a/memory.stat",
        "inactive_file 1\ntotal_inactive_file 536870912\ntotal_cache 805306368\n",
    ),
    ("cgroup/memory/docker/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
];

#[test]
fn version_1() {
    let tree = Tree::new(&[MACHINE, ONE]);
    let (cpu, memory, pressure) = tree.read();
    let cpu = cpu.unwrap();
    assert_eq!((cpu.scope, cpu.usage, cpu.limit), (Scope::Container, 9.0, 0.5));
    let seconds = |ticks: f64| Some(ticks * machine::tick());
    assert_eq!((cpu.user, cpu.system), (seconds(600.0), seconds(300.0)));
    assert_eq!((cpu.throttled, cpu.throttled_periods), (Some(1.5), Some(4)));
    let memory = memory.unwrap();
    assert_eq!((memory.limit, memory.used, memory.working_set), (2 * GIB, GIB, GIB / 2));
    assert_eq!((memory.available, memory.oom_kills), (GIB + GIB / 2, Some(1)));
    assert_eq!(pressure, None);

    // No limit is a number beyond all memory.
    tree.write("cgroup/memory/docker/a/memory.limit_in_bytes", "9223372036854771712\n");
    let memory = tree.read().1.unwrap();
    assert_eq!((memory.limit, memory.available), (16 * GIB, 10 * GIB));

    // One controller in a group, the other in the root, as where only memory is bounded.
    tree.write("proc/7/cgroup", "5:cpu,cpuacct:/\n4:memory:/docker/a\n");
    let (cpu, memory, _) = tree.read();
    assert!(cpu.is_none() && memory.is_some());
}

#[test]
fn both_versions_at_once() {
    let tree = Tree::new(&[MACHINE, ONE]);
    tree.write("proc/7/cgroup", "5:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n0::/pod\n");
    tree.write("cgroup/unified/cgroup.controllers", "");
    tree.write("cgroup/unified/pod/cgroup.type", "domain\n");
    for resource in ["cpu", "memory", "io"] {
        tree.write(&format!("cgroup/unified/pod/{resource}.pressure"), "some total=1000000\n");
    }
    let (cpu, memory, pressure) = tree.read();
    assert_eq!((cpu.unwrap().usage, memory.unwrap().used), (9.0, GIB));
    assert_eq!(pressure.unwrap().stalls.len(), 3);
}

#[test]
fn a_container_that_sees_its_own_group_alone() {
    // Version 1 without a namespace: the path is the node's, and only the own group is mounted.
    let tree = Tree::new(&[MACHINE]);
    tree.write("proc/7/cgroup", "4:memory:/docker/a\n");
    tree.write("cgroup/memory/memory.usage_in_bytes", "1073741824\n");
    tree.write("cgroup/memory/memory.limit_in_bytes", "2147483648\n");
    tree.write("cgroup/memory/memory.stat", "total_inactive_file 0\n");
    // Whose group it is, is known of those in it.
    tree.write("proc/self/cgroup", "4:memory:/docker/b\n");
    assert_eq!(tree.read().1, None);
    tree.write("proc/self/cgroup", "4:memory:/docker/a\n");
    assert_eq!(tree.read().1.unwrap().available, GIB);
}

#[test]
fn the_machine_itself() {
    let tree = Tree::new(&[MACHINE]);
    let proc = tree.0.path().join("proc");
    let cpu = machine::cpu(&proc).unwrap();
    assert_eq!((cpu.usage, cpu.limit), (150.0 * machine::tick(), 4.0));
    let memory = machine::memory(&proc).unwrap();
    assert_eq!((memory.limit, memory.used, memory.available), (16 * GIB, 12 * GIB, 10 * GIB));
    assert_eq!((memory.working_set, memory.oom_kills), (8 * GIB, Some(2)));
    assert_eq!(memory.cache, Some(3072 * 1024));
    assert_eq!(machine::load(&proc), Ok([0.5, 1.5, 2.5]));
    let pressure = machine::pressure(&proc).unwrap();
    let names: Vec<_> = pressure.stalls.iter().map(|(what, extent, _)| (*what, *extent)).collect();
    assert_eq!(names[..2], [("cpu", "some"), ("memory", "some")]);

    tree.remove("proc/vmstat");
    assert_eq!(machine::memory(&proc).unwrap().oom_kills, None);
    tree.write("proc/meminfo", "MemTotal: 16777216 kB\nMemFree: 17777216 kB\n");
    assert_eq!(machine::memory(&proc), Err(HostReason::Unsupported));
    tree.write("proc/loadavg", "busy");
    assert_eq!(machine::load(&proc), Err(HostReason::Unsupported));
    tree.remove("proc/pressure/io");
    assert_eq!(machine::pressure(&proc), Err(HostReason::Unsupported));
    tree.remove("proc/stat");
    assert_eq!(machine::cpu(&proc), Err(HostReason::NotFound));
}
