//! What processes have cost, a stub that acknowledges every push, and tables that align.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// User and system CPU seconds of a process so far.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    Stat::of(pid).map_or(0.0, |stat| stat.own)
}

/// The same of a PostgreSQL server with all its processes, those that have ended too.
pub(crate) fn server_cpu_seconds(postmaster: u32) -> f64 {
    let processes = std::fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let living: f64 = pids
        .filter_map(Stat::of)
        .filter(|stat| stat.parent == postmaster)
        .map(|stat| stat.own)
        .sum();
    living + Stat::of(postmaster).map_or(0.0, |stat| stat.own + stat.ended)
}

/// From proc(5), `/proc/PID/stat`: the parent (field 4), CPU seconds of the process (14, 15) and of the
/// children that it has seen end (16, 17).
struct Stat {
    parent: u32,
    own: f64,
    ended: f64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is a command in parentheses and may hold blanks.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let field = |n: usize| fields.get(n - 3)?.parse::<u64>().ok();
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        let seconds = |a, b| Some((field(a)? + field(b)?) as f64 / per_second);
        Some(Self {
            parent: u32::try_from(field(4)?).ok()?,
            own: seconds(14, 15)?,
            ended: seconds(16, 17)?,
        })
    }
}

/// The most memory that a process has held resident (`VmHWM`), in MiB.
pub(crate) fn peak_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// An HTTP server that reads every body and answers 204: Loki at no cost.
pub(crate) struct Acknowledge {
    pub(crate) address: SocketAddr,
}

impl Acknowledge {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = listener.local_addr().expect("its address");
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || answer(stream));
            }
        });
        Self { address }
    }
}

fn answer(mut stream: TcpStream) -> Option<()> {
    let mut buffer = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            let read = stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
            buffer.extend_from_slice(&chunk[..read]);
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|l| l.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        let whole = end + length.unwrap_or(0);
        let mut have = buffer.len();
        while have < whole {
            have += stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
        }
        buffer.clear();
        let reply: &[u8] = if head.starts_with("post") {
            b"HTTP/1.1 204 No Content\r\n\r\n"
        } else {
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        };
        stream.write_all(reply).ok()?;
    }
}

/// Rows of text under headings, aligned.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&str]) -> Self {
        let first = std::iter::once(String::new()).chain(headings.iter().map(|h| (*h).to_owned()));
        Self { rows: vec![first.collect()] }
    }

    pub(crate) fn row(&mut self, name: &str, values: &[String]) {
        self.rows.push(std::iter::once(name.to_owned()).chain(values.iter().cloned()).collect());
    }

    pub(crate) fn print(&self) {
        let columns = self.rows[0].len();
        let width = |c: usize| self.rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
        for row in &self.rows {
            let line: Vec<String> = (0..columns)
                .map(|c| {
                    if c == 0 {
                        format!("{:<w$}", row[c], w = width(c))
                    } else {
                        format!("{:>w$}", row[c], w = width(c))
                    }
                })
                .collect();
            println!("{}", line.join("  "));
        }
    }
}
