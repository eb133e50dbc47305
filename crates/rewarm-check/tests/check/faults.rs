//! What goes wrong is reported, and is never stored.

use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rewarm_check::{CheckError, Event, Report, Reuse};
use rewarm_store::Store;

use crate::support::{Bench, files, flip, now, write};

/// Why a run was not stored.
#[track_caller]
fn unstored(report: &Report) -> &str {
    match &report.reuse {
        Reuse::Ran { unstored: Some(reason), .. } => reason,
        other => panic!("stored or replayed: {other:?}"),
    }
}

/// A plugin that runs some statements when it is loaded.
fn plugin(bench: &Bench, statements: &str) {
    bench.write("pyproject.toml", "[tool.mypy]\nplugins = ['plugin.py']\n");
    let rest = "from mypy.plugin import Plugin\ndef plugin(version):\n    return Plugin\n";
    bench.write("plugin.py", &format!("import os\n{statements}\n{rest}"));
}

#[test]
fn answer_with_exit_code_two_is_not_stored() {
    let bench = Bench::sample();
    bench.write("pkg/d.py", "def (\n");
    for _ in 0..2 {
        let report = bench.checked();
        assert_eq!(report.exit_code, 2);
        assert!(unstored(&report).contains("end of its own"));
    }
    bench.write("pkg/d.py", "y: int = ''\n");
    bench.miss("the source can be parsed again");
}

#[test]
fn usage_error_and_help_are_passed_on() {
    let mut bench = Bench::new();
    for argument in ["--no-such-option", "--help", "--version"] {
        bench.arguments = vec![argument.into()];
        let report = bench.checked();
        assert!(!unstored(&report).is_empty());
    }
}

#[test]
fn killed_mypy_leaves_nothing_wrong() {
    let bench = Bench::sample();
    bench.miss("nothing is known");
    plugin(&bench, "os.kill(os.getpid(), 9) if os.path.exists('now') else None");
    bench.write("now", "");
    let report = bench.check();
    assert_eq!(report.exit_code, 128 + 9);
    assert!(unstored(&report).contains("end of its own"));
    bench.remove("now");
    bench.write("pkg/d.py", "y: int = ''\n");
    bench.miss("mypy runs to its end");
}

#[test]
fn plugin_that_raises_is_passed_on() {
    let bench = Bench::sample();
    plugin(&bench, "raise ValueError('no')");
    let report = bench.checked();
    assert_eq!(report.exit_code, 2);
}

#[test]
fn traceback_names_what_a_plain_run_names() {
    let mut bench = Bench::sample();
    bench.arguments.push("--show-traceback".into());
    for (place, raised) in [("at its start", "raise"), ("in a hook", "if fullname: raise")] {
        bench.write("pyproject.toml", "[tool.mypy]\nplugins = ['plugin.py']\n");
        let at_start = if raised == "raise" { "    raise KeyError(version)\n" } else { "" };
        bench.write(
            "plugin.py",
            &format!(
                "from mypy.plugin import Plugin\n\
                 class Crash(Plugin):\n    def get_type_analyze_hook(self, fullname):\n        \
                 {raised} ValueError(fullname)\n\
                 def plugin(version):\n{at_start}    return Crash\n"
            ),
        );
        for _ in 0..2 {
            let report = bench.checked();
            assert_eq!(report.exit_code, 2, "{place}");
            let told = String::from_utf8_lossy(&report.stdout).into_owned();
            assert!(told.contains("Traceback (most recent call last)"), "{place}: {told}");
            unstored(&report);
        }
    }
}

#[test]
fn source_that_changes_while_mypy_runs_is_not_vouched_for() {
    let bench = Bench::sample();
    plugin(
        &bench,
        "open('pkg/d.py', 'w').write('y: int = 2\\n' * (os.stat('pkg/d.py').st_size // 8))",
    );
    let report = bench.check();
    assert_eq!(unstored(&report), "an input changed while mypy ran");
}

#[test]
fn run_that_starts_programs_is_not_stored() {
    let bench = Bench::sample();
    plugin(&bench, "import subprocess\nsubprocess.run(['true'])");
    assert_eq!(unstored(&bench.checked()), "mypy started another program");
}

#[test]
fn report_files_are_written_on_every_run() {
    let mut bench = Bench::sample();
    bench.arguments.push("--junit-xml=out.xml".into());
    for _ in 0..2 {
        let report = bench.check();
        assert_eq!(unstored(&report), "`--junit-xml` does more than give an answer");
        assert!(bench.project.join("out.xml").exists());
        bench.remove("out.xml");
    }
    bench.arguments.pop();
    bench.write("mypy.ini", "[mypy]\njunit_xml = out.xml\n");
    for _ in 0..2 {
        assert!(unstored(&bench.check()).contains("junit_xml"));
        assert!(bench.project.join("out.xml").exists());
        bench.remove("out.xml");
    }
}

