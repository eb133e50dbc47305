//! The platforms of a workspace: a conda subdirectory, or a named one with the virtual packages
//! that it promises.
//!
//! A platform that is given as plain text carries what pixi assumes of that subdirectory. Target
//! selectors, which choose tables by platform, are here too. What a machine offers is not known
//! here; see [`crate::lock::Host`].

use std::str::FromStr;

use rattler_conda_types::package::BuildString;
use rattler_conda_types::{GenericVirtualPackage, PackageName, Subdir, Version};

use super::document::Value;
use super::error::ManifestError;

/// A platform that packages are locked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// How the workspace calls it; the subdirectory itself if it was given plainly.
    pub name: String,
    /// The subdirectory of channels.
    pub subdir: Subdir,
    /// The virtual packages that the workspace asks of a machine, beyond what is assumed of every
    /// machine of that subdirectory.
    pub virtual_packages: Vec<GenericVirtualPackage>,
}

impl From<Subdir> for Platform {
    fn from(subdir: Subdir) -> Self {
        Self { name: subdir.to_string(), subdir, virtual_packages: Vec::new() }
    }
}

impl Platform {
    /// A platform that asks for virtual packages, named after them: in the order of the short names,
    /// then the other ones by name, as pixi does.
    pub(crate) fn with_virtual_packages(
        subdir: Subdir,
        name: Option<String>,
        wanted: Vec<GenericVirtualPackage>,
    ) -> Self {
        let assumed = assumed(subdir);
        let mut asked: Vec<_> =
            wanted.into_iter().filter(|it| !assumed.iter().any(|known| same(known, it))).collect();
        let rank = |it: &GenericVirtualPackage| {
            let known =
                SHORT_NAMES.iter().position(|(_, _, name)| it.name.as_normalized() == *name);
            (known.unwrap_or(SHORT_NAMES.len()), it.name.as_normalized().to_owned())
        };
        asked.sort_by_key(rank);
        let name = name.unwrap_or_else(|| named_after(subdir, &asked));
        Self { name, subdir, virtual_packages: asked }
    }

    /// Whether it was given as a plain subdirectory.
    pub fn is_plain(&self) -> bool {
        self.name == self.subdir.as_str()
    }
}

/// Whether two virtual packages are the same; no build string and `0` are. A microarchitecture is
/// told by the build string alone, as its version says nothing.
pub(crate) fn same(one: &GenericVirtualPackage, other: &GenericVirtualPackage) -> bool {
    let build = |it: &GenericVirtualPackage| match it.build_string.to_string() {
        text if text.is_empty() => "0".to_owned(),
        text => text,
    };
    let version = one.version == other.version || one.name.as_normalized() == "__archspec";
    one.name == other.name && version && build(one) == build(other)
}

/// Key, other spelling, and virtual package.
const SHORT_NAMES: [(&str, Option<&str>, &str); 6] = [
    ("cuda", None, "__cuda"),
    ("archspec", None, "__archspec"),
    ("glibc", None, "__glibc"),
    ("linux", None, "__linux"),
    ("macos", Some("osx"), "__osx"),
    ("windows", None, "__win"),
];

fn named_after(subdir: Subdir, asked: &[GenericVirtualPackage]) -> String {
    let mut parts = vec![subdir.to_string()];
    for package in asked {
        let name = package.name.as_normalized();
        let short = SHORT_NAMES.iter().find(|(_, _, known)| *known == name).map(|(key, ..)| *key);
        let key = short.unwrap_or_else(|| name.trim_start_matches('_'));
        let build = package.build_string.to_string();
        let value = match (build.as_str(), short) {
            ("" | "0", _) => package.version.to_string(),
            (_, Some("archspec")) => build,
            _ => format!("{}={build}", package.version),
        };
        parts.push(format!("{}-{}", segment(key), segment(&value)));
    }
    parts.join("-")
}

/// Letters and digits, with one dash for whatever is between them.
fn segment(text: &str) -> String {
    let words = text.split(|it: char| !it.is_ascii_alphanumeric()).filter(|it| !it.is_empty());
    words.collect::<Vec<_>>().join("-")
}

/// A virtual package by its name, version and build string.
pub(crate) fn virtual_package(name: &str, version: Version, build: &str) -> GenericVirtualPackage {
    GenericVirtualPackage {
        name: PackageName::new_unchecked(name),
        version,
        build_string: BuildString::new_unchecked(build),
    }
}

fn version(text: &str) -> Version {
    Version::from_str(text).expect("a version that is written here")
}

/// What pixi assumes of every machine of a subdirectory.
pub fn assumed(subdir: Subdir) -> Vec<GenericVirtualPackage> {
    let mut assumed = Vec::new();
    if subdir.is_unix() {
        assumed.push(virtual_package("__unix", version("0"), "0"));
    }
    if subdir.is_linux() {
        let glibc = if subdir == Subdir::LinuxRiscv64 { "2.39" } else { "2.28" };
        assumed.push(virtual_package("__linux", version("4.18"), "0"));
        assumed.push(virtual_package("__glibc", version(glibc), "0"));
    }
    if subdir.is_windows() {
        assumed.push(virtual_package("__win", version("10.0"), "0"));
    }
    if subdir.is_osx() {
        assumed.push(virtual_package("__osx", version("13.0"), "0"));
    }
    if let Some(archspec) = rattler_virtual_packages::Archspec::from_platform(subdir) {
        assumed.push(archspec.into());
    }
    assumed
}

