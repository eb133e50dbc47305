//! Packages that are broken, prefixes that are half there, and several at one prefix.

use std::fs;
use std::slice::from_ref;

use rattler_conda_types::PackageName;
use rewarm_conda::prefix::{CheckError, InstallError, Options, Progress, UnpackError, check};
use rewarm_store::Digest;
use rewarm_testkit::conda::{CondaPackage, Fault, Format};

use crate::support::{Fixture, Result, execute, python, records};

#[test]
fn broken_packages_are_named_and_leave_the_prefix_as_it_was() -> Result {
    for format in [Format::Conda, Format::TarBz2] {
        for fault in Fault::ALL {
            let fixture = Fixture::new()?;
            let sound = CondaPackage::new("sound", "1").archive(Format::Conda);
            fixture.install(&[python("3.11.5"), sound.clone()])?;
            let before = (fixture.files()?, Progress::of(&fixture.prefix()));
            let package = CondaPackage::python("broken", "1").file("share/x", "x");
            let broken = package.broken(format, fault);
            let result = fixture.install(&[python("3.11.5"), sound, broken.clone()]);
            let error = result.expect_err(&format!("{fault:?} {format:?} is refused"));
            let text = error.to_string();
            assert!(text.contains(&broken.filename), "{fault:?}: {text}");
            let after = (fixture.files()?, Progress::of(&fixture.prefix()));
            assert_eq!(before, after, "{fault:?}");
            let digest: Digest = broken.sha256().parse()?;
            // One that only names another package is sound in itself.
            let is_kept = fixture.store.tree(&digest).is_some();
            assert_eq!(is_kept, fault == Fault::OtherIndex, "{fault:?} left a tree");
            let litter = fs::read_dir(fixture.store.root().join("tmp"))?.count();
            assert_eq!(litter, 0, "{fault:?} left something in the store");
        }
    }
    assert!(!std::path::Path::new("/tmp/escaped").exists());
    Ok(())
}

#[test]
fn a_file_that_is_not_the_one_that_was_locked_is_refused() -> Result {
    let fixture = Fixture::new()?;
    let locked = CondaPackage::new("one", "1").archive(Format::Conda);
    let target = fixture.target(from_ref(&locked))?;
    let other = CondaPackage::new("one", "1").file("evil", "").archive(Format::Conda);
    fs::write(fixture.path("channel").join(locked.path()), &other.bytes)?;
    let plan = check(target, Options::default())?;
    let error = execute(&plan, &fixture.store).expect_err("another file");
    assert!(matches!(error, InstallError::Local { .. }), "{error}");
    assert!(!fixture.prefix().join("evil").exists());
    Ok(())
}

#[test]
fn a_lock_with_md5_only_is_verified_by_it() -> Result {
    let fixture = Fixture::new()?;
    let archive = CondaPackage::new("one", "1").archive(Format::Conda);
    let mut target = fixture.target(from_ref(&archive))?;
    target.packages = records(from_ref(&archive), "https://example.invalid/c/")?;
    for package in &mut target.packages {
        package.package_record.sha256 = None;
    }
    let mut plan = check(target, Options::default())?;
    let [file] = plan.downloads(&fixture.store).try_into().map_err(|_| "one download")?;
    assert_eq!(file.sha256, None);
    let put = |bytes: &[u8]| -> Result<Digest> {
        let mut writer = fixture.store.blob_writer()?;
        std::io::Write::write_all(&mut writer, bytes)?;
        Ok(writer.commit(None)?.digest)
    };
    let other = CondaPackage::new("one", "1").file("evil", "").archive(Format::Conda);
    let error = plan.supply(&fixture.store, &file, &put(&other.bytes)?).expect_err("another");
    assert!(matches!(error, InstallError::WrongHash { .. }), "{error}");
    assert!(matches!(execute(&plan, &fixture.store), Err(InstallError::NotSupplied { .. })));
    plan.supply(&fixture.store, &file, &put(&archive.bytes)?)?;
    execute(&plan, &fixture.store)?;
    assert_eq!(fixture.read("share/one")?, "1\n");
    Ok(())
}

#[test]
fn a_damaged_blob_is_dropped_and_asked_for_again() -> Result {
    let fixture = Fixture::new()?;
    let archive = CondaPackage::new("one", "1").archive(Format::TarBz2);
    let mut target = fixture.target(from_ref(&archive))?;
    target.packages = records(from_ref(&archive), "https://example.invalid/c/")?;
    let mut writer = fixture.store.blob_writer()?;
    std::io::Write::write_all(&mut writer, &archive.bytes)?;
    let blob = writer.commit(None)?.digest;
    let path = fixture.store.blob_path(&blob).ok_or("no blob")?;
    let mut bytes = archive.bytes.clone();
    bytes[40] ^= 1;
    fs::write(&path, bytes)?;
    let plan = check(target, Options::default())?;
    assert!(plan.downloads(&fixture.store).is_empty());
    let error = execute(&plan, &fixture.store).expect_err("a flipped byte");
    assert!(matches!(error, InstallError::Unpack(UnpackError::Damaged { .. })), "{error}");
    assert!(error.wants_download());
    assert_eq!(plan.downloads(&fixture.store).len(), 1);
    Ok(())
}

