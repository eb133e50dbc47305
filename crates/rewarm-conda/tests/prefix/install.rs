//! What an installation puts into a prefix, what it takes out, and what it leaves alone.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::slice::from_ref;

use rewarm_conda::prefix::{
    Depth, Event, LinkMode, Marker, Options, PIXI_VERSION, Progress, Reason, check,
};
use rewarm_testkit::conda::{CondaArchive, CondaPackage, Format, PLACEHOLDER};

use crate::support::{Fixture, Result, execute, python};

fn library() -> CondaPackage {
    CondaPackage::new("library", "1.0")
        .platform("linux-64")
        .file("lib/libx.so.1", "elf")
        .symlink("lib/libx.so", "libx.so.1")
        .hard_link("lib/libx.so.1.0", "lib/libx.so.1")
        .activate("library.sh", "export LIBRARY=1\n")
        .text_with_prefix("bin/tool", format!("#!{PLACEHOLDER}/bin/python\n"))
        .binary_with_prefix("lib/data.bin", format!("\0{PLACEHOLDER}/share\0tail"))
}

#[test]
fn files_links_and_replaced_prefixes_arrive() -> Result {
    for format in [Format::Conda, Format::TarBz2] {
        let fixture = Fixture::new()?;
        let report = fixture.install(&[library().archive(format)])?;
        assert_eq!((report.installed, report.removed, report.kept), (1, 0, 0));
        let expected = [
            "bin/tool",
            "etc/conda/activate.d/library.sh",
            "lib/data.bin",
            "lib/libx.so",
            "lib/libx.so.1",
            "lib/libx.so.1.0",
            "share/library",
        ];
        assert_eq!(fixture.files()?, expected, "{format:?}");
        let prefix = fixture.prefix();
        assert_eq!(fixture.read("bin/tool")?, format!("#!{}/bin/python\n", prefix.display()));
        assert_eq!(fs::metadata(prefix.join("bin/tool"))?.mode() & 0o111, 0o111);
        let data = fs::read(prefix.join("lib/data.bin"))?;
        let start = format!("\0{}/share\0", prefix.display());
        assert!(data.starts_with(start.as_bytes()), "{data:?}");
        assert!(data.ends_with(b"\0tail"));
        assert_eq!(data.len(), PLACEHOLDER.len() + 1 + "/share\0tail".len());
        assert_eq!(fs::read_link(prefix.join("lib/libx.so"))?.to_str(), Some("libx.so.1"));
        assert_eq!(fixture.read("lib/libx.so.1.0")?, "elf");
    }
    Ok(())
}

#[test]
fn files_keep_the_time_at_which_they_were_packaged() -> Result {
    let fixture = Fixture::new()?;
    fixture.install(&[library().archive(Format::Conda)])?;
    assert_eq!(fs::metadata(fixture.prefix().join("lib/libx.so.1"))?.mtime(), 1_700_000_000);
    Ok(())
}

#[test]
fn python_packages_go_where_their_python_looks_and_get_their_programs() -> Result {
    let fixture = Fixture::new()?;
    let package = CondaPackage::python("hello", "2.0")
        .file("python-scripts/hello-script", "#!/bin/sh\n")
        .entry_point("hello = hello.cli:main")
        .archive(Format::Conda);
    fixture.install(&[python("3.11.5"), package.clone()])?;
    let module = "lib/python3.11/site-packages/hello/__init__.py";
    assert_eq!(fixture.read(module)?, "__version__ = \"2.0\"\n");
    let program = fixture.read("bin/hello")?;
    let shebang = format!("#!{}/bin/python3.11\n", fixture.prefix().display());
    assert!(program.starts_with(&shebang), "{program}");
    assert!(fixture.files()?.contains(&"bin/hello-script".to_owned()));
    // Another Python looks elsewhere: the packages for it move.
    let plan = fixture.plan(&[python("3.12.1"), package.clone()])?;
    let moved = plan
        .install
        .reinstall
        .iter()
        .find(|(new, _)| new.identifier.to_string().starts_with("hello"));
    assert_eq!(moved.map(|(_, reason)| reason), Some(&Reason::Python));
    execute(&plan, &fixture.store)?;
    assert!(!fixture.prefix().join("lib/python3.11").exists());
    assert!(fixture.read("lib/python3.12/site-packages/hello/__init__.py").is_ok());
    let record = fixture.record("hello")?;
    assert!(record.files.iter().any(|file| file.ends_with("bin/hello")));
    Ok(())
}

