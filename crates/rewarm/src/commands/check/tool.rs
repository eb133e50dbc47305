//! Which tools are to check, and what each has to be told apart from the others.

use std::ffi::OsString;

use rewarm_check::Checker;

use crate::error::Failure;

/// A type checker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    /// With results for each module.
    Mypy,
    /// As whole runs.
    Other(Checker),
}

impl Tool {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mypy => "mypy",
            Self::Other(checker) => checker.name(),
        }
    }

    /// rewarm's exit code for one of the tool's.
    pub(super) fn verdict(self, exit_code: i32) -> u8 {
        match self {
            // mypy's codes are rewarm's: 0 clean, 1 errors, 2 usage or crash.
            Self::Mypy => u8::try_from(exit_code).unwrap_or(1),
            Self::Other(_) => Checker::verdict(exit_code),
        }
    }

    /// Sets the variables that make the tool colour its answer, or not.
    pub(super) fn set_colors(self, variables: &mut Vec<(OsString, OsString)>, colors: bool) {
        const FORCING: [&str; 4] =
            ["MYPY_FORCE_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "PYREFLY_COLOR"];
        let forcing: &[&str] = match self {
            Self::Mypy => &["MYPY_FORCE_COLOR"],
            Self::Other(_) => &["FORCE_COLOR", "CLICOLOR_FORCE"],
        };
        if colors {
            variables.extend(forcing.iter().map(|name| (name.into(), "1".into())));
        } else {
            variables.retain(|(name, _)| !FORCING.iter().any(|forcing| name == forcing));
        }
        if self == Self::Other(Checker::Pyrefly) {
            let when = if colors { "always" } else { "never" };
            variables.push(("PYREFLY_COLOR".into(), when.into()));
        }
    }
}

/// The tools that are asked for, else those of the configuration, else mypy.
pub(super) fn wanted(asked: &[String], configured: &[String]) -> Result<Vec<Tool>, Failure> {
    let (names, place) = match asked {
        [] => (configured, "`tools` in `[tool.rewarm.check]`"),
        asked => (asked, "`--tool`"),
    };
    let mut tools = Vec::new();
    for name in names {
        let tool = match name.as_str() {
            "mypy" => Tool::Mypy,
            other => Tool::Other(other.parse().map_err(|()| {
                let known = Checker::ALL.map(Checker::name).join("`, `");
                Failure::usage(format!("{place} names `{name}`, which is no known checker"))
                    .hint(format!("it can be `mypy`, `{known}`"))
            })?),
        };
        if !tools.contains(&tool) {
            tools.push(tool);
        }
    }
    if tools.is_empty() {
        tools.push(Tool::Mypy);
    }
    Ok(tools)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_before_the_configuration_and_names_count_once() {
        let strings = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let names = |asked: &[&str], configured: &[&str]| -> Result<Vec<_>, _> {
            let tools = wanted(&strings(asked), &strings(configured))?;
            Ok::<_, Failure>(tools.into_iter().map(Tool::name).collect())
        };
        assert_eq!(names(&[], &[]).expect("tools"), ["mypy"]);
        assert_eq!(names(&["ty", "mypy", "ty"], &["zuban"]).expect("tools"), ["ty", "mypy"]);
        assert_eq!(names(&[], &["zuban"]).expect("tools"), ["zuban"]);
        let error = names(&[], &["tie"]).expect_err("no such tool").to_string();
        assert!(error.contains("`tie`") && error.contains("tool.rewarm.check"), "{error}");
    }
}
