//! Links the program so that it starts quickly.
//!
//! `rewarm run` lives for a millisecond, and the loader can take half of it. A program at a fixed
//! address need not relocate itself; and the unwinder is linked in where the C compiler has it as an
//! archive, which saves opening and mapping a library. `docs/decisions/0001-start-up.md` has the
//! figures.

use std::path::PathBuf;
use std::process::Command;

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script the target so")]
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = |key: &str| std::env::var(key).unwrap_or_default();
    if target("CARGO_CFG_TARGET_OS") != "linux" || target("CARGO_CFG_TARGET_ENV") != "gnu" {
        return;
    }
    println!("cargo:rustc-link-arg-bins=-no-pie");
    // The compiler here knows the archives of this machine, not those of another target.
    if target("HOST") == target("TARGET") {
        link_archive("gcc_eh");
    }
}

/// Prefers `libNAME.a` to the shared library, if the C compiler knows of one.
fn link_archive(name: &str) {
    let file = format!("-print-file-name=lib{name}.a");
    let Ok(output) = Command::new("cc").arg(file).output() else { return };
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    // An unknown file is printed back as a bare name.
    if let Some(dir) = path.parent().filter(|dir| dir.is_absolute() && path.exists()) {
        println!("cargo:rustc-link-search=native={}", dir.display());
        println!("cargo:rustc-link-lib=static:-bundle={name}");
    }
}