#[test]
fn nothing_is_done_twice() -> Result {
    let fixture = Fixture::new()?;
    let archives =
        [library().archive(Format::Conda), CondaPackage::new("other", "1").archive(Format::Conda)];
    fixture.install(&archives)?;
    let ino = |name: &str| fs::metadata(fixture.prefix().join(name)).map(|found| found.ino());
    let before =
        (ino("lib/libx.so.1")?, ino("conda-meta/library-1.0-0.json")?, ino("conda-meta/pixi")?);
    let plan = fixture.plan(&archives)?;
    assert!(plan.is_empty());
    let (report, _) = execute(&plan, &fixture.store)?;
    assert_eq!((report.installed, report.removed, report.kept), (0, 0, 2));
    let after =
        (ino("lib/libx.so.1")?, ino("conda-meta/library-1.0-0.json")?, ino("conda-meta/pixi")?);
    assert_eq!(before, after);
    Ok(())
}

#[test]
fn updates_replace_and_removals_leave_nothing_behind() -> Result {
    let fixture = Fixture::new()?;
    let other = CondaPackage::new("other", "1").archive(Format::TarBz2);
    fixture.install(&[library().archive(Format::Conda), other.clone()])?;
    fs::write(fixture.prefix().join("share/mine"), "kept")?;
    let next = CondaPackage::new("library", "2.0").platform("linux-64").file("lib/new", "");
    let plan = fixture.plan(&[next.archive(Format::Conda), other.clone()])?;
    assert_eq!(plan.install.reinstall[0].1, Reason::Version("1.0 0".to_owned()));
    execute(&plan, &fixture.store)?;
    assert_eq!(fixture.files()?, ["lib/new", "share/library", "share/mine", "share/other"]);
    assert_eq!(fixture.read("share/library")?, "2.0\n");
    let report = fixture.install(&[other])?;
    assert_eq!((report.installed, report.removed, report.kept), (0, 1, 1));
    assert_eq!(fixture.files()?, ["share/mine", "share/other"]);
    assert!(!fixture.prefix().join("lib").exists(), "an empty directory stays");
    assert!(!fixture.prefix().join("conda-meta/library-2.0-0.json").exists());
    Ok(())
}

#[test]
fn records_say_where_files_came_from_and_what_they_are() -> Result {
    let fixture = Fixture::new()?;
    let archive = library().archive(Format::Conda);
    fixture.install(from_ref(&archive))?;
    let record = fixture.record("library")?;
    let [wanted] = fixture.records(&[archive])?.try_into().map_err(|_| "one record")?;
    assert_eq!(record.repodata_record, wanted);
    let find = |name: &str| {
        record.paths_data.paths.iter().find(|entry| entry.relative_path.ends_with(name))
    };
    let tool = find("bin/tool").ok_or("no tool")?;
    assert!(tool.sha256_in_prefix.is_some() && tool.sha256_in_prefix != tool.sha256);
    assert_eq!(tool.prefix_placeholder.as_deref(), Some(PLACEHOLDER));
    assert!(find("lib/libx.so.1").ok_or("no library")?.sha256_in_prefix.is_none());
    assert!(record.link.is_some());
    assert_eq!(record.files.len(), 7);
    Ok(())
}

#[test]
fn pixi_finds_its_own_files() -> Result {
    let fixture = Fixture::new()?;
    fixture.install(&[library().archive(Format::Conda)])?;
    assert_eq!(Marker::read(&fixture.prefix()), Some(fixture.marker()));
    let text = fixture.read("conda-meta/pixi")?;
    let value: serde_json::Value = serde_json::from_str(&text)?;
    assert_eq!(value["environment_name"], "default");
    assert!(text.starts_with("{\n  \"manifest_path\": "), "{text}");
    assert!(matches!(Progress::of(&fixture.prefix()), Progress::Finished(_)));
    assert_eq!(fixture.read("conda-meta/history")?, "");
    Ok(())
}

#[test]
fn pixi_is_told_nothing_while_something_else_may_be_missing() -> Result {
    let fixture = Fixture::new()?;
    fixture.install(&[library().archive(Format::Conda)])?;
    let plan = fixture.plan(&[CondaPackage::new("other", "1").archive(Format::Conda)])?;
    execute(&plan, &fixture.store)?;
    assert_eq!(Marker::read(&fixture.prefix()), None);
    assert!(matches!(Progress::of(&fixture.prefix()), Progress::Finished(_)));
    Ok(())
}

