//! `rewarm cache import`, on caches that real pips have filled, sound and damaged.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rewarm_testkit::packages::Artifact;
use rewarm_testkit::sandbox::{Output, Sandbox};
use rewarm_testkit::server::{Reply, Server};
use rewarm_testkit::tools;
use serde_json::Value;

use crate::support::{distributions, project, sandbox};

/// A package index like PyPI's: pages that vary and are compressed, files that never change.
struct Index {
    server: Server,
    artifacts: Vec<Artifact>,
}

fn python(args: &[&str]) -> Vec<u8> {
    let output = Command::new("python3").args(args).output().expect("a Python");
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

fn gzip(text: &str) -> Vec<u8> {
    let code = "import gzip, sys; sys.stdout.buffer.write(gzip.compress(sys.argv[1].encode()))";
    python(&["-c", code, text])
}

fn date() -> String {
    let code = "import email.utils as u; print(u.formatdate(usegmt=True), end='')";
    String::from_utf8(python(&["-c", code])).expect("ASCII")
}

impl Index {
    fn start() -> Self {
        let artifacts = distributions();
        let (date, mut replies) = (date(), BTreeMap::new());
        for artifact in &artifacts {
            let Artifact { name, filename, .. } = artifact;
            let file = Reply::ok(artifact.bytes.clone())
                .header("content-type", "application/octet-stream")
                .header("cache-control", "max-age=365000000, immutable, public");
            replies.insert(format!("/files/{filename}"), file);
            let page = serde_json::json!({
                "meta": { "api-version": "1.0" },
                "name": name,
                "files": [{
                    "filename": filename,
                    "url": format!("../../files/{filename}"),
                    "hashes": { "sha256": artifact.sha256() },
                }],
            });
            let page = Reply::ok(gzip(&page.to_string()))
                .header("content-type", "application/vnd.pypi.simple.v1+json")
                .header("content-encoding", "gzip")
                .header("vary", "Accept, Accept-Encoding")
                .header("cache-control", "max-age=600, public");
            replies.insert(format!("/simple/{name}/"), page);
        }
        let server = Server::start(move |seen| match replies.get(&seen.path) {
            Some(reply) => {
                let tag = format!("\"{}\"", seen.path);
                reply.clone().header("etag", &tag).header("date", &date)
            }
            None => Reply::status(404, "no such page"),
        });
        Self { server, artifacts }
    }

    /// Has a pip download all files into its cache, which is returned.
    fn fill(&self, sandbox: &Sandbox, old: bool) -> PathBuf {
        let dir = sandbox.home().join(if old { "old pip" } else { "pip" });
        let mut command = Command::new(tools::environment().join("bin/python"));
        if old {
            command.env("PYTHONPATH", tools::old_pip());
        } else {
            command.env_remove("PYTHONPATH");
        }
        command.args(["-m", "pip", "--isolated", "--disable-pip-version-check", "download"]);
        command.args(["--quiet", "--no-deps", "--trusted-host", "127.0.0.1", "--cache-dir"]);
        command.arg(&dir).arg("--index-url").arg(self.server.url("/simple/")).arg("--dest");
        command.arg(sandbox.home().join("downloaded")).env("HOME", sandbox.home());
        command.args(self.artifacts.iter().map(|artifact| &artifact.name));
        sandbox.output(&mut command).expect_code(0);
        dir
    }

    /// Has uv install all files, so that they are unpacked in its cache, which is returned.
    fn fill_uv(&self, sandbox: &Sandbox) -> PathBuf {
        let (dir, tools) = (sandbox.home().join("uv"), tools::environment());
        let mut command = Command::new(tools.join("bin/uv"));
        command.args(["pip", "install", "--quiet", "--no-config", "--python"]);
        command.arg(tools.join("bin/python")).arg("--cache-dir").arg(&dir).arg("--index-url");
        command.arg(self.server.url("/simple/")).arg("--target").arg(sandbox.home().join("site"));
        command.args(self.artifacts.iter().map(|artifact| &artifact.name));
        command.env("HOME", sandbox.home()).env_remove("UV_FIND_LINKS");
        sandbox.output(&mut command).expect_code(0);
        dir
    }

    fn file_url(&self, artifact: &Artifact) -> String {
        self.server.url(&format!("/files/{}", artifact.filename))
    }

    /// Imports with this origin known as public.
    fn import(&self, sandbox: &Sandbox, dir: &Path) -> Value {
        import(
            sandbox,
            dir,
            &["--public", &self.server.url("/"), "--index-url", &self.server.url("/simple")],
        )
    }

    /// The head of a file's entry, and its body.
    fn entry(&self, dir: &Path, artifact: &Artifact) -> (PathBuf, PathBuf) {
        let url = self.file_url(artifact);
        let code =
            "import hashlib, sys; print(hashlib.sha224(sys.argv[1].encode()).hexdigest(), end='')";
        let name = String::from_utf8(python(&["-c", code, &url])).expect("ASCII");
        let letters: PathBuf = name.chars().take(5).map(String::from).collect();
        let head = dir.join("http-v2").join(letters).join(&name);
        (head.clone(), head.with_extension("body"))
    }
}

fn import(sandbox: &Sandbox, dir: &Path, args: &[&str]) -> Value {
    import_from("pip", sandbox, dir, args)
}

fn import_from(tool: &str, sandbox: &Sandbox, dir: &Path, args: &[&str]) -> Value {
    let dir = dir.to_str().expect("text");
    let args = [&["--json", "cache", "import", tool, dir], args].concat();
    let output = sandbox.run(args).expect_code(0);
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"))
}

/// How many entries were taken in this way.
fn taken(report: &Value, kind: &str) -> usize {
    let taken = report["taken"].as_array().expect("a list");
    taken.iter().filter(|taken| taken["as"] == kind).count()
}

fn reasons(report: &Value) -> Vec<String> {
    let skipped = report["skipped"].as_array().expect("a list");
    skipped.iter().map(|skipped| skipped["reason"].as_str().expect("text").to_owned()).collect()
}

/// All that can be seen of a directory: names, bits, times, links and bytes.
fn picture(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let metadata = path.symlink_metadata().expect("it is there");
        let times =
            (metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec());
        let bytes =
            if metadata.is_file() { fs::read(&path).expect("readable") } else { Vec::new() };
        let text = format!("{:o} {} {times:?} {bytes:?}", metadata.mode(), metadata.nlink());
        found.insert(path.clone(), text);
        if metadata.is_dir() {
            found.extend(picture(&path));
        }
    }
    found
}

