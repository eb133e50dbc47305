//! The command line, as it is typed. What it means is decided in `settings` and the commands.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use rewarm_store::Digest;

use crate::tasks::OutputMode;
use crate::ui::ColorChoice;

/// Makes the slow steps of a Python project happen once.
#[derive(Debug, Parser)]
#[command(name = "rewarm", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 the answer is no, 2 usage or configuration, \
    3 network or disk, 70 a bug. `run` and `with` pass on the command's own.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Work on the project in DIR instead of the one found from here upwards
    #[arg(short = 'C', long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) project: Option<PathBuf>,
    /// Never use the network; serve whatever is stored, however old
    #[arg(long, global = true)]
    pub(crate) offline: bool,
    /// Write results as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say what every step does
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// When to colour
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) color: ColorChoice,
    /// Draw no progress bars
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
    /// Keep the cache in DIR
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) cache_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the environment match the lock file
    Install(Install),
    /// Activate the environment, then become the command
    #[command(visible_alias = "r")]
    Run(Run),
    /// Look at the tasks of the project
    #[command(subcommand)]
    Task(Task),
    /// Start an interactive shell in the environment
    Shell(Shell),
    /// Print the text that activates the environment in a shell
    ShellHook(ShellHook),
    /// Type-check, replaying what was checked before
    Check(Check),
    /// Download through the cache
    Fetch(Fetch),
    /// Serve HTTP clients through the cache
    Proxy(Proxy),
    /// Run a command whose downloads go through the cache
    With(With),
    /// Have uv or pixi write the lock file, through the cache
    Lock(Lock),
    /// Look after the cache
    #[command(subcommand)]
    Cache(Cache),
    /// Remove the environment, or only its activation cache
    Clean(Clean),
    /// Show what rewarm sees here
    Info,
    /// Look for what is wrong here, and say what mends it
    Doctor,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print names for the completions of shells
    #[command(name = "__complete", hide = true)]
    Names {
        /// Which names
        #[arg(value_enum)]
        what: Names,
    },
    /// Print the manual page
    #[command(hide = true)]
    Man,
}

/// Which of the lock's packages are wanted.
#[derive(Debug, Default, Args)]
pub(crate) struct Selection {
    /// Also install this extra (repeatable)
    #[arg(long, value_name = "NAME")]
    pub(crate) extra: Vec<String>,
    /// Also install this dependency group (repeatable; default: those the lock names as default)
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Vec<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct Install {
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Remove packages that the lock file does not name
    #[arg(long)]
    pub(crate) exact: bool,
    /// Create the environment with this interpreter, given as a path, a name or a version
    #[arg(short, long, value_name = "PYTHON")]
    pub(crate) python: Option<String>,
    /// Install every package again
    #[arg(long)]
    pub(crate) reinstall: bool,
    /// Compare every file with what was installed, even if nothing seems to have changed
    #[arg(long)]
    pub(crate) revalidate: bool,
    /// The environment of a pixi workspace [default: default]
    #[arg(short, long, value_name = "ENV", conflicts_with = "all")]
    pub(crate) environment: Option<String>,
    /// Install all environments of a pixi workspace that this machine can have
    #[arg(long)]
    pub(crate) all: bool,
    /// Refuse a `pixi.lock` that does not fit the manifest
    #[arg(long)]
    pub(crate) locked: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Lock {
    /// Arguments for `uv lock` or `pixi lock`
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The environment of a pixi workspace [default: the one that the caller is in, else default]
    #[arg(short, long, value_name = "ENV")]
    pub(crate) environment: Option<String>,
    /// The conda environment in DIR, without regard to any workspace
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "environment")]
    pub(crate) prefix: Option<PathBuf>,
    /// Start from an almost empty environment instead of the caller's
    #[arg(long)]
    pub(crate) clean_env: bool,
    /// Activate anew instead of from the cache
    #[arg(long)]
    pub(crate) force_activate: bool,
    /// Compare the environment with the lock file even if nothing seems to have changed
    #[arg(long)]
    pub(crate) revalidate: bool,
    /// Say whether the activation came from the cache, and if not, why
    #[arg(long)]
    pub(crate) explain: bool,
    #[command(flatten)]
    pub(crate) tasks: TaskOptions,
    /// A task of the project, or a command with its arguments; none lists the tasks
    #[arg(trailing_var_arg = true, value_name = "TASK or CMD")]
    #[arg(value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<OsString>,
}