/// Reads an element of `platforms`: text, or a table with virtual packages.
pub(crate) fn parse(value: &Value<'_, '_>) -> Result<Platform, ManifestError> {
    if value.as_str().is_some() {
        return subdir(value).map(Platform::from);
    }
    if !value.is_table() {
        return Err(value.expected("a platform such as \"linux-64\", or a table"));
    }
    let mut table = value.table()?;
    let (name, platform) = (table.take("name"), table.take("platform"));
    let mut asked = Vec::new();
    for (key, other, package) in SHORT_NAMES {
        let found = match other {
            Some(other) => table.take_either(key, other)?,
            None => table.take(key),
        };
        if let Some(found) = found {
            asked.push(short(key, package, &found)?);
        }
    }
    let mut unknown = Vec::new();
    for (key, found) in table.rest() {
        match key.starts_with("__") {
            true => asked.push(raw(key, &found)?),
            false => unknown.push(found),
        }
    }
    for found in unknown {
        let text = format!("unknown key `{}` is ignored", found.name);
        value.document().warn(found.key_span(), text);
    }
    let subdir = match (&platform, &name) {
        (Some(platform), _) => subdir(platform)?,
        (None, Some(name)) => subdir(name)?,
        (None, None) => {
            return Err(value.error("a platform needs `platform = \"linux-64\"` or another one"));
        }
    };
    let name = name.map(|it| platform_name(&it)).transpose()?;
    if name.as_deref() == Some(subdir.as_str()) && !asked.is_empty() {
        return Err(value.error(format!(
            "a platform with virtual packages cannot be called `{subdir}`; give it another `name`"
        )));
    }
    Ok(Platform::with_virtual_packages(subdir, name, asked))
}

fn subdir(value: &Value<'_, '_>) -> Result<Subdir, ManifestError> {
    let text = value.string()?;
    let subdir = Subdir::from_str(text).ok();
    subdir.filter(|it| !matches!(it, Subdir::NoArch)).ok_or_else(|| {
        value.error(format!(
            "`{text}` is no conda platform; expected `linux-64`, `osx-arm64`, `win-64` or such"
        ))
    })
}

fn platform_name(value: &Value<'_, '_>) -> Result<String, ManifestError> {
    let text = value.string()?;
    let plain = text.chars().all(|it| it.is_ascii_alphanumeric() || matches!(it, '-' | '_'));
    if !plain || !text.starts_with(|it: char| it.is_ascii_alphabetic()) || text.len() > 64 {
        return Err(value.error(format!(
            "`{text}` is no name of a platform; use a letter, then letters, digits and `-`"
        )));
    }
    if matches!(text, "linux" | "unix" | "win" | "osx" | "macos") {
        return Err(value.error(format!("`{text}` names a family of platforms; use another name")));
    }
    Ok(text.to_owned())
}

fn short(
    key: &str,
    package: &str,
    value: &Value<'_, '_>,
) -> Result<GenericVirtualPackage, ManifestError> {
    if key == "archspec" {
        let text = value.string()?;
        if text.is_empty() || text.contains(char::is_whitespace) {
            return Err(value.error("expected a microarchitecture such as \"x86_64_v3\""));
        }
        return Ok(virtual_package(package, version("0"), text));
    }
    Ok(virtual_package(package, value.parse("a version such as \"12.0\"")?, "0"))
}

fn raw(key: &str, value: &Value<'_, '_>) -> Result<GenericVirtualPackage, ManifestError> {
    let text = value.string()?;
    let wrong =
        |error: &dyn std::fmt::Display| value.error(format!("`{key} = \"{text}\"`: {error}"));
    let name = PackageName::from_str(key).map_err(|error| wrong(&error))?;
    let (number, build) = text.split_once('=').unwrap_or((text, "0"));
    let version = Version::from_str(number).map_err(|error| wrong(&error))?;
    let build_string = BuildString::new_unchecked(build);
    Ok(GenericVirtualPackage { name, version, build_string })
}

/// What chooses a table of `[target]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selector {
    Unix,
    Linux,
    Windows,
    MacOs,
    Subdir(Subdir),
    Named(String),
    /// A name with `*`, which stands for any characters.
    Glob(String),
}

impl Selector {
    pub(crate) fn parse(key: &str, value: &Value<'_, '_>) -> Result<Self, ManifestError> {
        Ok(match key {
            "unix" => Self::Unix,
            "linux" => Self::Linux,
            "win" => Self::Windows,
            "osx" | "macos" => Self::MacOs,
            _ if key.contains('(') => {
                return Err(value.document().error(
                    value.key_span(),
                    format!("`{key}` is no target; expected a platform or one of `unix`, `linux`, `osx`, `win`"),
                ));
            }
            _ if key.contains('*') => Self::Glob(key.to_owned()),
            _ => Subdir::from_str(key).map_or_else(|_| Self::Named(key.to_owned()), Self::Subdir),
        })
    }

    pub(crate) fn matches(&self, platform: &Platform) -> bool {
        match self {
            Self::Unix => platform.subdir.is_unix(),
            Self::Linux => platform.subdir.is_linux(),
            Self::Windows => platform.subdir.is_windows(),
            Self::MacOs => platform.subdir.is_osx(),
            Self::Subdir(subdir) => platform.subdir == *subdir,
            Self::Named(name) => platform.name == *name,
            Self::Glob(glob) => glob_matches(glob, &platform.name),
        }
    }
}

fn glob_matches(glob: &str, name: &str) -> bool {
    let mut parts = glob.split('*');
    let (first, mut rest) = (parts.next().unwrap_or(""), name);
    let Some(after) = rest.strip_prefix(first) else { return false };
    rest = after;
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}
