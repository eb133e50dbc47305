//! The key of a whole run: everything that could change the answer, as named facets.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use globset::{Glob, GlobSet, GlobSetBuilder};
use rewarm_store::{Digest, Hasher, Witness};

use crate::environment::Facet;
use crate::key::Subject;
use crate::places::Place;
use crate::request::CheckError;
use crate::tools::named;
use crate::tools::walk::{self, Tree};
use crate::tools::{Checker, Program};
use crate::witness::{Table, content};

/// Bumped when equal inputs would get another answer from this version of rewarm.
const VERSION: &str = "check tool 1";

/// Files that count in every directory above the project.
const ABOVE: [&str; 11] = [
    ".gitignore",
    ".ignore",
    ".git/info/exclude",
    "ty.toml",
    "pyrefly.toml",
    ".pyrefly.toml",
    "pyproject.toml",
    "pyrightconfig.json",
    "mypy.ini",
    ".mypy.ini",
    "setup.cfg",
];

/// The user's and the system's files: the variable of the directory, the path below it.
const USER: [(&str, &str); 10] = [
    ("XDG_CONFIG_HOME", "ty/ty.toml"),
    ("XDG_CONFIG_HOME", "git/config"),
    ("XDG_CONFIG_HOME", "git/ignore"),
    ("XDG_CONFIG_HOME", "mypy/config"),
    ("HOME", ".config/ty/ty.toml"),
    ("HOME", ".config/git/config"),
    ("HOME", ".config/git/ignore"),
    ("HOME", ".config/mypy/config"),
    ("HOME", ".gitconfig"),
    ("HOME", ".mypy.ini"),
];
const SYSTEM: [&str; 3] = ["/etc/gitconfig", "/etc/xdg/ty/ty.toml", "/etc/_rjem_malloc.conf"];

/// Programs that a checker or its launcher looks for on `PATH`.
const PROGRAMS: [&str; 11] = [
    "python", "python3", "node", "nodejs", "npm", "conda", "mamba", "uv", "git", "pixi", "nodeenv",
];

/// Variables that the child gets and the key knows, by their beginnings and by name.
const PREFIXES: [&str; 24] = [
    "TY_", "PYREFLY", "ZUBAN", "PYRIGHT", "MYPY", "PYTHON", "RUST_", "RAYON_", "LC_", "CONDA",
    "_CONDA", "GIT_", "NODE", "NPM_", "npm_", "LD_", "DYLD_", "MALLOC", "_RJEM", "TERM", "FORCE_",
    "CLICOLOR", "XDG_", "UV_",
];
const NAMES: [&str; 15] = [
    "LANG",
    "LANGUAGE",
    "NO_COLOR",
    "COLORTERM",
    "COLUMNS",
    "LINES",
    "VIRTUAL_ENV",
    "HOME",
    "CI",
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "TEAMCITY_VERSION",
    "TZ",
    "VTE_VERSION",
    "SSL_CERT_FILE",
];
/// Variables that the child gets and that cannot change an answer.
const PASSED: [&str; 3] = ["TMPDIR", "TMP", "TEMP"];

/// Variables whose values are paths of inputs.
const PATHS: [&str; 6] = ["TY_", "PYREFLY", "ZUBAN", "PYRIGHT", "MYPYPATH", "PYTHONPATH"];

/// The variables of the child.
pub(crate) fn child_variables(
    variables: &[(OsString, OsString)],
    referred: &[String],
) -> Vec<(OsString, OsString)> {
    let wanted = |name: &OsStr| {
        let text = name.to_string_lossy();
        text == "PATH"
            || is_keyed(&text)
            || PASSED.contains(&&*text)
            || referred.iter().any(|name| *name == text)
    };
    variables.iter().filter(|(name, _)| wanted(name)).cloned().collect()
}

fn is_keyed(name: &str) -> bool {
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// What is asked of which checker.
pub(crate) struct Question<'a> {
    pub(crate) subject: &'a Subject<'a>,
    pub(crate) program: &'a Program,
    pub(crate) globs: Option<GlobSet>,
}

/// The state of all inputs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// All that is no file of a tree.
    facets: Vec<Facet>,
    /// The walked directories, by the names they go by.
    trees: Vec<(Place, PathBuf, Tree)>,
    /// Digests of the files of the trees, in their order.
    digests: Vec<Digest>,
    /// Variables that configuration refers to.
    pub(crate) referred: Vec<String>,
    /// Why the answer depends on more than this; `None` if it does not.
    pub(crate) open: Option<String>,
}

