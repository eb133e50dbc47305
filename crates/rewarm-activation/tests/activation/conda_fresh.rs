//! When a stored activation of a conda prefix must be made anew, and when it must not.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rewarm_activation::{self as activation, Variables};

use crate::conda_support::CondaWorkspace;
use crate::support::{env, get, set_times};

fn caller() -> Variables {
    env(&[("PATH", "/usr/bin:/bin"), ("HOME", "/home/me")])
}

/// A workspace with one of everything, whose activation is stored.
fn stored() -> CondaWorkspace {
    let mut workspace = CondaWorkspace::new();
    workspace.script("a.sh", "export A=\"a of ${READ-nobody}\"\n");
    workspace.in_prefix("etc/conda/env_vars.d/a.json", r#"{"FROM_PACKAGE": "1"}"#);
    workspace.in_prefix("conda-meta/state", r#"{"env_vars": {"FROM_STATE": "1"}}"#);
    workspace.manifest_scripts(&["own.sh"]);
    workspace.write("own.sh", "export OWN=1\n");
    workspace.env(&[("FIRST", "1"), ("SECOND", "$FIRST")]);
    workspace.run(&caller());
    workspace.assert_hit(&caller());
    workspace
}

/// Where a file of the prefix is, from the root.
fn shown(path: &str) -> String {
    format!("`.pixi/envs/default/{path}`")
}

#[track_caller]
fn assert_changed(workspace: &CondaWorkspace, file: &str, text: &str) -> Variables {
    workspace.in_prefix(file, text);
    let (miss, result) = workspace.miss(&caller());
    assert_eq!(miss, format!("{} changed", shown(file)));
    assert_eq!(workspace.assert_hit(&caller()), result);
    result
}

// What must be made anew.

#[test]
fn changed_manifest_or_lock_file_is_a_miss() {
    let workspace = stored();
    for name in ["pixi.toml", "pixi.lock"] {
        workspace.write(name, "# other\n");
        assert_eq!(workspace.miss(&caller()).0, format!("`{name}` changed"));
        workspace.assert_hit(&caller());
    }
}

#[test]
fn a_file_that_was_missing_is_a_miss_when_it_appears() {
    let workspace = stored();
    // Something else appears beside it.
    workspace.write("unrelated", "");
    workspace.assert_hit(&caller());
    workspace.write("rewarm.toml", "");
    assert_eq!(workspace.miss(&caller()).0, "`rewarm.toml` appeared");
    workspace.assert_hit(&caller());
    workspace.write("pyproject.toml", "");
    assert_eq!(workspace.miss(&caller()).0, "`pyproject.toml` appeared");
}

#[test]
fn what_a_missing_link_leads_to_is_a_miss_when_it_appears() {
    let workspace = CondaWorkspace::new();
    let elsewhere = workspace.temp().join("state");
    let state = workspace.request.prefix.join("conda-meta/state");
    std::os::unix::fs::symlink(&elsewhere, &state).expect("links can be made");
    workspace.run(&caller());
    workspace.assert_hit(&caller());
    fs::write(&elsewhere, r#"{"env_vars": {"A": "1"}}"#).expect("files can be written");
    let (miss, result) = workspace.miss(&caller());
    assert_eq!(miss, format!("{} appeared", shown("conda-meta/state")));
    assert_eq!(get(&result, "A"), Some("1"));
}

#[test]
fn other_packages_are_a_miss_whoever_installed_them() {
    let workspace = stored();
    let miss = || workspace.miss(&caller()).0;
    workspace.in_prefix("conda-meta/attrs-1.0-0.json", "{}");
    assert_eq!(miss(), format!("{} changed", shown("conda-meta")));
    // The same build of the same version, made again.
    let again = workspace.request.prefix.join("conda-meta/attrs-1.0-0.json");
    fs::remove_file(again).expect("files can be removed");
    workspace.in_prefix("conda-meta/attrs-1.0-0.json", "{\"sha256\": \"other\"}");
    assert_eq!(miss(), format!("{} changed", shown("conda-meta")));
    workspace.assert_hit(&caller());
    let fingerprint = "conda-meta/.pixi-environment-fingerprint";
    workspace.in_prefix(fingerprint, "fedcba9876543210");
    assert_eq!(miss(), format!("{} changed", shown(fingerprint)));
    fs::remove_file(workspace.request.prefix.join("conda-meta/six-1.0-0.json"))
        .expect("files can be removed");
    assert_eq!(miss(), format!("{} changed", shown("conda-meta")));
}

#[test]
fn edited_script_of_the_manifest_is_a_miss() {
    let workspace = stored();
    workspace.write("own.sh", "export OWN=2\n");
    let (miss, result) = workspace.miss(&caller());
    assert_eq!(miss, "`own.sh` changed");
    assert_eq!(get(&result, "OWN"), Some("2"));
    workspace.assert_hit(&caller());
}

#[test]
fn edited_added_or_removed_script_of_a_package_is_a_miss() {
    let workspace = stored();
    let result = assert_changed(&workspace, "etc/conda/activate.d/a.sh", "export A=other\n");
    assert_eq!(get(&result, "A"), Some("other"));
    workspace.script("b.sh", "export B=1\n");
    let (miss, result) = workspace.miss(&caller());
    assert_eq!(miss, format!("{} changed", shown("etc/conda/activate.d")));
    assert_eq!(get(&result, "B"), Some("1"));
    workspace.assert_hit(&caller());
    let script = workspace.request.prefix.join("etc/conda/activate.d/a.sh");
    fs::remove_file(script).expect("files can be removed");
    let (_, result) = workspace.miss(&caller());
    assert_eq!(get(&result, "A"), None);
    workspace.assert_hit(&caller());
}

#[test]
fn edited_added_or_removed_variables_of_packages_are_a_miss() {
    let workspace = stored();
    let file = "etc/conda/env_vars.d/a.json";
    let result = assert_changed(&workspace, file, r#"{"FROM_PACKAGE": "2"}"#);
    assert_eq!(get(&result, "FROM_PACKAGE"), Some("2"));
    workspace.in_prefix("etc/conda/env_vars.d/b.json", r#"{"FROM_PACKAGE": "3"}"#);
    let (miss, result) = workspace.miss(&caller());
    assert_eq!(miss, format!("{} changed", shown("etc/conda/env_vars.d")));
    assert_eq!(get(&result, "FROM_PACKAGE"), Some("3"));
    let dir = workspace.request.prefix.join("etc/conda/env_vars.d");
    fs::remove_dir_all(dir).expect("directories can be removed");
    let (_, result) = workspace.miss(&caller());
    assert_eq!(get(&result, "FROM_PACKAGE"), None);
    workspace.assert_hit(&caller());
    workspace.in_prefix(file, r#"{"FROM_PACKAGE": "4"}"#);
    assert_eq!(get(&workspace.miss(&caller()).1, "FROM_PACKAGE"), Some("4"));
}

#[test]
fn edited_added_or_removed_state_file_is_a_miss() {
    let workspace = stored();
    let file = "conda-meta/state";
    let result = assert_changed(&workspace, file, r#"{"env_vars": {"FROM_STATE": "2"}}"#);
    assert_eq!(get(&result, "FROM_STATE"), Some("2"));
    fs::remove_file(workspace.request.prefix.join(file)).expect("files can be removed");
    let (miss, result) = workspace.miss(&caller());
    assert_eq!(miss, format!("{} vanished", shown(file)));
    assert_eq!(get(&result, "FROM_STATE"), None);
    workspace.assert_hit(&caller());
    workspace.in_prefix(file, r#"{"env_vars": {"FROM_STATE": "3"}}"#);
    let (miss, result) = workspace.miss(&caller());
    assert_eq!(miss, format!("{} appeared", shown(file)));
    assert_eq!(get(&result, "FROM_STATE"), Some("3"));
}

#[test]
fn first_script_and_first_variables_of_a_prefix_without_any_are_a_miss() {
    let workspace = CondaWorkspace::new();
    let etc = workspace.request.prefix.join("etc");
    fs::remove_dir_all(&etc).expect("directories can be removed");
    workspace.run(&caller());
    workspace.assert_hit(&caller());
    workspace.script("a.sh", "export A=1\n");
    assert_eq!(get(&workspace.miss(&caller()).1, "A"), Some("1"));
    workspace.assert_hit(&caller());
}

#[test]
fn changed_value_or_order_of_the_manifests_variables_is_a_miss() {
    let mut workspace = stored();
    workspace.env(&[("FIRST", "2"), ("SECOND", "$FIRST")]);
    let (miss, result) = workspace.miss(&caller());
    assert_eq!(miss, "`pixi.toml` changed");
    assert_eq!(get(&result, "SECOND"), Some("2"));
    workspace.env(&[("SECOND", "$FIRST"), ("FIRST", "2")]);
    let (miss, result) = workspace.miss(&caller());
    assert_eq!(miss, "`pixi.toml` changed");
    assert_eq!(get(&result, "SECOND"), Some(""));
}

#[test]
fn a_variable_that_scripts_read_is_an_input_changed_appeared_or_vanished() {
    let workspace = stored();
    let mut reader = caller();
    for (value, expected) in [(Some("1"), "a of 1"), (Some("2"), "a of 2"), (Some(""), "a of ")] {
        match value {
            Some(value) => reader.insert("READ".into(), value.into()),
            None => reader.remove(OsStr::new("READ")),
        };
        let (miss, result) = workspace.miss(&reader);
        assert!(miss.starts_with("variable `READ` "), "{miss}");
        assert_eq!(get(&result, "A"), Some(expected));
        workspace.assert_hit(&reader);
    }
    assert_eq!(get(&workspace.assert_hit(&caller()), "A"), Some("a of nobody"));
}

#[test]
fn a_variable_that_already_has_its_value_is_set_for_later_callers_too() {
    let workspace = CondaWorkspace::new();
    workspace.script("a.sh", "export SET=1\n");
    let mut has_it = caller();
    has_it.insert("SET".into(), "1".into());
    workspace.run(&has_it);
    let (_, lacks_it) = workspace.run(&caller());
    assert!(lacks_it.is_some());
    assert_eq!(get(&workspace.assert_hit(&caller()), "SET"), Some("1"));
    assert_eq!(get(&workspace.assert_hit(&has_it), "SET"), Some("1"));
}

#[test]
fn a_variable_is_exported_only_for_a_caller_who_has_it_exported() {
    let workspace = CondaWorkspace::new();
    workspace.script("a.sh", "QUIET=1\n");
    assert_eq!(get(&workspace.miss(&caller()).1, "QUIET"), None);
    let mut has_it = caller();
    has_it.insert("QUIET".into(), "0".into());
    assert_eq!(get(&workspace.miss(&has_it).1, "QUIET"), Some("1"));
    assert_eq!(get(&workspace.assert_hit(&caller()), "QUIET"), None);
}

#[test]
fn moved_workspace_is_a_miss() {
    let mut workspace = stored();
    let moved = workspace.root.with_file_name("moved");
    fs::rename(&workspace.root, &moved).expect("directories can be renamed");
    let prefix = moved.join(".pixi/envs/default");
    workspace.root.clone_from(&moved);
    workspace.request.workspace_root.clone_from(&moved);
    workspace.request.prefix.clone_from(&prefix);
    let (miss, result) = workspace.miss(&caller());
    assert_eq!(miss, "no activation of this environment is stored");
    assert_eq!(get(&result, "CONDA_PREFIX"), prefix.to_str());
}

#[test]
fn other_environment_and_clean_env_are_kept_apart() {
    let mut workspace = stored();
    workspace.request.clean_env = true;
    let clean = workspace.miss(&caller()).1;
    assert_eq!(get(&clean, "A"), Some("a of nobody"));
    assert_eq!(workspace.assert_hit(&caller()), clean);
    workspace.request.clean_env = false;
    let path = workspace.assert_hit(&caller());
    assert!(get(&path, "PATH").is_some_and(|path| path.ends_with(":/usr/bin:/bin")));
    workspace.request.environment = "test".to_owned();
    assert_eq!(workspace.miss(&caller()).0, "no activation of this environment is stored");
}

// What must stay a hit.

#[test]
fn touched_files_stay_a_hit() {
    let workspace = stored();
    set_times(&workspace.root, SystemTime::UNIX_EPOCH + Duration::from_secs(1_100_000_000));
    workspace.assert_hit(&caller());
    let hit = workspace.lookup(&caller()).expect("nothing changed");
    assert!(!hit.renewed, "the new witnesses were kept");
}

#[test]
fn marks_that_pixi_and_conda_leave_stay_a_hit() {
    let workspace = stored();
    for name in ["pixi", "history", ".pixi-lock"] {
        let file = workspace.request.prefix.join("conda-meta").join(name);
        let _ = fs::remove_file(file);
        workspace.in_prefix(&format!("conda-meta/{name}"), format!("{{\"by\": \"{name}\"}}"));
        workspace.assert_hit(&caller());
    }
    // Written anew with what was in it.
    workspace.in_prefix("conda-meta/.pixi-environment-fingerprint", "0123456789abcdef");
    workspace.assert_hit(&caller());
}

#[test]
fn callers_and_nested_shells_take_turns_without_a_miss() {
    let workspace = stored();
    let mut callers = vec![caller()];
    for level in 1..4 {
        let outer = callers.last().expect("there is one");
        let inner = workspace.run(outer).0.environment_for(outer);
        assert_eq!(get(&inner, "CONDA_SHLVL"), Some(level.to_string().as_str()));
        callers.push(inner);
    }
    for caller in &callers {
        workspace.run(caller);
    }
    for _ in 0..3 {
        for caller in &callers {
            workspace.assert_hit(caller);
        }
    }
}

#[test]
fn the_cache_may_be_unwritable_or_damaged() {
    let workspace = stored();
    let records = workspace.store.root().join("activation-v3");
    let files = files_below(&records);
    let [file] = files.as_slice() else { panic!("one record is expected: {files:?}") };
    let good = fs::read(file).expect("files can be read");
    for at in (0..good.len()).step_by(97) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        fs::write(file, bytes).expect("files can be written");
        let (miss, _) = workspace.miss(&caller());
        assert_eq!(miss, "no activation of this environment is stored");
        workspace.assert_hit(&caller());
    }
    let dir = file.parent().expect("a file is in a directory");
    let mode = |mode| {
        fs::set_permissions(dir, fs::Permissions::from_mode(mode)).expect("the owner may");
    };
    mode(0o500);
    workspace.assert_hit(&caller());
    let other = env(&[("PATH", "/bin"), ("READ", "1")]);
    let computed = workspace.compute(&other).expect("the workspace is right");
    let saved = activation::save(&workspace.store, &computed.activation);
    mode(0o700);
    // As root, permissions keep nobody from writing.
    if rustix::process::geteuid().is_root() {
        saved.expect("root may write everywhere");
    } else {
        saved.expect_err("the directory is read-only");
    }
    assert_eq!(get(&computed.activation.environment_for(&other), "A"), Some("a of 1"));
}

fn files_below(dir: &std::path::Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return vec![dir.to_owned()] };
    entries.flatten().flat_map(|entry| files_below(&entry.path())).collect()
}