fn fetch_offline(sandbox: &Sandbox, url: &str) -> Output {
    sandbox.run(["--offline", "fetch", url, "-o", "file"])
}

#[test]
fn what_pip_has_downloaded_is_not_downloaded_again() {
    for old in [false, true] {
        let (sandbox, index) = (sandbox(), Index::start());
        let dir = index.fill(&sandbox, old);
        let before = picture(&dir);
        let plan = import(&sandbox, &dir, &["--dry-run", "--public", &index.server.url("/")]);
        assert_eq!(plan["dry_run"], true);
        assert!(!sandbox.cache().join("blobs-v1").exists(), "a dry run takes nothing");

        let report = index.import(&sandbox, &dir);
        assert_eq!(taken(&report, "response"), 4, "two pages and two files: {report}");
        assert!(reasons(&report).is_empty(), "{report}");
        let count = index.server.seen().len();
        for artifact in &index.artifacts {
            fetch_offline(&sandbox, &index.file_url(artifact)).expect_code(0);
            let file = fs::read(sandbox.project().join("file")).expect("readable");
            assert_eq!(file, artifact.bytes);
            let fresh = sandbox.run(["fetch", &index.file_url(artifact), "-o", "file"]);
            assert!(fresh.expect_code(0).stderr.contains("from the cache"));
        }
        let page = index.server.url("/simple/hello/");
        let shown = sandbox.run(["cache", "show", &page]).expect_code(0).stdout;
        assert!(shown.contains("accept (given), accept-encoding (given)"), "{shown}");
        assert!(shown.contains("(max-age)") && shown.contains(": fresh"), "{shown}");
        assert_eq!(index.server.seen().len(), count, "nothing was asked for again");

        let again = index.import(&sandbox, &dir);
        let is_present = |taken: &Value| taken["how"] == "present";
        assert!(again["taken"].as_array().expect("a list").iter().all(is_present), "{again}");
        sandbox.run(["cache", "verify"]).expect_code(0);
        assert_eq!(picture(&dir), before, "pip's cache is only read");
    }
}