impl Snapshot {
    /// Looks at everything. Only what has no settled witness in `table` is read.
    pub(crate) fn take(question: &Question<'_>, table: &mut Table) -> Result<Self, CheckError> {
        let root = &question.subject.root;
        let read = |source| CheckError::Read { path: root.clone(), source };
        let project = Tree::of(root, question.globs.as_ref(), false).map_err(read)?;
        let nested = project.configurations().map(|path| root.join(path)).collect();
        let found = BTreeMap::from([(root.clone(), false)]);
        let mut gather = Gather { question, table, facets: Vec::new(), found, nested };
        let (referred, open) = gather.everything().map_err(read)?;
        let Gather { facets, found, .. } = gather;
        let mut trees = vec![(question.subject.places.name(root), root.clone(), project)];
        for (directory, bare) in outermost(found).into_iter().filter(|(path, _)| path != root) {
            let tree = Tree::of(&directory, question.globs.as_ref(), bare).map_err(read)?;
            trees.push((question.subject.places.name(&directory), directory, tree));
        }
        // The same order on every machine.
        trees.sort_by(|a, b| a.0.cmp(&b.0));
        let mut digests = Vec::new();
        for (_, directory, tree) in &trees {
            for (relative, witness) in &tree.files {
                let path = directory.join(OsStr::from_bytes(relative));
                digests.push(digest(question.subject, table, &path, *witness));
            }
        }
        Ok(Self { facets, trees, digests, referred, open })
    }

    /// The key under which the answer for these inputs is stored.
    pub(crate) fn key(&self) -> Digest {
        let mut hasher = Hasher::new(VERSION);
        for (name, digest) in &self.facets {
            hasher.field(name).field(digest.as_bytes());
        }
        for (place, _, tree) in &self.trees {
            hasher.field(place.as_bytes());
            hasher.list(tree.files.iter().map(|(path, _)| path));
            tree.hash_names(&mut hasher);
        }
        for digest in &self.digests {
            hasher.update(digest.as_bytes());
        }
        hasher.finish()
    }

    /// Modules below the project, without those of its environment.
    pub(crate) fn sources(&self, subject: &Subject<'_>) -> usize {
        let environment = subject.interpreter.prefix.strip_prefix(&subject.root).ok();
        let own = |path: &[u8]| {
            let path = Path::new(OsStr::from_bytes(path));
            environment.is_none_or(|environment| !path.starts_with(environment))
        };
        let trees = self.trees.iter().filter(|(_, path, _)| *path == subject.root);
        trees.map(|(_, _, tree)| tree.sources(own)).sum()
    }

    /// Of all files that were walked past.
    pub(crate) fn witnesses(&self) -> impl Iterator<Item = &Witness> {
        self.trees.iter().flat_map(|(_, _, tree)| tree.files.iter().map(|(_, witness)| witness))
    }

    /// All facets, for comparing runs.
    pub(crate) fn all_facets(&self) -> Vec<Facet> {
        let mut all = self.facets.clone();
        let mut digests = self.digests.iter();
        let present = Digest::of("present");
        for (place, directory, tree) in &self.trees {
            let shown = |path: &[u8]| {
                let text = String::from_utf8_lossy(path);
                match place.display() {
                    place if place.is_empty() => text.into_owned(),
                    place => format!("{}/{text}", place.trim_end_matches('/')),
                }
            };
            for ((path, _), digest) in tree.files.iter().zip(&mut digests) {
                all.push((format!("file `{}`", shown(path)), *digest));
            }
            // Names of an environment would double the size of a trace.
            if place.display().is_empty() {
                let names = tree.names.iter();
                all.extend(names.map(|path| (format!("name `{}`", shown(path)), present)));
            } else {
                let mut hasher = Hasher::new("names");
                tree.hash_names(&mut hasher);
                all.push((format!("names in `{}`", directory.display()), hasher.finish()));
            }
        }
        all
    }
}

/// Directories none of which lies below another one.
fn outermost(found: BTreeMap<PathBuf, bool>) -> Vec<(PathBuf, bool)> {
    let mut kept: Vec<(PathBuf, bool)> = Vec::new();
    for (directory, bare) in found {
        let covered = |(root, bare): &(PathBuf, bool)| {
            let is_left_out =
                |below: &Path| below.iter().any(|part| walk::is_left_out(part.as_bytes()));
            !bare && directory.strip_prefix(root).is_ok_and(|below| !is_left_out(below))
        };
        if !kept.iter().any(covered) {
            kept.push((directory, bare));
        }
    }
    kept
}

