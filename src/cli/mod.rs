//! The handle: arguments in, exit code out.

pub mod args;
mod check;
mod export;
mod help;
mod logs_cat;
mod logs_parse;
mod process;
mod query;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use args::{Command, Logs};
use process::{environment, input};

use crate::app::{self, Failure};
use crate::config::{self, Flags};
use crate::telemetry;

/// The program: what `main` returns.
pub fn main() -> ExitCode {
    let args = match args::parse(std::env::args_os(), &environment) {
        Ok(args) => args,
        Err(refusal) => {
            // Nobody is left to tell when the stream is closed.
            let _ = refusal.print();
            return ExitCode::from(refusal.exit_code());
        }
    };
    telemetry::start_log(args.log_level.as_deref());
    let ended = match args.command {
        Command::Run(run) => block_on(async {
            let file = run.config.clone();
            let flags = Flags::from(run);
            app::run(|| config::load(&input(file.clone(), flags.clone()))).await
        }),
        Command::Check(check) => block_on(check::run(check)),
        Command::Query(query) => block_on(query::run(query)),
        Command::Export(export) => export::run(&export),
        Command::Logs(Logs::Parse(parse)) => logs_parse::run(&parse),
        Command::Logs(Logs::Cat(cat)) => logs_cat::run(&cat, &environment),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.to_string();
            // Empty where everything is printed already.
            if !text.is_empty() {
                let _ = writeln!(std::io::stderr(), "{text}");
            }
            ExitCode::from(failure.code())
        }
    }
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::Internal(format!("cannot start the runtime: {e}")))?;
    let ended = runtime.block_on(work);
    // A file system that does not answer holds its thread for ever; the program ends all the same.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}