#[test]
fn imported_files_serve_a_lock_file_by_their_digests() {
    let (sandbox, index) = (sandbox(), Index::start());
    let dir = index.fill(&sandbox, false);
    let report = import(&sandbox, &dir, &[]);
    assert_eq!((taken(&report, "file"), taken(&report, "response")), (2, 0), "{report}");
    assert_eq!(reasons(&report), ["its URL is not known"; 2], "pages are of no use so");
    // What an unknown origin answered may have been for somebody's credentials.
    let refused = fetch_offline(&sandbox, &index.file_url(&index.artifacts[0]));
    refused.expect_code(3);
    project(&sandbox, &index.server, "[project]\nname = \"app\"\nversion = \"1\"\n");
    let list = sandbox.run(["cache", "list", "--kind", "import"]).expect_code(0).stdout;
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(list.lines().all(|line| line.ends_with(" from pip's cache")), "{list}");
    let installed = sandbox.run(["--offline", "install"]).expect_code(0);
    assert!(installed.stderr.contains("nothing downloaded"), "{installed}");
    sandbox.run(["cache", "prune"]).expect_code(0);
    let list = sandbox.run(["cache", "list", "--kind", "import"]).expect_code(0).stdout;
    assert_eq!(list.lines().count(), 2, "they are entries like others: {list}");
}

#[test]
fn lock_file_of_the_project_names_urls() {
    let (sandbox, index) = (sandbox(), Index::start());
    let dir = index.fill(&sandbox, false);
    let files = index.server.url("/files/");
    sandbox.write("pyproject.toml", "[project]\nname = \"app\"\nversion = \"1\"\n");
    sandbox.write("pylock.toml", rewarm_testkit::packages::pylock(&index.artifacts, &files));
    let report = import(&sandbox, &dir, &["--public", &index.server.url("/")]);
    assert_eq!(taken(&report, "response"), 2, "{report}");
}

/// Damages a head and a body.
type Change = dyn Fn(&Path, &Path);

/// Changes one entry of a sound cache in several ways; what was said of that entry each time.
fn damaged(changes: &[&Change]) -> Vec<String> {
    let index = Index::start();
    let filled = sandbox();
    let dir = index.fill(&filled, false);
    let (head, body) = index.entry(&dir, &index.artifacts[0]);
    let sound = [&head, &body].map(|path| fs::read(path).expect("readable"));
    let said = changes.iter().map(|change| {
        fs::write(&head, &sound[0]).expect("writable");
        fs::write(&body, &sound[1]).expect("writable");
        change(&head, &body);
        let sandbox = sandbox();
        let before = picture(&dir);
        let report = index.import(&sandbox, &dir);
        assert_eq!(taken(&report, "response"), 3, "the others are taken: {report}");
        assert_eq!(picture(&dir), before);
        fetch_offline(&sandbox, &index.file_url(&index.artifacts[0])).expect_code(3);
        let mut reasons = reasons(&report);
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        reasons.remove(0)
    });
    said.collect()
}

#[test]
fn body_with_a_flipped_byte_is_not_taken() {
    let reasons = damaged(&[&|_, body| {
        let mut bytes = fs::read(body).expect("readable");
        bytes[40] ^= 1;
        fs::write(body, bytes).expect("writable");
    }]);
    assert_eq!(reasons, ["its body is not the file that its index page names"]);
}

#[test]
fn truncated_body_and_head_without_body_are_not_taken() {
    let reasons = damaged(&[
        &|_, body| {
            let bytes = fs::read(body).expect("readable");
            fs::write(body, &bytes[..bytes.len() / 2]).expect("writable");
        },
        &|_, body| fs::remove_file(body).expect("it was there"),
    ]);
    assert!(reasons[0].contains("were announced"), "{reasons:?}");
    assert_eq!(reasons[1], "its body is missing");
}

#[test]
fn garbage_in_place_of_a_head_is_not_taken() {
    let garbage = [&b""[..], b"cc=3,old", b"cc=4,", b"cc=4,\x81\xa8response\xc0", &[0xff; 999]];
    let changes = garbage
        .map(|garbage| move |head: &Path, _: &Path| fs::write(head, garbage).expect("writable"));
    let changes: Vec<&Change> = changes.iter().map(|change| change as _).collect();
    assert_eq!(damaged(&changes), ["it is damaged, or in a format that is not known"; 5]);
}

