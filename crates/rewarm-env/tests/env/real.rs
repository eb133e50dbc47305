//! The measure is the real tool: the same wheels from PyPI installed by pip and by rewarm must
//! give the same files, the same `RECORD` rows and the same behaviour.
//!
//! The wheels are pinned by digest and fetched once per `target` directory; without a network the
//! test says that it was skipped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rewarm_testkit::packages::Artifact;

use crate::support::{Fixture, Result, options, python, run, site_packages};

const PINS: &str = "\
six==1.17.0 --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274
packaging==25.0 --hash=sha256:29572ef2b1f17581046b3a2227d5c611fb25ec70ca1ba8554b24b0e69331a484
pygments==2.19.2 --hash=sha256:86540386c03d588bb81d44bc3928634ff26449851e99741617ecb9037ee5ec0b
argcomplete==3.6.2 --hash=sha256:65b3133a29ad53fb42c48cf5114752c7ab66c1c38544fdf6460f450c09b42591
jmespath==1.0.1 --hash=sha256:02e2e4cc71b5bcab88332eebf907519190dd9e6e82107fa7f83b1003a6252980
";

/// The wheels; `None` if they cannot be fetched.
fn wheels() -> Result<Option<Vec<Artifact>>> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pypi-wheels");
    if !dir.exists() {
        let partial = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let pins = partial.path().join("pins.txt");
        fs::write(&pins, PINS)?;
        let wheels = partial.path().join("wheels");
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "-q", "--no-deps", "--require-hashes", "-d"]);
        if let Err(error) = run(pip.arg(&wheels).arg("-r").arg(&pins)) {
            eprintln!("SKIPPED: the wheels could not be fetched from PyPI: {error}");
            return Ok(None);
        }
        // Another test may have been faster.
        fs::rename(wheels, &dir).or_else(|error| if dir.exists() { Ok(()) } else { Err(error) })?;
    }
    let mut artifacts = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let filename = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut parts = filename.split('-');
        let name = parts.next().unwrap_or_default().to_owned();
        let version = parts.next().unwrap_or_default().to_owned();
        artifacts.push(Artifact { name, version, filename, bytes: fs::read(path)? });
    }
    Ok(Some(artifacts))
}

/// All files below `root` that are not about the environment itself, compiled, or the installer's
/// own, with their content.
fn files(root: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_symlink() || name == "__pycache__" {
                continue;
            }
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            found.insert(path.strip_prefix(root)?.to_owned(), fs::read(&path)?);
        }
    }
    let own = ["INSTALLER", "REQUESTED", "RECORD", "direct_url.json"];
    found.retain(|path, _| !own.iter().any(|name| path.ends_with(name)));
    let top = |path: &Path| {
        path.starts_with("lib") || path.starts_with("bin") || path.starts_with("share")
    };
    found.retain(|path, _| top(path) && !path.starts_with("bin/activate"));
    found.retain(|path, _| {
        !["bin/Activate.ps1", "bin/activate.csh", "bin/activate.fish"]
            .contains(&path.to_string_lossy().as_ref())
    });
    Ok(found)
}

/// The rows of a `RECORD` but for those of the installer itself, sorted.
fn record(site_packages: &Path, dist_info: &str) -> Result<Vec<String>> {
    let text = fs::read_to_string(site_packages.join(dist_info).join("RECORD"))?;
    let own = ["/INSTALLER,", "/REQUESTED,", "/direct_url.json,", ".pyc,"];
    let mut rows: Vec<_> = text
        .lines()
        .filter(|row| !own.iter().any(|part| row.contains(part)))
        // The text of launchers is the installer's own.
        .map(|row| if row.starts_with("../") { row.split(',').next().unwrap_or(row) } else { row })
        .map(str::to_owned)
        .collect();
    rows.sort();
    Ok(rows)
}

#[test]
fn files_and_records_are_those_of_pip() -> Result {
    let Some(wheels) = wheels()? else { return Ok(()) };
    let fixture = Fixture::new()?;
    fixture.lock(&wheels)?;
    let (report, _) = fixture.install()?;
    assert_eq!(report.installed, wheels.len());

    let reference = fixture.path("reference");
    let python3 = options().path[0].join("python3");
    run(Command::new(python3).args(["-m", "venv", "--without-pip"]).arg(&reference))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--python"]).arg(reference.join("bin/python"));
    pip.args(["install", "-q", "--no-index", "--no-deps", "--no-compile"]);
    run(pip.args(wheels.iter().map(|wheel| fixture.path("files").join(&wheel.filename))))?;

    let (ours, theirs) = (files(&fixture.venv())?, files(&reference)?);
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs));
    for (path, content) in &ours {
        if !path.starts_with("bin") {
            assert!(theirs[path] == *content, "{}", path.display());
        }
    }
    let (ours, theirs) = (fixture.site_packages()?, site_packages(&reference)?);
    for wheel in &wheels {
        let info = format!("{}-{}.dist-info", wheel.name, wheel.version);
        assert_eq!(record(&ours, &info)?, record(&theirs, &info)?, "{info}");
    }

    let mut pip = Command::new("python3");
    run(pip.args(["-m", "pip", "--python"]).arg(&report.environment.python).arg("check"))?;
    let code = "import six, packaging.version, pygments, argcomplete, jmespath; print('fine')";
    assert_eq!(python(&report.environment, code)?, "fine\n");
    for script in ["pygmentize", "jp.py"] {
        run(Command::new(fixture.venv().join("bin").join(script)).arg("--help"))?;
    }
    Ok(())
}

#[test]
fn pip_can_remove_what_rewarm_installed() -> Result {
    let Some(wheels) = wheels()? else { return Ok(()) };
    let fixture = Fixture::new()?;
    fixture.lock(&wheels)?;
    let (report, _) = fixture.install()?;
    let names: Vec<_> = wheels.iter().map(|wheel| wheel.name.as_str()).collect();
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--python"]).arg(&report.environment.python);
    run(pip.args(["uninstall", "-qy"]).args(names))?;
    let left: Vec<_> = files(&fixture.venv())?.into_keys().collect();
    assert_eq!(left, Vec::<PathBuf>::new());
    Ok(())
}
