//! A client of conda channels that is not ours (py-rattler): through the cache, and in the same
//! prefixes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rewarm_testkit::conda::{CondaPackage, Format, PixiLock, pixi_toml, write_channel};
use rewarm_testkit::sandbox::{Output, Sandbox};
use rewarm_testkit::server::{Reply, Server};
use rewarm_testkit::tools;

use crate::support::sandbox;

const PLATFORM: &str = if cfg!(target_arch = "aarch64") { "linux-aarch64" } else { "linux-64" };

/// Solves for all packages of a channel, and brings a prefix to what came out.
const INSTALL: &str = "
import asyncio, os, sys
from rattler import Channel, Client, Gateway, install, solve
async def main(channel, prefix, cache, platform, *names):
    client = Client()
    gateway = Gateway(cache_dir=cache, client=client)
    records = await solve([Channel(channel)], list(names), gateway=gateway,
                          platforms=[platform, 'noarch'])
    await install(records, target_prefix=prefix, cache_dir=cache, client=client)
asyncio.run(main(*sys.argv[1:]))
os._exit(0)  # The threads of the library do not always survive the interpreter's end.
";

/// What a shell is told to activate a prefix.
const ACTIVATE: &str = "
import os, sys
from pathlib import Path
from rattler.shell import ActivationVariables, PathModificationBehavior, Shell, activate
path = os.environ['PATH'].split(':')
variables = ActivationVariables(None, path, PathModificationBehavior.Replace)
print(activate(Path(sys.argv[1]), variables, Shell.bash).script)
";

/// A channel with a program and a library, on a server.
struct Conda {
    server: Server,
    archives: Vec<rewarm_testkit::conda::CondaArchive>,
}

impl Conda {
    fn new(sandbox: &Sandbox) -> Self {
        let program = CondaPackage::new("program", "1.0")
            .platform(PLATFORM)
            .depends("library")
            .program("bin/program", "#!/bin/sh\necho \"$GREETING\"\n")
            .activate("program.sh", "export GREETING=\"hello from $CONDA_PREFIX\"\n")
            .archive(Format::TarBz2);
        let library = CondaPackage::new("library", "2.0")
            .file("share/library", "text")
            .env_vars("library.json", r#"{"LIBRARY": "yes"}"#)
            .archive(Format::Conda);
        let archives = vec![program, library];
        let dir = sandbox.project().with_file_name("channel");
        write_channel(&dir, &archives).expect("the channel can be written");
        let server = Server::start(move |seen| match fs::read(dir.join(&seen.path[1..])) {
            Ok(bytes) => Reply::ok(bytes).header("cache-control", "max-age=600"),
            Err(_) => Reply::status(404, "no such file"),
        });
        Self { server, archives }
    }

    fn write_workspace(&self, sandbox: &Sandbox) {
        let channel = self.server.url("/");
        let lock = PixiLock {
            channel: &channel,
            platform: PLATFORM,
            environments: &["default"],
            conda: &self.archives,
            pypi: &[],
            wheels: &channel,
        };
        sandbox.write("pixi.lock", lock.text());
        sandbox.write("pixi.toml", pixi_toml("demo", &channel, PLATFORM, &self.archives));
    }

    /// A line for `sh` by which the client installs both packages into a prefix.
    fn client(&self, prefix: &Path, cache: &str) -> String {
        let python = tools::conda_client().join("bin/python");
        let (python, prefix, channel) = (python.display(), prefix.display(), self.server.url("/"));
        format!("'{python}' -c \"$SCRIPT\" '{channel}' '{prefix}' {cache} {PLATFORM} program")
    }
}

fn shell(sandbox: &Sandbox, line: &str, script: &str) -> Output {
    let mut command = sandbox.shell(line);
    sandbox.output(command.env("SCRIPT", script)).expect_code(0)
}

/// Every file of a prefix that is an installed one, by inode.
fn inodes(prefix: &Path) -> BTreeMap<String, u64> {
    use std::os::unix::fs::MetadataExt;
    let files = ["bin/program", "share/library", "etc/conda/activate.d/program.sh"];
    let inode = |file: &&str| fs::symlink_metadata(prefix.join(file)).expect("installed").ino();
    files.iter().map(|file| ((*file).to_owned(), inode(file))).collect()
}

#[test]
fn another_conda_client_downloads_each_package_once() {
    let sandbox = sandbox();
    let conda = Conda::new(&sandbox);
    for turn in 0..2 {
        let prefix = sandbox.project().join(format!("prefix-{turn}"));
        let client = conda.client(&prefix, &format!("cache-{turn}"));
        let line = format!("'{}' with -- {client}", env!("CARGO_BIN_EXE_rewarm"));
        let output = shell(&sandbox, &line, INSTALL);
        assert!(prefix.join("bin/program").is_file(), "{output}");
        assert!(prefix.join("conda-meta/library-2.0-0.json").is_file(), "{output}");
    }
    for archive in &conda.archives {
        let path = format!("/{}", archive.path());
        assert_eq!(conda.server.count(&path), 1, "{:#?}", conda.server.seen());
    }
}

#[test]
fn prefixes_are_accepted_both_ways() {
    let sandbox = sandbox();
    let conda = Conda::new(&sandbox);
    conda.write_workspace(&sandbox);
    let prefix = sandbox.project().join(".pixi/envs/default");
    sandbox.run(["install"]).expect_code(0);
    let ours = inodes(&prefix);
    shell(&sandbox, &conda.client(&prefix, "cache"), INSTALL);
    assert_eq!(inodes(&prefix), ours, "the other client has nothing to do");

    fs::remove_dir_all(&prefix).expect("it was just made");
    shell(&sandbox, &conda.client(&prefix, "cache"), INSTALL);
    let theirs = inodes(&prefix);
    let output = sandbox.run(["install"]).expect_code(0);
    assert_eq!(inodes(&prefix), theirs, "{output}");
    let shown = sandbox.run(["run", "program"]).expect_code(0);
    assert_eq!(shown.stdout, "hello from [PROJECT]/.pixi/envs/default\n", "{shown}");
}

#[test]
fn activation_is_that_of_the_other_client() {
    let sandbox = sandbox();
    let conda = Conda::new(&sandbox);
    conda.write_workspace(&sandbox);
    sandbox.run(["install"]).expect_code(0);
    let python = tools::conda_client().join("bin/python");
    let prefix = ".pixi/envs/default";
    let theirs = format!(
        "eval \"$('{}' -c \"$SCRIPT\" \"$PWD/{prefix}\")\"; unset SCRIPT; exec env -0",
        python.display()
    );
    let ours =
        format!("unset SCRIPT; exec '{}' run -p {prefix} env -0", env!("CARGO_BIN_EXE_rewarm"));
    let variables = |line: &str, script: &str| {
        let line = format!("exec bash --norc --noprofile -c '{}'", line.replace('\'', "'\\''"));
        let output = shell(&sandbox, &line, script);
        let lines = output.stdout.split_terminator('\0').map(str::to_owned);
        // What shells keep for themselves, and what conda sets and that client does not.
        const OTHERS: [&str; 4] = ["_=", "SHLVL=", "CONDA_DEFAULT_ENV=", "CONDA_PROMPT_MODIFIER="];
        let is_others = |line: &String| OTHERS.iter().any(|name| line.starts_with(name));
        lines.filter(|line| !is_others(line)).collect::<BTreeSet<_>>()
    };
    let (theirs, ours) = (variables(&theirs, ACTIVATE), variables(&ours, ""));
    let difference: Vec<_> = theirs.symmetric_difference(&ours).collect();
    assert!(difference.is_empty(), "{difference:#?}");
}