#[test]
fn store_that_cannot_be_written_costs_no_answer() {
    let bench = Bench::sample();
    let store = Store::for_lookup(Path::new("/proc/rewarm"));
    let events = Mutex::new(Vec::new());
    let hear = |event| events.lock().expect("no panic").push(event);
    let report = rewarm_check::check(&store, &bench.request(), now(), &hear).expect("an answer");
    let (stdout, _, code) = bench.plain();
    assert_eq!(
        (String::from_utf8_lossy(&report.stdout).into_owned(), report.exit_code),
        (stdout, code)
    );
    let events = events.into_inner().expect("no panic");
    assert!(events.iter().any(|event| matches!(event, Event::Uncached { .. })), "{events:?}");
    assert!(!bench.project.join(".mypy_cache").exists());
}

#[test]
fn damaged_entry_is_a_miss() {
    let bench = Bench::sample();
    bench.miss("nothing is known");
    flip_everything(bench.store.root());
    bench.miss("no entry is whole");
    bench.hit_again("entries are whole again");
}

/// Damages every record and everything in slots, in whatever version.
fn flip_everything(root: &Path) {
    let is_versioned = |path: &PathBuf| {
        let area = path.strip_prefix(root).expect("below").iter().next();
        area.is_some_and(|area| area.to_string_lossy().contains("-v"))
    };
    files(root).iter().filter(|path| is_versioned(path)).for_each(|path| flip(path));
}

#[test]
fn environment_without_mypy_is_named() {
    let bench = Bench::sample();
    for entry in fs::read_dir(bench.site()).expect("packages") {
        let path = entry.expect("entry").path();
        if path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"mypy-")) {
            fs::remove_file(path).expect("link");
        }
    }
    let error = bench.try_check().expect_err("no mypy");
    assert!(matches!(error, CheckError::NoMypy { .. }));
    let text = error.to_string();
    assert!(text.contains(&*bench.venv.to_string_lossy()), "{text}");
}

#[test]
fn missing_interpreter_is_named() {
    let bench = Bench::sample();
    fs::remove_file(bench.venv.join("bin/python")).expect("link");
    let error = bench.try_check().expect_err("no interpreter");
    assert!(matches!(error, CheckError::Interpreter { .. }), "{error}");
}

#[test]
fn link_that_leads_back_is_followed_as_far_as_mypy_does() {
    let bench = Bench::sample();
    bench.miss("nothing is known");
    let link = bench.project.join("pkg/back");
    for target in ["..", "."] {
        std::os::unix::fs::symlink(target, &link).expect("link");
        let report = bench.miss(target);
        assert_eq!(report.files, 5);
        bench.hit("nothing changed");
        fs::remove_file(&link).expect("link");
        bench.hit("as it was before");
    }
}

#[test]
fn syntax_error_beside_imports_that_are_not_found() {
    let bench = Bench::sample();
    bench.write("pkg/e.py", "import nowhere\nimport pkg.f\nx: int = ''\n");
    bench.write("pkg/f.py", "y: int = ''\n");
    bench.miss("nothing is known");
    bench.write("pkg/f.py", "def f(:\n");
    let report = bench.checked();
    assert_eq!(report.exit_code, 2);
    bench.write("pkg/b.py", "def g(:\n");
    bench.checked();
    bench.write("pkg/f.py", "y: int = 1\n");
    bench.checked();
    bench.write("pkg/b.py", "from pkg import a\n\ndef two() -> int:\n    return 3\n");
    let report = bench.miss("all is well again");
    let Reuse::Ran { modules_rechecked: Some(count), .. } = report.reuse else { panic!() };
    assert!(count < 5, "{count} modules checked: the results of before are still there");
}

#[test]
fn link_that_leads_nowhere_is_a_source_that_cannot_be_read() {
    let bench = Bench::sample();
    bench.miss("nothing is known");
    let link = bench.project.join("pkg/gone.py");
    for target in ["nowhere.py", "gone.py"] {
        std::os::unix::fs::symlink(target, &link).expect("link");
        let report = bench.checked();
        assert_eq!(report.exit_code, 2, "{target}");
        fs::remove_file(&link).expect("link");
    }
    bench.hit("as it was before");
    std::os::unix::fs::symlink("a.py", &link).expect("link");
    bench.miss("it leads to a source");
    fs::remove_file(&link).expect("link");
    fs::create_dir(&link).expect("directory");
    bench.miss("a directory of that name");
}

#[test]
fn name_that_is_not_utf8_is_no_obstacle() {
    let bench = Bench::sample();
    let name = std::ffi::OsStr::from_bytes(b"od\xff/od\xff.txt");
    write(&bench.project.join(name), "");
    bench.miss("nothing is known");
    bench.hit_again("nothing changed");
}

#[test]
fn forced_run_is_stored() {
    let mut bench = Bench::sample();
    bench.miss("nothing is known");
    bench.force = true;
    bench.miss("forced");
    bench.force = false;
    bench.hit_again("not forced");
}

