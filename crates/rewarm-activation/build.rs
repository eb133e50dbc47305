//! Names the platforms on which runs of a shell can be traced, in one place, as `cfg(traceable)`.

#[expect(clippy::disallowed_methods, reason = "cargo tells the target by the environment")]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(traceable)");
    let target = |what: &str| std::env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    let known = matches!(target("ARCH").as_str(), "x86_64" | "aarch64");
    if known && target("OS") == "linux" && target("ENV") == "gnu" {
        println!("cargo::rustc-cfg=traceable");
    }
}
