//! What keeps an environment right: what is seen, what is mended, what is left alone.

use std::fs;
use std::process::Command;

use rewarm_env::{Event, Options, Outdated, Reason, STATE_FILE, Status};
use rewarm_testkit::packages::{Artifact, Package};

use crate::support::{Fixture, Result, options, python, run, site_packages};

fn two() -> [Artifact; 2] {
    let tool = Package::new("tool", "1")
        .file("tool/cli.py", "def main():\n    print('tool')\n")
        .console_script("tool", "tool.cli:main");
    [tool.wheel(), Package::new("leaf", "1").wheel()]
}

fn installed() -> Result<Fixture> {
    let fixture = Fixture::new()?;
    fixture.lock(&two())?;
    fixture.install()?;
    Ok(fixture)
}

/// Why the environment is outdated.
fn reason(fixture: &Fixture) -> Result<Option<Outdated>> {
    Ok(match fixture.status(&options())? {
        Status::UpToDate(_) => None,
        Status::Needs(preparation) => Some(preparation.reason),
    })
}

#[test]
fn a_touched_lock_file_changes_nothing_and_an_edited_one_does() -> Result {
    let fixture = installed()?;
    let lock = fixture.root().join("pylock.toml");
    let file = fs::File::options().write(true).open(&lock)?;
    file.set_modified(std::time::SystemTime::UNIX_EPOCH)?;
    assert_eq!(reason(&fixture)?, None);
    fixture.lock(&two()[..1])?;
    assert_eq!(reason(&fixture)?, Some(Outdated::Changed(lock)));
    let (report, events) = fixture.install()?;
    assert_eq!((report.installed, report.removed, report.kept), (0, 1, 1));
    assert_eq!(events, [Event::Removed("leaf".parse()?)]);
    assert!(!fixture.site_packages()?.join("leaf").exists());
    assert_eq!(reason(&fixture)?, None);
    Ok(())
}

#[test]
fn another_user_may_read_what_the_environment_is_judged_by() -> Result {
    use std::os::unix::fs::PermissionsExt;
    let fixture = installed()?;
    let mode = |name: &str| fs::metadata(fixture.venv().join(name)).map(|m| m.permissions().mode());
    assert_eq!(mode(STATE_FILE)?, mode("pyvenv.cfg")?);
    Ok(())
}

#[test]
fn another_selection_or_lock_file_is_another_request() -> Result {
    let fixture = installed()?;
    let exact = Options { exact: true, ..options() };
    let Status::Needs(preparation) = fixture.status(&exact)? else {
        return Err("up to date".into());
    };
    assert_eq!(preparation.reason, Outdated::Request);
    fs::rename(fixture.root().join("pylock.toml"), fixture.root().join("kept"))?;
    fixture.write("requirements.txt", "tool==1\nleaf==1\n")?;
    assert_eq!(reason(&fixture)?, Some(Outdated::Request));
    assert!(fixture.plan(&options())?.is_empty());
    Ok(())
}

#[test]
fn packages_changed_behind_our_back_are_seen_and_mended() -> Result {
    let fixture = installed()?;
    let packages = fixture.site_packages()?;
    fs::remove_dir_all(packages.join("leaf"))?;
    assert_eq!(reason(&fixture)?, Some(Outdated::Changed(packages.clone())));
    let plan = fixture.plan(&options())?;
    let (wanted, why) = plan.install.reinstall.first().ok_or("nothing to reinstall")?;
    assert_eq!(wanted.name.as_str(), "leaf");
    assert_eq!(*why, Reason::Damaged("`leaf/__init__.py` is missing".to_owned()));
    let (report, _) = fixture.install()?;
    assert_eq!(python(&report.environment, "import leaf; print(leaf.__version__)")?, "1\n");
    Ok(())
}

