//! The computed activation against what a real shell makes of `bin/activate`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::Command;

use rewarm_activation::{
    self as activation, Activation, ActivationRequest, Observed, Shell, Variables,
};

use crate::support::{env, now};

/// The environment after `script` ran in bash, started with exactly the variables of `caller`.
fn bash(script: &str, caller: &Variables) -> Variables {
    let output = Command::new("/bin/bash")
        .args(["--norc", "-c", &format!("{script}\n/usr/bin/env -0")])
        .env_clear()
        .envs(caller)
        .output()
        .expect("bash can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = output.stdout.split(|byte| *byte == 0).filter(|line| !line.is_empty());
    let pairs = lines.map(|line| {
        let equals = line.iter().position(|byte| *byte == b'=').expect("env prints assignments");
        let (name, value) = line.split_at(equals);
        (OsString::from_vec(name.to_vec()), OsString::from_vec(value[1..].to_vec()))
    });
    activation::variables(pairs)
}

/// Drops what the shell keeps for itself, and the decoration that older versions of Python put
/// around the prompt.
fn comparable(mut variables: Variables) -> Variables {
    for name in ["PS1", "_", "SHLVL", "PWD", "OLDPWD"] {
        variables.remove(&OsString::from(name));
    }
    if let Some(prompt) = variables.get_mut(&OsString::from("VIRTUAL_ENV_PROMPT")) {
        let plain = prompt.to_string_lossy().trim_matches(['(', ')', ' ']).to_owned();
        *prompt = plain.into();
    }
    variables
}

fn real_venv(dir: &Path, arguments: &[&str]) {
    let status = Command::new("python3")
        .args(["-m", "venv", "--without-pip"])
        .args(arguments)
        .arg(dir)
        .status()
        .expect("python3 can be started");
    assert!(status.success());
}

#[test]
fn result_equals_that_of_the_activate_script() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let root = dir.path().canonicalize().expect("it exists");
    for (name, arguments) in [(".venv", &[][..]), ("named", &["--prompt", "my env"])] {
        let prefix = root.join(name);
        real_venv(&prefix, arguments);
        for caller in [
            env(&[("PATH", "/usr/bin:/bin")]),
            env(&[("PATH", "/a::/b:"), ("PYTHONHOME", "/p"), ("X", "line\nline='\"")]),
        ] {
            let observed = Observed::new(now());
            let request = ActivationRequest::new(root.clone(), prefix.clone(), observed);
            let activation = activation::activate(request, &caller).expect("a sound environment");
            let script = format!(". '{}/bin/activate'", prefix.display());
            let expected = comparable(bash(&script, &caller));
            assert_eq!(comparable(activation.environment_for(&caller)), expected);
        }
    }
}

/// Values that a shell could trip over.
const AWKWARD: &[&str] = &[
    "",
    "two\nlines\n",
    "'single' \"double\" `date` $(date) $HOME ${HOME} !! \\ \\n \\' % # ~ *",
    "a=b;c&d|e<f>(g) \r\t\u{1b}[0m",
    "grün \u{2018}typographic\u{2019} \u{1f40d}",
    "'''",
    "-n",
];

struct Fixture {
    _dir: tempfile::TempDir,
    activation: Activation,
    caller: Variables,
}

/// An activation that changes, adds and removes variables with awkward values.
fn awkward(with_bytes: bool) -> Fixture {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let root = dir.path().canonicalize().expect("it exists").join("it's \\ here");
    fs::create_dir_all(root.join(".venv/bin")).expect("directories can be made");
    let mut file = Vec::new();
    let mut caller = env(&[
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("LC_ALL", "C.UTF-8"),
        ("PYTHONHOME", "/it's\nhere"),
    ]);
    // Some shells make themselves at home.
    caller.insert("HOME".into(), dir.path().into());
    for (index, value) in AWKWARD.iter().enumerate() {
        caller.insert(format!("KEPT{index}").into(), value.into());
        caller.insert(format!("CHANGED{index}").into(), value.into());
        file.extend(format!("CHANGED{index}=changed\n").into_bytes());
    }
    if with_bytes {
        caller.insert("CHANGED_BYTES".into(), OsString::from_vec(b"\xff'\xc3".to_vec()));
        file.extend(b"CHANGED_BYTES=new\nADDED_BYTES='\xff\n\xfe'\n");
    }
    fs::write(root.join(".env"), file).expect("files can be written");
    let mut request =
        ActivationRequest::new(root.clone(), root.join(".venv"), Observed::new(now()));
    request.config.env_files = vec![".env".into()];
    for (index, value) in AWKWARD.iter().enumerate() {
        let value = value.replace('$', "\\$");
        request.config.env.push((format!("ADDED{index}"), value));
    }
    let activation = activation::activate(request, &caller).expect("the configuration is right");
    Fixture { _dir: dir, activation, caller }
}