/// The digest of a file's content, as far as it is the same on every machine.
fn digest(subject: &Subject<'_>, table: &mut Table, path: &Path, witness: Witness) -> Digest {
    const NEUTRAL: [&str; 3] = ["pyvenv.cfg", "direct_url.json", "__editable__"];
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let neutral = name.ends_with(".pth") || NEUTRAL.iter().any(|start| name.starts_with(start));
    let place = subject.places.name(path);
    let found = if neutral {
        let mut derived = path.as_os_str().to_owned();
        derived.push("#");
        table.digest(subject.places.name(Path::new(&derived)), witness, || {
            Ok(Digest::of(subject.places.neutral(&std::fs::read(path)?)))
        })
    } else {
        table.file(place, witness, path)
    };
    // A file that cannot be read is the checker's to report.
    found.unwrap_or_else(|_| Digest::of("unreadable"))
}

struct Gather<'a, 'b> {
    question: &'a Question<'a>,
    table: &'b mut Table,
    facets: Vec<Facet>,
    /// Directories to walk, and whether each is a standard library.
    found: BTreeMap<PathBuf, bool>,
    /// Configuration files of the project.
    nested: Vec<PathBuf>,
}

impl Gather<'_, '_> {
    /// Collects all facets and directories. Gives the variables that configuration refers to, and
    /// why the answer depends on more than what was collected.
    fn everything(&mut self) -> io::Result<(Vec<String>, Option<String>)> {
        let subject = self.question.subject;
        let mut open = self.question.program.checker.effect(&subject.request.arguments);
        self.facets.push(("checker".to_owned(), Digest::of(self.question.program.checker.name())));
        self.facets.push(("interpreter".to_owned(), Digest::of(&subject.interpreter.identity)));
        self.facets.push(("arguments".to_owned(), self.arguments()));
        let cwd = subject.places.name(&subject.cwd);
        self.facets.push(("working directory".to_owned(), Digest::of(cwd.as_bytes())));
        self.program()?;
        self.environment()?;
        let mut named = self.arguments_named();
        let (referred, in_text) = self.configuration()?;
        named.extend(in_text);
        self.variables(&referred, &mut named);
        for path in named {
            if let Some(reason) = self.named(&path)? {
                open = open.or(Some(reason));
            }
        }
        open = open.or_else(|| self.decided_above());
        Ok((referred, open))
    }

    fn arguments(&self) -> Digest {
        let subject = self.question.subject;
        let mut hasher = Hasher::new("arguments");
        let arguments = subject.request.arguments.iter();
        hasher.list(arguments.map(|argument| subject.places.neutral(argument.as_bytes())));
        hasher.finish()
    }

    fn arguments_named(&self) -> Vec<PathBuf> {
        let subject = self.question.subject;
        let arguments = subject.request.arguments.iter();
        arguments.flat_map(|argument| named::of_argument(argument, &subject.cwd)).collect()
    }

    /// The checker's own files.
    fn program(&mut self) -> io::Result<()> {
        let program = self.question.program;
        self.executable("program", &program.executable)?;
        if let Some(home) = &program.home {
            self.found.insert(home.join("lib"), false);
        }
        if program.checker == Checker::Pyright {
            if let Some(node) = self.on_path("node") {
                self.executable("node", &node)?;
            }
            self.scripts()?;
        }
        Ok(())
    }

    /// pyright's own scripts, which are no Python.
    fn scripts(&mut self) -> io::Result<()> {
        let program = self.question.program;
        let libraries = match &program.home {
            Some(home) => {
                let lib = home.join("lib");
                versions(&lib).iter().map(|name| lib.join(name).join("site-packages")).collect()
            }
            None => self.question.subject.interpreter.sites.clone(),
        };
        let any = GlobSetBuilder::new()
            .add(Glob::new("**/*.js").expect("it is a valid glob"))
            .build()
            .expect("one glob is a valid set");
        for library in libraries {
            let directory = library.join("pyright/dist");
            for (path, _) in Tree::of(&directory, Some(&any), true)?.files {
                let path = directory.join(OsStr::from_bytes(&path));
                if path.extension().is_some_and(|end| end == "js") {
                    let label =
                        format!("script `{}`", self.question.subject.places.name(&path).display());
                    self.file(&label, &path)?;
                }
            }
        }
        Ok(())
    }

