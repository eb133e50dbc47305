//! When a stored activation must be made anew, and when it must not.

use std::fs;
use std::time::{Duration, SystemTime};

use rewarm_env::activation;

use crate::support::{Workspace, env, get, set_times};

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
fn touched_files_stay_a_hit_and_get_a_new_witness() {
    let workspace = Workspace::new();
    workspace.run(&env(&[]));
    set_times(&workspace.root, SystemTime::UNIX_EPOCH + Duration::from_secs(1_100_000_000));
    let hit = workspace.lookup(&env(&[])).expect("nothing changed");
    assert!(hit.renewed);
    activation::save(&workspace.store, &hit.activation).expect("the store is writable");
    workspace.assert_hit(&env(&[]));
}
