//! What a hit of `rewarm run` costs in a pixi workspace: system calls, and what is not read.

use std::fs;

use rewarm_testkit::conda::{CondaPackage, Format, PixiLock, pixi_toml, write_channel};
use rewarm_testkit::sandbox::Sandbox;

use crate::support::sandbox;

const PLATFORM: &str = if cfg!(target_arch = "aarch64") { "linux-aarch64" } else { "linux-64" };

/// A workspace with ten activation scripts, installed and activated.
fn ready() -> Sandbox {
    let sandbox = sandbox();
    let mut package = CondaPackage::new("scripts", "1.0");
    for index in 0..10 {
        let text = format!("export V{index}=\"$CONDA_PREFIX/{index}\"\n");
        package = package.activate(&format!("{index}.sh"), &text);
    }
    let archives = [package.archive(Format::Conda)];
    let channel = sandbox.project().with_file_name("channel");
    write_channel(&channel, &archives).expect("the channel can be written");
    let channel = format!("file://{}/", channel.display());
    let lock = PixiLock {
        channel: &channel,
        platform: PLATFORM,
        environments: &["default"],
        conda: &archives,
        pypi: &[],
        wheels: &channel,
    };
    sandbox.write("pixi.lock", lock.text());
    sandbox.write("pixi.toml", pixi_toml("demo", &channel, PLATFORM, &archives));
    sandbox.run(["install"]).expect_code(0);
    sandbox
}

/// System calls of a line for `sh`, which becomes the command.
fn calls(sandbox: &Sandbox, line: &str) -> Vec<String> {
    let log = sandbox.project().with_file_name("calls");
    // Without `SHELL` bash reads the list of users for it.
    let traced = format!("SHELL=/bin/sh exec strace -f -qq -o {} {line}", log.display());
    sandbox.output(&mut sandbox.shell(&traced)).expect_code(0);
    let text = fs::read_to_string(log).expect("strace writes it");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_hit_looks_once_at_each_input_and_reads_none() {
    let sandbox = ready();
    let probe = sandbox.output(&mut sandbox.shell("strace -qq -o /dev/null true"));
    if probe.code != Some(0) {
        eprintln!("SKIPPED: strace is not installed, or may not trace");
        return;
    }
    for _ in 0..2 {
        let show = sandbox.run(["run", "sh", "-c", "echo ${V9##*/}"]).expect_code(0);
        assert_eq!(show.stdout, "9\n");
    }
    let program = env!("CARGO_BIN_EXE_rewarm");
    let line = format!("{program} run /bin/true");
    let mut own = Vec::new();
    let mut total = 0;
    // Files that were written within the last two seconds are compared by their content.
    for _ in 0..2000 {
        let all = calls(&sandbox, &line);
        let is_start = |call: &String| call.contains("getcwd(");
        let start = all.iter().position(is_start).expect("it asks where it is");
        let is_end = |call: &String| call.contains("execve(\"/bin/true\"");
        let end = all.iter().position(is_end).expect("it becomes the command");
        (own, total) = (all[start..end].to_vec(), all.len());
        if own.iter().filter(|call| call.contains("open")).count() == 1 {
            break;
        }
    }
    let opened = own.iter().filter(|call| call.contains("open")).count();
    assert_eq!(opened, 1, "only the record is opened: {own:#?}");
    let bare = calls(&sandbox, "/bin/true").len();
    println!("system calls: bare {bare}, run {total}, of its own {}", own.len());
    assert!(own.len() <= 35, "{own:#?}");
}
