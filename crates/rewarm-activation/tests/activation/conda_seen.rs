//! What scripts really read decides: files they source, programs, variables, and nothing else.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rewarm_activation::Variables;

use crate::conda_support::CondaWorkspace;
use crate::support::{env, get};

fn caller() -> Variables {
    env(&[("PATH", "/usr/bin:/bin"), ("HOME", "/home/me")])
}

fn with(pairs: &[(&str, &str)]) -> Variables {
    let mut caller = caller();
    caller.extend(env(pairs));
    caller
}

/// Makes the activation, and proves that it is kept.
#[track_caller]
fn store(workspace: &CondaWorkspace) {
    let computed = workspace.compute(&caller()).expect("the workspace is right");
    assert_eq!(computed.activation.unproven, [""; 0], "{:#?}", computed.activation.inputs());
    workspace.run(&caller());
    workspace.assert_hit(&caller());
}

/// Why an activation is not kept. It is computed each time.
#[track_caller]
fn unproven(workspace: &CondaWorkspace) -> String {
    let activation = workspace.compute(&caller()).expect("the workspace is right").activation;
    workspace.run(&caller());
    assert_eq!(workspace.miss(&caller()).0, "no activation of this environment is stored");
    activation.unproven.join(", ")
}

fn executable(workspace: &CondaWorkspace, path: &Path, text: &str) {
    workspace.write(path, text);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the owner may");
}

#[test]
fn another_path_and_unrelated_variables_stay_a_hit() {
    let workspace = CondaWorkspace::new();
    workspace.script("a.sh", "export A=1\n");
    store(&workspace);
    let other = env(&[("PATH", "/opt/x:/usr/bin"), ("HOME", "/home/me"), ("NEW", "1")]);
    let result = workspace.assert_hit(&other);
    let bin = workspace.request.prefix.join("bin");
    assert_eq!(get(&result, "PATH"), Some(format!("{}:/opt/x:/usr/bin", bin.display()).as_str()));
    assert_eq!((get(&result, "A"), get(&result, "NEW")), (Some("1"), Some("1")));
}

#[test]
fn text_that_scripts_put_around_path_fits_another_path() {
    let mut workspace = CondaWorkspace::new();
    workspace.script("a.sh", "export PATH=\"$CONDA_PREFIX/a:$PATH\"\nexport A=1\n");
    workspace.manifest_scripts(&["b.sh"]);
    workspace.write("b.sh", "PATH=$PATH:/opt/last\nexport MYPATH=\"/m:$MYPATH\"\n");
    workspace.env(&[("PATH", "/first:$PATH")]);
    store(&workspace);
    let other = with(&[("PATH", "/opt/x:/bin"), ("MYPATH", "")]);
    let expected = workspace.compute(&other).expect("it is right").activation;
    let expected = expected.environment_for(&other);
    let (_, result) = workspace.miss(&other);
    assert_eq!(result, expected);
    let more = with(&[("PATH", "/opt/y")]);
    let result = workspace.assert_hit(&more);
    let prefix = workspace.request.prefix.display();
    let path = format!("/first:{prefix}/a:{prefix}/bin:/opt/y:/opt/last");
    assert_eq!(get(&result, "PATH"), Some(path.as_str()));
    let fresh = workspace.compute(&more).expect("it is right").activation;
    assert_eq!(result, fresh.environment_for(&more));
}

#[test]
fn a_path_that_scripts_look_into_is_an_input() {
    let workspace = CondaWorkspace::new();
    workspace.script("a.sh", "case $PATH in */opt/x*) export HAS_X=1 ;; esac\n");
    store(&workspace);
    let other = with(&[("PATH", "/opt/x:/usr/bin")]);
    let (miss, result) = workspace.miss(&other);
    assert_eq!(miss, "variable `PATH` changed");
    assert_eq!(get(&result, "HAS_X"), Some("1"));
    workspace.assert_hit(&other);
    assert_eq!(get(&workspace.assert_hit(&caller()), "HAS_X"), None);
}

