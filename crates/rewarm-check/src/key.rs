//! The first key of a check: all that is known before mypy runs.
//!
//! The key is a list of named facets, so that what differs between two runs can be said. Facets
//! that every module depends on make up the *namespace* of mypy's own cache; sources do not belong
//! to it, since mypy compares them itself, and targets only if a module's result may depend on them
//! in ways that `driver/circumstances.py` does not know.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use globset::{Glob, GlobSet, GlobSetBuilder};
use rewarm_store::{Digest, Hasher, Store};

use crate::arguments::targets;
use crate::configuration::Configuration;
use crate::environment::{Environment, Facet};
use crate::interpreter::Interpreter;
use crate::listing::{self, Extra, Listing};
use crate::places::{PROJECT, Place, Places};
use crate::request::{CheckError, Request};
use crate::witness::Table;

/// Bumped when equal inputs would get another answer from this version of rewarm.
const VERSION: &str = "check mypy 2";

const ARGUMENTS: &str = "arguments";

/// A request with its paths resolved.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) request: &'a Request,
    pub(crate) root: PathBuf,
    pub(crate) cwd: PathBuf,
    pub(crate) interpreter: Interpreter,
    pub(crate) places: Places,
}

impl<'a> Subject<'a> {
    /// Resolves the paths of a request and asks the interpreter what it is.
    pub(crate) fn new(store: &Store, request: &'a Request) -> Result<Self, CheckError> {
        let canonical = |path: &Path| {
            let error = |source| CheckError::Read { path: path.to_owned(), source };
            std::fs::canonicalize(path).map_err(error)
        };
        let (root, cwd) = (canonical(&request.project_root)?, canonical(&request.cwd)?);
        let interpreter = Interpreter::of(store, request)?;
        let mut places = Places::new(&root);
        for (index, site) in interpreter.sites.iter().enumerate() {
            places.add(&format!("site{index}"), site);
        }
        places.add("environment", &interpreter.prefix);
        places.add("interpreter", &interpreter.base);
        if let Some(home) = crate::configuration::variable(request, OsStr::new("HOME")) {
            places.add("home", Path::new(home));
        }
        Ok(Self { request, root, cwd, interpreter, places })
    }
}

/// The state of all inputs that are known before a run.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// What every module depends on.
    pub(crate) facets: Vec<Facet>,
    /// Sources with their digests, in order.
    pub(crate) sources: Vec<(Vec<u8>, Digest)>,
    pub(crate) listing: Listing,
    /// What mypy's own cache depends on: the facets, some of them without what concerns no module.
    global: Vec<Facet>,
}

