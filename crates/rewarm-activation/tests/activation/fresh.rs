//! When a stored activation must be made anew, and when it must not.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rewarm_activation::{
    self as activation, ActivateError, Difference, Input, Miss, SaveError, Situation, Variables,
};
use rewarm_store::Store;

use crate::support::{Workspace, env, get, now, set_times};

#[test]
fn first_run_misses_and_second_hits() {
    let workspace = Workspace::new();
    let caller = env(&[("PATH", "/usr/bin:/bin"), ("PYTHONHOME", "/x")]);
    assert_eq!(workspace.assert_miss(&caller), "no activation of this environment is stored");
    let activation = workspace.assert_hit(&caller);
    let result = activation.environment_for(&caller);
    let prefix = workspace.prefix().display().to_string();
    assert_eq!(get(&result, "PATH"), Some(format!("{prefix}/bin:/usr/bin:/bin").as_str()));
    assert_eq!(get(&result, "VIRTUAL_ENV"), Some(prefix.as_str()));
    assert_eq!(get(&result, "PYTHONHOME"), None);
    assert_eq!(activation, workspace.activate(&caller));
}

#[test]
fn changed_lock_file_is_a_miss() {
    let workspace = Workspace::new();
    workspace.run(&env(&[]));
    workspace.write("pylock.toml", "lock-version = '1.1'\n");
    assert_eq!(workspace.assert_miss(&env(&[])), "`pylock.toml` changed");
    workspace.assert_hit(&env(&[]));
}

#[test]
fn packages_changed_behind_our_back_are_a_miss() {
    let workspace = Workspace::new();
    workspace.run(&env(&[]));
    workspace.write(".venv/lib/site-packages/attrs-1.0.dist-info/METADATA", "");
    assert_eq!(workspace.assert_miss(&env(&[])), "`.venv/lib/site-packages` changed");
    let packages = workspace.prefix().join("lib/site-packages");
    fs::rename(packages.join("six-1.0.dist-info"), packages.join("six-2.0.dist-info"))
        .expect("packages can be replaced");
    workspace.assert_miss(&env(&[]));
    workspace.write(".venv/lib/site-packages/__pycache__/six.pyc", "");
    workspace.assert_hit(&env(&[]));
}

#[test]
fn package_installed_again_from_another_wheel_is_a_miss() {
    let workspace = Workspace::new();
    let record = ".venv/lib/site-packages/six-1.0.dist-info/RECORD";
    workspace.write(record, "six.py,sha256=a,1\n");
    workspace.run(&env(&[]));
    let install = |text: &str| {
        let package = workspace.root.join(record).with_file_name("");
        fs::remove_dir_all(package).expect("packages can be removed");
        workspace.write(record, text);
    };
    install("six.py,sha256=a,1\n");
    workspace.assert_hit(&env(&[]));
    install("six.py,sha256=b,1\n");
    assert_eq!(workspace.assert_miss(&env(&[])), "`.venv/lib/site-packages` changed");
}

#[test]
fn touched_files_stay_a_hit_and_get_a_new_witness() {
    let workspace = Workspace::new();
    workspace.run(&env(&[]));
    set_times(&workspace.root, SystemTime::UNIX_EPOCH + Duration::from_secs(1_100_000_000));
    let hit = workspace.lookup(&env(&[])).expect("nothing changed");
    assert!(hit.renewed);
    activation::save(&workspace.store, &hit.activation).expect("the store is writable");
    workspace.assert_hit(&env(&[]));
}

// What must be made anew.

