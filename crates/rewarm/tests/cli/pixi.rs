//! `rewarm install` in a pixi workspace: environments that are made, kept, repaired, and what is
//! refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rewarm_testkit::conda::{
    CondaArchive, CondaPackage, Fault, Format, PLACEHOLDER, PixiLock, pixi_toml, write_channel,
};
use rewarm_testkit::packages::{Artifact, Package};
use rewarm_testkit::sandbox::Sandbox;
use rewarm_testkit::server::{Reply, Server};

use crate::support::{requests, sandbox, tool};

const PLATFORM: &str = if cfg!(target_arch = "aarch64") { "linux-aarch64" } else { "linux-64" };

/// What is locked, and where it is.
struct Locked {
    conda: Vec<CondaArchive>,
    pypi: Vec<Artifact>,
    environments: Vec<&'static str>,
}

impl Locked {
    fn conda(conda: &[CondaArchive]) -> Self {
        Self { conda: conda.to_vec(), pypi: Vec::new(), environments: vec!["default"] }
    }

    /// Writes manifest and lock file for a channel and wheels at this URL.
    fn write(&self, dir: &Path, channel: &str) {
        let lock = PixiLock {
            channel,
            platform: PLATFORM,
            environments: &self.environments,
            conda: &self.conda,
            pypi: &self.pypi,
            wheels: channel,
        };
        let mut manifest = pixi_toml("demo", channel, PLATFORM, &self.conda);
        if !self.pypi.is_empty() {
            manifest += "\n[pypi-dependencies]\n";
            self.pypi.iter().for_each(|wheel| manifest += &format!("{} = \"*\"\n", wheel.name));
        }
        let others: Vec<_> = self.environments.iter().filter(|name| **name != "default").collect();
        if !others.is_empty() {
            manifest += "\n[environments]\n";
            others.iter().for_each(|name| manifest += &format!("{name} = []\n"));
        }
        fs::create_dir_all(dir).expect("a directory");
        fs::write(dir.join("pixi.toml"), manifest).expect("writable");
        fs::write(dir.join("pixi.lock"), lock.text()).expect("writable");
    }

    /// An origin that serves all that is locked.
    fn serve(&self) -> Server {
        let conda = self.conda.iter().map(|one| (format!("/{}", one.path()), one.bytes.clone()));
        let pypi = self.pypi.iter().map(|one| (format!("/{}", one.filename), one.bytes.clone()));
        let files: Vec<(String, Vec<u8>)> = conda.chain(pypi).collect();
        Server::start(move |seen| match files.iter().find(|(path, _)| *path == seen.path) {
            Some((_, bytes)) => Reply::ok(bytes.clone()).header("cache-control", "max-age=600"),
            None => Reply::status(404, "no such file"),
        })
    }

    /// Writes a channel on this machine, and the workspace that wants it.
    fn on_disk(&self, sandbox: &Sandbox) {
        let channel = sandbox.project().with_file_name("channel");
        write_channel(&channel, &self.conda).expect("writable");
        for wheel in &self.pypi {
            wheel.write_to(&channel).expect("writable");
        }
        self.write(&sandbox.project(), &format!("file://{}/", channel.display()));
    }
}

fn package(name: &str, version: &str) -> CondaArchive {
    CondaPackage::new(name, version).archive(Format::Conda)
}

/// A package with a program that says where it is.
fn program() -> CondaArchive {
    CondaPackage::new("program", "1.0")
        .platform(PLATFORM)
        .text_with_prefix("bin/where", format!("#!/bin/sh\necho {PLACEHOLDER}\n"))
        .archive(Format::TarBz2)
}

/// The Python of this machine as a conda package; what is in the prefix can be imported.
fn python() -> CondaArchive {
    let code = "import sys; print(sys._base_executable); print('%d.%d.%d' % sys.version_info[:3])";
    let output = Command::new("python3").args(["-I", "-c", code]).output().expect("a Python");
    let text = String::from_utf8(output.stdout).expect("text");
    let (executable, version) = text.trim().split_once('\n').expect("two lines");
    let minor = version.rsplit_once('.').expect("three numbers").0;
    let site = format!("{PLACEHOLDER}/lib/python{minor}/site-packages");
    CondaPackage::new("python", version)
        .platform(PLATFORM)
        .text_with_prefix(
            &format!("bin/python{minor}"),
            format!("#!/bin/sh\nPYTHONPATH={site} exec {executable} \"$@\"\n"),
        )
        .symlink("bin/python", &format!("python{minor}"))
        .archive(Format::Conda)
}