#[test]
fn body_of_another_entry_under_a_head_is_not_taken() {
    let reasons = damaged(&[&|_, body| {
        let length = fs::metadata(body).expect("it is there").len();
        fs::write(body, vec![b'x'; usize::try_from(length).expect("small")]).expect("writable");
    }]);
    assert_eq!(reasons, ["its body is not the file that its index page names"]);
}

#[test]
fn page_whose_head_is_newer_than_its_body_is_not_believed() {
    let (sandbox, index) = (sandbox(), Index::start());
    let dir = index.fill(&sandbox, false);
    let pages = picture(&dir);
    let heads = pages.keys().filter(|path| path.extension().is_none() && path.is_file());
    for head in heads {
        let file = fs::File::options().write(true).open(head).expect("writable");
        let body = fs::metadata(head.with_extension("body")).expect("a body");
        let later = body.modified().expect("a time") + std::time::Duration::from_secs(1);
        file.set_modified(later).expect("utimes");
    }
    let report = index.import(&sandbox, &dir);
    assert_eq!(taken(&report, "response"), 2, "files with a digest need no belief: {report}");
    let expected = "its head was renewed after its body was written, and may be of another version";
    assert_eq!(reasons(&report), [expected; 2]);
}

#[test]
fn negative_length_is_not_taken_for_a_length() {
    let (sandbox, index) = (sandbox(), Index::start());
    let dir = index.fill(&sandbox, false);
    let heads = picture(&dir).into_keys().filter(|path| path.extension().is_none());
    for head in heads.filter(|path| path.is_file()) {
        let mut bytes = fs::read(&head).expect("readable");
        let name =
            bytes.windows(14).position(|window| window.eq_ignore_ascii_case(b"content-length"));
        let text = name.expect("pip kept it") + 15;
        bytes[text] = b'-';
        fs::write(&head, bytes).expect("writable");
        let body = fs::File::options().write(true).open(head.with_extension("body"));
        body.expect("a body")
            .set_modified(std::fs::metadata(&head).expect("a head").modified().expect("a time"))
            .expect("utimes");
    }
    let report = index.import(&sandbox, &dir);
    assert_eq!(reasons(&report), ["nothing says how long its body should be"; 2], "{report}");
    assert_eq!(taken(&report, "response"), 2, "files are known by their digests: {report}");
}

#[test]
fn temporary_and_strange_files_are_passed_over() {
    let (sandbox, index) = (sandbox(), Index::start());
    let dir = index.fill(&sandbox, false);
    let deep = dir.join("http-v2/0/1/2/3/4");
    fs::create_dir_all(&deep).expect("directories can be made");
    for name in ["x.tmp", "01234", "README"] {
        fs::write(deep.join(name), "strange").expect("writable");
    }
    std::os::unix::fs::symlink("/etc/passwd", deep.join("0".repeat(56))).expect("a link");
    std::os::unix::fs::symlink(&dir, deep.join("5")).expect("a link");
    let report = index.import(&sandbox, &dir);
    assert_eq!((taken(&report, "response"), reasons(&report).len()), (4, 0), "{report}");
}

#[test]
fn directory_that_is_no_cache_of_pips_is_refused() {
    let sandbox = sandbox();
    let refused = sandbox.run(["cache", "import", "pip", "."]).expect_code(2);
    assert!(refused.stderr.contains("no HTTP cache of pip's in `[PROJECT]"), "{refused}");
    assert!(refused.stderr.contains("`pip cache dir`"), "{refused}");
}

const PYPROJECT: &str = "[project]\nname = \"app\"\nversion = \"1\"\n";

#[test]
fn nothing_of_uvs_is_taken_without_its_word_and_all_of_it_is_named() {
    let (sandbox, index) = (sandbox(), Index::start());
    let dir = index.fill_uv(&sandbox);
    let before = picture(&dir);
    let report = import_from("uv", &sandbox, &dir, &[]);
    assert_eq!(report["taken"], serde_json::json!([]), "{report}");
    let reasons = reasons(&report);
    assert_eq!(reasons.len(), 2, "{report}");
    assert!(reasons.iter().all(|reason| reason.contains("`--trust-uv`")), "{report}");
    assert_eq!(report["index_pages"], 2, "{report}");
    let text = sandbox.run(["cache", "import", "uv", dir.to_str().expect("text")]).expect_code(0);
    assert!(text.stdout.contains("2  skipped: unpacked, so that nothing proves"), "{text}");
    assert!(text.stdout.contains("2  skipped: index pages are kept as uv's own data"), "{text}");
    assert_eq!(picture(&dir), before);
    project(&sandbox, &index.server, PYPROJECT);
    sandbox.run(["--offline", "install"]).expect_code(3);
}