#[test]
fn a_file_that_a_script_sources_or_reads_is_an_input() {
    let workspace = CondaWorkspace::new();
    workspace.write("settings/deep.sh", "export DEEP=1\n");
    workspace.write("settings/value", "one\n");
    workspace.script("a.sh", "cd settings\n. ./more.sh\nread -r VALUE <value\nexport VALUE\n");
    workspace.write("settings/more.sh", "export MORE=1\n. ./deep.sh\n");
    store(&workspace);
    for (file, text, name, expected) in [
        ("settings/more.sh", "export MORE=2\n. ./deep.sh\n", "MORE", "2"),
        ("settings/deep.sh", "export DEEP=2\n", "DEEP", "2"),
        ("settings/value", "two\n", "VALUE", "two"),
    ] {
        workspace.write(file, text);
        let (miss, result) = workspace.miss(&caller());
        assert_eq!(miss, format!("`{file}` changed"));
        assert_eq!(get(&result, name), Some(expected));
        workspace.assert_hit(&caller());
    }
    fs::remove_file(workspace.root.join("settings/deep.sh")).expect("files can be removed");
    assert_eq!(workspace.miss(&caller()).0, "`settings/deep.sh` vanished");
}

#[test]
fn a_file_that_a_script_looks_for_is_an_input_but_not_its_content() {
    let workspace = CondaWorkspace::new();
    workspace.script("a.sh", "export FLAG=0\nif [ -e flag ]; then FLAG=1; fi\n");
    store(&workspace);
    workspace.write("flag", "");
    let (miss, result) = workspace.miss(&caller());
    assert_eq!(miss, "`flag` appeared");
    assert_eq!(get(&result, "FLAG"), Some("1"));
    workspace.write("flag", "other");
    assert_eq!(get(&workspace.assert_hit(&caller()), "FLAG"), Some("1"));
    fs::remove_file(workspace.root.join("flag")).expect("files can be removed");
    assert_eq!(get(&workspace.assert_hit(&caller()), "FLAG"), Some("0"));
}

#[test]
fn a_program_is_an_input_by_where_it_is_found() {
    let workspace = CondaWorkspace::new();
    workspace.script("a.sh", "BASE=$(basename /x/y)\nexport BASE\n");
    store(&workspace);
    let tools = workspace.root.join("tools");
    fs::create_dir(&tools).expect("directories can be made");
    let path = format!("{}:/usr/bin:/bin", tools.display());
    let other = with(&[("PATH", &path)]);
    assert_eq!(get(&workspace.assert_hit(&other), "BASE"), Some("y"));
    executable(&workspace, &tools.join("basename"), "#!/bin/sh\necho other\n");
    let (miss, result) = workspace.miss(&other);
    assert!(miss.starts_with("program `basename` was found at `/usr/bin/basename`"), "{miss}");
    assert_eq!(get(&result, "BASE"), Some("other"));
    // One in the prefix comes before any `PATH`.
    let own = workspace.request.prefix.join("bin/basename");
    executable(&workspace, &own, "#!/bin/sh\necho own\n");
    assert_eq!(get(&workspace.miss(&caller()).1, "BASE"), Some("own"));
    workspace.assert_hit(&caller());
    workspace.assert_hit(&with(&[("PATH", "/bin:/nowhere")]));
    executable(&workspace, &own, "#!/bin/sh\necho newer\n");
    assert_eq!(get(&workspace.miss(&caller()).1, "BASE"), Some("newer"));
}

#[test]
fn a_variable_is_an_input_only_if_scripts_may_read_it() {
    let workspace = CondaWorkspace::new();
    workspace.script("a.sh", "export A=\"${READ:-none}\"\n");
    store(&workspace);
    workspace.assert_hit(&with(&[("OTHER", "1")]));
    let reader = with(&[("READ", "1")]);
    let (miss, result) = workspace.miss(&reader);
    assert_eq!(miss, "variable `READ` appeared");
    assert_eq!(get(&result, "A"), Some("1"));
    let (miss, _) = workspace.miss(&with(&[("READ", "2")]));
    assert_eq!(miss, "variable `READ` changed");
}