#[test]
fn extra_input_is_part_of_the_key() {
    let bench = Bench::sample();
    bench.write("data/table.csv", "1");
    let mut request = bench.request();
    request.extra_inputs = vec!["data/*.csv".into()];
    let check = |request: &rewarm_check::Request| {
        let report = rewarm_check::check(&bench.store, request, now(), &|_| {});
        report.expect("an answer").reuse == Reuse::Replayed
    };
    assert!(!check(&request));
    assert!(check(&request));
    bench.write("data/table.csv", "2");
    assert!(!check(&request));
    request.extra_inputs = vec!["data/[".into()];
    let error = rewarm_check::check(&bench.store, &request, now(), &|_| {});
    assert!(matches!(error, Err(CheckError::Glob { .. })));
}

#[test]
fn odd_sources_are_answered_as_by_mypy() {
    let bench = Bench::sample();
    let path = bench.project.join("pkg/e.py");
    for content in [&b"x = 'caf\xe9'\n"[..], b"# -*- coding: latin-1 -*-\nx: int = 'caf\xe9'\n"] {
        fs::write(&path, content).expect("file");
        bench.checked();
    }
    fs::remove_file(&path).expect("file");
    fs::create_dir(&path).expect("directory");
    bench.checked();
    bench.write("pkg/e.py/inner.py", "x: int = ''\n");
    bench.checked();
}

#[test]
fn source_of_fifty_megabytes_is_no_obstacle() {
    let bench = Bench::new();
    let line = format!("# {}\n", "x".repeat(997));
    bench.write("big.py", &format!("{}y: int = ''\n", line.repeat(50_000)));
    bench.miss("nothing is known");
    bench.hit_again("nothing changed");
}

#[test]
fn source_that_vanishes_while_mypy_runs_is_not_vouched_for() {
    let bench = Bench::sample();
    plugin(&bench, "os.remove('pkg/d.py') if os.path.exists('pkg/d.py') else None");
    assert!(!unstored(&bench.check()).is_empty());
    bench.miss("the file is gone");
}

#[test]
fn plugin_that_prints_or_has_threads_is_replayed_with_what_it_printed() {
    let bench = Bench::sample();
    plugin(
        &bench,
        "import sys, threading\nprint('said')\nprint('warned', file=sys.stderr)\n\
         thread = threading.Thread(target=lambda: None)\nthread.start()\nthread.join()",
    );
    bench.miss("nothing is known");
    bench.hit_again("nothing changed");
    bench.write("pkg/d.py", "y: int = ''\n");
    bench.miss("a source was edited");
}

#[test]
fn plugin_that_leaves_at_once_is_passed_on() {
    let bench = Bench::sample();
    for leave in ["os._exit(3)", "raise SystemExit(1)", "os.abort()"] {
        plugin(&bench, leave);
        let report = bench.check();
        let code = if leave.contains("abort") { 128 + 6 } else { bench.plain().2 };
        assert_eq!(report.exit_code, code, "{leave}");
        assert_ne!(report.reuse, Reuse::Replayed, "{leave}");
    }
    plugin(&bench, "");
    bench.miss("the plugin stays");
}

#[test]
fn full_disk_costs_no_message() {
    let bench = Bench::new();
    let many = "x: int = ''\n".repeat(400);
    bench.write("a.py", &many);
    let plain = bench.plain();
    let python = bench.venv.join("bin/python");
    let real = bench.venv.join("bin/real");
    fs::rename(&python, &real).expect("moved");
    // No file may be longer than this, as if nothing more fitted on the disk.
    let script = format!("#!/bin/sh\nulimit -f 8\nexec '{}' \"$@\"\n", real.display());
    write(&python, &script);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&python, mode).expect("mode");
    let report = bench.check();
    assert_eq!(crate::support::answer(&report), plain);
    assert!(!unstored(&report).is_empty());
    write(&python, &script.replace("ulimit -f 8\n", ""));
    fs::set_permissions(&python, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("mode");
    let report = bench.check();
    assert_eq!(crate::support::answer(&report), plain, "there is room again");
}

#[test]
fn cache_that_could_be_written_only_in_part_is_not_kept() {
    let bench = Bench::sample();
    bench.miss("nothing is known");
    let gone = "y: int = ''\n";
    bench.write("pkg/d.py", gone);
    // What mypy says of a module cannot be put into its place.
    plugin(
        &bench,
        "real = os.rename\ndef rename(a, b, **rest):\n    \
         if str(b).endswith('.pack') and os.path.exists('full'):\n        \
         raise OSError(28, 'full')\n    return real(a, b, **rest)\nos.rename = rename",
    );
    bench.checked();
    bench.write("full", "");
    bench.write("pkg/d.py", "y: int = 1\n");
    bench.checked();
    bench.remove("full");
    bench.write("pkg/c.py", "z: int = ''\n");
    bench.checked();
}

/// Reads what is left of a stream.
pub(crate) fn rest(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("text");
    text
}
