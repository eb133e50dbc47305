//! What the activation of a conda prefix is: the same as in a real bash, whatever scripts do.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;

use rewarm_activation::{Op, Variables};

use crate::conda_support::{CondaWorkspace, changed};
use crate::support::{env, get};

fn caller() -> Variables {
    env(&[("PATH", "/usr/bin:/bin"), ("HOME", "/home/me")])
}

fn after(workspace: &CondaWorkspace, caller: &Variables) -> Variables {
    workspace.compute(caller).expect("the workspace is right").activation.environment_for(caller)
}

#[test]
fn a_prefix_without_scripts_needs_no_shell() {
    let mut workspace = CondaWorkspace::new();
    workspace.env(&[("DATA", "$CONDA_PREFIX/data"), ("QUOTED", "a \"b\" 'c'\nd")]);
    workspace.request.metadata = vec![("PIXI_IN_SHELL".to_owned(), "1".into())];
    fs::remove_dir(workspace.temp()).expect("a shell would need it");
    let result = after(&workspace, &caller());
    let prefix = workspace.request.prefix.display();
    assert_eq!(get(&result, "PATH"), Some(format!("{prefix}/bin:/usr/bin:/bin").as_str()));
    assert_eq!(get(&result, "CONDA_PREFIX"), Some(prefix.to_string().as_str()));
    assert_eq!(get(&result, "CONDA_SHLVL"), Some("1"));
    assert_eq!(get(&result, "DATA"), Some(format!("{prefix}/data").as_str()));
    assert_eq!(get(&result, "QUOTED"), Some("a \"b\" 'c'\nd"));
    assert_eq!(get(&result, "PIXI_IN_SHELL"), Some("1"));
}