#[test]
fn unpacked_wheels_taken_on_uvs_word_are_what_rewarm_would_unpack() {
    let (sandbox, index) = (sandbox(), Index::start());
    let dir = index.fill_uv(&sandbox);
    let before = picture(&dir);
    let plan = import_from("uv", &sandbox, &dir, &["--trust-uv", "--dry-run"]);
    assert_eq!(taken(&plan, "tree"), 2, "{plan}");
    let report = import_from("uv", &sandbox, &dir, &["--trust-uv"]);
    assert_eq!((taken(&report, "tree"), reasons(&report).len()), (2, 0), "{report}");
    sandbox.run(["cache", "verify"]).expect_code(0);
    project(&sandbox, &index.server, PYPROJECT);
    let installed = sandbox.run(["--offline", "install"]).expect_code(0);
    assert!(installed.stderr.contains("nothing downloaded"), "{installed}");
    let hello = crate::support::tool(&sandbox, ".venv/bin/hello", &[]).expect_code(0);
    assert_eq!(hello.stdout, "hello world\n");
    let again = import_from("uv", &sandbox, &dir, &["--trust-uv"]);
    assert!(again["taken"][0]["how"] == "present" && again["taken"][1]["how"] == "present");
    assert_eq!(picture(&dir), before, "uv's cache is only read");

    let own = self::sandbox();
    let lock = rewarm_testkit::packages::pylock(&index.artifacts, &index.server.url("/files/"));
    own.write("pyproject.toml", PYPROJECT);
    own.write("pylock.toml", lock);
    own.run(["install"]).expect_code(0);
    assert_eq!(trees(&sandbox), trees(&own));
}

/// The files of all trees, with their permission bits.
fn trees(sandbox: &Sandbox) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let root = sandbox.cache().join("trees-v1");
    let files = picture(&root).into_keys().filter(|path| path.is_file());
    let of = |path: PathBuf| {
        let mode = fs::metadata(&path).expect("it is there").mode();
        let bytes = fs::read(&path).expect("readable");
        (path.strip_prefix(&root).expect("below the root").to_owned(), (mode, bytes))
    };
    files.map(of).collect()
}

#[test]
fn unpacked_wheel_that_is_not_as_its_record_says_is_not_taken() {
    let (sandbox, index) = (sandbox(), Index::start());
    let dir = index.fill_uv(&sandbox);
    let archive = dir.join("archive-v0");
    let edited = picture(&archive).into_keys().find(|path| path.ends_with("hello/cli.py"));
    let edited = edited.expect("uv has unpacked it");
    // Another name of the same file stands in the directory that uv installed to.
    fs::remove_file(&edited).expect("it is there");
    fs::write(&edited, "print('edited')\n").expect("writable");
    let report = import_from("uv", &sandbox, &dir, &["--trust-uv"]);
    assert_eq!(taken(&report, "tree"), 1, "{report}");
    let reasons = reasons(&report);
    assert_eq!(reasons.len(), 1, "{report}");
    assert!(reasons[0].contains("does not have the digest that `RECORD` gives"), "{reasons:?}");
    fs::write(edited.with_file_name("stray.py"), "").expect("writable");
    project(&sandbox, &index.server, PYPROJECT);
    sandbox.run(["--offline", "install"]).expect_code(3);
}

#[test]
fn options_for_one_tool_are_refused_for_the_other() {
    let sandbox = sandbox();
    sandbox.run(["cache", "import", "pip", ".", "--trust-uv"]).expect_code(2);
    sandbox.run(["cache", "import", "uv", ".", "--url", "https://h/"]).expect_code(2);
    let refused = sandbox.run(["cache", "import", "uv", "."]).expect_code(2);
    assert!(refused.stderr.contains("`uv cache dir`"), "{refused}");
}