#[test]
fn env_file_added_edited_or_removed_is_a_miss() {
    let mut workspace = Workspace::new();
    workspace.config.env_files = vec![".env".into()];
    let caller = env(&[]);
    let value = |workspace: &Workspace| {
        let activation = workspace.assert_hit(&caller);
        get(&activation.environment_for(&caller), "A").map(str::to_owned)
    };
    workspace.run(&caller);
    assert_eq!(value(&workspace), None);
    workspace.write(".env", "A=1\n");
    assert_eq!(workspace.assert_miss(&caller), "`.env` appeared");
    assert_eq!(value(&workspace), Some("1".to_owned()));
    workspace.write(".env", "A=2\n");
    assert_eq!(workspace.assert_miss(&caller), "`.env` changed");
    assert_eq!(value(&workspace), Some("2".to_owned()));
    fs::remove_file(workspace.root.join(".env")).expect("files can be removed");
    // As it was before it was added: that activation is still there, and right again.
    assert_eq!(value(&workspace), None);
}

#[test]
fn changed_order_of_configured_variables_is_a_miss() {
    let mut workspace = Workspace::new();
    let caller = env(&[]);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    workspace.config.env = vec![pair("A", "1"), pair("B", "$A")];
    workspace.write("pyproject.toml", "[tool.rewarm.activation.env]\nA = '1'\nB = '$A'\n");
    workspace.run(&caller);
    let result = workspace.assert_hit(&caller).environment_for(&caller);
    assert_eq!(get(&result, "B"), Some("1"));
    workspace.config.env.reverse();
    workspace.write("pyproject.toml", "[tool.rewarm.activation.env]\nB = '$A'\nA = '1'\n");
    assert_eq!(workspace.assert_miss(&caller), "`pyproject.toml` changed");
    let result = workspace.assert_hit(&caller).environment_for(&caller);
    assert_eq!(get(&result, "B"), Some(""));
}

#[test]
fn configuration_file_that_did_not_exist_is_a_miss_when_it_appears() {
    let workspace = Workspace::new();
    workspace.run(&env(&[]));
    workspace.write("rewarm.toml", "");
    assert_eq!(workspace.assert_miss(&env(&[])), "`rewarm.toml` appeared");
}

#[test]
fn watched_file_and_directory_are_inputs() {
    let mut workspace = Workspace::new();
    workspace.write("settings/a.ini", "1");
    workspace.config.watch = vec!["settings/a.ini".into(), "settings".into()];
    workspace.run(&env(&[]));
    workspace.write("settings/a.ini", "2");
    assert_eq!(workspace.assert_miss(&env(&[])), "`settings/a.ini` changed");
    workspace.write("settings/b.ini", "");
    assert_eq!(workspace.assert_miss(&env(&[])), "`settings` changed");
}

#[test]
fn variable_that_is_read_is_an_input() {
    let mut workspace = Workspace::new();
    workspace.config.env_files = vec![".env".into()];
    workspace.config.watch_env = vec!["WATCHED".to_owned()];
    workspace.write(".env", "A=[${READ:-none}]\n");
    let callers = [
        (env(&[]), "no activation of this environment is stored", "[none]"),
        (env(&[("READ", "x")]), "variable `READ` appeared", "[x]"),
        (env(&[("READ", "y")]), "variable `READ` changed", "[y]"),
        (env(&[("READ", "y"), ("WATCHED", "")]), "variable `WATCHED` appeared", "[y]"),
    ];
    for (caller, reason, expected) in &callers {
        assert_eq!(workspace.assert_miss(caller), *reason);
        let result = workspace.assert_hit(caller).environment_for(caller);
        assert_eq!(get(&result, "A"), Some(*expected));
    }
    let mut fewer = Workspace::new();
    fewer.config = workspace.config.clone();
    fewer.write(".env", "A=$READ\n");
    fewer.run(&callers[1].0);
    assert_eq!(fewer.assert_miss(&callers[0].0), "variable `READ` vanished");
}

#[test]
fn variable_set_by_the_activation_itself_is_no_input() {
    let mut workspace = Workspace::new();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    workspace.config.env = vec![pair("A", "1"), pair("B", "$A$VIRTUAL_ENV")];
    workspace.run(&env(&[]));
    workspace.assert_hit(&env(&[("A", "other"), ("B", "other")]));
}

