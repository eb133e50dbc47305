//! Projects to run the binary on.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::Command;

use rewarm_testkit::packages::{Artifact, Package, pylock};
use rewarm_testkit::sandbox::{Output, Sandbox};
use rewarm_testkit::server::{Reply, Server};

/// The binary under test.
pub(crate) fn sandbox() -> Sandbox {
    Sandbox::new(env!("CARGO_BIN_EXE_rewarm"))
}

/// An origin that serves these files under their names.
pub(crate) fn origin(artifacts: &[Artifact]) -> Server {
    let files: Vec<(String, Vec<u8>)> = artifacts
        .iter()
        .map(|artifact| (format!("/{}", artifact.filename), artifact.bytes.clone()))
        .collect();
    Server::start(move |seen| {
        let file = files.iter().find(|(path, _)| *path == seen.path);
        match file {
            Some((_, bytes)) => Reply::ok(bytes.clone()).header("cache-control", "max-age=600"),
            None => Reply::status(404, "no such file"),
        }
    })
}

/// Two small distributions, one with a console script.
pub(crate) fn distributions() -> Vec<Artifact> {
    let hello = Package::new("hello", "1.0").console_script("hello", "hello.cli:main").file(
        "hello/cli.py",
        "import os\ndef main():\n    print('hello', os.environ.get('GREETED', 'world'))\n",
    );
    vec![hello.wheel(), Package::new("plain", "2.0").wheel()]
}

/// A project that locks [`distributions`], which `origin` serves.
pub(crate) fn project(sandbox: &Sandbox, origin: &Server, pyproject: &str) {
    sandbox.write("pyproject.toml", pyproject);
    sandbox.write("pylock.toml", pylock(&distributions(), &origin.url("/")));
}

/// The sum of all requests at an origin.
pub(crate) fn requests(origin: &Server) -> usize {
    origin.seen().len()
}

/// Runs a command that is not the binary's.
pub(crate) fn tool(sandbox: &Sandbox, program: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(args).current_dir(sandbox.project());
    sandbox.output(&mut command)
}

/// A plugin of mypy, `slow.py`, that says on a pipe that it has started, and, much later, that it
/// still runs.
pub(crate) struct SlowPlugin {
    pipe: PathBuf,
}

impl SlowPlugin {
    pub(crate) fn write(sandbox: &Sandbox) -> Self {
        let text = "import time\nfrom mypy.plugin import Plugin\n\n\
            with open('pipe', 'wb', buffering=0) as pipe:\n    pipe.write(b'started')\n    \
            time.sleep(60)\n    pipe.write(b', went on alone')\n\n\
            def plugin(version):\n    return Plugin\n";
        sandbox.write("slow.py", text);
        tool(sandbox, "mkfifo", &["pipe"]).expect_code(0);
        Self { pipe: sandbox.project().join("pipe") }
    }

    /// Waits until mypy loads it.
    pub(crate) fn started(&self) -> Started {
        let mut pipe = File::open(&self.pipe).expect("mypy runs");
        let mut said = [0; 7];
        pipe.read_exact(&mut said).expect("mypy runs");
        Started { pipe }
    }
}

/// A mypy that is in the plugin.
pub(crate) struct Started {
    pipe: File,
}

impl Started {
    /// Waits until it has ended, which it must not do of its own.
    #[track_caller]
    pub(crate) fn assert_ended(mut self) {
        // The end of a pipe is when nobody has it open any more.
        let mut rest = String::new();
        self.pipe.read_to_string(&mut rest).expect("an end");
        assert_eq!(rest, "");
    }
}

/// Nothing is left of what a writer had not published.
#[track_caller]
pub(crate) fn assert_no_litter(sandbox: &Sandbox) {
    let litter = std::fs::read_dir(sandbox.cache().join("tmp")).expect("a store").count();
    assert_eq!(litter, 0);
}

/// Runs a command after `mount`, a line for `sh` in which `$0` is the cache, in a mount namespace of
/// its own; `None` where that cannot be had.
pub(crate) fn run_mounted(sandbox: &Sandbox, mount: &str, args: &str) -> Option<Output> {
    let (program, cache) = (env!("CARGO_BIN_EXE_rewarm"), sandbox.cache());
    std::fs::create_dir_all(&cache).expect("the cache can be made");
    let line = format!(
        "test $(id -u) = 0 || map=--map-root-user
        exec unshare --mount $map sh -c '{mount} || exit 77; exec \"$@\"' '{}' '{program}' {args}",
        cache.display()
    );
    let output = sandbox.output(&mut sandbox.shell(&line));
    let is_possible = output.code != Some(77) && !output.stderr.contains("unshare");
    if !is_possible {
        eprintln!("SKIPPED: no file system can be mounted here: {output}");
    }
    is_possible.then_some(output)
}
