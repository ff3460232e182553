//! Reading what a process has cost, a stub that acknowledges every push, and tables that align.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// User and system CPU seconds of a process so far (proc(5), `/proc/PID/stat` fields 14 and 15).
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
    let ticks: u64 = after.split(' ').skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
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
    notes: Vec<String>,
}

impl Table {
    pub(crate) fn new(headings: &[&str]) -> Self {
        let first = std::iter::once(String::new()).chain(headings.iter().map(|h| (*h).to_owned()));
        Self { rows: vec![first.collect()], notes: Vec::new() }
    }

    pub(crate) fn row(&mut self, name: &str, values: &[String]) {
        self.rows.push(std::iter::once(name.to_owned()).chain(values.iter().cloned()).collect());
    }

    pub(crate) fn ratio(&mut self, what: &str, ratio: f64) {
        self.notes.push(format!("{what}: {ratio:.2} of the CPU"));
    }

    pub(crate) fn print(&self) {
        let columns = self.rows[0].len();
        let width = |c: usize| self.rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
        println!();
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
        for note in &self.notes {
            println!("{note}");
        }
    }
}
