//! The hidden tracing entry as a program of its own, for tests that have no other program.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    rewarm_activation::observe::become_traced(&args).unwrap_or(2).into()
}

#[cfg(not(target_os = "linux"))]
fn main() {}
