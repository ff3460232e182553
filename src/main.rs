//! The program: everything happens in the library, this turns its outcome into an exit code.

fn main() -> std::process::ExitCode {
    pgvigil::cli::main()
}
