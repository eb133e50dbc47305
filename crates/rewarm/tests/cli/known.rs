//! `rewarm with`: files whose digest a page or a lock file tells are downloaded once.

use std::os::unix::fs::PermissionsExt;

use rewarm_testkit::packages::pylock;
use rewarm_testkit::sandbox::{Output, Sandbox};
use rewarm_testkit::server::{Reply, Server};

use crate::support::{distributions, sandbox};

/// A client that asks for URLs as installers do, as the variables say through a proxy.
const CLIENT: &str = "import sys, urllib.request\n\
                      accept = {'Accept': 'application/vnd.pypi.simple.v1+html'}\n\
                      for url in sys.argv[1:]:\n    \
                          request = urllib.request.Request(url, headers=accept)\n    \
                          print(len(urllib.request.urlopen(request).read()))";

/// An origin of the files that says nothing of caching, and of a page that links to them.
fn origin() -> Server {
    let files = distributions();
    let link = |file: &rewarm_testkit::packages::Artifact| {
        format!("<a href=\"/{}#sha256={}\">x</a>", file.filename, file.sha256())
    };
    let page: String = files.iter().map(link).collect();
    Server::start(move |seen| {
        let file = files.iter().find(|file| seen.path[1..] == file.filename);
        match file {
            Some(file) => Reply::ok(file.bytes.clone()),
            None => Reply::ok(page.clone()).header("content-type", "text/html"),
        }
    })
}

/// A program of that name that asks for the URL in its third argument.
fn program(sandbox: &Sandbox, name: &str) -> String {
    sandbox.write(name, format!("#!/bin/sh\nexec python3 -c \"{CLIENT}\" \"$3\"\n"));
    let path = sandbox.project().join(name);
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, executable).expect("it is ours");
    path.into_os_string().into_string().expect("text")
}

fn get(sandbox: &Sandbox, urls: &[String]) -> Output {
    let command = ["with", "--", "python3", "-c", CLIENT];
    let args = command.into_iter().chain(urls.iter().map(String::as_str));
    sandbox.run(args).expect_code(0)
}

#[test]
fn what_a_page_names_is_downloaded_by_one_command_only() {
    let (sandbox, origin) = (sandbox(), origin());
    let file = distributions().remove(0).filename;
    let urls = [origin.url("/simple/"), origin.url(&format!("/{file}"))];
    let first = get(&sandbox, &urls);
    let second = get(&sandbox, &urls);
    assert!(first.stderr.contains("rewarm: 2 files, 0 from the cache"), "{first}");
    assert!(second.stderr.contains("rewarm: 2 files, 1 from the cache"), "{second}");
    assert_eq!((&first.stdout, origin.count(&format!("/{file}"))), (&second.stdout, 1));
}

#[test]
fn what_a_lock_file_names_is_downloaded_by_one_command_only() {
    let (sandbox, origin) = (sandbox(), origin());
    let file = distributions().remove(0).filename;
    let urls = [origin.url(&format!("/{file}"))];
    sandbox.write("pylock.toml", "not a lock file");
    get(&sandbox, &urls);
    get(&sandbox, &urls);
    assert_eq!(origin.count(&format!("/{file}")), 2);
    sandbox.write("pylock.toml", pylock(&distributions(), &origin.url("/")));
    let output = get(&sandbox, &urls);
    assert!(
        output.stderr.contains("rewarm: 1 file, 1 from the cache, nothing downloaded"),
        "{output}"
    );
    assert_eq!(origin.count(&format!("/{file}")), 2);
}

#[test]
fn what_a_pixi_lock_names_is_downloaded_by_one_command_only() {
    let (sandbox, origin) = (sandbox(), origin());
    let file = distributions().remove(0);
    let url = origin.url(&format!("/{}", file.filename));
    let lock = format!(
        "version: 6\nenvironments:\n  default:\n    channels:\n    - url: {0}\n    packages:\n      \
         linux-64:\n      - pypi: {url}\npackages:\n- pypi: {url}\n  name: {1}\n  version: '{2}'\n  \
         sha256: {3}\n",
        origin.url("/"),
        file.name,
        file.version,
        file.sha256()
    );
    let manifest = "[workspace]\nname = \"x\"\nchannels = []\nplatforms = [\"linux-64\"]\n";
    sandbox.write("elsewhere/pixi.toml", manifest);
    sandbox.write("elsewhere/pixi.lock", lock);
    let pixi = program(&sandbox, "pixi");
    for _ in 0..2 {
        let line = ["with", &pixi, "--manifest-path", "elsewhere/pixi.toml", &url];
        let _ = sandbox.run(line).expect_code(0);
    }
    assert_eq!(origin.count(&format!("/{}", file.filename)), 1);
}

#[test]
fn the_lock_file_is_that_of_the_project_that_the_command_names() {
    let (sandbox, origin) = (sandbox(), origin());
    let file = distributions().remove(0).filename;
    let url = origin.url(&format!("/{file}"));
    sandbox.write("elsewhere/pylock.toml", pylock(&distributions(), &origin.url("/")));
    let uv = program(&sandbox, "uv");
    for project in [".", "elsewhere", "elsewhere"] {
        let _ = sandbox.run(["with", &uv, "--project", project, &url]).expect_code(0);
    }
    assert_eq!(origin.count(&format!("/{file}")), 1);
    let _ = sandbox.run(["with", &uv, "--project", ".", &url]).expect_code(0);
    assert_eq!(origin.count(&format!("/{file}")), 2);
}
