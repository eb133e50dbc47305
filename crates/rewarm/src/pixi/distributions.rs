//! The packages from PyPI that a `pixi.lock` names, put into the conda prefix under pixi's name.
//!
//! They are installed after the conda packages, with the Python that came with those.

use rewarm_conda::lock::{PypiLocation, PypiPackage, Wanted};
use rewarm_conda::prefix::Marker;
use rewarm_env::{
    CheckError, Event, Hash, InstallError, Location, Plan, RemoteFile, STATE_FILE, Source,
    plan_into,
};
use rewarm_http::Request;

use super::{Asked, Done, Installed, Place};
use crate::context::{Context, now};
use crate::environment::site_packages;
use crate::error::Failure;
use crate::network;

/// What pixi leaves in `INSTALLER`; it only takes care of what says so.
const INSTALLER: &str = "uv-pixi";

/// The packages in the form in which they are installed.
pub(super) fn wheels(wanted: &Wanted) -> Result<Vec<rewarm_env::Wanted>, Failure> {
    wanted.pypi.iter().map(distribution).collect()
}

fn distribution(package: &PypiPackage) -> Result<rewarm_env::Wanted, Failure> {
    let bad = |what: &str| {
        Failure::usage(format!("`{}` in `pixi.lock` {what}", package.name.escape_debug()))
    };
    let name = package.name.parse().map_err(|_| bad("has an unusable name"))?;
    let version = package.version.as_ref().map(|version| version.parse()).transpose();
    let version = version.map_err(|_| bad("has an unusable version"))?;
    let source = match &package.location {
        PypiLocation::Directory { path, editable } => {
            Source::Directory { path: path.clone(), editable: *editable, build_files: None }
        }
        PypiLocation::Url(url) => {
            let filename = file_name(url).ok_or_else(|| bad("is at a URL without a file name"))?;
            file(package, filename, Location::Url(url.clone()))
        }
        PypiLocation::File(path) => {
            let name = path.file_name().and_then(|name| name.to_str());
            let filename = name.ok_or_else(|| bad("has a file name that is not UTF-8"))?;
            file(package, filename.to_owned(), Location::Path(path.clone()))
        }
    };
    Ok(rewarm_env::Wanted { name, version, source })
}

/// The last segment of a URL, its escapes resolved.
fn file_name(url: &url::Url) -> Option<String> {
    let last = url.path_segments()?.next_back().filter(|name| !name.is_empty())?;
    // A file URL of the same path resolves them.
    let path = url::Url::parse(&format!("file:///{last}")).ok()?.to_file_path().ok()?;
    path.file_name()?.to_str().map(str::to_owned)
}

fn file(package: &PypiPackage, filename: String, location: Location) -> Source {
    let hash = package.sha256.and_then(|digest| Hash::parse("sha256", &digest.to_string()));
    let hashes = hash.into_iter().collect();
    let file = RemoteFile { filename, location, size: None, hashes };
    // What came from an index says so by its index, or by lying where PyPI keeps files.
    let direct = package.locked_location.starts_with("direct+")
        || matches!(package.location, PypiLocation::File(_));
    if package.is_wheel() {
        Source::Wheel { file, direct }
    } else {
        Source::Sdist { file, direct, subdirectory: None }
    }
}

/// Brings the distributions into the prefix, and removes those that pixi or rewarm put there before
/// and nobody wants any more.
pub(super) fn bring(
    context: &Context<'_>,
    place: &Place,
    wanted: Vec<rewarm_env::Wanted>,
    asked: Asked,
    installed: &mut Installed,
) -> Result<Done, Failure> {
    if wanted.is_empty() && !has_any(place)? {
        return Ok(Done::default());
    }
    if !place.prefix.join("bin/python").exists() {
        return match wanted.first() {
            None => Ok(Done::default()),
            Some(first) => {
                let text = format!("`{}` needs `python` in the same environment", first.name);
                Err(Failure::usage(text)
                    .hint("add `python` to the dependencies and run `rewarm lock`"))
            }
        };
    }
    let store = context.store()?;
    let plan =
        plan_into(&place.prefix, wanted, &options(asked), store, now()).map_err(check_failure)?;
    carry_out(context, place, plan, installed)
}

