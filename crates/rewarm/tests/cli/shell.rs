//! `rewarm shell`, direnv and completions, in the shells that are installed, on a terminal of `script`.

use std::io::Write;
use std::process::{Command, Stdio};

use rewarm_testkit::sandbox::Sandbox;

use crate::support::sandbox;

const PYPROJECT: &str = r#"
[project]
name = "app"
version = "1"

[tool.rewarm.activation.env]
GREETED = "reader"

[tool.rewarm.tasks]
hello = "echo hello"
"build:all" = "echo build"
_hidden = "echo hidden"
"#;

fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).status();
    if found.is_err() {
        eprintln!("SKIPPED: `{program}` is not installed");
    }
    found.is_ok()
}

/// A project with an environment, and a user whose start-up files set `PATH` and a prompt.
fn ready() -> Sandbox {
    let sandbox = sandbox();
    sandbox.write("pyproject.toml", PYPROJECT);
    sandbox.write(".venv/pyvenv.cfg", "home = /usr/bin\n");
    sandbox.write(".venv/bin/python", "");
    let home = sandbox.home();
    let posix = "export PATH=/usr/bin:/bin\nalias greet='echo alias works'\nPS1='users> '\n";
    std::fs::write(home.join(".bashrc"), posix).expect("the home can be written");
    std::fs::write(home.join(".zshrc"), posix).expect("the home can be written");
    std::fs::create_dir_all(home.join(".config/fish")).expect("the home can be written");
    // Without it, the first interactive fish reads all manual pages in the background.
    let known = home.join(".local/share/fish/generated_completions");
    std::fs::create_dir_all(known).expect("the home can be written");
    let fish = "set -gx PATH /usr/bin /bin\nalias greet='echo alias works'\nset -g fish_greeting\n\
                function fish_prompt; echo 'users> '; end\n";
    std::fs::write(home.join(".config/fish/config.fish"), fish).expect("the home can be written");
    std::fs::create_dir(home.join("tmp")).expect("the home can be written");
    sandbox
}

