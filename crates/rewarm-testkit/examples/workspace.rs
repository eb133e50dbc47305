//! Writes a pixi workspace and the channel of its packages into a directory, to try things on.

use std::path::PathBuf;

use rewarm_testkit::conda::{CondaPackage, Format, PixiLock, pixi_toml, write_channel};

fn main() -> std::io::Result<()> {
    let dir = PathBuf::from(std::env::args_os().nth(1).expect("a directory is given"));
    let (channel, workspace) = (dir.join("channel"), dir.join("workspace"));
    std::fs::create_dir_all(&workspace)?;
    let hello = CondaPackage::new("hello", "1.0")
        .program("bin/hello", "#!/bin/sh\necho hello from ${HELLO_HOME:-nowhere}\n")
        .activate("hello.sh", "export HELLO_HOME=\"$CONDA_PREFIX/share/hello\"\n")
        .deactivate("hello.sh", "unset HELLO_HOME\n");
    let plain = CondaPackage::new("plain", "2.0").file("lib/plain/text", "text\n");
    let archives = [hello.archive(Format::Conda), plain.archive(Format::TarBz2)];
    write_channel(&channel, &archives)?;
    let url = format!("file://{}/", channel.canonicalize()?.display());
    let platform = if cfg!(target_arch = "aarch64") { "linux-aarch64" } else { "linux-64" };
    let environments = &["default"];
    let lock =
        PixiLock { channel: &url, platform, environments, conda: &archives, pypi: &[], wheels: "" };
    std::fs::write(workspace.join("pixi.lock"), lock.text())?;
    let manifest = pixi_toml("demo", &url, platform, &archives)
        + "\n[activation.env]\nSTAGE = \"dev\"\n\n[tasks]\ngreet = { cmd = \"hello\", description = \"Greets\" }\n\
           both = { cmd = \"echo done && hello\", depends-on = [\"greet\"] }\n";
    std::fs::write(workspace.join("pixi.toml"), manifest)
}