#[test]
fn scripts_that_may_read_any_variable_have_all_as_inputs() {
    let workspace = CondaWorkspace::new();
    workspace.script("a.sh", "name=READ\nexport A=\"${!name}\"\n");
    store(&workspace);
    let reader = with(&[("READ", "1")]);
    let (miss, result) = workspace.miss(&reader);
    assert_eq!(miss, "variable `READ` appeared");
    assert_eq!(get(&result, "A"), Some("1"));
    // What a shell sets for itself differs each time, and scripts do not see it.
    workspace.assert_hit(&with(&[("READ", "1"), ("SHLVL", "3"), ("PWD", "/"), ("_", "x")]));
}

#[test]
fn what_cannot_be_proven_is_said_and_computed_each_time() {
    for (text, expected) in [
        ("export A=$RANDOM\n", "RANDOM"),
        ("A=$(date)\nexport A\n", "date"),
        ("export A=$$\n", "$$"),
        ("read -r A </dev/urandom; export A=1\n", "random"),
        ("echo x >>written; export A=1\n", "written"),
        ("export A=$(dirname \"$0\")\n", "temporary directory"),
    ] {
        let workspace = CondaWorkspace::new();
        workspace.script("a.sh", text);
        let reasons = unproven(&workspace);
        assert!(reasons.contains(expected), "{text}: {reasons}");
    }
}

#[test]
fn what_is_declared_pure_is_kept() {
    let mut workspace = CondaWorkspace::new();
    workspace.request.config.pure = true;
    workspace.request.config.watch_env = vec!["WATCHED".to_owned()];
    workspace.script("a.sh", "A=$(date +%Y%N)\nexport A\n");
    store(&workspace);
    let first = workspace.assert_hit(&caller());
    assert_eq!(
        workspace.assert_hit(&with(&[("OTHER", "1")])).get(OsStr::new("A")),
        first.get(OsStr::new("A"))
    );
    assert_eq!(workspace.miss(&with(&[("WATCHED", "1")])).0, "variable `WATCHED` appeared");
}

#[test]
fn what_is_declared_volatile_is_computed_each_time() {
    let mut workspace = CondaWorkspace::new();
    workspace.request.config.volatile = true;
    workspace.script("a.sh", "export A=1\n");
    assert_eq!(unproven(&workspace), "");
}

#[test]
fn watched_files_are_inputs() {
    let mut workspace = CondaWorkspace::new();
    workspace.request.config.watch = vec!["data".into()];
    workspace.script("a.sh", "export A=1\n");
    store(&workspace);
    workspace.write("data", "1");
    assert_eq!(workspace.miss(&caller()).0, "`data` appeared");
}

#[test]
fn a_run_that_cannot_be_watched_is_used_but_not_kept() {
    let mut workspace = CondaWorkspace::new();
    workspace.is_watched = false;
    workspace.script("a.sh", "export A=1\n");
    assert_eq!(unproven(&workspace), "what scripts do cannot be watched here");
    assert_eq!(get(&workspace.miss(&caller()).1, "A"), Some("1"));
    workspace.request.config.pure = true;
    store(&workspace);
    assert_eq!(workspace.miss(&with(&[("A", "2")])).0, "variable `A` appeared");
}

#[test]
fn a_lasting_hit_looks_at_few_files() {
    let workspace = CondaWorkspace::new();
    for index in 0..10 {
        workspace.script(&format!("{index}.sh"), format!("export V{index}={index}\n"));
    }
    store(&workspace);
    let activation = workspace.lookup(&caller()).expect("it is stored").activation;
    let files: Vec<String> = activation
        .inputs()
        .iter()
        .filter(|input| !matches!(input, rewarm_activation::Input::Variable { .. }))
        .map(|input| format!("{input:?}").chars().take(120).collect())
        .collect();
    // Ten scripts, bash, manifest, lock file, marks of the installation, and where they lie.
    assert!(files.len() <= 30, "{files:#?}");
}
