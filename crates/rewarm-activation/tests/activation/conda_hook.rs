//! The text that activates a conda prefix in real shells, and what it leaves behind.

use std::process::Command;

use rewarm_activation::{self as activation, Shell};

use crate::conda_support::CondaWorkspace;
use crate::support::env;

const POSIX: &str = ". ./hook; echo \"$SET,$GONE,$CONDA_SHLVL\"; rewarm_deactivate; \
                     echo \"$SET,$GONE,$CONDA_SHLVL\"; echo \"$PATH\"";

const XONSH: &str = "
execx(open('hook').read(), 'exec', __xonsh__.ctx, filename='hook')
show = lambda: print(*[${...}.get(name, '') for name in ('SET', 'GONE', 'CONDA_SHLVL')],
                     sep=',', flush=True)
show()
rewarm_deactivate()
show()
print(*$PATH, sep=':')
";

#[test]
fn leaving_a_prefix_sources_its_scripts_and_restores_what_was_there() {
    let xonsh = rewarm_testkit::tools::xonsh().join("bin/xonsh");
    let xonsh = xonsh.to_str().expect("the test's path is UTF-8");
    for (program, shell, extension) in [
        ("bash", Shell::Bash, "sh"),
        ("zsh", Shell::Zsh, "sh"),
        ("fish", Shell::Fish, "fish"),
        (xonsh, Shell::Xonsh, "xsh"),
    ] {
        if Command::new(program).arg("--version").output().is_err() {
            eprintln!("SKIPPED: {program} is not installed");
            continue;
        }
        let workspace = CondaWorkspace::new();
        workspace.script("a.sh", "export SET=1\nunset GONE\n");
        for name in ["1", "2"] {
            let script = format!("etc/conda/deactivate.d/{name}.{extension}");
            workspace.in_prefix(&script, format!("echo left {name} $SET\n"));
        }
        let home = workspace.temp();
        let home = home.to_str().expect("the test's path is UTF-8");
        let caller = env(&[("PATH", "/usr/bin:/bin"), ("HOME", home), ("GONE", "old")]);
        let activation = workspace.run(&caller).0;
        let text = activation::hook(shell, &activation, &caller).expect("all is text");
        workspace.write("hook", text);
        let script = if shell == Shell::Xonsh { XONSH } else { POSIX };
        let output = Command::new(program)
            .env_clear()
            .envs(&caller)
            .args(["-c", script])
            .current_dir(&workspace.root)
            .output()
            .expect("the shell runs");
        let printed = String::from_utf8_lossy(&output.stdout).replace(' ', ":");
        let expected = "1,,1\nleft:2:1\nleft:1:1\n,old,\n/usr/bin:/bin\n";
        assert_eq!(printed, expected, "{program}: {output:?}");
    }
}