/// Types lines into a command on a terminal; what came onto it, and the exit code.
fn typed(sandbox: &Sandbox, shell: &str, line: &str, input: &str) -> (String, Option<i32>) {
    let mut command = sandbox.shell(&format!("exec script -qec '{line}' /dev/null"));
    command.env("TERM", "dumb").env("SHELL", shell).env("TMPDIR", sandbox.home().join("tmp"));
    command.env("REWARM", env!("CARGO_BIN_EXE_rewarm"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("script(1) is installed");
    let mut stdin = child.stdin.take().expect("it is a pipe");
    stdin.write_all(input.as_bytes()).expect("it listens");
    // The end of the input would hang up the terminal while the shell still starts.
    let output = child.wait_with_output().expect("it ends");
    drop(stdin);
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
}

#[test]
fn a_shell_keeps_its_start_up_files_and_is_activated_after_them() {
    for shell in ["bash", "zsh", "fish"] {
        if !is_installed(shell) {
            continue;
        }
        let sandbox = ready();
        let input = "greet\necho \"<$GREETED>\" $PATH\nexit 7\n";
        let (screen, code) = typed(&sandbox, shell, "$REWARM shell", input);
        let venv = sandbox.project().join(".venv/bin");
        assert!(screen.contains("alias works\r\n"), "{shell}: {screen}");
        assert!(screen.contains(&format!("<reader> {}", venv.display())), "{shell}: {screen}");
        assert!(screen.contains("(project) users> "), "{shell}: {screen}");
        assert_eq!(code, Some(7), "{shell}: {screen}");
        let left = std::fs::read_dir(sandbox.home().join("tmp")).expect("it is there");
        let names = left.map(|entry| entry.expect("it is readable").file_name());
        // fish keeps a directory of its own there.
        let left: Vec<_> =
            names.filter(|name| !name.to_string_lossy().starts_with("fish")).collect();
        assert!(left.is_empty(), "{shell} leaves something behind: {left:?}");
    }
}

#[test]
fn shells_nest_and_leaving_one_brings_back_the_other() {
    let sandbox = ready();
    let input =
        "$REWARM shell --shell bash\nVIRTUAL_ENV=inner\nexit\necho \"<$VIRTUAL_ENV>\"\nexit 3\n";
    let (screen, code) = typed(&sandbox, "bash", "$REWARM shell", input);
    let venv = sandbox.project().join(".venv");
    assert!(screen.contains(&format!("<{}>", venv.display())), "{screen}");
    assert_eq!(code, Some(3), "{screen}");
}

#[test]
fn the_prompt_is_left_alone_where_the_user_wants_it() {
    let sandbox = ready();
    let line = "VIRTUAL_ENV_DISABLE_PROMPT=1 $REWARM shell";
    let (screen, _) = typed(&sandbox, "bash", line, "exit\n");
    assert!(screen.contains("users> ") && !screen.contains("(project)"), "{screen}");
}

#[test]
fn another_shell_is_started_activated() {
    let sandbox = ready();
    let (screen, code) = typed(&sandbox, "sh", "$REWARM shell", "echo \"<$GREETED>\"\nexit 4\n");
    assert!(screen.contains("<reader>"), "{screen}");
    assert_eq!(code, Some(4));
}

#[test]
fn a_shell_that_is_not_there_is_an_error_with_a_hint() {
    let sandbox = ready();
    let output = sandbox.run(["shell", "--shell", "/nowhere/shell"]).expect_code(3);
    assert!(output.stderr.contains("`/nowhere/shell`"), "{output}");
    assert!(output.stderr.contains("hint: "), "{output}");
}

#[test]
fn direnv_is_told_which_files_to_watch() {
    let sandbox = ready();
    let output = sandbox.run(["shell-hook", "--shell", "direnv"]).expect_code(0);
    assert!(output.stdout.contains("export GREETED='reader'\n"), "{output}");
    assert!(output.stdout.contains("watch_file '[PROJECT]/pyproject.toml'\n"), "{output}");
    // Without direnv's functions it is a text for bash.
    let line = format!(
        "eval \"$({} shell-hook --shell direnv)\" && echo $GREETED",
        env!("CARGO_BIN_EXE_rewarm")
    );
    let output = sandbox.output(&mut sandbox.shell(&line)).expect_code(0);
    assert_eq!(output.stdout, "reader\n");
}

#[test]
fn names_are_printed_for_completion() {
    let sandbox = ready();
    assert_eq!(sandbox.run(["__complete", "tasks"]).expect_code(0).stdout, "build:all\nhello\n");
    sandbox.write(
        "pixi.toml",
        "[workspace]\nname = 'w'\nchannels = []\nplatforms = ['linux-64', 'linux-aarch64', 'osx-arm64', 'osx-64']\n\
         [tasks]\nserve = { cmd = 'x', description = 'Serves: all' }\n[environments]\ndocs = []\n",
    );
    let environments = sandbox.run(["__complete", "environments"]).expect_code(0).stdout;
    assert_eq!(environments, "default\ndocs\n");
    let tasks = sandbox.run(["__complete", "tasks"]).expect_code(0).stdout;
    assert!(tasks.contains("serve\tServes: all\n"), "{tasks}");
    sandbox.write("pixi.toml", "no manifest");
    sandbox.write("pyproject.toml", "none either");
    assert_eq!(sandbox.run(["__complete", "tasks"]).expect_code(0).stdout, "");
}

/// The binary is called `rewarm` on the `PATH` of a line.
fn with_path(line: &str) -> String {
    let own = std::path::Path::new(env!("CARGO_BIN_EXE_rewarm"));
    let dir = own.parent().expect("it lies in a directory");
    format!("PATH='{}':$PATH; export PATH\n{line}", dir.display())
}

#[test]
fn bash_completes_tasks() {
    let sandbox = ready();
    let text = r#"exec bash --norc -c '
eval "$(rewarm completions bash)"
try() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _rewarm_names rewarm "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" 2>/dev/null
    echo "${COMPREPLY[*]}"
}
try rewarm ru; try rewarm run ""; try rewarm run h; try rewarm run --explain h; try rewarm run --cl
try rewarm run hello ""; cd /; try rewarm -C "$0" r b
' "$PWD""#;
    let output = sandbox.output(&mut sandbox.shell(&with_path(text))).expect_code(0);
    let expected = "run\nbuild:all hello\nhello\nhello\n--clean-env\n\nbuild:all\n";
    assert_eq!(output.stdout, expected, "{output}");
}

#[test]
fn fish_completes_tasks() {
    if !is_installed("fish") {
        return;
    }
    let sandbox = ready();
    let text = r#"exec fish --no-config -c '
rewarm completions fish | source
for line in "rewarm run h" "rewarm run --explain h" "rewarm run hello h" "rewarm run b"
    complete -C $line
    echo .
end'"#;
    let output = sandbox.output(&mut sandbox.shell(&with_path(text))).expect_code(0);
    assert_eq!(output.stdout, "hello\n.\nhello\n.\n.\nbuild:all\n.\n", "{output}");
    sandbox.write(
        "pixi.toml",
        "[workspace]\nname = 'w'\nchannels = []\nplatforms = []\n[environments]\ndocs = []\n",
    );
    let text = "exec fish --no-config -c 'rewarm completions fish | source
        complete -C \"rewarm run -e d\"; complete -C \"rewarm install --environment do\"'";
    let output = sandbox.output(&mut sandbox.shell(&with_path(text))).expect_code(0);
    assert_eq!(
        output.stdout, "default\tenvironment\ndocs\tenvironment\ndocs\tenvironment\n",
        "{output}"
    );
}

#[test]
fn zsh_completes_tasks() {
    if !is_installed("zsh") {
        return;
    }
    let sandbox = ready();
    let start =
        "autoload -Uz compinit; compinit -u -D\neval \"$(rewarm completions zsh)\"\nPS1='> '\n";
    std::fs::write(sandbox.home().join(".zshrc"), start).expect("the home can be written");
    // The tab comes after the first prompt, as the whole line is read by the line editor.
    let line = with_path("zsh -i").replace('\'', "").replace('\n', "; ");
    let (screen, _) = typed(&sandbox, "zsh", &line, "rewarm run hel\t | cat\nexit\n");
    assert!(screen.contains("\r\nhello\r\n"), "{screen}");
}
