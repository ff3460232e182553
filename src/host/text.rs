//! What the kernel writes in its files, as values. Whatever is not as expected is absent, never a zero.

/// The number behind `key` in lines of `KEY NUMBER`, such as `/proc/vmstat` and `memory.stat`.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some(key)).then(|| words.next()?.parse().ok()).flatten()
    })
}

/// The bytes behind `key` in `/proc/meminfo`, whose lines are `KEY: NUMBER kB`.
pub(super) fn kibibytes(text: &str, key: &str) -> Option<u64> {
    keyed(text, &format!("{key}:"))?.checked_mul(1024)
}

/// The one number of a file.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.trim().parse().ok()
}

/// The machine's time since boot, in ticks, from `/proc/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticks {
    pub(super) user: u64,
    pub(super) system: u64,
    pub(super) cores: u64,
}

/// Guests are part of `user` already; stolen and idle time is nobody's here.
pub(super) fn ticks(stat: &str) -> Option<Ticks> {
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let mut fields = all.split_ascii_whitespace().map(|field| field.parse::<u64>().ok());
    let mut next = || fields.next().flatten();
    let (user, nice, system) = (next()?, next()?, next()?);
    let (_idle, _waiting) = (next()?, next()?);
    let interrupts = next().unwrap_or(0) + next().unwrap_or(0);
    let is_core = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let cores = stat.lines().filter(is_core).count() as u64;
    Some(Ticks { user: user + nice, system: system + interrupts, cores: cores.max(1) })
}

/// How many processors a list such as `0-3,7` names.
pub(super) fn processors(list: &str) -> Option<u64> {
    let mut count = 0;
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        count += last.checked_sub(first)?.checked_add(1)?;
    }
    Some(count)
}

/// The three averages of `/proc/loadavg`: over 1, 5 and 15 minutes.
pub(super) fn load(text: &str) -> Option<[f64; 3]> {
    let mut words = text.split_ascii_whitespace().map(|word| word.parse::<f64>().ok());
    let mut next = || words.next().flatten().filter(|load| load.is_finite());
    Some([next()?, next()?, next()?])
}

/// The stalls that a pressure file tells: `some` or `full`, and their sum since boot in microseconds.
pub(super) fn stalls(text: &str) -> Vec<(&'static str, u64)> {
    let total = |line: &str| {
        line.split_ascii_whitespace().find_map(|w| w.strip_prefix("total="))?.parse().ok()
    };
    ["some", "full"]
        .into_iter()
        .filter_map(|extent| {
            let line = text.lines().find(|line| line.split(' ').next() == Some(extent))?;
            Some((extent, total(line)?))
        })
        .collect()
}

/// What is used here of `/proc/PID/stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) command: String,
    pub(super) parent: u32,
    /// When it started, in ticks since boot.
    pub(super) started: u64,
}

/// `PID (COMMAND) STATE PARENT …`; the command may hold blanks and parentheses.
pub(super) fn process(stat: &str) -> Option<Process> {
    let (before, after) = stat.rsplit_once(')')?;
    let (_, command) = before.split_once('(')?;
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    Some(Process {
        command: command.to_owned(),
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// Where `/proc/PID/cgroup` says that a process is: in `controller`'s own hierarchy (version 1, with the
/// hierarchy's list of controllers), or in the common one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Membership<'a> {
    Own { controllers: &'a str, path: &'a str },
    Common { path: &'a str },
}

pub(super) fn membership<'a>(cgroups: &'a str, controller: &str) -> Option<Membership<'a>> {
    let lines = || {
        cgroups.lines().filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            Some((controllers, path))
        })
    };
    let own = lines().find(|(controllers, _)| controllers.split(',').any(|c| c == controller));
    match own {
        Some((controllers, path)) => Some(Membership::Own { controllers, path }),
        None => {
            let (_, path) = lines().find(|(controllers, _)| controllers.is_empty())?;
            Some(Membership::Common { path })
        }
    }
}

/// The device mounted as `MAJOR:MINOR`, from `/proc/PID/mountinfo`.
pub(super) fn device(mounts: &str, major: u32, minor: u32) -> Option<String> {
    let number = format!("{major}:{minor}");
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        if before.split(' ').nth(2) != Some(&number) {
            return None;
        }
        Some(after.split(' ').nth(1)?.replace("\\040", " "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_files() {
        let stat = "cpu  10 2 5 100 7 1 2 9 3 0\ncpu0 1 1\ncpu1 1 1\nintr 5\nbtime 1700000000\n";
        assert_eq!(ticks(stat), Some(Ticks { user: 12, system: 8, cores: 2 }));
        assert_eq!(ticks("cpu  1 2"), None);
        assert_eq!(ticks("cpu  a b c d e"), None);
        assert_eq!(keyed(stat, "btime"), Some(1_700_000_000));
        assert_eq!(keyed("oom_kill 3\noom_kill_x 4", "oom_kill"), Some(3));
        assert_eq!(keyed("oom_kill -3", "oom_kill"), None);
        assert_eq!(kibibytes("MemTotal:  16 kB\nMemFree: x kB", "MemTotal"), Some(16384));
        assert_eq!(kibibytes("MemTotal:  16 kB\nMemFree: x kB", "MemFree"), None);
        assert_eq!(load("0.10 1.5 2 1/2 3"), Some([0.1, 1.5, 2.0]));
        assert_eq!(load("0.10 NaN 2"), None);
        assert_eq!(processors("0-3,7\n"), Some(5));
        assert_eq!((processors(""), processors("3-1")), (None, None));
    }

    #[test]
    fn pressure() {
        let text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.0 total=3\n";
        assert_eq!(stalls(text), [("some", 12), ("full", 3)]);
        assert_eq!(stalls("some avg10=0.00 total=x\nfuller total=1"), []);
    }

    #[test]
    fn processes() {
        let tail = "S 7 1 1 0 -1 4 5 6 7 8 9 10 11 12 20 0 1 0 4711 100";
        let found = process(&format!("12 (a) b( c)) {tail}")).unwrap();
        assert_eq!((found.command.as_str(), found.parent, found.started), ("a) b( c)", 7, 4711));
        assert_eq!(process("12 (x) S 7 1"), None);
        assert_eq!(process(""), None);
    }

    #[test]
    fn cgroups() {
        let hybrid = "5:cpu,cpuacct:/a\n4:memory:/b:c\n1:name=systemd:/d\n0::/e\n";
        let own = Membership::Own { controllers: "cpu,cpuacct", path: "/a" };
        assert_eq!(membership(hybrid, "cpuacct"), Some(own));
        let own = Membership::Own { controllers: "memory", path: "/b:c" };
        assert_eq!(membership(hybrid, "memory"), Some(own));
        assert_eq!(membership(hybrid, "io"), Some(Membership::Common { path: "/e" }));
        assert_eq!(membership("garbage", "io"), None);
    }

    #[test]
    fn devices() {
        let mounts = "22 27 0:21 / /proc rw - proc proc rw\n27 1 254:0 / / rw shared:1 - ext4 /dev/my\\040disk rw\n";
        assert_eq!(device(mounts, 254, 0).as_deref(), Some("/dev/my disk"));
        assert_eq!(device(mounts, 25, 4), None);
    }
}