#[test]
fn the_fingerprint_follows_names_and_digests_only() -> Result {
    let (one, two) = (CondaPackage::new("one", "1"), CondaPackage::new("two", "1"));
    let fingerprint = |archives: &[CondaArchive]| -> Result<Progress> {
        let fixture = Fixture::new()?;
        fixture.install(archives)?;
        Ok(Progress::of(&fixture.prefix()))
    };
    let (one, two) = (one.archive(Format::Conda), two.archive(Format::Conda));
    let both = fingerprint(&[one.clone(), two.clone()])?;
    assert_eq!(both, fingerprint(&[two.clone(), one.clone()])?);
    assert_ne!(both, fingerprint(from_ref(&one))?);
    let rebuilt = CondaPackage::new("two", "1").file("share/more", "").archive(Format::Conda);
    assert_ne!(both, fingerprint(&[one, rebuilt])?);
    Ok(())
}

#[test]
fn a_prefix_that_pixi_made_is_taken_as_it_is() -> Result {
    let fixture = Fixture::new()?;
    let archives = [library().archive(Format::Conda)];
    fixture.install(&archives)?;
    // What pixi says besides stays, and so does its version.
    let theirs = Marker {
        pixi_version: "0.99.9".to_owned(),
        resolved_platform: Some(
            serde_json::json!({ "subdir": "linux-64", "virtual_packages": [] }),
        ),
        ..fixture.marker()
    };
    let path = fixture.prefix().join("conda-meta/pixi");
    fs::write(&path, serde_json::to_string_pretty(&theirs)?)?;
    let empty = Fixture::new()?;
    let plan = fixture.plan(&archives)?;
    assert!(plan.is_empty());
    execute(&plan, &empty.store)?;
    fixture.marker().write(&fixture.prefix())?;
    assert_eq!(Marker::read(&fixture.prefix()), Some(theirs));
    assert_ne!(PIXI_VERSION, "0.99.9");
    Ok(())
}

#[test]
fn a_second_prefix_needs_the_store_only() -> Result {
    let fixture = Fixture::new()?;
    let archives = [library().archive(Format::Conda)];
    fixture.install(&archives)?;
    let mut target = fixture.target(&archives)?;
    fs::remove_dir_all(fixture.path("channel"))?;
    target.prefix = fixture.path("second/.pixi/envs/default");
    let plan = check(target, Options::default())?;
    assert!(plan.downloads(&fixture.store).is_empty());
    execute(&plan, &fixture.store)?;
    let text = fs::read_to_string(plan.prefix().join("bin/tool"))?;
    assert_eq!(text, format!("#!{}/bin/python\n", plan.prefix().display()));
    Ok(())
}

#[test]
fn what_is_edited_in_a_prefix_is_not_installed_elsewhere() -> Result {
    let fixture = Fixture::new()?;
    let archives = [library().archive(Format::Conda)];
    fixture.install(&archives)?;
    fs::write(fixture.prefix().join("lib/libx.so.1"), "bad")?;
    let mut target = fixture.target(&archives)?;
    target.prefix = fixture.path("second");
    let plan = check(target, Options::default())?;
    execute(&plan, &fixture.store)?;
    assert_eq!(fs::read_to_string(plan.prefix().join("lib/libx.so.1"))?, "elf");
    assert_eq!(fixture.read("lib/libx.so.1")?, "bad");
    Ok(())
}

#[test]
fn missing_files_are_found_at_once_and_changed_ones_when_asked_for() -> Result {
    let fixture = Fixture::new()?;
    let archives = [library().archive(Format::Conda)];
    fixture.install(&archives)?;
    let prefix = fixture.prefix();
    // Not through the hard link: as an editor that renames does.
    fs::remove_file(prefix.join("share/library"))?;
    fs::write(prefix.join("share/library"), "9.9\n")?;
    assert!(fixture.plan(&archives)?.is_empty());
    let thorough = Options { depth: Depth::Content, ..Options::default() };
    let plan = check(fixture.target(&archives)?, thorough)?;
    let changed = Reason::Damaged("`share/library` was changed".to_owned());
    assert_eq!(plan.install.reinstall[0].1, changed);
    execute(&plan, &fixture.store)?;
    assert_eq!(fixture.read("share/library")?, "1.0\n");
    fs::remove_file(prefix.join("lib/libx.so"))?;
    let plan = fixture.plan(&archives)?;
    assert_eq!(plan.install.reinstall[0].1, Reason::Damaged("`lib/libx.so` is missing".to_owned()));
    execute(&plan, &fixture.store)?;
    assert!(check(fixture.target(&archives)?, thorough)?.is_empty());
    Ok(())
}