/// Runs a script and splits what it prints into the environments between `end of dump` lines.
fn dumps(shell: &str, script: &[u8], caller: &Variables) -> Option<Vec<Variables>> {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let file = dir.path().join("script");
    fs::write(&file, script).expect("files can be written");
    let arguments: &[&str] = match shell {
        "bash" => &["--norc", "--noprofile"],
        "zsh" => &["--no-rcs"],
        "fish" => &["--no-config"],
        "xonsh" => &["--no-rc"],
        _ => &[],
    };
    let mut dirs: Vec<_> = std::env::split_paths(&path_of_the_test()).collect();
    if shell == "xonsh" {
        dirs.insert(0, rewarm_testkit::tools::xonsh().join("bin"));
    }
    let mut programs = dirs.iter().map(|dir| dir.join(shell));
    let Some(program) = programs.find(|program| program.is_file()) else {
        eprintln!("SKIPPED: {shell} is not installed");
        return None;
    };
    let mut command = Command::new(program);
    command.args(arguments).arg(&file).env_clear().envs(caller).current_dir(dir.path());
    let output = command.output().expect("the shell can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{shell}: {errors}");
    let mut dumps = vec![Variables::new()];
    for line in output.stdout.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
        if line == b"end of dump=" {
            dumps.push(Variables::new());
            continue;
        }
        let equals = line.iter().position(|byte| *byte == b'=').expect("env prints assignments");
        let (name, value) = (line[..equals].to_vec(), line[equals + 1..].to_vec());
        let variables = dumps.last_mut().expect("there is one from the start");
        variables.insert(OsString::from_vec(name), OsString::from_vec(value));
    }
    assert_eq!(dumps.pop(), Some(Variables::new()));
    Some(dumps)
}

#[expect(clippy::disallowed_methods, reason = "a test is a program of its own")]
fn path_of_the_test() -> OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

/// Only the variables that this test knows: shells add some of their own.
fn known(variables: &Variables, fixture: &Fixture) -> Variables {
    let activated = fixture.activation.environment_for(&fixture.caller);
    let is_known =
        |name: &OsString| fixture.caller.contains_key(name) || activated.contains_key(name);
    let known = variables.iter().filter(|(name, _)| is_known(name));
    known.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[track_caller]
fn assert_hook_works(shell: Shell, program: &str, with_bytes: bool) {
    let mut fixture = awkward(with_bytes);
    if shell == Shell::Xonsh {
        // Itself a Python program, which this would keep from starting.
        fixture.caller.remove(&OsString::from("PYTHONHOME"));
    }
    let hook = |caller: &Variables| {
        activation::hook(shell, &fixture.activation, caller).expect("the shell holds any byte")
    };
    let activated = fixture.activation.environment_for(&fixture.caller);
    let dump: &[u8] = match shell {
        Shell::Xonsh => b"$[/usr/bin/env -0]\n$[/usr/bin/printf 'end of dump=\\0']\n",
        _ => b"/usr/bin/env -0\n/usr/bin/printf 'end of dump=\\0'\n",
    };
    let deactivate: &[u8] = match shell {
        Shell::Xonsh => b"rewarm_deactivate()\n",
        _ => b"rewarm_deactivate\n",
    };
    // Activated, activated again on top, then everything undone.
    let script = [&hook(&fixture.caller), dump, &hook(&activated), dump, deactivate, dump].concat();
    let Some(dumps) = dumps(program, &script, &fixture.caller) else { return };
    assert_eq!(dumps.len(), 3);
    assert_eq!(known(&dumps[0], &fixture), activated, "{program}: activated");
    assert_eq!(known(&dumps[1], &fixture), activated, "{program}: activated twice");
    assert_eq!(known(&dumps[2], &fixture), fixture.caller, "{program}: deactivated");
}

#[test]
fn bash_hook_activates_and_restores_exactly() {
    assert_hook_works(Shell::Bash, "bash", true);
}

#[test]
fn posix_shell_takes_the_text_for_bash() {
    assert_hook_works(Shell::Bash, "dash", true);
}

#[test]
fn zsh_hook_activates_and_restores_exactly() {
    assert_hook_works(Shell::Zsh, "zsh", true);
}

#[test]
fn fish_hook_activates_and_restores_exactly() {
    assert_hook_works(Shell::Fish, "fish", true);
}

#[test]
fn xonsh_hook_activates_and_restores_exactly() {
    assert_hook_works(Shell::Xonsh, "xonsh", true);
}

#[test]
fn powershell_hook_activates_and_restores_exactly() {
    assert_hook_works(Shell::PowerShell, "pwsh", false);
}

#[test]
fn powershell_text_is_quoted() {
    let fixture = awkward(false);
    let text = activation::hook(Shell::PowerShell, &fixture.activation, &fixture.caller)
        .expect("all values are UTF-8");
    let text = String::from_utf8(text).expect("all values are UTF-8");
    let quoted = "${Env:ADDED4} = 'grün \u{2018}\u{2018}typographic\u{2019}\u{2019} \u{1f40d}'\n";
    assert!(text.contains(quoted), "{text}");
    assert!(text.contains("Remove-Item -LiteralPath Env:PYTHONHOME -ErrorAction SilentlyContinue"));
}

#[test]
fn json_says_what_is_set_and_what_is_unset() {
    let fixture = awkward(false);
    let text =
        activation::hook_json(&fixture.activation, &fixture.caller).expect("all values are UTF-8");
    let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(json["unset"], serde_json::json!(["PYTHONHOME"]));
    assert_eq!(json["activation_scripts"], serde_json::json!([]));
    assert_eq!(json["environment_variables"]["ADDED1"], "two\nlines\n");
    assert_eq!(json["environment_variables"].get("KEPT1"), None);
}

#[test]
fn forms_that_cannot_hold_a_value_say_so() {
    let fixture = awkward(true);
    let error = activation::hook_json(&fixture.activation, &fixture.caller)
        .expect_err("a value is not UTF-8");
    assert_eq!(
        error.to_string(),
        "the value of `ADDED_BYTES` is not UTF-8, which JSON cannot express"
    );
    assert!(activation::hook(Shell::PowerShell, &fixture.activation, &fixture.caller).is_err());
}
