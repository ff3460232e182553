//! The handle: arguments in, exit code out.

pub mod args;
mod help;
pub mod logs_parse;

pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