#[test]
fn moved_workspace_is_a_miss() {
    let mut workspace = Workspace::new();
    workspace.run(&env(&[]));
    let moved = workspace.root.with_file_name("renamed");
    fs::rename(&workspace.root, &moved).expect("directories can be renamed");
    workspace.root = moved;
    assert_eq!(workspace.lookup(&env(&[])).unwrap_err(), Miss::NotStored);
    let result = workspace.run(&env(&[])).0.environment_for(&env(&[]));
    assert_eq!(get(&result, "VIRTUAL_ENV"), workspace.prefix().to_str());
}

#[test]
fn other_environment_and_clean_env_are_kept_apart() {
    let mut workspace = Workspace::new();
    let caller = env(&[("PATH", "/usr/bin:/bin:/opt"), ("HOME", "/h"), ("FOO", "x")]);
    workspace.run(&caller);
    workspace.environment = "test".to_owned();
    workspace.assert_miss(&caller);
    workspace.clean_env = true;
    workspace.assert_miss(&caller);
    let clean = workspace.assert_hit(&caller).environment_for(&caller);
    let path = format!("{}/bin:/usr/bin:/bin", workspace.prefix().display());
    assert_eq!(get(&clean, "PATH"), Some(path.as_str()));
    assert_eq!((get(&clean, "HOME"), get(&clean, "FOO")), (Some("/h"), None));
    workspace.clean_env = false;
    let full = workspace.assert_hit(&caller).environment_for(&caller);
    assert_eq!(get(&full, "FOO"), Some("x"));
    assert!(get(&full, "PATH").is_some_and(|path| path.ends_with(":/usr/bin:/bin:/opt")));
}

#[test]
fn variables_that_a_clean_environment_drops_are_no_inputs() {
    let mut workspace = Workspace::new();
    workspace.clean_env = true;
    workspace.config.watch_env = vec!["FOO".to_owned(), "HOME".to_owned()];
    workspace.run(&env(&[("FOO", "1"), ("VIRTUAL_ENV", "/other")]));
    workspace.assert_hit(&env(&[("FOO", "2")]));
    assert_eq!(workspace.assert_miss(&env(&[("HOME", "/h")])), "variable `HOME` appeared");
}

#[test]
fn other_fact_is_a_difference() {
    let fact = |value: &str| Input::Fact { name: "platform".into(), value: value.into() };
    let caller = Variables::new();
    let facts = [("platform", "linux-x86_64".to_owned())];
    let situation = Situation { caller: &caller, facts: &facts, now: now() };
    assert!(activation::check(&[fact("linux-x86_64")], &situation).is_ok());
    let difference = activation::check(&[fact("macos-aarch64")], &situation).unwrap_err();
    assert_eq!(difference.to_string(), "platform changed from `macos-aarch64` to `linux-x86_64`");
    let nothing_known = Situation { facts: &[], ..situation };
    let difference = activation::check(&[fact("x")], &nothing_known).unwrap_err();
    assert!(matches!(difference, Difference::Fact { now: None, .. }));
}

#[test]
fn file_changed_between_being_read_and_being_saved_is_a_miss() {
    let workspace = Workspace::new();
    let request = workspace.request();
    workspace.write("pylock.toml", "lock-version = '1.2'\n");
    let activation = activation::activate(request, &env(&[])).expect("the configuration is right");
    activation::save(&workspace.store, &activation).expect("the store is writable");
    assert_eq!(workspace.assert_miss(&env(&[])), "`pylock.toml` changed");
}

#[test]
fn volatile_activation_is_never_stored() {
    let mut workspace = Workspace::new();
    workspace.config.volatile = true;
    for _ in 0..2 {
        workspace.assert_miss(&env(&[]));
    }
}

/// The files of a directory and below.
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("directories can be read").path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