/// How a task with dependencies is run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options for tasks")]
pub(crate) struct TaskOptions {
    /// Run at most N tasks at once [default: the number of processors]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: Option<u16>,
    /// After a failure go on with what does not depend on it
    #[arg(short, long)]
    pub(crate) keep_going: bool,
    /// How to tell tasks apart that run at once [default: prefix]
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) output: Option<OutputMode>,
    /// Run the task without what it depends on
    #[arg(long)]
    pub(crate) skip_deps: bool,
    /// Show what would be run, and run nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Run tasks even if nothing that they name has changed
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// List the tasks with what they are for
    List,
    /// Say whether a task would run, and what has changed since it ran
    Why {
        /// The task and its arguments
        #[arg(required = true, trailing_var_arg = true, value_name = "TASK")]
        task: Vec<OsString>,
    },
    /// Show what a task depends on
    Graph(TaskGraph),
}

#[derive(Debug, Args)]
pub(crate) struct TaskGraph {
    /// Write it in the language of Graphviz
    #[arg(long)]
    pub(crate) dot: bool,
    /// The task and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "TASK"
    )]
    pub(crate) task: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Shell {
    /// The environment of a pixi workspace [default: the one that the caller is in, else default]
    #[arg(short, long, value_name = "ENV")]
    pub(crate) environment: Option<String>,
    /// The shell to start, a name or a path [default: $SHELL]
    #[arg(short, long, value_name = "SHELL", value_hint = ValueHint::CommandName)]
    pub(crate) shell: Option<OsString>,
}

/// What can be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Names {
    Environments,
    Tasks,
}

#[derive(Debug, Args)]
pub(crate) struct ShellHook {
    /// The environment of a pixi workspace [default: the one that the caller is in, else default]
    #[arg(short, long, value_name = "ENV")]
    pub(crate) environment: Option<String>,
    /// The conda environment in DIR, without regard to any workspace
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "environment")]
    pub(crate) prefix: Option<PathBuf>,
    /// The shell to write for, or `direnv` [default: that of $SHELL]
    #[arg(short, long, value_name = "SHELL")]
    pub(crate) shell: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Check {
    /// The environment of a pixi workspace [default: the one that the caller is in, else default]
    #[arg(short, long, value_name = "ENV")]
    pub(crate) environment: Option<String>,
    /// Files and directories to check [default: those of the tool's configuration, else all]
    #[arg(value_name = "PATHS", value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<OsString>,
    /// Check every project below the working directory
    #[arg(long, conflicts_with = "paths")]
    pub(crate) all: bool,
    /// Check only files that changed since this commit left the present one, and what depends on them
    #[arg(long, value_name = "REF")]
    pub(crate) changed_since: Option<String>,
    /// Check again whenever something changes, until Ctrl-C
    #[arg(long)]
    pub(crate) watch: bool,
    /// Check anew instead of replaying
    #[arg(long)]
    pub(crate) force: bool,
    /// Say whether the answer was replayed, and if not, which input differed
    #[arg(long)]
    pub(crate) explain: bool,
    /// Check with this: mypy, ty, pyright, pyrefly or zuban (repeatable; default: mypy)
    #[arg(short, long, value_name = "TOOL")]
    pub(crate) tool: Vec<String>,
    /// Say how much was checked and reused, and how long each part took
    #[arg(long)]
    pub(crate) stats: bool,
    /// Write the answer as text, json, github, sarif or junit, to standard output or to FILE
    /// (repeatable; default: text)
    #[arg(long, value_name = "FORMAT[=FILE]", value_delimiter = ',', conflicts_with = "json")]
    pub(crate) output: Vec<String>,
    /// Check in the environment as it is, without installing
    #[arg(long)]
    pub(crate) no_install: bool,
    /// Start mypy anew for each run instead of keeping one in memory
    #[arg(long)]
    pub(crate) no_worker: bool,
    /// Arguments for the tool
    #[arg(last = true, value_name = "ARGUMENTS")]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// What to download
    #[arg(required = true, value_name = "URL", value_hint = ValueHint::Url)]
    // Read later: what cannot be read may hold a password, and would be repeated here.
    pub(crate) urls: Vec<String>,
    /// Write to this file, or with several URLs into this directory; `-` is standard output
    #[arg(short, long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Option<PathBuf>,
    /// Accept only a body with this digest
    #[arg(long, value_name = "sha256:HEX")]
    pub(crate) hash: Option<Digest>,
    /// Say whether the body came from the cache, and if not, why
    #[arg(long)]
    pub(crate) explain: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Proxy {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8181")]
    pub(crate) listen: SocketAddr,
    /// Answer with what is at this URL: a path here is appended to its path
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    // Read later: what cannot be read may hold a password, and would be repeated here.
    pub(crate) upstream: Option<String>,
    /// Serve this package index at `/NAME/simple/` (repeatable)
    #[arg(long, value_name = "NAME=URL", conflicts_with = "upstream")]
    pub(crate) index: Vec<String>,
    /// Serve the conda channels below this URL at `/NAME/` (repeatable)
    #[arg(long, value_name = "NAME=URL", conflicts_with = "upstream")]
    pub(crate) conda: Vec<String>,
    /// Serve this npm registry at `/NAME/` (repeatable)
    #[arg(long, value_name = "NAME=URL", conflicts_with = "upstream")]
    pub(crate) npm: Vec<String>,
    /// Be a shared cache: keep nothing that is one user's alone
    #[arg(long)]
    pub(crate) shared: bool,
    /// Serve this many connections at once; more wait
    #[arg(long, value_name = "N", default_value_t = 512)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) max_connections: u16,
}

#[derive(Debug, Args)]
pub(crate) struct With {
    /// Change the index settings of the command instead of its proxy: what it locks names rewarm
    #[arg(long)]
    pub(crate) index: bool,
    /// The command and its arguments: pip, uv, npm, conda, curl, git…
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    #[arg(value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cache {
    /// Print where the cache is
    Dir,
    /// Count what is in it, by kind
    Info,
    /// List its entries
    List(List),
    /// Show all that is known about a URL, and what a request for it would be given now
    Show(Show),
    /// Remove the entries that match, with all that only they refer to
    Remove(Remove),
    /// Remove what is old, too much, left behind or of an unused format
    Prune(Prune),
    /// Remove everything
    Purge {
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Read everything and drop what is damaged
    Verify,
    /// Take over what other tools have downloaded; their directories are only read
    Import(Import),
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Whose cache
    #[arg(value_enum, value_name = "TOOL")]
    pub(crate) tool: Tool,
    /// Where it is [default: where the tool keeps it]
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// Show what would be taken, and take nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Look for what may have come from this URL (repeatable)
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) url: Vec<String>,
    /// Look for pages of this package index, besides PyPI's and the configured one (repeatable)
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) index_url: Vec<String>,
    /// Believe that this origin answers everybody alike, as PyPI does, so that what came from there
    /// is reused for requests without credentials (repeatable)
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) public: Vec<String>,
    /// Take the wheels that uv has unpacked on its word that they are of the digest it noted; their
    /// files are checked against `RECORD`
    #[arg(long)]
    pub(crate) trust_uv: bool,
}

