//! `rewarm completions`, and the names that its scripts ask for while the user types.
//!
//! The scripts are generated from the command line's definition; names of tasks and environments
//! are added to them by a few lines for each shell, which call `rewarm __complete`. That command
//! reads the manifest and prints nothing where something is wrong with it: nobody wants an error
//! between two key strokes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;
use rewarm_conda::manifest;

use crate::args::{Cli, Names};
use crate::commands::print;
use crate::config;
use crate::context::Context;
use crate::error::Outcome;
use crate::tasks;

/// The script for a shell.
pub(crate) fn script(shell: Shell) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rewarm", &mut text);
    let text = String::from_utf8(text).map_err(crate::error::Failure::world)?;
    let text = match shell {
        Shell::Bash => text + BASH,
        Shell::Zsh => zsh(&text),
        Shell::Fish => fish(&text),
        _ => text,
    };
    print(text.as_bytes())
}

/// One name in each line, with a description after a tab if there is one.
pub(crate) fn names(context: &Context<'_>, what: Names) -> Outcome {
    let start = &context.settings.start;
    let start = start.canonicalize().unwrap_or_else(|_| start.clone());
    let workspace = manifest::find(&start).and_then(|path| manifest::Workspace::read(&path).ok());
    let names = match (what, &workspace) {
        (Names::Environments, None) => BTreeMap::new(),
        (Names::Environments, Some(workspace)) => {
            workspace.environments().map(|name| (name.to_owned(), String::new())).collect()
        }
        (Names::Tasks, _) => tasks_of(start, workspace.as_ref()),
    };
    let lines = names.into_iter().map(|(name, about)| match about.lines().next() {
        None => format!("{name}\n"),
        Some(about) => format!("{name}\t{about}\n"),
    });
    print(lines.collect::<String>().as_bytes())
}

/// Tasks of the workspace and of rewarm's own configuration, but for those that begin with `_`.
fn tasks_of(start: PathBuf, workspace: Option<&manifest::Workspace>) -> BTreeMap<String, String> {
    let root = rewarm_env::project_root(&start).map_or(start.clone(), PathBuf::from);
    let config = config::of_project(&root).unwrap_or_default();
    let tasks = tasks::of_both(workspace, &config);
    let all = tasks.environments().flat_map(|(_, tasks)| tasks);
    let mut tasks: BTreeMap<String, String> = all
        .map(|(name, task)| {
            let about = task.definition.as_ref().ok().and_then(|it| it.description.clone());
            (name.clone(), about.unwrap_or_default())
        })
        .collect();
    tasks.retain(|name, _| !name.starts_with('_') && !name.contains(char::is_whitespace));
    tasks
}

/// Goes before the generated function, and comes back to it where no name is wanted.
const BASH: &str = r#"
_rewarm_names() {
    local index word command= first= dashes=
    local -a project=() names=()
    for ((index = 1; index < COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        if [[ $word == -- && -z $dashes ]]; then
            dashes=1
        elif [[ -z $dashes && $word == -* ]]; then
            case $word in
                -C | --project | -e | --environment | --color | --cache-dir)
                    [[ ${COMP_WORDS[index + 1]} == '=' ]] && ((index++))
                    ((index++))
                    case $word in -C | --project) project=(-C "${COMP_WORDS[index]}") ;; esac
                    ;;
            esac
        elif [[ -z $command ]]; then
            command=$word
        else
            first=$word
            break
        fi
    done
    local current=$2 what=
    case $3 in -e | --environment) what=environments ;; esac
    if [[ -z $what && $command == @(run|r) ]]; then
        [[ -n $first ]] && COMPREPLY=() && return 0
        [[ $current != -* && $3 != -* || $3 == -- || $3 == --@(clean-env|force-activate|revalidate|explain) ]] && what=tasks
    fi
    if [[ -z $what ]]; then
        _rewarm "$@"
        return
    fi
    COMPREPLY=()
    while IFS=$'\t' read -r word _; do
        [[ $word == "$current"* ]] && COMPREPLY+=("$word")
    done < <("$1" "${project[@]}" __complete "$what" 2>/dev/null)
    if [[ $what == tasks && ${#COMPREPLY[@]} -eq 0 && -n $current ]]; then
        COMPREPLY=($(compgen -c -- "$current"))
    fi
}
complete -F _rewarm_names -o bashdefault -o default rewarm
"#;

/// Comes after the generated lines; conditions are checked when the user asks.
const FISH: &str = r#"
function __fish_rewarm_names
    set -l project
    set -l words (commandline -opc)
    for index in (seq 2 (count $words))
        if contains -- $words[$index] -C --project; and set -q words[(math $index + 1)]
            set project -C $words[(math $index + 1)]
        end
    end
    command $words[1] $project __complete $argv[1] 2>/dev/null
end

function __fish_rewarm_environments
    printf '%s\tenvironment\n' (__fish_rewarm_names environments)
end

function __fish_rewarm_wants_task
    set -l words (commandline -opc)
    set -e words[1]
    argparse -s (__fish_rewarm_global_optspecs) -- $words 2>/dev/null
    or return
    contains -- "$argv[1]" run r
    or return
    set -e argv[1]
    test (count (string match -v -- '-*' $argv)) -eq 0
end

complete -c rewarm -n "__fish_rewarm_wants_task" -f -a "(__fish_rewarm_names tasks)"
"#;

/// The values of options are added to the generated lines.
fn fish(text: &str) -> String {
    let line = |line: &str| match line.contains(" -l environment ") {
        true => format!("{line} -f -a \"(__fish_rewarm_environments)\"\n"),
        false => format!("{line}\n"),
    };
    text.lines().map(line).collect::<String>() + FISH
}

/// Functions for the generated `_arguments` specifications.
const ZSH: &str = r#"
_rewarm_names() {
    local -a names project
    local dir=${opt_args[-C]:-${opt_args[--project]}}
    [[ -n $dir ]] && project=(-C ${(Q)dir})
    names=("${(@f)$(_call_program $1 rewarm $project __complete $1 2>/dev/null)}")
    names=("${(@)names//:/\\:}")
    names=("${(@)names/$'\t'/:}")
    _describe -t $1 $1 names
}
_rewarm_environments() { _rewarm_names environments }
_rewarm_tasks_or_commands() {
    (( CURRENT == 1 )) && _rewarm_names tasks && return
    _cmdambivalent
}
"#;

/// The names' functions stand before the last lines, which call or register the generated one.
fn zsh(text: &str) -> String {
    let text = text
        .replace(
            "none lists the tasks:_cmdambivalent'",
            "none lists the tasks:_rewarm_tasks_or_commands'",
        )
        .replace(":ENV:_default'", ":ENV:_rewarm_environments'");
    match text.rfind("\nif [ \"$funcstack[1]\"") {
        Some(end) => [&text[..end], ZSH, &text[end..]].concat(),
        None => text + ZSH,
    }
}