impl Snapshot {
    /// Looks at everything. Only what has no settled witness in `table` is read.
    pub(crate) fn take(subject: &Subject<'_>, table: &mut Table) -> Result<Self, CheckError> {
        let Subject { request, root, cwd, interpreter, places } = subject;
        let read = |path: &Path| {
            let path = path.to_owned();
            move |source| CheckError::Read { path, source }
        };
        let configuration = Configuration::of(request, cwd, places, table).map_err(read(cwd))?;
        let environment = Environment::of(&interpreter.sites, places, table)
            .map_err(read(&interpreter.prefix))?;
        let prefix = || interpreter.prefix.clone();
        match &environment.mypy {
            None => return Err(CheckError::NoMypy { environment: prefix() }),
            Some(version) if is_too_old(version) => {
                let (version, environment) = (version.clone(), prefix());
                return Err(CheckError::OldMypy { version, environment });
            }
            Some(_) => {}
        }
        let extra =
            Extra { gitignore: configuration.gitignore, globs: globs(&request.extra_inputs)? };
        let listing = Listing::of(root, &extra).map_err(read(root))?;
        let mut sources = Vec::with_capacity(listing.files.len());
        for (path, witness) in &listing.files {
            let file = listing::join(root, path);
            // A file that cannot be read is mypy's to report.
            let digest = table
                .file(Place::below(PROJECT, path), *witness, &file)
                .unwrap_or_else(|_| Digest::of("unreadable"));
            sources.push((path.clone(), digest));
        }
        let separate = configuration.separates_targets;
        let options = separate.then(|| targets(&request.arguments)).flatten();
        let options = options.map(|count| words(places, &request.arguments[count..]));
        let mut facets = vec![
            ("interpreter".to_owned(), Digest::of(&interpreter.identity)),
            (ARGUMENTS.to_owned(), arguments(subject)),
            ("working directory".to_owned(), Digest::of(places.name(cwd).as_bytes())),
            ("packages above the project".to_owned(), above(root)),
            ("place of the environment".to_owned(), place_of_environment(subject)),
        ];
        if configuration.gitignore {
            facets.push(("ignore files above the project".to_owned(), ignore_files(root)));
        }
        facets.extend(environment.facets);
        facets.extend(configuration.variables);
        let mut global = facets.clone();
        for (name, digest) in variables(subject) {
            let facet = (format!("variable `{}`", String::from_utf8_lossy(name)), digest);
            if !is_of_display(name) {
                global.push(facet.clone());
            }
            facets.push(facet);
        }
        if let Some(options) = options {
            global.retain(|(name, _)| name != ARGUMENTS);
            global.push(("options".to_owned(), options));
        }
        global.extend(configuration.settings);
        facets.extend(configuration.facets);
        Ok(Self { facets, sources, listing, global })
    }

    /// The key under which answers for these inputs are stored.
    pub(crate) fn key(&self) -> Digest {
        let mut hasher = Hasher::new(VERSION);
        hasher.field(self.everything_but_sources().as_bytes());
        hasher.list(self.sources.iter().map(|(path, _)| path));
        for (_, digest) in &self.sources {
            hasher.update(digest.as_bytes());
        }
        hasher.list(&self.listing.directories);
        hasher.finish()
    }

    /// The key of mypy's own cache: one for each checkout and set of global inputs.
    pub(crate) fn namespace(&self, subject: &Subject<'_>) -> Digest {
        let mut hasher = self.global();
        hasher.field(subject.root.as_os_str().as_encoded_bytes());
        hasher.field(subject.interpreter.prefix.as_os_str().as_encoded_bytes());
        // The form in which the directory is kept.
        hasher.field("packs 1");
        hasher.finish()
    }

    /// The key of everything that each module's result depends on beside sources.
    pub(crate) fn everything_global(&self) -> Digest {
        self.global().finish()
    }

    /// All facets but the sources.
    pub(crate) fn everything_but_sources(&self) -> Digest {
        hashed("check mypy facets 2", &self.facets).finish()
    }

    fn global(&self) -> Hasher {
        hashed("check mypy namespace 3", &self.global)
    }

    /// Whether nothing was so much as touched between two snapshots.
    pub(crate) fn is_same_moment(&self, later: &Self) -> bool {
        self.key() == later.key() && self.listing.files == later.listing.files
    }

    /// All facets, for comparing runs.
    pub(crate) fn all_facets(&self) -> Vec<Facet> {
        let mut all = self.facets.clone();
        let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        all.extend(self.sources.iter().map(|(path, d)| (format!("file `{}`", text(path)), *d)));
        let present = Digest::of("directory");
        let directories = self.listing.directories.iter();
        all.extend(directories.map(|path| (format!("directory `{}`", text(path)), present)));
        all
    }
}

fn hashed(purpose: &str, facets: &[Facet]) -> Hasher {
    let mut hasher = Hasher::new(purpose);
    for (name, digest) in facets {
        hasher.field(name).field(digest.as_bytes());
    }
    hasher
}

/// Versions that no interpreter of today runs, and that were not tried.
fn is_too_old(version: &str) -> bool {
    let mut numbers = version.split(['.', '+']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(u32::MAX), numbers.next().unwrap_or(0)) < (0, 910)
}

