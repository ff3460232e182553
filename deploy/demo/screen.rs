//! What a person sees: one line a step with the seconds it took, colour on a terminal alone.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

pub(crate) struct Screen {
    colour: bool,
    begun: Cell<Instant>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { colour, begun: Cell::new(Instant::now()) }
    }

    /// A step begins; on a terminal its name stands there while it runs.
    pub(crate) fn begin(&self, step: &str) {
        self.begun.set(Instant::now());
        if self.colour {
            print!("\r\x1b[2K\x1b[2m… {step}\x1b[0m");
            let _ = std::io::stdout().flush();
        }
    }

    /// The step that was begun has ended.
    pub(crate) fn end(&self, good: bool, what: &str) {
        let seconds = self.begun.get().elapsed().as_secs_f64();
        let mark = if good { self.paint("32", "ok") } else { self.paint("31", "no") };
        let back = if self.colour { "\r\x1b[2K" } else { "" };
        println!("{back}{mark}  {what} ({seconds:.1} s)");
    }

    pub(crate) fn say(&self, line: &str) {
        println!("{line}");
    }

    /// `text` in an SGR colour, where colours are shown.
    pub(crate) fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Becomes true at the first Ctrl-C or SIGTERM.
pub(crate) fn on_interrupt() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let mut terminate =
                tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                    .expect("a signal handler");
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            set.store(true, Ordering::Relaxed);
        });
    });
    flag
}