#[test]
fn foreign_packages_stay_unless_the_environment_is_exact() -> Result {
    let fixture = installed()?;
    let packages = fixture.site_packages()?;
    let info = packages.join("guest-1.dist-info");
    fs::create_dir(&info)?;
    fs::write(info.join("RECORD"), "guest.py,,\nguest-1.dist-info/RECORD,,\n")?;
    fs::write(packages.join("guest.py"), "")?;
    fs::write(packages.join("__pycache__/guest.cpython-311.pyc"), "")?;
    assert_eq!(reason(&fixture)?, Some(Outdated::Changed(packages.clone())));
    let plan = fixture.plan(&options())?;
    assert_eq!(plan.install.extraneous.len(), 1);
    fixture.install()?;
    assert!(packages.join("guest.py").exists());
    let (report, _) = fixture.install_with(&Options { exact: true, ..options() })?;
    assert_eq!(report.removed, 1);
    assert!(!packages.join("guest.py").exists() && !info.exists());
    assert!(!packages.join("__pycache__/guest.cpython-311.pyc").exists());
    Ok(())
}

#[test]
fn a_record_never_removes_what_lies_outside_the_environment() -> Result {
    let fixture = installed()?;
    fixture.write("precious", "")?;
    let info = fixture.site_packages()?.join("guest-1.dist-info");
    fs::create_dir(&info)?;
    let text = format!("../../../../precious,,\n{},,\n", fixture.root().join("precious").display());
    fs::write(info.join("RECORD"), text)?;
    fixture.install_with(&Options { exact: true, ..options() })?;
    assert!(fixture.root().join("precious").exists() && !info.exists());
    Ok(())
}

#[test]
fn a_copied_project_gets_scripts_of_its_own() -> Result {
    let fixture = installed()?;
    let copy = fixture.path("copy");
    run(Command::new("cp").arg("-a").arg(fixture.root()).arg(&copy))?;
    let project = rewarm_env::Project::find(&copy).ok_or("no project")?;
    let now = crate::support::later();
    let status = rewarm_env::check(&project, &fixture.store, &options(), now)?;
    let Status::Needs(preparation) = status else { return Err("taken for up to date".into()) };
    assert_eq!(preparation.reason, Outdated::Moved);
    let plan = preparation.plan(&[])?;
    assert_eq!(plan.install.reinstall.len(), 1);
    plan.execute(&fixture.store, &|_| {})?;
    let old = fixture.root();
    fs::remove_dir_all(&old)?;
    assert_eq!(run(&mut Command::new(copy.join(".venv/bin/tool")))?, "tool\n");
    let script = format!(". {}; echo $VIRTUAL_ENV", copy.join(".venv/bin/activate").display());
    let activated = run(Command::new("bash").args(["-c", &script]))?;
    assert_eq!(activated.trim(), copy.join(".venv").display().to_string());
    for entry in fs::read_dir(copy.join(".venv/bin"))? {
        let path = entry?.path();
        let text = fs::read(&path).unwrap_or_default();
        let old = format!("{}/", old.display());
        let names_old = text.windows(old.len()).any(|window| window == old.as_bytes());
        assert!(!names_old || path.is_symlink(), "{}", path.display());
    }
    Ok(())
}

#[test]
fn an_environment_without_its_interpreter_is_mended() -> Result {
    let fixture = installed()?;
    let link = fixture.venv().join("bin/python");
    fs::remove_file(&link)?;
    std::os::unix::fs::symlink("/nowhere/python", &link)?;
    assert!(!fixture.is_up_to_date()?);
    let (report, events) = fixture.install()?;
    assert!(matches!(events.as_slice(), [Event::Repaired(..)]), "{events:?}");
    assert_eq!(python(&report.environment, "import leaf; print(leaf.__version__)")?, "1\n");
    Ok(())
}

