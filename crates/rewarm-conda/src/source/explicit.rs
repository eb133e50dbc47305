//! Lists of URLs of conda packages, as `conda list --explicit` and conda-lock write them.
//!
//! Each URL ends in the name of a package and carries its digest behind `#`. Comments of conda-lock
//! name PyPI packages (`# pip NAME @ URL#sha256=…`), which count too. `# platform: SUBDIR` says what
//! the list is for.

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;

use rattler_conda_types::package::{BuildString, DistArchiveIdentifier};
use rattler_conda_types::{PackageName, PackageRecord, Subdir, VersionWithSource};
use rattler_digest::{Md5, Sha256};
use rattler_lock::{CondaBinaryData, UrlOrPath};
use rewarm_store::Digest;
use url::Url;

use super::SourceError;
use crate::lock::{Host, PypiLocation, PypiPackage, Reader, Wanted};
use crate::manifest::Platform;

/// Reads a list of URLs for a machine.
///
/// # Errors
///
/// When a line is no URL of a conda package with a digest, or the list is for another machine.
pub fn parse(path: &Path, text: &str, host: &Host) -> Result<Wanted, SourceError> {
    let list = List { path };
    let mut wanted = Wanted {
        environment: crate::lock::DEFAULT_ENVIRONMENT.to_owned(),
        platform: Platform::from(host.subdir),
        channels: Vec::new(),
        conda: Vec::new(),
        pypi: Vec::new(),
        pypi_indexes: Vec::new(),
    };
    let (mut begun, mut names) = (false, BTreeSet::new());
    for (index, line) in text.lines().enumerate() {
        let (number, line) = (index + 1, line.trim());
        if let Some(comment) = line.strip_prefix('#') {
            let comment = comment.trim();
            if let Some(subdir) = comment.strip_prefix("platform:") {
                wanted.platform = list.platform(number, subdir.trim(), host)?;
            } else if let Some(pip) = comment.strip_prefix("pip ") {
                wanted.pypi.push(list.pip(number, pip)?);
            }
        } else if line == "@EXPLICIT" {
            begun = true;
        } else if !line.is_empty() {
            if !begun {
                let message = "expected the line `@EXPLICIT` before the first package; write the \
                               list with `conda list --explicit --sha256`";
                return Err(list.wrong(number, message));
            }
            let package = list.package(number, line, wanted.platform.subdir)?;
            let name = package.record.package_record.name.as_normalized().to_owned();
            if !names.insert(name.clone()) {
                return Err(list.wrong(number, format!("`{name}` is listed twice; keep one")));
            }
            wanted.conda.push(package);
        }
    }
    if !begun {
        let message = "there is no line `@EXPLICIT`; write the list with `conda list --explicit \
                       --sha256`";
        return Err(list.wrong(1, message));
    }
    Ok(wanted)
}

struct List<'a> {
    path: &'a Path,
}

impl List<'_> {
    fn wrong(&self, line: usize, message: impl Into<String>) -> SourceError {
        SourceError::Explicit { path: self.path.to_owned(), line, message: message.into() }
    }

    fn platform(&self, line: usize, text: &str, host: &Host) -> Result<Platform, SourceError> {
        let subdir = Subdir::from_str(text)
            .map_err(|_| self.wrong(line, format!("`{text}` is no conda platform")))?;
        if !host.subdirs().contains(&subdir) {
            return Err(self.wrong(
                line,
                format!("the list is for `{subdir}`, and this machine is `{}`", host.subdir),
            ));
        }
        Ok(Platform::from(subdir))
    }

    fn package(
        &self,
        line: usize,
        text: &str,
        subdir: Subdir,
    ) -> Result<crate::lock::CondaPackage, SourceError> {
        let mut url = Url::parse(text)
            .map_err(|error| self.wrong(line, format!("`{text}` is no URL: {error}")))?;
        let no_package =
            || self.wrong(line, format!("`{text}` does not end in the name of a conda package"));
        let file_name = DistArchiveIdentifier::try_from_url(&url).ok_or_else(no_package)?;
        let identifier = &file_name.identifier;
        let name = PackageName::from_str(&identifier.name).map_err(|_| no_package())?;
        let version = VersionWithSource::from_str(&identifier.version).map_err(|_| no_package())?;
        let build = BuildString::new_unchecked(identifier.build_string.as_str());
        let mut record = PackageRecord::new(name, version, build);
        self.digest(line, url.fragment().unwrap_or(""), &mut record)?;
        url.set_fragment(None);
        let mut segments = url.path_segments().into_iter().flatten().rev();
        record.subdir = segments.nth(1).unwrap_or("").to_owned();
        let mut channel = url.clone();
        if let Ok(mut segments) = channel.path_segments_mut() {
            segments.pop().pop().push("");
        }
        let binary = CondaBinaryData {
            package_record: record,
            location: UrlOrPath::Url(url),
            file_name,
            channel: Some(channel.into()),
        };
        let again = "conda list --explicit --sha256";
        let reader = Reader { path: self.path, editable: &BTreeSet::new(), again };
        Ok(reader.conda(&binary, subdir)?)
    }

    fn digest(
        &self,
        line: usize,
        fragment: &str,
        record: &mut PackageRecord,
    ) -> Result<(), SourceError> {
        let text = ["sha256:", "sha256=", "md5:", "md5="]
            .iter()
            .find_map(|prefix| fragment.strip_prefix(prefix))
            .unwrap_or(fragment);
        record.sha256 = rattler_digest::parse_digest_from_hex::<Sha256>(text);
        record.md5 = rattler_digest::parse_digest_from_hex::<Md5>(text);
        match (record.sha256, record.md5) {
            (None, None) => Err(self.wrong(
                line,
                "the URL has no digest behind `#`; write the list with `conda list --explicit \
                 --sha256`",
            )),
            _ => Ok(()),
        }
    }

    /// `NAME @ URL#sha256=DIGEST`, or with ` --hash=sha256:DIGEST` at the end.
    fn pip(&self, line: usize, text: &str) -> Result<PypiPackage, SourceError> {
        let wrong =
            || self.wrong(line, format!("`{text}` is not `NAME @ URL --hash=sha256:DIGEST`"));
        let (name, rest) = text.split_once(" @ ").ok_or_else(wrong)?;
        let name = pep508_rs::PackageName::from_str(name.trim()).map_err(|_| wrong())?;
        let mut words = rest.split_whitespace();
        let mut url: Url = words.next().and_then(|it| it.parse().ok()).ok_or_else(wrong)?;
        let given = words.find_map(|it| it.strip_prefix("--hash=sha256:").map(str::to_owned));
        let fragment = url.fragment().and_then(|it| it.strip_prefix("sha256=").map(str::to_owned));
        url.set_fragment(None);
        let sha256 = given.or(fragment).and_then(|it| Digest::from_str(&it).ok());
        let (Some(sha256), "http" | "https") = (sha256, url.scheme()) else { return Err(wrong()) };
        let file = url.path_segments().and_then(|mut it| it.next_back()).unwrap_or("");
        let version = file.split('-').nth(1).filter(|_| file.ends_with(".whl")).map(str::to_owned);
        Ok(PypiPackage {
            name: name.to_string(),
            version,
            locked_location: url.to_string(),
            location: PypiLocation::Url(url),
            index: None,
            sha256: Some(sha256),
            requires_dist: Vec::new(),
            requires_python: None,
        })
    }
}
