//! Filling in the templates of a task: its arguments, and what it may know of where it runs.
//!
//! The language is that of minijinja, as pixi has it, with the same variables below `pixi`. Only a
//! task that declares `args` is a template. A variable that does not exist is an error, because
//! to leave it out would silently run another command.

use std::collections::BTreeMap;
use std::path::PathBuf;

use minijinja::{Environment, UndefinedBehavior, Value};

use crate::error::{At, TaskError};

/// What templates may know of where a task runs, below `pixi`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// `pixi.platform`, as conda writes it, for example `linux-64`.
    pub platform: String,
    /// `pixi.manifest_path`: the manifest.
    pub manifest: PathBuf,
    /// `pixi.init_cwd`: the caller's working directory.
    pub init_cwd: PathBuf,
}

/// Fills in the texts of one task.
#[derive(Debug)]
pub(crate) struct Filler<'a> {
    engine: Environment<'static>,
    context: Option<Value>,
    at: &'a At,
}

impl<'a> Filler<'a> {
    /// For a task with these arguments; one without declared arguments is taken as it is.
    pub(crate) fn new(
        at: &'a At,
        arguments: Option<&[(String, String)]>,
        environment: &str,
        facts: &Facts,
    ) -> Self {
        let mut engine = Environment::new();
        engine.set_undefined_behavior(UndefinedBehavior::Strict);
        let context = arguments.map(|arguments| {
            let named = arguments.iter().map(|(name, value)| (name.clone(), Value::from(value)));
            let pixi = ("pixi".to_owned(), pixi(environment, facts));
            // An argument of that name hides ours.
            std::iter::once(pixi).chain(named).collect::<BTreeMap<String, Value>>().into()
        });
        Self { engine, context, at }
    }

    /// The text with everything put in; `what` names it in an error.
    pub(crate) fn fill(&self, what: &str, text: &str) -> Result<String, TaskError> {
        let Some(context) = &self.context else { return Ok(text.to_owned()) };
        self.engine.render_str(text, context).map_err(|source| TaskError::Template {
            at: self.at.clone(),
            what: what.to_owned(),
            template: text.to_owned(),
            source: Box::new(source),
        })
    }

    pub(crate) fn fill_all(&self, what: &str, texts: &[String]) -> Result<Vec<String>, TaskError> {
        texts.iter().map(|text| self.fill(what, text)).collect()
    }
}

fn pixi(environment: &str, facts: &Facts) -> Value {
    let platform = facts.platform.as_str();
    let (is_win, is_osx) = (platform.starts_with("win-"), platform.starts_with("osx-"));
    let environment = BTreeMap::from([("name".to_owned(), Value::from(environment))]);
    let facts = [
        ("platform", Value::from(platform)),
        ("environment", environment.into()),
        ("manifest_path", Value::from(facts.manifest.to_string_lossy())),
        ("init_cwd", Value::from(facts.init_cwd.to_string_lossy())),
        ("is_win", Value::from(is_win)),
        ("is_unix", Value::from(!is_win)),
        ("is_linux", Value::from(platform.starts_with("linux-"))),
        ("is_osx", Value::from(is_osx)),
    ];
    facts
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect::<BTreeMap<_, _>>()
        .into()
}