#[test]
fn a_package_that_is_half_there_is_installed_again() -> Result {
    type Damage = fn(&std::path::Path) -> std::io::Result<()>;
    let states: [Damage; 4] = [
        |_| Ok(()),
        |packages| fs::remove_file(packages.join("leaf-1.dist-info/RECORD")),
        |packages| fs::remove_dir_all(packages.join("leaf-1.dist-info")),
        |packages| fs::write(packages.join("leaf-1.dist-info/RECORD"), "leaf/__init"),
    ];
    for damage in states {
        let fixture = installed()?;
        let packages = fixture.site_packages()?;
        let state = fs::read(fixture.venv().join(STATE_FILE))?;
        fs::write(fixture.venv().join(STATE_FILE), &state[..state.len() / 2])?;
        damage(&packages)?;
        assert_eq!(reason(&fixture)?, Some(Outdated::Unknown));
        let (report, _) = fixture.install()?;
        assert_eq!(python(&report.environment, "import leaf; print(leaf.__version__)")?, "1\n");
        let records = fs::read_dir(&packages)?.count();
        assert_eq!(records, 5, "leaf, tool, two dist-info directories and __pycache__");
    }
    Ok(())
}

#[test]
fn an_edit_in_one_environment_does_not_reach_the_next() -> Result {
    let fixture = installed()?;
    let edited = fixture.site_packages()?.join("leaf/__init__.py");
    fs::write(&edited, "__version__ = 'hacked'\n")?;
    let second = fixture.path("second");
    fs::create_dir(&second)?;
    fs::copy(fixture.root().join("pylock.toml"), second.join("pylock.toml"))?;
    let project = rewarm_env::Project::find(&second).ok_or("no project")?;
    let now = crate::support::later();
    let Status::Needs(preparation) = rewarm_env::check(&project, &fixture.store, &options(), now)?
    else {
        return Err("there is no environment yet".into());
    };
    let report = preparation.plan(&[])?.execute(&fixture.store, &|_| {})?;
    assert_eq!(python(&report.environment, "import leaf; print(leaf.__version__)")?, "1\n");
    let text = fs::read_to_string(site_packages(&second.join(".venv"))?.join("leaf/__init__.py"))?;
    assert_eq!(text, "__version__ = \"1\"\n");
    assert_eq!(fs::read_to_string(&edited)?, "__version__ = 'hacked'\n");
    Ok(())
}

#[test]
fn something_else_in_the_place_of_the_environment_is_not_touched() -> Result {
    let fixture = Fixture::new()?;
    fixture.lock(&two())?;
    fs::create_dir(fixture.venv())?;
    fs::write(fixture.venv().join("thesis.txt"), "")?;
    let error = fixture.install().map(drop).map_err(|error| error.to_string());
    assert!(error.is_err_and(|text| text.contains("is not a virtual environment")));
    assert_eq!(fs::read_dir(fixture.venv())?.count(), 1);
    fs::remove_dir_all(fixture.venv())?;
    let refused = || fixture.install().map(drop).map_err(|error| error.to_string());
    fs::write(fixture.venv(), "")?;
    assert!(refused().is_err_and(|text| text.contains("is not a virtual environment")));
    fs::remove_file(fixture.venv())?;
    std::os::unix::fs::symlink("nowhere", fixture.venv())?;
    assert!(refused().is_err_and(|text| text.contains("is not a virtual environment")));
    Ok(())
}

#[test]
fn an_environment_made_by_venv_is_used_as_it_is() -> Result {
    let fixture = Fixture::new()?;
    fixture.lock(&two())?;
    run(Command::new("python3").args(["-m", "venv"]).arg(fixture.venv()))?;
    let configuration = fs::read(fixture.venv().join("pyvenv.cfg"))?;
    let (report, events) = fixture.install()?;
    assert!(!events.iter().any(|event| matches!(event, Event::Created(_))), "{events:?}");
    assert_eq!(fs::read(fixture.venv().join("pyvenv.cfg"))?, configuration);
    assert_eq!(python(&report.environment, "import pip, tool; print(tool.__version__)")?, "1\n");
    assert!(fixture.is_up_to_date()?);
    run(Command::new(&report.environment.python).args(["-m", "pip", "uninstall", "-qy", "leaf"]))?;
    assert!(!fixture.is_up_to_date()?);
    let (report, _) = fixture.install()?;
    assert_eq!((report.installed, report.kept), (1, 1));
    run(Command::new(&report.environment.python).args(["-m", "pip", "check"]))?;
    Ok(())
}
