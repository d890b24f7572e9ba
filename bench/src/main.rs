//! The `ringmail-bench` program.

fn main() -> std::process::ExitCode {
    bench::cli::run()
}
