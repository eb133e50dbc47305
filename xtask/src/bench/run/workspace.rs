//! A pixi workspace of some size: 300 packages, ten activation scripts, a lock file of a megabyte.
//!
//! Every command is the same program of the environment, which does nothing.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use rewarm_testkit::conda::{
    CondaArchive, CondaPackage, Format, PixiLock, pixi_toml, write_channel,
};

use super::contest;
use crate::bench::Bench;
use crate::bench::project::{self, Project};
use crate::bench::table::Table;
use crate::steps::Result;

const PACKAGES: usize = 300;
/// Of packages; the manifest has two more.
const SCRIPTS: usize = 8;
const LOCK_BYTES: usize = 1_000_000;

pub(super) fn run(bench: &Bench) -> Result<Table> {
    let project = project::empty()?;
    write(&project)?;
    project.warm(bench, &["install", "-q"])?;
    project.warm(bench, &["run", "--", "noop"])?;
    let prefix = project.dir().join(".pixi/envs/default");
    let rewarm = |args: &[&str]| project.rewarm(bench, args);
    let mut contestants = vec![
        ("`noop`, a program of the environment, bare", Command::new(prefix.join("bin/noop"))),
        ("`rewarm run -- noop`", rewarm(&["run", "--", "noop"])),
        ("`rewarm run direct` (a task)", rewarm(&["run", "direct"])),
        ("`rewarm run shell` (shell syntax)", rewarm(&["run", "shell"])),
        ("`rewarm run graph` (a task after another)", rewarm(&["run", "graph"])),
        (
            "`rewarm run --force-activate -- noop`",
            rewarm(&["run", "--force-activate", "--", "noop"]),
        ),
        ("`bash -c '. scripts; exec noop'`", sourcing(project.dir())?),
    ];
    let mut missing = Vec::new();
    let prefix = prefix.to_str().ok_or("the temporary directory is no text")?;
    for (name, program, args) in [
        ("`pixi run noop`", "pixi", &["run", "noop"][..]),
        ("`pixi run --as-is noop`", "pixi", &["run", "--as-is", "noop"]),
        ("`conda run noop`", "conda", &["run", "-p", prefix, "noop"]),
    ] {
        match Command::new(program).arg("--version").output() {
            Ok(_) => {
                let mut command = Command::new(program);
                command.args(args);
                contestants.push((name, command));
            }
            Err(_) => missing.push(program),
        }
    }
    let title = "Activation of a pixi workspace: 300 packages, 10 scripts, a lock file of 1 MB";
    let mut table = contest::run(title, "workspace", project.dir(), contestants)?;
    missing.dedup();
    for program in missing {
        table.note(format!("{program} is left out: it is not installed"));
    }
    Ok(table)
}

fn write(project: &Project) -> Result<()> {
    let failed = |error: std::io::Error| format!("cannot write the workspace: {error}");
    let channel = project.home().join("channel");
    let program = std::fs::read("/bin/true").map_err(failed)?;
    let noop = CondaPackage::new("noop", "1.0").program("bin/noop", program);
    let packages = (1..PACKAGES).map(package).chain([noop]);
    let archives: Vec<CondaArchive> =
        packages.map(|package| package.archive(Format::Conda)).collect();
    write_channel(&channel, &archives).map_err(failed)?;
    let url = format!("file://{}/", channel.display());
    let platform = if cfg!(target_arch = "aarch64") { "linux-aarch64" } else { "linux-64" };
    let environments = &["default"];
    let lock =
        PixiLock { channel: &url, platform, environments, conda: &archives, pypi: &[], wheels: "" };
    let mut lock = lock.text();
    while lock.len() < LOCK_BYTES {
        lock.push_str("# as long as that of a large workspace\n");
    }
    let mut manifest = pixi_toml("large", &url, platform, &archives);
    manifest.push_str(MANIFEST);
    let dir = project.dir();
    std::fs::write(dir.join("pixi.lock"), lock).map_err(failed)?;
    std::fs::write(dir.join("pixi.toml"), manifest).map_err(failed)?;
    std::fs::create_dir(dir.join("scripts")).map_err(failed)?;
    std::fs::write(dir.join("scripts/one.sh"), "export ONE=\"$HOME/one\"\n").map_err(failed)?;
    std::fs::write(dir.join("scripts/two.sh"), "export TWO=\"${HOME##*/}\"\n").map_err(failed)
}

const MANIFEST: &str = r#"
[activation]
scripts = ["scripts/one.sh", "scripts/two.sh"]

[activation.env]
STAGE = "bench"

[tasks]
direct = "noop"
shell = "noop && noop"
graph = { cmd = "noop", depends-on = ["direct"] }
"#;

fn package(number: usize) -> CondaPackage {
    let name = format!("package-{number:03}");
    let mut package = CondaPackage::new(&name, "1.0");
    for file in 0..5 {
        package = package.file(&format!("lib/{name}/{file}.txt"), format!("{name} {file}\n"));
    }
    if number > SCRIPTS {
        return package;
    }
    let script = format!(
        "export PACKAGE_{number}=\"$CONDA_PREFIX/lib/{name}\"\n\
         if [ -n \"${{OLD_{number}:-}}\" ]; then export BACKUP_{number}=\"$OLD_{number}\"; fi\n"
    );
    package.activate(&format!("{name}.sh"), &script)
}

/// What a shell has to do that keeps nothing.
fn sourcing(dir: &Path) -> Result<Command> {
    let prefix = dir.join(".pixi/envs/default");
    let scripts = prefix.join("etc/conda/activate.d");
    let mut files: Vec<_> = std::fs::read_dir(&scripts)
        .map_err(|error| format!("cannot read `{}`: {error}", scripts.display()))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files.extend(["scripts/one.sh", "scripts/two.sh"].map(|script| dir.join(script)));
    let mut line = format!(
        "export CONDA_PREFIX='{0}' PATH='{0}/bin':\"$PATH\" CONDA_SHLVL=1; ",
        prefix.display()
    );
    for file in &files {
        let _ = write!(line, ". '{}'; ", file.display());
    }
    let mut command = Command::new("bash");
    command.arg("-c").arg(line + "exec noop");
    Ok(command)
}
