//! `rewarm lock`: has the tool that owns the lock file write it, its downloads through the cache.
//!
//! Solving is not ours: `pixi lock` writes a `pixi.lock`, `uv lock` a `uv.lock`. The tool is run in the
//! project with the arguments after `--`, and its exit code is passed on. Lock files that no tool
//! owns (`pylock.toml`, `requirements.txt`) are an error that names a command which writes them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::args::Lock;
use crate::commands::with;
use crate::context::Context;
use crate::environment::Workspace;
use crate::error::{Failure, Outcome};

pub(crate) fn run(context: &Context<'_>, args: &Lock) -> Outcome {
    let workspace = Workspace::find(context)?;
    let owner = owner(&workspace)?;
    let tool = owner.tool;
    let program = context.settings.caller.program(tool.name()).ok_or_else(|| {
        let text = format!(
            "`{}` belongs to {}, which is not installed",
            owner.file.display(),
            tool.name()
        );
        Failure::usage(text).hint(tool.mend())
    })?;
    let mut command = Command::new(program);
    command.arg("lock").args(&args.arguments).current_dir(&workspace.root);
    if context.settings.offline {
        if tool == Tool::Pixi {
            return Err(
                Failure::usage("`pixi lock` needs the network").hint("leave out `--offline`")
            );
        }
        command.arg("--offline");
    }
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    context.ui.note(&format!("running `{} {}`", tool.name(), words.join(" ")));
    with::through_cache(context, command)
}

/// A program that writes lock files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Pixi,
    Uv,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Pixi => "pixi",
            Self::Uv => "uv",
        }
    }

    fn mend(self) -> &'static str {
        match self {
            Self::Pixi => {
                "install it (https://pixi.sh) and say `rewarm lock` again; rewarm reads what it writes"
            }
            Self::Uv => {
                "install it, for example with `pip install uv`, and say `rewarm lock` again"
            }
        }
    }
}

/// The tool that writes a project's lock file, and the file that says so.
#[derive(Debug)]
struct Owner {
    tool: Tool,
    file: PathBuf,
}

/// Whose lock file a project has, or would have.
fn owner(workspace: &Workspace) -> Result<Owner, Failure> {
    let root: &Path = &workspace.root;
    if let Some(manifest) = workspace.pixi_manifest() {
        return Ok(Owner { tool: Tool::Pixi, file: manifest.to_owned() });
    }
    let file = |name: &str| Some(root.join(name)).filter(|path| path.is_file());
    let unowned = [
        ("pylock.toml", "uv pip compile --format pylock.toml -o pylock.toml pyproject.toml"),
        ("requirements.txt", "uv pip compile -o requirements.txt requirements.in"),
    ];
    let unowned = unowned.into_iter().find_map(|(name, made)| Some((file(name)?, made)));
    match (file("uv.lock"), file("pyproject.toml"), unowned) {
        (Some(file), _, _) | (None, Some(file), None) => Ok(Owner { tool: Tool::Uv, file }),
        (None, _, Some((path, made))) => {
            let text = format!("`{}` belongs to no tool", path.display());
            let hint =
                format!("write it as it was written, for example by `rewarm with -- {made}`");
            Err(Failure::usage(text).hint(hint))
        }
        (None, None, None) => {
            let text = format!("there is nothing to lock in `{}`", root.display());
            Err(Failure::usage(text).hint("a project has a `pyproject.toml` or a `pixi.toml`"))
        }
    }
}
