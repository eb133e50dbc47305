//! Distributions in an environment that another tool makes and locks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rewarm_env::{
    CheckError, Hash, Location, Options, Plan, RemoteFile, Report, Source, Wanted, plan_into,
};
use rewarm_testkit::packages::{Artifact, Package};

use crate::support::{Fixture, Result, later, options, site_packages};

/// A prefix with nothing but an interpreter.
fn prefix(fixture: &Fixture) -> Result<PathBuf> {
    let prefix = fixture.path("prefix");
    fs::create_dir_all(prefix.join("bin"))?;
    let python = options().path[0].join("python3");
    let text = format!("#!/bin/sh\nexec {} \"$@\"\n", python.display());
    fs::write(prefix.join("bin/python"), text)?;
    fs::set_permissions(prefix.join("bin/python"), fs::Permissions::from_mode(0o755))?;
    Ok(prefix)
}

fn wanted(fixture: &Fixture, artifacts: &[Artifact]) -> Result<Vec<Wanted>> {
    let one = |artifact: &Artifact| {
        let path = artifact.write_to(&fixture.path("files"))?;
        let file = RemoteFile {
            filename: artifact.filename.clone(),
            location: Location::Path(path),
            size: None,
            hashes: Hash::parse("sha256", &artifact.sha256()).into_iter().collect(),
        };
        Ok(Wanted {
            name: artifact.name.parse()?,
            version: Some(artifact.version.parse()?),
            source: Source::Wheel { file, direct: false },
        })
    };
    artifacts.iter().map(one).collect()
}

fn plan(fixture: &Fixture, prefix: &Path, artifacts: &[Artifact]) -> Result<Plan> {
    let options = Options { installer: Some("other-tool".to_owned()), ..Options::default() };
    Ok(plan_into(prefix, wanted(fixture, artifacts)?, &options, &fixture.store, later())?)
}

fn install(fixture: &Fixture, prefix: &Path, artifacts: &[Artifact]) -> Result<Report> {
    Ok(plan(fixture, prefix, artifacts)?.execute(&fixture.store, &|_| {})?)
}

#[test]
fn distributions_come_under_the_name_of_the_tool_that_owns_the_prefix() -> Result {
    let fixture = Fixture::new()?;
    let prefix = prefix(&fixture)?;
    let hello = Package::new("hello", "1.0").console_script("hello", "hello:main").wheel();
    let report = install(&fixture, &prefix, std::slice::from_ref(&hello))?;
    assert_eq!((report.installed, report.removed, report.kept), (1, 0, 0));
    let info = site_packages(&prefix)?.join("hello-1.0.dist-info");
    assert_eq!(fs::read_to_string(info.join("INSTALLER"))?, "other-tool");
    assert!(fs::read_to_string(prefix.join("bin/hello"))?.contains("/prefix/bin/python"));
    assert!(plan(&fixture, &prefix, &[hello])?.is_empty());
    assert!(!prefix.join("pyvenv.cfg").exists());
    Ok(())
}

#[test]
fn what_the_owning_tool_installed_is_removed_when_nobody_wants_it() -> Result {
    let fixture = Fixture::new()?;
    let prefix = prefix(&fixture)?;
    let [one, two, foreign] =
        ["one", "two", "foreign"].map(|name| Package::new(name, "1.0").wheel());
    install(&fixture, &prefix, &[one.clone(), two.clone(), foreign])?;
    // As if the tool itself, and somebody else, had installed them.
    fs::remove_file(prefix.join("rewarm-state"))?;
    let installer = |name: &str| -> Result<PathBuf> {
        Ok(site_packages(&prefix)?.join(format!("{name}-1.0.dist-info/INSTALLER")))
    };
    fs::write(installer("foreign")?, "conda")?;
    let report = install(&fixture, &prefix, &[two])?;
    assert_eq!((report.installed, report.removed, report.kept), (0, 1, 1));
    assert!(!installer("one")?.exists());
    assert!(installer("foreign")?.exists());
    Ok(())
}

#[test]
fn a_wheel_for_another_machine_is_refused() -> Result {
    let fixture = Fixture::new()?;
    let prefix = prefix(&fixture)?;
    let wheel = Package::new("hello", "1.0").tag("cp27-cp27m-win32").wheel();
    let wanted = wanted(&fixture, &[wheel])?;
    let result = plan_into(&prefix, wanted, &Options::default(), &fixture.store, later());
    let error = result.expect_err("no such wheel runs here");
    assert!(matches!(error, CheckError::Unfit { .. }), "{error}");
    assert!(error.to_string().contains("hello-1.0-cp27-cp27m-win32.whl"), "{error}");
    Ok(())
}
