//! Links the program at a fixed address where that saves start-up time.
//!
//! `rewarm run` lives for a millisecond, and a position-independent executable spends a good part
//! of it on relocating itself; `docs/decisions/0001-start-up.md` has the figures.

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script the target so")]
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = |key: &str| std::env::var(key).unwrap_or_default();
    if target("CARGO_CFG_TARGET_OS") == "linux" && target("CARGO_CFG_TARGET_ENV") == "gnu" {
        println!("cargo:rustc-link-arg-bins=-no-pie");
    }
}
