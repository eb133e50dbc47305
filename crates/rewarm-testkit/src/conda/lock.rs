//! The texts of a pixi workspace: `pixi.lock` in version 6 and a `pixi.toml` that fits it.

use std::fmt::Write as _;

use super::CondaArchive;
use crate::packages::Artifact;

/// A `pixi.lock` for one platform, in which all environments have the same packages.
#[derive(Debug, Clone)]
pub struct PixiLock<'a> {
    /// The URL of the channel, which ends with `/`.
    pub channel: &'a str,
    /// The platform, for example `linux-64`.
    pub platform: &'a str,
    /// The names of the environments.
    pub environments: &'a [&'a str],
    /// The conda packages of each environment.
    pub conda: &'a [CondaArchive],
    /// The wheels of each environment.
    pub pypi: &'a [Artifact],
    /// The URL that the wheels lie below, which ends with `/`.
    pub wheels: &'a str,
}

impl PixiLock<'_> {
    /// The text.
    pub fn text(&self) -> String {
        let mut text = "version: 6\nenvironments:\n".to_owned();
        for environment in self.environments {
            self.environment(&mut text, environment);
        }
        text.push_str(if self.conda.is_empty() && self.pypi.is_empty() {
            "packages: []\n"
        } else {
            "packages:\n"
        });
        for archive in self.conda {
            conda_package(&mut text, self.channel, archive);
        }
        for wheel in self.pypi {
            let Artifact { name, version, filename, .. } = wheel;
            let _ = writeln!(
                text,
                "- pypi: {}{filename}\n  name: {name}\n  version: '{version}'\n  sha256: {}",
                self.wheels,
                wheel.sha256()
            );
        }
        text
    }

    fn environment(&self, text: &mut String, environment: &str) {
        let Self { channel, platform, .. } = self;
        let _ = writeln!(text, "  {environment}:\n    channels:\n    - url: {channel}");
        if !self.pypi.is_empty() {
            text.push_str("    indexes:\n    - https://pypi.org/simple\n");
        }
        let is_empty = self.conda.is_empty() && self.pypi.is_empty();
        let empty = if is_empty { " []" } else { "" };
        let _ = writeln!(text, "    packages:\n      {platform}:{empty}");
        for archive in self.conda {
            let _ = writeln!(text, "      - conda: {channel}{}", archive.path());
        }
        for wheel in self.pypi {
            let _ = writeln!(text, "      - pypi: {}{}", self.wheels, wheel.filename);
        }
    }
}

fn conda_package(text: &mut String, channel: &str, archive: &CondaArchive) {
    let record = archive.repodata();
    let _ = writeln!(text, "- conda: {channel}{}", archive.path());
    for key in ["build_number", "subdir", "noarch", "sha256", "md5"] {
        match &record[key] {
            serde_json::Value::String(value) => drop(writeln!(text, "  {key}: {value}")),
            serde_json::Value::Number(value) => drop(writeln!(text, "  {key}: {value}")),
            _ => {}
        }
    }
    let depends: Vec<_> = record["depends"].as_array().into_iter().flatten().collect();
    if !depends.is_empty() {
        text.push_str("  depends:\n");
        for dependency in depends {
            let _ = writeln!(text, "  - {}", dependency.as_str().unwrap_or_default());
        }
    }
    if let Some(path) = record["python_site_packages_path"].as_str() {
        let _ = writeln!(text, "  python_site_packages_path: {path}");
    }
    let _ = writeln!(text, "  size: {}", archive.bytes.len());
}

/// A `pixi.toml` that asks for these packages, in any version.
pub fn pixi_toml(name: &str, channel: &str, platform: &str, archives: &[CondaArchive]) -> String {
    let mut text = format!(
        "[workspace]\nname = \"{name}\"\nchannels = [\"{channel}\"]\nplatforms = [\"{platform}\"]\n\n\
         [dependencies]\n"
    );
    for archive in archives {
        let _ = writeln!(text, "{} = \"*\"", archive.name());
    }
    text
}