    /// A program's content; a script's without the directory of its interpreter.
    fn executable(&mut self, label: &str, path: &Path) -> io::Result<()> {
        const SCRIPT: u64 = 16 << 10;
        let places = &self.question.subject.places;
        let path = std::fs::canonicalize(path)?;
        let Some(witness) = Witness::of(&path)? else { return Ok(()) };
        let found = self.table.digest(places.name(&path), witness, || match witness.size {
            0..SCRIPT => Ok(Digest::of(places.neutral(&std::fs::read(&path)?))),
            _ => content(&path),
        });
        self.facets.push((label.to_owned(), found?));
        Ok(())
    }

    /// The first program of a name on `PATH`.
    fn on_path(&self, name: &str) -> Option<PathBuf> {
        let path = self.value("PATH")?;
        std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file())
    }

    /// Directories of installed packages and of the standard library, and how the environment is
    /// laid out.
    fn environment(&mut self) -> io::Result<()> {
        let subject = self.question.subject;
        let interpreter = &subject.interpreter;
        for site in &interpreter.sites {
            self.found.insert(site.clone(), false);
        }
        let library = match self.question.program.checker {
            Checker::Ty => None,
            Checker::Zuban => Some(Path::new("/usr")),
            Checker::Pyrefly | Checker::Pyright => Some(interpreter.base.as_path()),
        };
        for lib in ["lib", "lib64"] {
            for base in library.into_iter().filter(|base| *base != interpreter.prefix) {
                for name in versions(&base.join(lib)) {
                    self.found.insert(base.join(lib).join(name), true);
                }
            }
            for name in versions(&interpreter.prefix.join(lib)) {
                self.found.insert(interpreter.prefix.join(lib).join(name), false);
            }
        }
        self.found.insert(interpreter.prefix.join("src"), false);
        let mut hasher = Hasher::new("layout");
        for part in ["", "lib", "lib64"] {
            let names = crate::listing::names(&interpreter.prefix.join(part), true);
            hasher.list(names.unwrap_or_default().into_iter().map(|(name, _)| name));
        }
        self.facets.push(("layout of the environment".to_owned(), hasher.finish()));
        self.file("`pyvenv.cfg`", &interpreter.prefix.join("pyvenv.cfg"))?;
        let mut hasher = Hasher::new("programs on PATH");
        for name in PROGRAMS {
            let found = self.on_path(name).map(|path| subject.places.name(&path));
            hasher.optional(found.as_ref().map(Place::as_bytes));
        }
        self.facets.push(("programs on `PATH`".to_owned(), hasher.finish()));
        // Messages and exclusions go by paths below the project.
        let mut hasher = Hasher::new("place of the environment");
        for directory in interpreter.sites.iter().chain([&interpreter.prefix, &interpreter.base]) {
            let below = directory.strip_prefix(&subject.root).ok();
            hasher.optional(below.map(|path| path.as_os_str().as_bytes()));
        }
        self.facets.push(("place of the environment".to_owned(), hasher.finish()));
        Ok(())
    }

    /// A file under a name that holds everywhere, if it is there.
    fn file(&mut self, label: &str, path: &Path) -> io::Result<bool> {
        let Some(witness) = Witness::of(path)? else { return Ok(false) };
        let digest = digest(self.question.subject, self.table, path, witness);
        self.facets.push((label.to_owned(), digest));
        Ok(true)
    }

    /// Configuration and ignore files that lie in no walked directory; what those of the checker
    /// refer to, wherever they lie.
    fn configuration(&mut self) -> io::Result<(Vec<String>, Vec<PathBuf>)> {
        let subject = self.question.subject;
        let mut texts = Vec::new();
        let mut prefix = String::new();
        for directory in subject.root.ancestors() {
            for name in ABOVE {
                let path = directory.join(name);
                if self.file(&format!("configuration `{prefix}{name}`"), &path)? {
                    texts.push(path);
                }
            }
            prefix.push_str("../");
        }
        texts.append(&mut self.nested);
        for (variable, below) in USER {
            let Some(directory) = self.value(variable) else { continue };
            let path = PathBuf::from(directory).join(below);
            if self.file(&format!("configuration `${variable}/{below}`"), &path)? {
                texts.push(path);
            }
        }
        for path in SYSTEM {
            if self.file(&format!("configuration `{path}`"), Path::new(path))? {
                texts.push(PathBuf::from(path));
            }
        }
        Ok(self.referred(texts))
    }

    /// The variables and paths that configuration files refer to, and those that such paths refer to
    /// in turn.
    fn referred(&self, mut texts: Vec<PathBuf>) -> (Vec<String>, Vec<PathBuf>) {
        let (subject, checker) = (self.question.subject, self.question.program.checker);
        texts.retain(|path| checker.reads(path));
        texts.extend(self.arguments_named().into_iter().filter(|path| is_configuration(path)));
        let (mut referred, mut named) = (Vec::new(), Vec::new());
        let mut seen = std::collections::BTreeSet::new();
        while let Some(path) = texts.pop() {
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            if !seen.insert(path.clone()) {
                continue;
            }
            let text = named::relevant(&path, &text, checker.tables());
            let base = path.parent().unwrap_or(Path::new("/"));
            // mypy's name for the directory of its configuration.
            let own = |name: &str| (name == "MYPY_CONFIG_FILE_DIR").then_some(base.to_str());
            let values =
                |name: &str| own(name).flatten().map(str::to_owned).or_else(|| self.text(name));
            let found = named::of_text(&text, &[base, &subject.cwd], &values);
            texts.extend(found.iter().filter(|path| is_configuration(path)).cloned());
            named.extend(found);
            referred.extend(named::variables(&text));
        }
        (referred, named)
    }

    /// Every variable that the child gets, with its value.
    fn variables(&mut self, referred: &[String], named: &mut Vec<PathBuf>) {
        let subject = self.question.subject;
        let mut found = Vec::new();
        for (name, value) in &subject.request.variables {
            let text = name.to_string_lossy();
            if !is_keyed(&text) && !referred.iter().any(|name| *name == text) {
                continue;
            }
            let digest = Digest::of(subject.places.neutral(value.as_bytes()));
            found.push((format!("variable `{text}`"), digest));
            if PATHS.iter().any(|prefix| text.starts_with(prefix)) {
                named.extend(named::of_argument(value, &subject.cwd));
            }
        }
        found.sort();
        self.facets.extend(found);
    }

    /// Takes in a path that somebody names. Gives a reason if it is more than can be walked.
    fn named(&mut self, path: &Path) -> io::Result<Option<String>> {
        let subject = self.question.subject;
        let place = subject.places.name(path).display();
        if path.is_file() {
            self.file(&format!("file `{place}`, which is named"), path)?;
        } else if path != subject.root && subject.root.starts_with(path) {
            let shown = path.display();
            return Ok(Some(format!("`{shown}`, above the project, is named as an input")));
        } else {
            self.facets.push((format!("directory `{place}`, which is named"), Digest::of("")));
            self.found.insert(path.to_owned(), false);
        }
        Ok(None)
    }

    /// Whether a file above the project makes the checker take another directory for its project.
    fn decided_above(&self) -> Option<String> {
        let subject = self.question.subject;
        let checker = self.question.program.checker;
        let is_there = |dir: &Path| {
            checker.configuration().iter().map(|name| dir.join(name)).find(|path| path.is_file())
        };
        let inside: Vec<&Path> =
            subject.cwd.ancestors().take_while(|dir| dir.starts_with(&subject.root)).collect();
        let none_inside = inside.iter().all(|dir| is_there(dir).is_none());
        for directory in subject.root.ancestors().skip(1) {
            for name in checker.configuration() {
                let path = directory.join(name);
                let Ok(text) = std::fs::read_to_string(&path) else { continue };
                let own = *name != "pyproject.toml"
                    || !named::relevant(&path, &text, &[checker.name()]).is_empty();
                if own || none_inside {
                    let shown = path.display();
                    return Some(format!("`{shown}`, above the project, takes part in it"));
                }
            }
        }
        None
    }

    fn value(&self, name: &str) -> Option<OsString> {
        crate::configuration::variable(self.question.subject.request, OsStr::new(name))
            .map(OsStr::to_owned)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.value(name)?.into_string().ok()
    }
}

/// Whether a file that is named is likely to name others.
fn is_configuration(path: &Path) -> bool {
    let ends = ["toml", "json", "ini", "cfg"];
    path.extension().is_some_and(|end| ends.iter().any(|known| end == *known))
}

/// The directories `python3.N` in a `lib`.
fn versions(lib: &Path) -> Vec<OsString> {
    let Ok(entries) = std::fs::read_dir(lib) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name());
    names.filter(|name| name.as_bytes().starts_with(b"python3.")).collect()
}
