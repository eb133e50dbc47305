//! The conda packages of an environment: fetching what the plan lacks, and carrying it out.

use rewarm_conda::prefix::{CheckError, Event, InstallError, Plan, RemoteFile};
use rewarm_env::{Location, Source};
use rewarm_http::Request;
use rewarm_store::Store;

use super::{Done, Installed};
use crate::context::Context;
use crate::error::Failure;
use crate::network;

/// Brings the packages of a plan into the prefix, and into the store the wheels of a new one.
pub(super) fn bring(
    context: &Context<'_>,
    mut plan: Plan,
    wheels: &[rewarm_env::Wanted],
    installed: &mut Installed,
) -> Result<Done, Failure> {
    let mut is_second = false;
    loop {
        download(context, &mut plan, wheels, installed)?;
        match execute(context, &plan) {
            Ok(done) => return Ok(done),
            // A blob was damaged and dropped: fetch it again, once.
            Err(error) if error.wants_download() && !is_second => {
                context.ui.warn(&format!("{error}; fetching it again"));
                is_second = true;
            }
            Err(error) => return Err(failure(error)),
        }
    }
}

/// One bar runs over everything that is to come.
fn download(
    context: &Context<'_>,
    plan: &mut Plan,
    wheels: &[rewarm_env::Wanted],
    installed: &mut Installed,
) -> Result<(), Failure> {
    let store = context.store()?;
    let files: Vec<RemoteFile> = plan.downloads(store);
    let mut requests = Vec::with_capacity(files.len());
    for file in &files {
        let url = rewarm_http::Url::parse(file.url.as_str()).map_err(Failure::usage)?;
        let mut request = Request::get(url);
        request.expected = file.sha256;
        requests.push(request);
    }
    let mut total = files.iter().map(|file| file.size).sum::<Option<u64>>();
    if plan.install.keep.is_empty() {
        let ahead = ahead(store, wheels)?;
        total = total.filter(|_| ahead.is_empty());
        requests.extend(ahead);
    }
    let label = match (files.as_slice(), requests.len()) {
        ([file], 1) => format!("Downloading {}", file.filename),
        (_, count) => format!("Downloading {count} packages"),
    };
    let fetched = network::fetch_all(context, &label, total, requests)?;
    for (number, one) in fetched.iter().enumerate() {
        let blob = network::into_store(context, one)?;
        installed.downloaded.0 += 1;
        installed.downloaded.1 += blob.size;
        if let Some(file) = files.get(number) {
            plan.supply(store, file, &blob.digest).map_err(failure)?;
        }
    }
    Ok(())
}

/// The wheels that are found by their digest once they are in the store.
fn ahead(store: &Store, wheels: &[rewarm_env::Wanted]) -> Result<Vec<Request>, Failure> {
    let mut requests = Vec::new();
    for wheel in wheels {
        let Source::Wheel { file, .. } = &wheel.source else { continue };
        let (Location::Url(url), Some(digest)) = (&file.location, file.sha256()) else { continue };
        if store.blob_path(&digest).is_none() && store.tree(&digest).is_none() {
            let url = rewarm_http::Url::parse(url.as_str()).map_err(Failure::usage)?;
            let mut request = Request::get(url);
            request.expected = Some(digest);
            requests.push(request);
        }
    }
    Ok(requests)
}

fn execute(context: &Context<'_>, plan: &Plan) -> Result<Done, InstallError> {
    let bar = context.ui.count("Installing", plan.install.to_install().count());
    let store = context.store().expect("the store was opened to make the plan");
    let report = plan.execute(store, &|event| match event {
        Event::Installed(name) => {
            bar.advance(1);
            context.ui.detail(&format!("installed {name}"));
        }
        Event::Removed(name) => context.ui.detail(&format!("removed {name}")),
        Event::ScriptSkipped { package, script } => context.ui.warn(&format!(
            "`{package}` brought `{}` to be run at its installation; it was not run",
            script.display()
        )),
        Event::Shared { path, from, others } => context.ui.detail(&format!(
            "`{}` is that of {from}; {} brought one as well",
            path.display(),
            others.join(", ")
        )),
        Event::Prepared(_) => {}
    })?;
    Ok(Done { installed: report.installed, removed: report.removed, kept: report.kept })
}

pub(super) fn check_failure(error: CheckError) -> Failure {
    match error {
        CheckError::Io { .. } => Failure::world(error),
        CheckError::NoPython { .. } => {
            Failure::usage(error).hint("add `python` to the dependencies and run `rewarm lock`")
        }
        other => Failure::usage(other),
    }
}

fn failure(error: InstallError) -> Failure {
    let is_wrong = matches!(error, InstallError::WrongHash { .. } | InstallError::Local { .. });
    let failure = Failure::world(error).hint_at_space();
    match is_wrong && !failure.is_out_of_space() {
        true => failure.hint("if the channel was made anew, run `rewarm lock`"),
        false => failure,
    }
}
