//! The computed activation against what a real shell makes of `bin/activate`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::Command;

use rewarm_env::activation::{self, ActivationRequest, Observed, Variables};

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
