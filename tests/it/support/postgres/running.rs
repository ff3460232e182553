//! A server's processes: started, stopped, halted and told things by signals.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::super::process::free_port;
use super::{Cluster, as_owner, write_owned};

/// How a server is told to stop.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// SIGINT: sessions are cut off, the data is written.
    Fast,
    /// SIGQUIT: as after a crash.
    Immediate,
}

pub(super) struct Running {
    shell: Child,
    postmaster: Pid,
}

impl Cluster {
    pub fn postmaster(&self) -> u32 {
        self.running.as_ref().expect("a running server").postmaster.as_raw_nonzero().get() as u32
    }

    /// Stops the server and keeps its files.
    pub fn stop(&mut self, how: Stop) {
        let mut running = self.running.take().expect("a running server");
        let signal = match how {
            Stop::Fast => "INT\n",
            Stop::Immediate => "QUIT\n",
        };
        let mut input = running.shell.stdin.take().expect("a pipe");
        input.write_all(signal.as_bytes()).expect("the shell listens");
        running.shell.wait().expect("a child of ours");
    }

    /// Starts a stopped server on its old port.
    pub fn start_again(&mut self) {
        assert!(self.running.is_none(), "it is running");
        for attempt in 0.. {
            if self.port == 0 || attempt > 0 {
                self.port = free_port();
            }
            let running = self.launch();
            self.running = Some(running);
            match self.await_start() {
                Ok(()) => return,
                // Somebody else took the port between our look and the server's.
                Err(output) if attempt < 3 && output.contains("Address already in use") => {
                    self.stop(Stop::Fast);
                }
                Err(output) => panic!("PostgreSQL {} does not start:\n{output}", self.major),
            }
        }
    }

    /// Starts a stopped server on its old port and does not wait: for one that will not take connections.
    pub fn begin(&mut self) {
        assert!(self.running.is_none() && self.port != 0, "it is running, or never was");
        self.running = Some(self.launch());
    }

    /// Stops the server and starts it as a standby that follows nobody and takes no connections: to whom
    /// asks, it is starting up until [`Cluster::end_starting`].
    pub fn keep_starting(&mut self) {
        self.stop(Stop::Fast);
        write_owned(&self.data().join("standby.signal"), "", 0o600);
        write_owned(&self.data().join("postgresql.auto.conf"), "hot_standby = off\n", 0o600);
        self.begin();
    }

    /// Stops the standby of [`Cluster::keep_starting`] and starts it as the primary that it was.
    pub fn end_starting(&mut self) {
        self.stop(Stop::Fast);
        for file in ["standby.signal", "postgresql.auto.conf"] {
            fs::remove_file(self.data().join(file)).expect("our file");
        }
        self.start_again();
    }

    /// Stops (`SIGSTOP`) every process of the server: connections are accepted by the kernel, nothing
    /// is answered.
    pub fn freeze(&self) {
        // The postmaster first, so that it starts nothing meanwhile.
        self.signal(self.postmaster(), Signal::STOP);
        for child in self.children() {
            self.signal(child, Signal::STOP);
        }
    }

    pub fn thaw(&self) {
        for child in self.children() {
            self.signal(child, Signal::CONT);
        }
        self.signal(self.postmaster(), Signal::CONT);
    }

    /// Sends a signal to one of the server's processes.
    pub fn signal(&self, process: u32, signal: Signal) {
        let pid = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process id");
        // One that has just ended needs no signal.
        let _ = kill_process(pid, signal);
    }

    /// The process ids of backends and workers.
    pub fn children(&self) -> Vec<u32> {
        let parent = self.postmaster().to_string();
        let processes = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
        processes
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| {
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                // PID (COMMAND) STATE PPID …; the command may hold blanks and parentheses.
                let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
                after.split(' ').nth(1) == Some(&parent)
            })
            .collect()
    }

    fn launch(&self) -> Running {
        let script = r#"trap '' HUP INT TERM
"$1/postgres" -D "$2/data" -p "$3" </dev/null >>"$2/stderr.log" 2>&1 &
server=$!
echo $server
read -r signal || signal=
kill -${signal:-QUIT} $server 2>&-
kill -CONT $server 2>&-
wait $server
test -n "$signal" || rm -rf "$2""#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(&self.bin).arg(&self.directory);
        command.arg(self.port.to_string()).current_dir(&self.directory);
        let mut shell = as_owner(&mut command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        let output = shell.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("the process id");
        let pid = line.trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
        Running { shell, postmaster: pid }
    }

    /// Waits until the server takes connections; its output when it ends instead.
    fn await_start(&self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let pid_file = self.data().join("postmaster.pid");
        loop {
            let state = fs::read_to_string(&pid_file).unwrap_or_default();
            let mut lines = state.lines();
            let ours = lines.next() == Some(&self.postmaster().to_string());
            // Line 8 is the postmaster's own word: ready, standby (accepts reads), starting, stopping.
            if ours && matches!(lines.nth(6).map(str::trim), Some("ready" | "standby")) {
                let hot = state.lines().nth(7).map(str::trim) == Some("ready");
                if hot || self.output().contains("ready to accept read") {
                    return Ok(());
                }
            }
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.postmaster()));
            if stat.map_or(true, |stat| stat.contains(") Z ")) || Instant::now() > deadline {
                return Err(self.output());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Running {
    /// Ends the shell's input, and with it the server and its files.
    fn end(mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        match self.running.take() {
            Some(running) => {
                self.running = Some(running);
                self.thaw();
                self.running.take().into_iter().for_each(Running::end);
            }
            None => drop(fs::remove_dir_all(&self.directory)),
        }
    }
}
