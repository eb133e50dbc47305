//! Which interpreter is taken, what is remembered of it, and environments that are odd.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use rewarm_env::{Event, Interpreter, InterpreterError, Options, Search};
use rewarm_testkit::packages::Package;

use crate::support::{Fixture, Result, later, options, run};

/// The binary behind `python3`.
fn binary() -> Result<PathBuf> {
    Ok(fs::canonicalize(options().path[0].join("python3"))?)
}

fn script(path: &std::path::Path, text: &str) -> Result {
    fs::write(path, format!("#!/bin/sh\n{text}\n"))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

#[test]
fn an_interpreter_that_does_not_fit_is_passed_over_and_named() -> Result {
    let fixture = Fixture::new()?;
    let (bad, good) = (fixture.path("bad"), fixture.path("good"));
    fs::create_dir(&bad)?;
    fs::create_dir(&good)?;
    script(&bad.join("python3"), "echo no such version >&2; exit 127")?;
    symlink(binary()?, good.join("python3"))?;
    let mut search = Search { path: vec![bad.clone(), good], ..Search::default() };
    let found = Interpreter::find(&search, &fixture.store, later())?;
    assert!(found.version[0] == 3);
    search.requires_python = Some(">=4".parse()?);
    let error = Interpreter::find(&search, &fixture.store, later());
    let Err(InterpreterError::NoneFits { rejected, .. }) = &error else {
        return Err("an interpreter fits".into());
    };
    assert_eq!(rejected.len(), 2);
    let text = error.map(drop).map_err(|error| error.to_string()).unwrap_err();
    assert!(text.contains("`requires-python = \">=4\"`"), "{text}");
    assert!(text.contains("no such version") && text.contains(found.full_version()), "{text}");
    Ok(())
}

#[test]
fn a_program_that_is_no_interpreter_is_named_in_a_few_words() -> Result {
    let fixture = Fixture::new()?;
    let program = fixture.path("program");
    script(&program, "printf 'cannot make sense of %s' \"$(echo $*)\" >&2; exit 2")?;
    let search = Search { explicit: Some(program), ..Search::default() };
    let error = Interpreter::find(&search, &fixture.store, later());
    let text = error.map(drop).map_err(|error| error.to_string()).unwrap_err();
    assert!(text.contains("cannot make sense of"), "{text}");
    assert!(text.len() < 600, "{text}");
    Ok(())
}

#[test]
fn a_binary_is_asked_once_and_a_script_every_time() -> Result {
    let fixture = Fixture::new()?;
    let shim = fixture.path("python3");
    let count = fixture.path("count");
    let text = format!("echo x >> '{}'\nexec '{}' \"$@\"", count.display(), binary()?.display());
    script(&shim, &text)?;
    Interpreter::at(&shim, &fixture.store, later())?;
    Interpreter::at(&shim, &fixture.store, later())?;
    assert_eq!(fs::read_to_string(&count)?, "x\nx\n");

    // A link is known by what it leads to: led elsewhere, it is asked again.
    let link = fixture.path("linked");
    symlink(binary()?, &link)?;
    let first = Interpreter::at(&link, &fixture.store, later())?;
    assert_eq!(Interpreter::at(&link, &fixture.store, later())?, first);
    fs::remove_file(&link)?;
    symlink(&shim, &link)?;
    Interpreter::at(&link, &fixture.store, later())?;
    assert_eq!(fs::read_to_string(&count)?, "x\nx\nx\n");
    Ok(())
}

#[test]
fn an_interpreter_can_be_named_by_path_program_or_version() -> Result {
    let fixture = Fixture::new()?;
    let path = options().path;
    let any = Search { path: path.clone(), ..Search::default() };
    let expected = Interpreter::find(&any, &fixture.store, later())?;
    let [major, minor, _] = expected.version;
    let version = format!("{major}.{minor}");
    for name in [path[0].join("python3"), format!("python{version}").into(), version.into()] {
        let search = Search { explicit: Some(name), ..any.clone() };
        let found = Interpreter::find(&search, &fixture.store, later())?;
        assert_eq!(found.version, expected.version);
    }
    let search = Search { explicit: Some("python9".into()), ..any };
    let error = Interpreter::find(&search, &fixture.store, later()).map(drop);
    assert!(error.is_err_and(|error| error.to_string().contains("`python9` does not run")));
    Ok(())
}

#[test]
fn activation_works_where_names_need_quotes() -> Result {
    let fixture = Fixture::new()?;
    let root = fixture.path("it's a \"project\"");
    fs::create_dir(&root)?;
    let tool = Package::new("tool", "1")
        .file("tool/cli.py", "def main():\n    print('tool')\n")
        .console_script("tool", "tool.cli:main");
    fixture.lock(&[tool.wheel()])?;
    fs::copy(fixture.root().join("pylock.toml"), root.join("pylock.toml"))?;
    let project = rewarm_env::Project::find(&root).ok_or("no project")?;
    let status = rewarm_env::check(&project, &fixture.store, &options(), later())?;
    let rewarm_env::Status::Needs(preparation) = status else { return Err("up to date".into()) };
    preparation.plan(&[])?.execute(&fixture.store, &|_| {})?;
    let script = "cd \"$1\"; . .venv/bin/activate; tool; printf '%s' \"$VIRTUAL_ENV\"";
    let output = run(Command::new("bash").args(["-c", script, "bash"]).arg(&root))?;
    assert_eq!(output, format!("tool\n{}", root.join(".venv").display()));
    Ok(())
}

#[test]
fn an_environment_of_ours_is_made_anew_for_another_python_and_nobody_elses_is() -> Result {
    let fixture = Fixture::new()?;
    fixture.lock(&[Package::new("leaf", "1").wheel()])?;
    fixture.install()?;
    let configuration = fixture.venv().join("pyvenv.cfg");
    let text = fs::read_to_string(&configuration)?;
    fs::write(&configuration, text.replace("version = 3.", "version = 2."))?;
    fs::remove_file(fixture.venv().join("bin/python"))?;
    let (_, events) = fixture.install()?;
    assert!(events.iter().any(|event| matches!(event, Event::Recreated(..))), "{events:?}");
    assert!(fixture.is_up_to_date()?);

    fs::write(
        &configuration,
        fs::read_to_string(&configuration)?.replace("version = 3.", "version = 2."),
    )?;
    fs::remove_file(fixture.venv().join("bin/python"))?;
    fs::remove_file(fixture.venv().join(rewarm_env::STATE_FILE))?;
    let error = fixture.install().map(drop).map_err(|error| error.to_string());
    assert!(error.is_err_and(|text| text.contains("has Python 2.")));
    assert!(fixture.site_packages()?.join("leaf").exists());
    Ok(())
}

#[test]
fn a_directory_whose_name_is_not_utf8_is_refused() -> Result {
    use std::os::unix::ffi::OsStrExt;
    let fixture = Fixture::new()?;
    fixture.lock(&[Package::new("leaf", "1").wheel()])?;
    let root = fixture.path("").join(std::ffi::OsStr::from_bytes(b"odd\xff"));
    let options = Options { environment: Some(root.clone()), ..options() };
    let error = fixture.install_with(&options).map(drop).map_err(|error| error.to_string());
    assert!(error.is_err_and(|text| text.contains("is not UTF-8")));
    Ok(())
}

#[test]
fn a_project_without_a_lock_file_says_which_ones_there_could_be() -> Result {
    let fixture = Fixture::new()?;
    fixture.write("pyproject.toml", "[project]\nname = \"demo\"\n")?;
    let error = fixture.plan(&options()).map(drop).map_err(|error| error.to_string());
    assert!(error.is_err_and(|text| text.contains("has no lock file: `pylock.toml`")));
    Ok(())
}

#[test]
fn the_nearest_project_and_the_preferred_lock_file_win() -> Result {
    let fixture = Fixture::new()?;
    fixture.write("pyproject.toml", "")?;
    for lock in ["requirements.txt", "uv.lock", "pylock.toml"] {
        fixture.write(lock, "")?;
        let project = fixture.project()?;
        assert_eq!(project.lock.map(|found| found.path), Some(fixture.root().join(lock)));
    }
    assert_eq!(fixture.project()?.other_locks.len(), 2);
    let inner = fixture.root().join("inner/deeper");
    fs::create_dir_all(&inner)?;
    let find = || rewarm_env::Project::find(&inner).ok_or("no project");
    assert_eq!(find()?.root, fixture.root());
    fs::write(fixture.root().join("inner/rewarm.toml"), "")?;
    assert_eq!(find()?.root, fixture.root().join("inner"));
    Ok(())
}