#[test]
fn a_reinstallation_brings_everything_anew() -> Result {
    let fixture = Fixture::new()?;
    let archives =
        [library().archive(Format::Conda), CondaPackage::new("other", "1").archive(Format::Conda)];
    fixture.install(&archives)?;
    fs::remove_file(fixture.prefix().join("share/other"))?;
    fs::write(fixture.prefix().join("share/other"), "edited")?;
    let options = Options { reinstall: true, ..Options::default() };
    let plan = check(fixture.target(&archives)?, options)?;
    let (report, _) = execute(&plan, &fixture.store)?;
    assert_eq!((report.installed, report.removed, report.kept), (2, 0, 0));
    assert_eq!(fixture.read("share/other")?, "1\n");
    Ok(())
}

#[test]
fn copies_share_nothing_with_the_store() -> Result {
    let fixture = Fixture::new()?;
    let archives = [library().archive(Format::Conda)];
    let options = Options { link_mode: LinkMode::Copy, ..Options::default() };
    let plan = check(fixture.target(&archives)?, options)?;
    execute(&plan, &fixture.store)?;
    assert_eq!(fs::metadata(fixture.prefix().join("lib/libx.so.1"))?.nlink(), 1);
    Ok(())
}

#[test]
fn a_file_in_the_way_is_replaced_and_not_written_through() -> Result {
    let fixture = Fixture::new()?;
    let precious = fixture.path("precious");
    fs::write(&precious, "precious")?;
    fs::create_dir_all(fixture.prefix().join("lib"))?;
    fs::hard_link(&precious, fixture.prefix().join("lib/libx.so.1"))?;
    let options = Options { link_mode: LinkMode::Copy, ..Options::default() };
    let plan = check(fixture.target(&[library().archive(Format::Conda)])?, options)?;
    execute(&plan, &fixture.store)?;
    assert_eq!(fixture.read("lib/libx.so.1")?, "elf");
    assert_eq!(fs::read_to_string(precious)?, "precious");
    Ok(())
}

#[test]
fn whose_file_stands_does_not_depend_on_the_order_of_things() -> Result {
    let base = CondaPackage::new("base", "1").file("share/both", "base").archive(Format::Conda);
    let user = CondaPackage::new("user", "1")
        .depends("base")
        .file("share/both", "user")
        .archive(Format::Conda);
    let result = |steps: &[&[CondaArchive]]| -> Result<(String, Vec<String>)> {
        let fixture = Fixture::new()?;
        for step in steps {
            fixture.install(step)?;
        }
        Ok((fixture.read("share/both")?, fixture.files()?))
    };
    let both = [base.clone(), user.clone()];
    let at_once = result(&[&both])?;
    assert_eq!(at_once, result(&[&[user.clone(), base.clone()]])?);
    assert_eq!(at_once, result(&[from_ref(&base), &both])?);
    assert_eq!(at_once, result(&[from_ref(&user), &both])?);
    // Once the other is gone, the file of the one that is left stands.
    assert_eq!(result(&[&both, from_ref(&base)])?.0, "base");
    assert_eq!(result(&[&both, from_ref(&user)])?.0, "user");
    assert_eq!(result(&[&both, from_ref(&base)])?.1, ["share/base", "share/both"]);
    Ok(())
}

#[test]
fn shared_files_and_scripts_that_are_not_run_are_told() -> Result {
    let fixture = Fixture::new()?;
    let base = CondaPackage::new("base", "1").file("share/both", "base").archive(Format::Conda);
    let user = CondaPackage::new("user", "1")
        .depends("base")
        .file("share/both", "user")
        .program("bin/.user-post-link.sh", "touch \"$PREFIX/ran\"\n")
        .archive(Format::Conda);
    let plan = fixture.plan(&[base, user])?;
    let (_, events) = execute(&plan, &fixture.store)?;
    assert!(
        events.iter().any(|event| matches!(event,
        Event::Shared { path, .. } if path.ends_with("share/both"))),
        "{events:?}"
    );
    assert!(
        events.iter().any(|event| matches!(event,
        Event::ScriptSkipped { package, .. } if package == "user")),
        "{events:?}"
    );
    assert!(!fixture.prefix().join("ran").exists());
    Ok(())
}

#[test]
fn the_state_file_of_conda_is_kept() -> Result {
    let fixture = Fixture::new()?;
    let archives = [library().archive(Format::Conda)];
    fixture.install(&archives)?;
    let state = fixture.prefix().join("conda-meta/state");
    fs::write(&state, "{\"env_vars\": {\"A\": \"1\"}}")?;
    let options = Options { reinstall: true, ..Options::default() };
    execute(&check(fixture.target(&archives)?, options)?, &fixture.store)?;
    assert_eq!(fs::read_to_string(state)?, "{\"env_vars\": {\"A\": \"1\"}}");
    Ok(())
}