/// What a dry run shows, and how many files would be downloaded. Where there is no Python yet, all
/// that is wanted is new.
pub(super) fn shown(
    context: &Context<'_>,
    place: &Place,
    wanted: &Wanted,
    asked: Asked,
) -> Result<(String, usize), Failure> {
    let wanted = wheels(wanted)?;
    let named = |wanted: &rewarm_env::Wanted| match &wanted.version {
        Some(version) => format!("{} {version}", wanted.name),
        None => wanted.name.to_string(),
    };
    if !place.prefix.join("bin/python").exists() {
        let text = wanted.iter().map(|one| format!("+ {}\n", named(one))).collect();
        return Ok((text, wanted.len()));
    }
    let store = context.store()?;
    let options = options(asked);
    let plan = plan_into(&place.prefix, wanted, &options, store, now()).map_err(check_failure)?;
    let mut text = String::new();
    for wanted in &plan.install.add {
        text += &format!("+ {}\n", named(wanted));
    }
    for (wanted, reason) in &plan.install.reinstall {
        text += &format!("~ {} ({reason})\n", named(wanted));
    }
    for installed in &plan.install.remove {
        text += &format!("- {} {}\n", installed.name, installed.version);
    }
    Ok((text, plan.downloads(store).len()))
}

fn options(asked: Asked) -> rewarm_env::Options {
    rewarm_env::Options {
        reinstall: asked.reinstall,
        installer: Some(INSTALLER.to_owned()),
        ..rewarm_env::Options::default()
    }
}

/// Removes all of them, before their Python gives way to another one.
pub(super) fn remove_all(context: &Context<'_>, place: &Place) -> Result<(), Failure> {
    if !has_any(place)? || !place.prefix.join("bin/python").exists() {
        return Ok(());
    }
    let options = options(Asked::default());
    let (store, none) = (context.store()?, Vec::new());
    match plan_into(&place.prefix, none, &options, store, now()) {
        Ok(plan) => carry_out(context, place, plan, &mut Installed::new(place)).map(drop),
        // A Python that does not run any more is about to be replaced.
        Err(CheckError::Interpreter(error)) => {
            context.ui.detail(&format!("what came from PyPI stays: {error}"));
            Ok(())
        }
        Err(error) => Err(check_failure(error)),
    }
}

/// Whether there may be distributions that pixi or rewarm installed.
fn has_any(place: &Place) -> Result<bool, Failure> {
    if place.prefix.join(STATE_FILE).exists() {
        return Ok(true);
    }
    let present = rewarm_env::scan(&site_packages(&place.prefix)).map_err(|error| {
        let text = format!("cannot read `{}`: {error}", place.prefix.display());
        Failure::world(std::io::Error::new(error.kind(), text))
    })?;
    Ok(present.iter().any(|found| found.installer.as_deref() == Some(INSTALLER)))
}

fn carry_out(
    context: &Context<'_>,
    place: &Place,
    mut plan: Plan,
    installed: &mut Installed,
) -> Result<Done, Failure> {
    if !plan.is_empty() {
        Marker::remove(&place.prefix)?;
    }
    let mut is_second = false;
    let report = loop {
        download(context, &mut plan, installed)?;
        match execute(context, &plan) {
            Ok(report) => break report,
            Err(error) if error.wants_download() && !is_second => {
                context.ui.warn(&format!("{error}; fetching it again"));
                is_second = true;
            }
            Err(error) => return Err(Failure::world(error).hint_at_space()),
        }
    };
    Ok(Done { installed: report.installed, removed: report.removed, kept: report.kept })
}

fn download(
    context: &Context<'_>,
    plan: &mut Plan,
    installed: &mut Installed,
) -> Result<(), Failure> {
    let store = context.store()?;
    let files: Vec<RemoteFile> = plan.downloads(store).into_iter().cloned().collect();
    let mut requests = Vec::with_capacity(files.len());
    for file in &files {
        let Location::Url(url) = &file.location else { continue };
        let mut request =
            Request::get(rewarm_http::Url::parse(url.as_str()).map_err(Failure::usage)?);
        request.expected = file.sha256();
        requests.push(request);
    }
    let label = format!("Downloading {} packages from PyPI", files.len());
    let fetched = network::fetch_all(context, &label, None, requests)?;
    for (file, fetched) in files.iter().zip(&fetched) {
        let blob = network::into_store(context, fetched)?;
        installed.downloaded.0 += 1;
        installed.downloaded.1 += blob.size;
        plan.supply(store, file, &blob.digest)
            .map_err(|error| Failure::world(error).hint_at_space())?;
    }
    Ok(())
}

fn execute(context: &Context<'_>, plan: &Plan) -> Result<rewarm_env::Report, InstallError> {
    let bar = context.ui.count("Installing", plan.install.to_install().count());
    let store = context.store().expect("the store was opened to make the plan");
    plan.execute(store, &|event| match event {
        Event::Installed(name) => {
            bar.advance(1);
            context.ui.detail(&format!("installed {name}"));
        }
        Event::Building(name) => context.ui.note(&format!("building {name}")),
        Event::Removed(name) => context.ui.detail(&format!("removed {name}")),
        _ => {}
    })
}

fn check_failure(error: CheckError) -> Failure {
    match error {
        CheckError::Io { .. } => Failure::world(error),
        other => Failure::usage(other),
    }
}