fn prefix(sandbox: &Sandbox) -> PathBuf {
    sandbox.project().join(".pixi/envs/default")
}

fn fingerprint(sandbox: &Sandbox) -> String {
    let path = prefix(sandbox).join("conda-meta/.pixi-environment-fingerprint");
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn installs_once_and_then_has_nothing_to_do() {
    let (sandbox, locked) = (sandbox(), Locked::conda(&[package("one", "1"), program()]));
    let origin = locked.serve();
    locked.write(&sandbox.project(), &origin.url("/"));
    let first = sandbox.run(["install"]).expect_code(0);
    assert!(first.stderr.starts_with("installed 2 packages; downloaded "), "{first}");
    assert_eq!(requests(&origin), 2);
    let second = sandbox.run(["install"]).expect_code(0);
    assert_eq!(second.stderr, "nothing to do: the environment matches the lock file\n");
    let place = tool(&sandbox, ".pixi/envs/default/bin/where", &[]).expect_code(0);
    assert_eq!(place.stdout, "[PROJECT]/.pixi/envs/default\n");
    let ignored =
        fs::read_to_string(sandbox.project().join(".pixi/.gitignore")).expect("it is there");
    assert_eq!(ignored, "*\n!config.toml\n");
    assert_eq!(fingerprint(&sandbox).len(), 16);
    assert_eq!(requests(&origin), 2);
}

#[test]
fn a_second_checkout_downloads_nothing_and_names_its_own_place() {
    let (sandbox, locked) = (sandbox(), Locked::conda(&[package("one", "1"), program()]));
    let origin = locked.serve();
    locked.write(&sandbox.project(), &origin.url("/"));
    sandbox.run(["install"]).expect_code(0);
    let other = sandbox.project().with_file_name("other");
    locked.write(&other, &origin.url("/"));
    drop(origin);
    let dir = other.to_string_lossy().into_owned();
    let again = sandbox.run(["--offline", "-C", &dir, "install"]).expect_code(0);
    assert!(again.stderr.starts_with("installed 2 packages; nothing downloaded in "), "{again}");
    let program = other.join(".pixi/envs/default/bin/where");
    let place = tool(&sandbox, &program.to_string_lossy(), &[]).expect_code(0);
    assert_eq!(place.stdout.trim(), other.join(".pixi/envs/default").to_string_lossy());
}

#[test]
fn the_environment_follows_the_lock_file() {
    let sandbox = sandbox();
    Locked::conda(&[package("one", "1"), package("two", "1"), program()]).on_disk(&sandbox);
    sandbox.run(["install"]).expect_code(0);
    Locked::conda(&[package("one", "2"), program()]).on_disk(&sandbox);
    let shown = sandbox.run(["install", "--dry-run"]).expect_code(0);
    assert_eq!(shown.stdout, "~ one 2 0 (1 0 was installed)\n- two 1 0\n");
    let changed = sandbox.run(["install"]).expect_code(0);
    assert!(changed.stderr.starts_with("installed 1 package, removed 1, kept 1;"), "{changed}");
    assert_eq!(fs::read_to_string(prefix(&sandbox).join("share/one")).expect("read"), "2\n");
    assert!(!prefix(&sandbox).join("share/two").exists());
}

#[test]
fn json_says_what_was_done() {
    let sandbox = sandbox();
    Locked::conda(&[package("one", "1")]).on_disk(&sandbox);
    let output = sandbox.run(["install", "--json", "-q"]).expect_code(0);
    let value: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!((&value["installed"], &value["downloaded_files"]), (&1.into(), &0.into()));
    assert_eq!(value["name"], "default");
}

#[test]
fn all_environments_are_installed_side_by_side() {
    let sandbox = sandbox();
    let mut locked = Locked::conda(&[package("one", "1")]);
    locked.environments.push("test");
    locked.on_disk(&sandbox);
    let output = sandbox.run(["install", "--all"]).expect_code(0);
    assert!(output.stderr.contains("default: installed 1 package"), "{output}");
    assert!(output.stderr.contains("test: installed 1 package"), "{output}");
    assert!(sandbox.project().join(".pixi/envs/test/share/one").exists());
    let one = sandbox.run(["install", "-e", "test"]).expect_code(0);
    assert!(one.stderr.starts_with("nothing to do"), "{one}");
    let removed = sandbox.run(["clean", "-e", "test"]).expect_code(0);
    assert!(removed.stderr.starts_with("removed `[PROJECT]/.pixi/envs/test`"), "{removed}");
    assert!(!sandbox.project().join(".pixi/envs/test").exists());
    assert!(prefix(&sandbox).exists());
    for command in ["install", "clean"] {
        let unknown = sandbox.run([command, "-e", "absent"]).expect_code(2);
        assert!(unknown.stderr.contains("`default`, `test`"), "{unknown}");
        let odd = sandbox.run([command, "-e", "../x"]).expect_code(2);
        assert!(odd.stderr.contains("cannot name an environment"), "{odd}");
    }
}

#[test]
fn wheels_of_the_same_lock_are_installed_as_pixi_does() {
    let sandbox = sandbox();
    let wheel = Package::new("hello", "1.0")
        .console_script("hello", "hello.cli:main")
        .file("hello/cli.py", "def main():\n    print('hello')\n");
    let both = Locked { pypi: vec![wheel.wheel()], ..Locked::conda(&[python()]) };
    let origin = both.serve();
    both.write(&sandbox.project(), &origin.url("/"));
    let first = sandbox.run(["install"]).expect_code(0);
    assert!(first.stderr.starts_with("installed 2 packages; downloaded "), "{first}");
    assert_eq!(requests(&origin), 2);
    let hello = tool(&sandbox, ".pixi/envs/default/bin/hello", &[]).expect_code(0);
    assert_eq!(hello.stdout, "hello\n");
    let found = tool(&sandbox, "find", &[".pixi", "-name", "INSTALLER"]).expect_code(0).stdout;
    let installer = fs::read_to_string(sandbox.project().join(found.trim())).expect("one file");
    assert_eq!(installer, "uv-pixi");
    let second = sandbox.run(["install"]).expect_code(0);
    assert!(second.stderr.starts_with("nothing to do"), "{second}");
    // A wheel that the lock does not name any more goes, the conda packages stay.
    Locked::conda(&[python()]).write(&sandbox.project(), &origin.url("/"));
    let third = sandbox.run(["install"]).expect_code(0);
    assert!(third.stderr.starts_with("nothing to install, removed 1, kept 1"), "{third}");
    assert!(!prefix(&sandbox).join("bin/hello").exists());
}

#[test]
fn wheels_without_a_python_are_refused() {
    let sandbox = sandbox();
    let wheel = Package::new("hello", "1.0").wheel();
    Locked { pypi: vec![wheel], ..Locked::conda(&[package("one", "1")]) }.on_disk(&sandbox);
    let output = sandbox.run(["install"]).expect_code(2);
    assert!(output.stderr.contains("`hello` needs `python`"), "{output}");
    assert!(!prefix(&sandbox).join("conda-meta/pixi").exists(), "pixi was told that all is there");
}

#[test]
fn broken_packages_are_named_and_leave_no_environment_that_claims_to_be_one() {
    let faults = [Fault::Traversal, Fault::LinkOutside, Fault::NoIndex, Fault::Truncated];
    for fault in faults.into_iter().chain([Fault::WrongDigest, Fault::Duplicate]) {
        let sandbox = sandbox();
        let broken = CondaPackage::new("broken", "1").broken(Format::Conda, fault);
        Locked::conda(&[package("one", "1"), broken]).on_disk(&sandbox);
        let output = sandbox.run(["install"]).expect_code(3);
        assert!(output.stderr.contains("broken-1-0.conda"), "{fault:?}: {output}");
        assert!(!prefix(&sandbox).join("share").exists(), "{fault:?}");
        assert_eq!(fingerprint(&sandbox), "", "{fault:?}");
        assert!(!prefix(&sandbox).join("conda-meta/pixi").exists(), "{fault:?}");
    }
}

#[test]
fn a_file_with_the_wrong_digest_is_refused_and_forgotten() {
    let (sandbox, locked) = (sandbox(), Locked::conda(&[package("one", "1")]));
    let mut other = Locked::conda(&[package("one", "1")]);
    other.conda[0].bytes =
        CondaPackage::new("one", "1").file("evil", "").archive(Format::Conda).bytes;
    let origin = other.serve();
    locked.write(&sandbox.project(), &origin.url("/"));
    let output = sandbox.run(["install"]).expect_code(3);
    assert!(output.stderr.contains("one-1-0.conda"), "{output}");
    assert!(!prefix(&sandbox).join("evil").exists());
    let verified = sandbox.run(["cache", "verify"]).expect_code(0);
    assert_eq!(verified.stdout, "");
}

#[test]
fn a_killed_install_is_repaired_by_the_next() {
    let sandbox = sandbox();
    let many: Vec<_> = (0..12).map(|number| package(&format!("p{number}"), "1")).collect();
    Locked::conda(&many).on_disk(&sandbox);
    for round in 0..10_u64 {
        let mut child = sandbox.command(["install", "-q"]).spawn().expect("it starts");
        std::thread::sleep(std::time::Duration::from_millis(round * 12));
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
        if round % 3 == 2 {
            let next = package("p0", &round.to_string());
            Locked::conda(&[&many[1..], &[next]].concat()).on_disk(&sandbox);
        }
    }
    Locked::conda(&many[..6]).on_disk(&sandbox);
    sandbox.run(["install", "-q"]).expect_code(0);
    let files = tool(&sandbox, "ls", &[".pixi/envs/default/share"]).expect_code(0).stdout;
    assert_eq!(files.lines().collect::<Vec<_>>(), ["p0", "p1", "p2", "p3", "p4", "p5"]);
    let thorough = sandbox.run(["install", "--revalidate"]).expect_code(0);
    assert!(thorough.stderr.starts_with("nothing to install, kept 6 in "), "{thorough}");
    let verified = sandbox.run(["cache", "verify"]).expect_code(0);
    assert_eq!(verified.stdout, "");
}

#[test]
fn several_installs_at_once_make_one_environment() {
    let (sandbox, locked) = (sandbox(), Locked::conda(&[package("one", "1"), program()]));
    let origin = locked.serve();
    locked.write(&sandbox.project(), &origin.url("/"));
    let mut children: Vec<_> =
        (0..4).map(|_| sandbox.command(["install", "-q"]).spawn().expect("it starts")).collect();
    for child in &mut children {
        assert!(child.wait().expect("it ends").success());
    }
    assert_eq!(requests(&origin), 2);
    tool(&sandbox, ".pixi/envs/default/bin/where", &[]).expect_code(0);
}

#[test]
fn workspaces_with_the_same_packages_are_installed_at_once_from_an_empty_cache() {
    let sandbox = sandbox();
    let many: Vec<_> = (0..16).map(|number| package(&format!("p{number}"), "1")).collect();
    let locked = Locked::conda(&many);
    let origin = locked.serve();
    let names = ["a", "b", "c"];
    let mut children: Vec<_> = names
        .into_iter()
        .map(|name| {
            locked.write(&sandbox.project().join(name), &origin.url("/"));
            sandbox.command(["-C", name, "install", "-q"]).spawn().expect("it starts")
        })
        .collect();
    for (name, child) in names.iter().zip(&mut children) {
        assert!(child.wait().expect("it ends").success());
        let share = sandbox.project().join(name).join(".pixi/envs/default/share");
        assert_eq!(fs::read_dir(share).expect("it is there").count(), many.len());
    }
    assert_eq!(requests(&origin), many.len());
}

#[test]
fn what_was_deleted_or_edited_in_the_environment_comes_back() {
    let sandbox = sandbox();
    Locked::conda(&[package("one", "1"), program()]).on_disk(&sandbox);
    sandbox.run(["install"]).expect_code(0);
    fs::remove_dir_all(prefix(&sandbox).join("bin")).expect("it is there");
    let again = sandbox.run(["install"]).expect_code(0);
    assert!(again.stderr.starts_with("installed 1 package, kept 1;"), "{again}");
    let file = prefix(&sandbox).join("share/one");
    fs::write(&file, "edited").expect("writable");
    let unseen = sandbox.run(["install"]).expect_code(0);
    assert!(unseen.stderr.starts_with("nothing to do"), "{unseen}");
    let seen = sandbox.run(["install", "--revalidate"]).expect_code(0);
    assert!(seen.stderr.starts_with("installed 1 package, kept 1;"), "{seen}");
    assert_eq!(fs::read_to_string(&file).expect("read"), "1\n");
    let all = sandbox.run(["install", "--reinstall"]).expect_code(0);
    assert!(all.stderr.starts_with("installed 2 packages;"), "{all}");
}

#[test]
fn a_workspace_that_moved_gets_an_environment_for_its_new_place() {
    let sandbox = sandbox();
    let project = sandbox.project().join("before");
    Locked::conda(&[program()]).on_disk(&sandbox);
    fs::create_dir(&project).expect("a directory");
    for name in ["pixi.toml", "pixi.lock"] {
        fs::rename(sandbox.project().join(name), project.join(name)).expect("it is there");
    }
    sandbox.run(["-C", "before", "install"]).expect_code(0);
    fs::rename(&project, sandbox.project().join("after")).expect("it is there");
    let output = sandbox.run(["-C", "after", "install"]).expect_code(0);
    assert!(output.stderr.contains("was made for another directory"), "{output}");
    let place = tool(&sandbox, "after/.pixi/envs/default/bin/where", &[]).expect_code(0);
    assert_eq!(place.stdout, "[PROJECT]/after/.pixi/envs/default\n");
    let settled = sandbox.run(["-C", "after", "install"]).expect_code(0);
    assert!(settled.stderr.starts_with("nothing to do"), "{settled}");
}

#[test]
fn a_lock_file_that_does_not_fit_is_told_and_can_be_refused() {
    let sandbox = sandbox();
    Locked::conda(&[package("one", "1")]).on_disk(&sandbox);
    let manifest = fs::read_to_string(sandbox.project().join("pixi.toml")).expect("read");
    sandbox.write("pixi.toml", manifest + "two = \"*\"\n");
    let refused = sandbox.run(["install", "--locked"]).expect_code(2);
    assert!(refused.stderr.contains("`two`"), "{refused}");
    assert!(!prefix(&sandbox).exists());
    for _ in 0..2 {
        let told = sandbox.run(["install"]).expect_code(0);
        assert!(told.stderr.contains("warning: ") && told.stderr.contains("`two`"), "{told}");
    }
    assert!(prefix(&sandbox).join("share/one").exists());
}

#[test]
fn a_missing_or_malformed_lock_file_is_named_with_what_mends_it() {
    let sandbox = sandbox();
    Locked::conda(&[package("one", "1")]).on_disk(&sandbox);
    fs::remove_file(sandbox.project().join("pixi.lock")).expect("it is there");
    let missing = sandbox.run(["install"]).expect_code(2);
    assert!(missing.stderr.contains("[PROJECT]/pixi.lock"), "{missing}");
    assert!(missing.stderr.contains("rewarm lock"), "{missing}");
    sandbox.write("pixi.lock", "version: 6\npackages: [\n");
    let malformed = sandbox.run(["install"]).expect_code(2);
    assert!(malformed.stderr.contains("[PROJECT]/pixi.lock"), "{malformed}");
    assert!(!prefix(&sandbox).exists());
}

#[test]
fn an_unwritable_cache_costs_speed_not_the_command() {
    let (sandbox, locked) = (sandbox(), Locked::conda(&[package("one", "1")]));
    let origin = locked.serve();
    locked.write(&sandbox.project(), &origin.url("/"));
    fs::write(sandbox.cache(), "a file, where a directory should be").expect("writable");
    let output = sandbox.run(["install"]).expect_code(0);
    assert!(output.stderr.contains("warning: "), "{output}");
    assert!(prefix(&sandbox).join("share/one").exists());
}

#[test]
fn what_is_missing_offline_is_named() {
    let (sandbox, locked) = (sandbox(), Locked::conda(&[package("one", "1"), program()]));
    let origin = locked.serve();
    locked.write(&sandbox.project(), &origin.url("/"));
    let output = sandbox.run(["--offline", "install"]).expect_code(3);
    assert!(output.stderr.contains("2 files are not in the cache"), "{output}");
    assert!(output.stderr.contains("one-1-0.conda"), "{output}");
    assert_eq!(requests(&origin), 0);
    assert!(!prefix(&sandbox).join("share").exists());
}

#[test]
fn flags_of_other_projects_mean_nothing_here_and_the_other_way_round() {
    let sandbox = sandbox();
    Locked::conda(&[package("one", "1")]).on_disk(&sandbox);
    let output = sandbox.run(["install", "--extra", "x"]).expect_code(2);
    assert!(
        output.stderr.contains("`--extra` means nothing for `[PROJECT]/pixi.toml`"),
        "{output}"
    );
    fs::remove_file(sandbox.project().join("pixi.toml")).expect("it is there");
    for arguments in [&["install", "-e", "x"][..], &["install", "--all"], &["clean", "-e", "x"]] {
        let output = sandbox.run(arguments).expect_code(2);
        assert!(output.stderr.contains("is no pixi workspace"), "{output}");
    }
}

#[test]
fn an_environment_of_conda_is_made_from_its_explicit_lock() {
    let sandbox = sandbox();
    let hello = CondaPackage::new("hello", "1.0")
        .program("bin/hello", "#!/bin/sh\necho hello $STAGE in $CONDA_PREFIX\n")
        .archive(Format::Conda);
    let locked = Locked::conda(std::slice::from_ref(&hello));
    let origin = locked.serve();
    let url = origin.url(&format!("/{}", hello.path()));
    let environment = "name: demo\nchannels: [demo]\ndependencies: [hello >=1]\n\
                       variables:\n  STAGE: dev\n";
    sandbox.write("environment.yml", environment);
    let refused = sandbox.run(["install"]).expect_code(2);
    assert!(refused.stderr.contains("environment.yml"), "{refused}");
    let list = format!("@EXPLICIT\n{url}#sha256:{}\n", hello.sha256());
    sandbox.write(format!("conda-{PLATFORM}.lock"), &list);
    let first = sandbox.run(["run", "hello"]).expect_code(0);
    assert_eq!(first.stdout, "hello dev in [PROJECT]/.conda\n");
    assert!(first.stderr.starts_with("installed 1 package"), "{first}");
    let second = sandbox.run(["run", "--explain", "hello"]).expect_code(0);
    assert_eq!((second.stdout.as_str(), requests(&origin)), (first.stdout.as_str(), 1));
    let info = sandbox.run(["info"]).expect_code(0);
    assert!(info.stdout.contains("matches the lock file"), "{info}");
    assert!(info.stdout.contains("configuration  [PROJECT]/environment.yml\n"), "{info}");
    sandbox.write("environment.yml", environment.replace(">=1", ">=2"));
    let outdated = sandbox.run(["install"]).expect_code(2);
    assert!(outdated.stderr.contains("hello"), "{outdated}");
    sandbox.run(["clean"]).expect_code(0);
    assert!(!sandbox.project().join(".conda").exists());
}

#[test]
fn a_bare_prefix_is_run_in_as_it_is() {
    let sandbox = sandbox();
    let script = "export HELLO=\"$CONDA_PREFIX\"\n";
    let hello = CondaPackage::new("hello", "1.0").activate("hello.sh", script);
    let locked = Locked::conda(&[hello.archive(Format::Conda)]);
    let origin = locked.serve();
    locked.write(&sandbox.project(), &origin.url("/"));
    sandbox.run(["install"]).expect_code(0);
    let line = "echo $HELLO $PIXI_PROJECT_NAME $CONDA_SHLVL";
    let prefix = ".pixi/envs/default";
    let output = sandbox.run(["run", "-p", prefix, "sh", "-c", line]).expect_code(0);
    assert_eq!(output.stdout, "[PROJECT]/.pixi/envs/default 1\n");
    let refused = sandbox.run(["run", "-p", "src", "true"]);
    assert_eq!(refused.code, Some(125), "{refused}");
    sandbox.write("src/file", "");
    let refused = sandbox.run(["run", "-p", "src", "true"]).expect_code(125);
    assert!(refused.stderr.contains("is no conda prefix"), "{refused}");
}