fn record_file(workspace: &Workspace) -> PathBuf {
    let mut files = files_below(&workspace.store.root().join("activation-v3"));
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

#[test]
fn damaged_record_is_a_miss_and_healed() {
    let workspace = Workspace::new();
    workspace.run(&env(&[]));
    let file = record_file(&workspace);
    let sound = fs::read(&file).expect("the record can be read");
    for at in [0, sound.len() / 2, sound.len() - 1] {
        let mut damaged = sound.clone();
        damaged[at] ^= 1;
        fs::write(&file, damaged).expect("the record can be written");
        assert_eq!(workspace.lookup(&env(&[])).unwrap_err(), Miss::NotStored);
        workspace.run(&env(&[]));
        workspace.assert_hit(&env(&[]));
    }
    fs::write(&file, &sound[..sound.len() / 2]).expect("the record can be written");
    workspace.assert_miss(&env(&[]));
    workspace.assert_hit(&env(&[]));
}

#[test]
fn other_format_version_is_left_alone() {
    let workspace = Workspace::new();
    workspace.run(&env(&[]));
    let (here, other) =
        ["activation-v3", "activation-v9"].map(|name| workspace.store.root().join(name)).into();
    fs::rename(here, &other).expect("directories can be renamed");
    workspace.assert_miss(&env(&[]));
    workspace.assert_hit(&env(&[]));
    assert_eq!(files_below(&other).len(), 1);
}

#[test]
fn mistake_in_an_env_file_is_named_with_file_and_line() {
    let mut workspace = Workspace::new();
    workspace.config.env_files = vec![".env".into()];
    workspace.write(".env", "A=1\n\nB='x\n");
    let error = activation::activate(workspace.request(), &env(&[])).unwrap_err();
    let file = workspace.root.join(".env");
    let expected = format!("`{}` line 3: the quote is not closed", file.display());
    assert_eq!(error.to_string(), expected);
    workspace.write(".env", "");
    workspace.config.env = vec![("A B".to_owned(), String::new())];
    let error = activation::activate(workspace.request(), &env(&[])).unwrap_err();
    assert!(matches!(error, ActivateError::Env { .. }));
}

#[test]
fn file_that_cannot_be_read_again_is_refused() {
    let mut workspace = Workspace::new();
    workspace.config.env_files = vec!["/dev/zero".into()];
    let error = activation::activate(workspace.request(), &env(&[])).unwrap_err();
    assert_eq!(error.to_string(), "cannot read `/dev/zero`");
}

// What must stay a hit.

#[test]
fn caller_with_another_path_and_other_variables_hits() {
    let mut workspace = Workspace::new();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    workspace.config.env =
        vec![pair("PATH", "/tools/bin:$PATH"), pair("PYTHONPATH", "first:${PYTHONPATH}:src")];
    workspace.run(&env(&[("PATH", "/usr/bin")]));
    let caller = env(&[("PATH", "/a:/tools/bin:/b"), ("PYTHONPATH", "lib"), ("X", "y")]);
    let result = workspace.assert_hit(&caller).environment_for(&caller);
    let path = format!("/tools/bin:{}/bin:/a:/b", workspace.prefix().display());
    assert_eq!(get(&result, "PATH"), Some(path.as_str()));
    assert_eq!(get(&result, "PYTHONPATH"), Some("first:lib:src"));
    assert_eq!(get(&result, "X"), Some("y"));
}

#[test]
fn callers_and_nested_shells_take_turns_without_a_miss() {
    let mut workspace = Workspace::new();
    workspace.config.watch_env = vec!["LANG".to_owned()];
    let first = env(&[("PATH", "/bin"), ("LANG", "C")]);
    let second = env(&[("PATH", "/bin"), ("LANG", "de_DE")]);
    let nested = workspace.run(&first).0.environment_for(&first);
    workspace.run(&second);
    workspace.run(&nested);
    for _ in 0..3 {
        for caller in [&first, &second, &nested] {
            let result = workspace.assert_hit(caller).environment_for(caller);
            let path = format!("{}/bin:/bin", workspace.prefix().display());
            assert_eq!(get(&result, "PATH"), Some(path.as_str()));
        }
    }
}

#[test]
fn another_virtual_environment_is_left_first() {
    let workspace = Workspace::new();
    let caller = env(&[("VIRTUAL_ENV", "/other"), ("PATH", "/a:/other/bin:/b")]);
    let result = workspace.run(&caller).0.environment_for(&caller);
    let path = format!("{}/bin:/a:/b", workspace.prefix().display());
    assert_eq!(get(&result, "PATH"), Some(path.as_str()));
}

#[test]
fn the_activation_in_use_is_not_displaced_by_many_callers() {
    let mut workspace = Workspace::new();
    workspace.config.watch_env = vec!["N".to_owned()];
    let caller = |n: u32| env(&[("N", n.to_string().as_str())]);
    workspace.run(&caller(0));
    for n in 1..40 {
        workspace.assert_miss(&caller(n));
        workspace.assert_hit(&caller(0));
    }
    workspace.assert_miss(&caller(1));
}

#[test]
fn witness_that_was_too_young_is_renewed_once() {
    let workspace = Workspace::new();
    workspace.run(&env(&[]));
    let later = now() + Duration::from_secs(60);
    let look =
        || activation::lookup(&workspace.store, &workspace.scope(), &env(&[]), later).unwrap();
    let hit = look();
    assert!(hit.renewed);
    activation::save(&workspace.store, &hit.activation).expect("the store is writable");
    assert!(!look().renewed);
}

#[test]
fn store_that_cannot_be_written_costs_speed_only() {
    let mut workspace = Workspace::new();
    let file = workspace.root.join("file");
    fs::write(&file, "").expect("files can be written");
    workspace.store = Store::for_lookup(&file.join("cache"));
    assert_eq!(workspace.lookup(&env(&[])).unwrap_err(), Miss::NotStored);
    let activation = workspace.activate(&env(&[]));
    let saved = activation::save(&workspace.store, &activation);
    assert!(matches!(saved, Err(SaveError::Lock { .. })), "{saved:?}");
    assert_eq!(fs::read(&file).expect("it is still a file"), b"");
}

#[test]
fn values_of_watched_variables_are_not_stored_and_the_file_is_private() {
    let mut workspace = Workspace::new();
    workspace.config.watch_env = vec!["TOKEN".to_owned()];
    workspace.run(&env(&[("TOKEN", "correct-horse-battery")]));
    let file = record_file(&workspace);
    let bytes = fs::read(&file).expect("the record can be read");
    assert!(bytes.windows(5).any(|window| window == b"TOKEN"));
    assert!(!bytes.windows(7).any(|window| window == b"correct"));
    let mode = fs::metadata(&file).expect("the record is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn paths_and_values_that_are_not_utf8_survive() {
    let mut workspace = Workspace::new();
    let root = workspace.root.with_file_name(OsString::from_vec(b"w\xff\n=".to_vec()));
    fs::rename(&workspace.root, &root).expect("directories can be renamed");
    workspace.root = root;
    workspace.config.env_files = vec![".env".into()];
    workspace.write(".env", b"A='\xfe\n='\nB=$C\n");
    let mut caller = env(&[]);
    caller.insert("C".into(), OsString::from_vec(b"\x80".to_vec()));
    let computed = workspace.run(&caller).0;
    let stored = workspace.assert_hit(&caller);
    assert_eq!(stored, computed);
    let result = stored.environment_for(&caller);
    assert_eq!(result[&OsString::from("A")], OsString::from_vec(b"\xfe\n=".to_vec()));
    assert_eq!(result[&OsString::from("B")], OsString::from_vec(b"\x80".to_vec()));
    assert_eq!(result[&OsString::from("VIRTUAL_ENV")], workspace.prefix());
}