/// A tool with a cache of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tool {
    Pip,
    Uv,
}

/// Which entries of the cache are meant.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// A whole URL, or a part of a URL, name or path; with `*` for any text, all of it
    #[arg(value_name = "PATTERN")]
    pub(crate) pattern: Option<String>,
    /// Only entries of this kind (`http`, `tree`, `activation`, `check` …)
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
    /// Only what was downloaded: short for `--kind http`
    #[arg(long, conflicts_with = "kind")]
    pub(crate) http: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// Largest first, oldest first, or by URL or name [default: by kind, then by name]
    #[arg(long, value_enum, value_name = "BY")]
    pub(crate) sort: Option<Sort>,
}

/// By what entries are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sort {
    Size,
    Age,
    Url,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The URL
    // Read later: what cannot be read may hold a password, and would be repeated here.
    #[arg(value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) url: String,
    /// Judge a request with this field, for example `Accept: text/html` (repeatable)
    #[arg(short = 'H', long, value_name = "NAME: VALUE")]
    pub(crate) header: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Keep at most this much, for example `5GiB`
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_size: Option<String>,
    /// Keep only what was used within this time, for example `30d`
    #[arg(long, value_name = "AGE")]
    pub(crate) max_age: Option<String>,
    /// Also remove now what other versions of rewarm keep here, in formats that this one does not
    /// read; otherwise that goes once it was not used for 30 days
    #[arg(long)]
    pub(crate) old_formats: bool,
    /// Do not ask before other versions' formats are removed
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Clean {
    /// Remove only the activation cache of this project
    #[arg(long)]
    pub(crate) activation: bool,
    /// The environment of a pixi workspace [default: default]
    #[arg(short, long, value_name = "ENV")]
    pub(crate) environment: Option<String>,
}