#[test]
fn steps_are_done_in_pixis_order() {
    let mut workspace = CondaWorkspace::new();
    workspace.in_prefix("etc/conda/env_vars.d/b.json", r#"{"X": "b", "B": "b$X"}"#);
    workspace.in_prefix("etc/conda/env_vars.d/a.json", r#"{"X": "a"}"#);
    workspace.in_prefix("conda-meta/state", r#"{"env_vars": {"x": "state"}}"#);
    workspace.request.metadata = vec![("META".to_owned(), "meta$X".into())];
    workspace.script("20.sh", "export X=\"$X 20\"\n");
    workspace.script("10.sh", "export X=\"$X 10 $META\"\n");
    workspace.script("30.bat", "echo no\n");
    workspace.manifest_scripts(&["last.sh"]);
    workspace.write("last.sh", "export X=\"$X last\"\n");
    workspace.request.env = vec![("Y".to_owned(), "$X end".to_owned())];
    let result = after(&workspace, &caller());
    assert_eq!(get(&result, "Y"), Some("state 10 meta$X 20 last end"));
    assert_eq!(get(&result, "B"), Some("bstate"));
}

#[test]
fn what_is_overwritten_is_kept_for_conda_deactivate() {
    let mut workspace = CondaWorkspace::new();
    workspace.env(&[("X", "new"), ("Y", "new")]);
    let caller = env(&[
        ("PATH", "/old/bin:/bin"),
        ("CONDA_SHLVL", "2"),
        ("CONDA_PREFIX", "/old"),
        ("X", "was"),
    ]);
    let result = after(&workspace, &caller);
    assert_eq!(get(&result, "CONDA_SHLVL"), Some("3"));
    assert_eq!(get(&result, "CONDA_ENV_SHLVL_3_CONDA_PREFIX"), Some("/old"));
    assert_eq!(get(&result, "CONDA_ENV_SHLVL_3_X"), Some("was"));
    assert_eq!(get(&result, "CONDA_ENV_SHLVL_3_Y"), None);
    let path = get(&result, "PATH").expect("it is set");
    assert!(path.ends_with("/default/bin:/old/bin:/bin"), "{path}");
}

#[test]
fn a_variable_that_scripts_unset_is_unset() {
    let workspace = CondaWorkspace::new();
    workspace.script("a.sh", "unset GONE\nexport EMPTY=\n");
    let mut caller = caller();
    caller.insert("GONE".into(), "1".into());
    let result = after(&workspace, &caller);
    assert_eq!(get(&result, "GONE"), None);
    assert_eq!(get(&result, "EMPTY"), Some(""));
}

#[test]
fn values_of_any_bytes_survive() {
    let workspace = CondaWorkspace::new();
    workspace.script("a.sh", b"export A=$'two\\nlines=\\'\"\\xff\\n\\n'\nexport B=\"$CALLER\"\n");
    let mut caller = caller();
    let odd = OsString::from_vec(b"\xfe\n'\"$(x)`=\\".to_vec());
    caller.insert("CALLER".into(), odd.clone());
    caller.insert("not a name".into(), "kept".into());
    let result = after(&workspace, &caller);
    let value = |name: &str| result.get(OsStr::new(name)).map(|value| value.as_bytes());
    assert_eq!(value("A"), Some(&b"two\nlines='\"\xff\n\n"[..]));
    assert_eq!(value("B"), Some(odd.as_bytes()));
    assert_eq!(value("not a name"), Some(&b"kept"[..]));
}

#[test]
fn what_scripts_print_or_change_for_themselves_does_not_matter() {
    let workspace = CondaWorkspace::new();
    workspace.script(
        "a.sh",
        "printf 'X=1\\0'; head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2\n\
         cd /; umask 777; set -C; exec >/dev/null 2>&1; trap 'echo bye' EXIT\n\
         export A=1\n",
    );
    workspace.script("b.sh", "false\n");
    workspace.script("c.sh", "unset PATH HOME\nexport B=2\nset -u\n");
    let result = after(&workspace, &caller());
    let expected = env(&[("A", "1"), ("B", "2")]);
    let mut own = changed(&caller(), result.clone());
    own.remove(OsStr::new("PATH"));
    assert_eq!(own, expected);
    assert_eq!(get(&result, "PATH"), None);
    assert_eq!(get(&result, "HOME"), None);
    let computed = workspace.compute(&caller()).expect("the workspace is right");
    let script = workspace.request.prefix.join("etc/conda/activate.d/b.sh");
    let text = format!("activation script `{}` ended with a status other than 0", script.display());
    assert_eq!(computed.warnings, [text]);
}

#[test]
fn ten_thousand_variables_survive() {
    let workspace = CondaWorkspace::new();
    workspace.script("a.sh", "for ((i = 0; i < 10000; i++)); do export \"V_$i=$i\"; done\n");
    let own = workspace.own(&caller());
    assert_eq!(own.len(), 10_001);
    assert_eq!(get(&own, "V_9999"), Some("9999"));
}

#[test]
fn the_shells_own_variables_stay_the_callers() {
    let workspace = CondaWorkspace::new();
    workspace.script("a.sh", "cd /\nexport WHERE=$OLDPWD LEVEL=$SHLVL\n");
    let mut caller = caller();
    for (name, value) in [("PWD", "/somewhere"), ("SHLVL", "7"), ("_", "x"), ("OLDPWD", "/old")] {
        caller.insert(name.into(), value.into());
    }
    let result = after(&workspace, &caller);
    for name in ["PWD", "SHLVL", "_", "OLDPWD"] {
        assert_eq!(result.get(OsStr::new(name)), caller.get(OsStr::new(name)), "{name}");
    }
    // Scripts see a shell of its own in the root of the workspace, from wherever they are run.
    assert_eq!(get(&result, "WHERE"), workspace.root.to_str());
    assert_eq!(get(&result, "LEVEL"), Some("1"));
}

#[test]
fn what_configures_the_callers_bash_is_kept_from_scripts_and_for_the_caller() {
    let workspace = CondaWorkspace::new();
    workspace.script("a.sh", "export A=1\ntype hello >/dev/null 2>&1 && export B=1\n:\n");
    workspace.write("rc.sh", "export RC=1; exit 3\n");
    let mut caller = caller();
    let rc = workspace.root.join("rc.sh").into_os_string();
    for (name, value) in [
        ("BASH_ENV", rc.as_os_str()),
        ("SHELLOPTS", "errexit:nounset:noexec".as_ref()),
        ("BASH_FUNC_hello%%", "() { echo hello; }".as_ref()),
        ("BASH_FUNC_export%%", "() { :; }".as_ref()),
        ("POSIXLY_CORRECT", "1".as_ref()),
    ] {
        caller.insert(name.into(), value.to_owned());
    }
    let result = after(&workspace, &caller);
    let mut own = changed(&caller, result.clone());
    own.remove(OsStr::new("PATH"));
    assert_eq!(own, env(&[("A", "1")]));
    assert_eq!(result.get(OsStr::new("BASH_ENV")), Some(&rc));
    assert!(result.contains_key(OsStr::new("BASH_FUNC_hello%%")));
}

// What goes wrong.

#[test]
fn a_script_that_exits_is_named() {
    let workspace = CondaWorkspace::new();
    let script = workspace.request.prefix.join("etc/conda/activate.d/b.sh");
    let script = script.display();
    workspace.script("a.sh", "export A=1\n");
    workspace.script("b.sh", "echo oops >&2\nexit 0\n");
    assert_eq!(
        workspace.error(&caller()),
        format!(
            "activation script `{script}` ended the shell with exit status: 0; a script has to \
             `return` instead:\noops"
        )
    );
    workspace.script("b.sh", "set -e\nfalse\n");
    let text = workspace.error(&caller());
    assert!(text.starts_with(&format!("activation script `{script}` ended the shell with exit")));
    workspace.script("b.sh", "kill -9 $$\n");
    let text = workspace.error(&caller());
    assert!(text.contains("signal: 9"), "{text}");
}

#[test]
fn a_script_that_hangs_is_named() {
    let mut workspace = CondaWorkspace::new();
    workspace.time_limit = Duration::from_secs(1);
    workspace.script("a.sh", "while :; do :; done\n");
    let script = workspace.request.prefix.join("etc/conda/activate.d/a.sh");
    let expected = format!("activation script `{}` was still running after 1 s", script.display());
    assert_eq!(workspace.error(&caller()), expected);
}

#[test]
fn a_script_that_is_missing_is_passed_over_with_a_warning() {
    let mut workspace = CondaWorkspace::new();
    workspace.manifest_scripts(&["no.sh", "yes.sh"]);
    workspace.write("yes.sh", "export A=1\n");
    let computed = workspace.compute(&caller()).expect("the workspace is right");
    let path = workspace.root.join("no.sh");
    let text = format!("activation script `{}` does not exist and was passed over", path.display());
    assert_eq!(computed.warnings, [text]);
    assert_eq!(get(&computed.activation.environment_for(&caller()), "A"), Some("1"));
    workspace.run(&caller());
    workspace.write("no.sh", "export A=2\n");
    assert_eq!(workspace.miss(&caller()).0, "`no.sh` appeared");
}

#[test]
fn a_mistake_in_the_variables_of_packages_is_named() {
    let workspace = CondaWorkspace::new();
    let file = workspace.request.prefix.join("etc/conda/env_vars.d/a.json");
    let state = workspace.request.prefix.join("conda-meta/state");
    for (path, text, expected) in [
        (&file, "[1]", "expected an object at line 1"),
        (&file, "{", "EOF"),
        (&state, "{}", "missing field `env_vars`"),
        (&state, "{\"env_vars\": 1}", "expected an object"),
    ] {
        workspace.write(path, text);
        let message = workspace.error(&caller());
        assert!(
            message.starts_with(&format!("`{}` is not understood", path.display())),
            "{message}"
        );
        assert!(message.contains(expected), "{message}");
        workspace.write(path, "{\"env_vars\": {}}");
    }
    workspace.write(&file, r#"{"A": 1, "B": "ok", "C D": "x"}"#);
    let computed = workspace.compute(&caller()).expect("the workspace is right");
    assert_eq!(computed.warnings.len(), 2, "{:?}", computed.warnings);
    assert_eq!(get(&computed.activation.environment_for(&caller()), "B"), Some("ok"));
}

#[test]
fn a_value_that_only_a_shell_knows_is_given_to_one() {
    let mut workspace = CondaWorkspace::new();
    workspace.env(&[("A", "${HOME:-x}/a"), ("B", "$(echo $A)\"q\""), ("C", "plain \\")]);
    let result = after(&workspace, &caller());
    assert_eq!(get(&result, "A"), Some("/home/me/a"));
    assert_eq!(get(&result, "B"), Some("/home/me/a\"q\""));
    assert_eq!(get(&result, "C"), Some("plain \\"));
    workspace.env(&[("A", "${1?wrong}")]);
    let text = workspace.error(&caller());
    assert!(text.starts_with("variable `A` of the activation variables of the manifest"), "{text}");
}

#[test]
fn a_shell_that_cannot_be_started_is_named() {
    let workspace = CondaWorkspace::new();
    workspace.script("a.sh", ":\n");
    fs::remove_dir(workspace.temp()).expect("it is empty");
    fs::write(workspace.temp(), "").expect("files can be written");
    let error = workspace.compute(&caller()).map(|_| ()).expect_err("there is no place");
    assert_eq!(error.to_string(), "cannot run the activation scripts with `/bin/bash`");
}

#[test]
fn a_clean_environment_has_nothing_of_the_callers_but_eleven_names() {
    let mut workspace = CondaWorkspace::new();
    workspace.request.clean_env = true;
    workspace.script("a.sh", "export SEEN=\"$SECRET|$HOME|$PATH\"\n");
    let mut caller = caller();
    caller.insert("SECRET".into(), "1".into());
    let result = after(&workspace, &caller);
    let bin = workspace.request.prefix.join("bin");
    let bin = bin.display();
    assert_eq!(get(&result, "SEEN"), Some(format!("|/home/me|{bin}").as_str()));
    assert_eq!(get(&result, "PATH"), Some(bin.to_string().as_str()));
    assert_eq!(get(&result, "SECRET"), None);
}

#[test]
fn a_bare_prefix_is_called_as_conda_calls_it() {
    let name = |prefix: &Path| {
        let metadata = rewarm_activation::bare_metadata(prefix);
        assert_eq!(metadata[0].0, "CONDA_DEFAULT_ENV");
        metadata[0].1.clone()
    };
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    fs::create_dir(dir.path().join("condabin")).expect("directories can be made");
    assert_eq!(name(dir.path()), "base");
    assert_eq!(name(Path::new("/opt/conda/envs/data")), "data");
    assert_eq!(name(Path::new("/srv/env")), "/srv/env");
}

#[test]
fn a_prefix_whose_packages_say_nothing_fits_every_caller() {
    let workspace = CondaWorkspace::new();
    let activation = workspace.compute(&caller()).expect("the workspace is right").activation;
    let sets_path = |op: &Op| op.name() == "PATH" && matches!(op, Op::Set { .. });
    assert!(!activation.delta.ops().iter().any(sets_path));
    workspace.run(&caller());
    let other = env(&[("PATH", "/other"), ("CONDA_PREFIX", "/other")]);
    let result = workspace.assert_hit(&other);
    assert_eq!(result, after(&workspace, &other));
    let nested = result;
    assert_eq!(workspace.miss(&nested).0, "variable `CONDA_SHLVL` appeared");
    assert_eq!(get(&workspace.assert_hit(&nested), "CONDA_SHLVL"), Some("2"));
}