pub(crate) fn globs(texts: &[String]) -> Result<Option<GlobSet>, CheckError> {
    let mut set = GlobSetBuilder::new();
    for text in texts {
        let error = |source| CheckError::Glob { glob: text.clone(), source };
        set.add(Glob::new(text).map_err(error)?);
    }
    let error = |source| CheckError::Glob { glob: texts.join(" "), source };
    if texts.is_empty() { Ok(None) } else { set.build().map(Some).map_err(error) }
}

fn arguments(subject: &Subject<'_>) -> Digest {
    let Subject { request, places, .. } = subject;
    let mut hasher = Hasher::new("arguments");
    hasher.field(words(places, &request.arguments).as_bytes());
    let default = request.default_target.as_ref();
    hasher.optional(default.map(|target| places.neutral(target.as_encoded_bytes())));
    hasher.finish()
}

fn words(places: &Places, arguments: &[OsString]) -> Digest {
    let mut hasher = Hasher::new("words");
    hasher.list(arguments.iter().map(|argument| places.neutral(argument.as_encoded_bytes())));
    hasher.finish()
}

/// mypy names a module by the packages around it, also those above the project; if there are any,
/// the directories' names count.
fn above(root: &Path) -> Digest {
    let is_package =
        |dir: &Path| ["__init__.py", "__init__.pyi"].iter().any(|name| dir.join(name).exists());
    let path = root.as_os_str().as_encoded_bytes();
    if root.ancestors().any(is_package) { Digest::of(path) } else { Digest::of("") }
}

/// Messages about installed packages show paths below the project without their beginning, so it
/// matters whether the environment lies there.
fn place_of_environment(subject: &Subject<'_>) -> Digest {
    let Interpreter { prefix, base, sites, .. } = &subject.interpreter;
    let mut hasher = Hasher::new("place of the environment");
    for directory in sites.iter().chain([prefix, base]) {
        let below = directory.strip_prefix(&subject.root).ok();
        hasher.optional(below.map(|path| path.as_os_str().as_encoded_bytes()));
    }
    hasher.finish()
}

/// Which ignore files there are from the project up to the root of its repository. What they say
/// is observed when they are read.
fn ignore_files(root: &Path) -> Digest {
    let mut hasher = Hasher::new("ignore files");
    for directory in root.ancestors() {
        for name in [".gitignore", ".git/info/exclude"] {
            hasher.field([u8::from(directory.join(name).is_file())]);
        }
        if directory.join(".git").exists() {
            break;
        }
    }
    hasher.finish()
}

/// Variables that are read before the run can be observed, by the interpreter, by C code, or while
/// mypy is imported. The others are noted when they are read.
pub(crate) fn is_keyed(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 6] = [b"PYTHON", b"MYPY", b"LC_", b"TERMINFO", b"NCURSES", b"PYODIDE"];
    const NAMES: [&[u8]; 7] =
        [b"LANG", b"LANGUAGE", b"TERM", b"COLUMNS", b"LINES", b"FORCE_COLOR", b"NO_COLOR"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name)
}

/// Of these, those that say how messages are shown, and not which there are. A plugin may make
/// something else of one; then it is noted when it is read.
fn is_of_display(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 3] = [b"TERMINFO", b"NCURSES", b"MYPY_FORCE_"];
    const NAMES: [&[u8]; 5] = [b"TERM", b"COLUMNS", b"LINES", b"FORCE_COLOR", b"NO_COLOR"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name)
}

/// The variables that are in the key, with digests of their values, in order.
fn variables<'a>(subject: &Subject<'a>) -> Vec<(&'a [u8], Digest)> {
    let all = subject.request.variables.iter();
    let all = all.map(|(name, value)| (name.as_encoded_bytes(), value.as_encoded_bytes()));
    let keyed = all.filter(|(name, _)| is_keyed(name));
    let mut found: Vec<_> =
        keyed.map(|(name, value)| (name, Digest::of(subject.places.neutral(value)))).collect();
    found.sort();
    found
}