#[test]
fn a_prefix_whose_installation_was_cut_short_is_installed_anew() -> Result {
    let fixture = Fixture::new()?;
    let archives = [
        CondaPackage::new("one", "1").file("share/both", "1").archive(Format::Conda),
        CondaPackage::new("two", "1").file("share/both", "2").archive(Format::Conda),
    ];
    fixture.install(&archives)?;
    let (files, shown) = (fixture.files()?, fixture.read("share/both")?);
    let prefix = fixture.prefix();
    let fingerprint = Progress::of(&prefix);
    // As pixi or rewarm leave it when they are killed: some files gone, one of them half written.
    fs::write(prefix.join("conda-meta/.pixi-environment-fingerprint"), "pixi:installing!")?;
    fs::remove_file(prefix.join("share/one"))?;
    fs::remove_file(prefix.join("share/two"))?;
    fs::write(prefix.join("share/two"), "ha")?;
    let plan = fixture.plan(&archives)?;
    assert!(!plan.is_empty());
    let (report, _) = execute(&plan, &fixture.store)?;
    assert_eq!(report.installed, 2);
    assert_eq!((fixture.files()?, fixture.read("share/both")?), (files, shown));
    assert_eq!(Progress::of(&prefix), fingerprint);
    Ok(())
}

#[test]
fn two_versions_of_one_package_are_both_removed() -> Result {
    let fixture = Fixture::new()?;
    let one = CondaPackage::new("one", "1").archive(Format::Conda);
    fixture.install(from_ref(&one))?;
    let meta = fixture.prefix().join("conda-meta");
    let text = fs::read_to_string(meta.join("one-1-0.json"))?;
    let other = text.replace("\"version\": \"1\"", "\"version\": \"2\"");
    fs::write(meta.join("one-2-0.json"), other)?;
    let report = fixture.install(&[one])?;
    assert_eq!(report.installed, 1);
    assert!(!meta.join("one-2-0.json").exists());
    assert_eq!(fixture.files()?, ["share/one"]);
    Ok(())
}

#[test]
fn a_record_that_is_damaged_costs_the_package_no_more_than_another_installation() -> Result {
    let fixture = Fixture::new()?;
    let archives = ["one", "two"].map(|name| CondaPackage::new(name, "1").archive(Format::Conda));
    fixture.install(&archives)?;
    let path = fixture.prefix().join("conda-meta/one-1-0.json");
    let sound = fs::read(&path)?;
    for damaged in [&[][..], &sound[..sound.len() / 2], b"{}"] {
        fs::write(&path, damaged)?;
        let report = fixture.install(&archives)?;
        assert_eq!((report.installed, report.kept), (1, 1));
        assert_eq!(fs::read(&path)?, sound);
    }
    fs::write(&path, "{}")?;
    fixture.install(&archives[1..])?;
    assert!(!path.exists());
    Ok(())
}

#[test]
fn a_record_that_lists_files_outside_removes_none_of_them() -> Result {
    let fixture = Fixture::new()?;
    fixture.install(&[CondaPackage::new("one", "1").archive(Format::Conda)])?;
    let precious = fixture.path("precious");
    fs::write(&precious, "precious")?;
    let path = fixture.prefix().join("conda-meta/one-1-0.json");
    for listed in ["../../../../precious".to_owned(), precious.to_string_lossy().into_owned()] {
        let text = fs::read_to_string(&path)?;
        fs::write(&path, text.replacen("\"share/one\"", &format!("\"{listed}\""), 2))?;
        fixture.install(&[])?;
        assert!(precious.exists(), "{listed}");
        fixture.install(&[CondaPackage::new("one", "1").archive(Format::Conda)])?;
    }
    Ok(())
}

#[test]
fn installations_of_one_prefix_follow_each_other() -> Result {
    let fixture = Fixture::new()?;
    let sets: Vec<_> = (0..4)
        .map(|number| {
            let version = number.to_string();
            [
                CondaPackage::new("one", &version).archive(Format::Conda),
                CondaPackage::new(&format!("only{number}"), "1").archive(Format::Conda),
            ]
        })
        .collect();
    let plans = sets.iter().map(|set| fixture.plan(set)).collect::<Result<Vec<_>>>()?;
    let results: Vec<_> = std::thread::scope(|scope| {
        let store = &fixture.store;
        let run = |plan| scope.spawn(move || execute(plan, store).map(drop));
        let threads: Vec<_> = plans.iter().map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    for result in results {
        result?;
    }
    let version = fixture.read("share/one")?;
    let version = version.trim();
    assert_eq!(fixture.files()?, ["share/one".to_owned(), format!("share/only{version}")]);
    Ok(())
}

#[test]
fn a_prefix_that_cannot_be_written_is_told_unless_it_is_right() -> Result {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new()?;
    let one = CondaPackage::new("one", "1").archive(Format::Conda);
    fixture.install(from_ref(&one))?;
    let prefix = fixture.prefix();
    fs::remove_dir_all(&prefix)?;
    fs::write(&prefix, "a file, where a directory should be")?;
    let error = fixture.install(&[one]).expect_err("no place");
    assert!(error.to_string().contains(&*prefix.to_string_lossy()), "{error}");
    fs::set_permissions(&prefix, fs::Permissions::from_mode(0o644))?;
    assert_eq!(fs::read_to_string(&prefix)?, "a file, where a directory should be");
    Ok(())
}

#[test]
fn what_can_not_be_installed_is_refused_before_anything_happens() -> Result {
    let fixture = Fixture::new()?;
    let one = CondaPackage::new("one", "1").archive(Format::Conda);
    let refuse = |archives: &[_]| -> Result<CheckError> {
        let target = fixture.target(archives)?;
        Ok(check(target, Options::default()).expect_err("it is refused"))
    };
    let lone = CondaPackage::python("lone", "1").archive(Format::Conda);
    assert!(matches!(refuse(&[lone])?, CheckError::NoPython { .. }));
    assert!(matches!(refuse(&[one.clone(), one.clone()])?, CheckError::Twice { .. }));
    let mut target = fixture.target(&[one])?;
    target.packages[0].package_record.name = PackageName::new_unchecked("../../x");
    assert!(matches!(check(target, Options::default()), Err(CheckError::Name { .. })));
    assert!(!fixture.prefix().exists());
    Ok(())
}
