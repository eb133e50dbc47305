//! Runs by a worker are those of a fresh process, and a worker that is not there costs nothing but
//! time.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rewarm_check::{Reuse, WorkerInfo, WorkerOptions, end_workers, workers};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::Bench;

/// Far longer than anything takes, also where many tests run at once.
const PATIENCE: Duration = Duration::from_secs(120);

fn options(bench: &Bench) -> WorkerOptions {
    let directory = bench.base().join("workers");
    WorkerOptions { directory, idle: PATIENCE, patience: PATIENCE }
}

/// A sample whose runs go through a worker.
fn sample() -> Bench {
    let mut bench = Bench::sample();
    bench.worker = Some(options(&bench));
    bench
}

fn directory(bench: &Bench) -> PathBuf {
    bench.worker.as_ref().expect("workers are used").directory.clone()
}

fn known(bench: &Bench) -> Vec<WorkerInfo> {
    workers(&directory(bench), PATIENCE)
}

/// The only worker.
#[track_caller]
fn only(bench: &Bench) -> WorkerInfo {
    let mut known = known(bench);
    assert_eq!(known.len(), 1, "{known:?}");
    known.remove(0)
}

fn pid(worker: &WorkerInfo) -> Pid {
    Pid::from_raw(i32::try_from(worker.pid).expect("an id")).expect("an id")
}

/// Waits until a process is gone.
fn await_end(worker: &WorkerInfo) {
    let status = PathBuf::from(format!("/proc/{}/status", worker.pid));
    let lives = || fs::read_to_string(&status).is_ok_and(|text| !text.contains("State:\tZ"));
    while lives() {
        std::thread::yield_now();
    }
}

/// Waits until a change of a directory is old enough for its time to tell a later one.
fn await_age(directory: &Path) {
    let changed = fs::metadata(directory).and_then(|found| found.modified()).expect("a time");
    let enough = Duration::from_millis(if changed_in_whole_units(changed) { 2000 } else { 10 });
    while changed.elapsed().is_ok_and(|age| age <= enough) {
        std::thread::yield_now();
    }
}

/// Whether the time may come from a file system that keeps no finer ones.
fn changed_in_whole_units(time: SystemTime) -> bool {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).expect("a time of our days");
    since.subsec_nanos().is_multiple_of(1_000_000)
}

/// A plugin that runs some statements when it is loaded.
fn plugin(bench: &Bench, statements: &str) {
    bench.write("pyproject.toml", "[tool.mypy]\nplugins = ['plugin.py']\n");
    let rest = "from mypy.plugin import Plugin\ndef plugin(version):\n    return Plugin\n";
    bench.write("plugin.py", &format!("import os\n{statements}\n{rest}"));
}

#[test]
fn answers_are_those_of_mypy_and_one_worker_gives_them() {
    let bench = sample();
    bench.miss("nothing is known");
    let first = only(&bench);
    for text in ["y: int = ''\n", "y: str = 1\n", "def (\n"] {
        bench.write("pkg/d.py", text);
        bench.checked();
    }
    bench.write("pkg/d.py", "y: int = 2\n");
    bench.miss("an edit");
    let last = only(&bench);
    assert_eq!(first.pid, last.pid);
    assert_eq!(last.environment, bench.venv);
    assert!(last.runs >= 4 && last.memory > 0, "{last:?}");
}

#[test]
fn replay_asks_no_worker() {
    let bench = sample();
    bench.miss("nothing is known");
    let before = only(&bench);
    bench.hit_again("nothing changed");
    end_workers(&directory(&bench), None, PATIENCE).expect("ended");
    bench.hit_again("nothing changed");
    assert_eq!(known(&bench), []);
    await_end(&before);
}

#[test]
fn workers_of_one_environment_end_alone() {
    let bench = sample();
    bench.miss("nothing is known");
    let worker = only(&bench);
    let ended = |environment: &Path| {
        end_workers(&directory(&bench), Some(environment), PATIENCE).expect("ended");
        known(&bench).is_empty()
    };
    assert!(!ended(&bench.project));
    // The same directory by another name.
    let link = bench.base().join("link");
    std::os::unix::fs::symlink(&bench.venv, &link).expect("link");
    assert!(ended(&link));
    await_end(&worker);
}

/// Everything about its process that a plugin can ask for. What names the directory of one run is
/// left out.
const LOOK: &str = "
import gc, resource, signal, sys
def flags(fd):
    return [line for line in open('/proc/self/fdinfo/%d' % fd) if line.startswith('flags')]
seen = [
    list(os.environ.items()), list(os.environb.items()), os.getcwd(), sys.argv[0], sys.argv[5:],
    sys.path, sys.flags, sys.warnoptions, sys.prefix, sys.executable, sys.dont_write_bytecode,
    len(sys.argv), len(sys.orig_argv), sys.orig_argv[:3],
    [resource.getrlimit(n) for n in range(16)],
    [(s, str(signal.getsignal(s))) for s in sorted(signal.valid_signals())],
    sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    os.getpgrp() == os.getpid() or os.getpgrp() == os.getppid(),
    [flags(fd) for fd in (0, 1, 2)], os.readlink('/proc/self/fd/0'),
    sys.stdin.encoding, sys.stdout.encoding, sys.stderr.encoding, sys.stdout.errors,
    sys.stdout.line_buffering, sys.stdout.isatty(), sys.getfilesystemencoding(), sys.getrecursionlimit(),
    gc.isenabled(), gc.get_threshold(), sorted(sys.path_importer_cache),
    sorted(sys.modules), os.umask(0o22), os.getpriority(os.PRIO_PROCESS, 0), os.getuid(), os.getgroups(),
    sorted(os.sched_getaffinity(0)),
    [line for line in open('/proc/self/status')
     if line.startswith(('SigPnd', 'SigBlk', 'SigIgn', 'SigCgt', 'Cap', 'Umask', 'NoNew'))],
]
with open('seen', 'w') as file:
    file.write('\\n'.join(map(repr, seen)))
";

/// What such a plugin writes down in a run with or without a worker.
fn look(bench: &mut Bench, worker: Option<WorkerOptions>) -> String {
    bench.worker = worker;
    bench.force = true;
    bench.checked();
    // Plain mypy has loaded the plugin last.
    bench.remove("seen");
    bench.check();
    fs::read_to_string(bench.project.join("seen")).expect("the plugin was loaded")
}

#[test]
fn run_sees_what_a_fresh_process_sees() {
    let mut bench = Bench::sample();
    let options = options(&bench);
    plugin(&bench, LOOK);
    for (name, value) in
        [("PWD", "/nowhere"), ("ODD", "\u{fc} x=y\n"), ("EMPTY", ""), ("LC_ALL", "C")]
    {
        bench.set(name, value);
        let fresh = look(&mut bench, None);
        assert!(fresh.contains(name));
        let forked = look(&mut bench, Some(options.clone()));
        for (fresh, forked) in fresh.lines().zip(forked.lines()) {
            assert_eq!(fresh, forked);
        }
        let worker = known(&bench).pop().expect("a worker");
        assert!(worker.runs > 0, "{worker:?}");
    }
}

#[test]
fn nothing_of_one_run_is_seen_by_the_next() {
    let mut bench = sample();
    for text in ["one", "two"] {
        // Modules of one name, plugins of one name, and variables that the plugin sets.
        let state = format!("['{text}']");
        bench.write("helper.py", &format!("NAME = '{text}'\n"));
        plugin(
            &bench,
            "import helper, sys\nos.environ.setdefault('SET', helper.NAME)\nsys.left = \
             getattr(sys, 'left', []) + [helper.NAME]\n\
             with open('seen', 'w') as file:\n    print(sys.left, os.environ['SET'], file=file)",
        );
        bench.force = true;
        bench.check();
        let seen = fs::read_to_string(bench.project.join("seen")).expect("the plugin was loaded");
        assert_eq!(seen, format!("{state} {text}\n"));
    }
    assert_eq!(only(&bench).runs, 2);
}

#[test]
fn modules_of_the_project_do_not_stand_for_those_of_the_library() {
    for worker in [false, true] {
        let mut bench = Bench::sample();
        bench.worker = worker.then(|| options(&bench));
        for name in ["hashlib.py", "tokenize.py", "select.py"] {
            bench.write(name, "raise SystemExit('the wrong one')\n");
        }
        bench.miss("nothing is known");
        bench.hit_again("nothing changed");
    }
}

#[test]
fn other_variables_of_the_interpreter_are_for_another_worker() {
    let mut bench = sample();
    bench.force = true;
    bench.checked();
    let first = only(&bench);
    bench.set("PYTHONHASHSEED", "1");
    bench.checked();
    let both = known(&bench);
    assert_eq!(both.len(), 2, "{both:?}");
    assert_eq!(both[0].pid, first.pid);
    for index in 0..4 {
        bench.set("PYTHONHASHSEED", format!("{}", index + 2));
        bench.check();
    }
    assert_eq!(known(&bench).len(), 4, "the oldest ones end");
    await_end(&first);
}

#[test]
fn path_that_depends_on_the_directory_is_for_a_fresh_process() {
    let mut bench = sample();
    bench.set("PYTHONPATH", "lib:/usr/lib");
    bench.miss("nothing is known");
    bench.arguments = vec!["--config-file=/dev/fd/0".into(), ".".into()];
    bench.unset("PYTHONPATH");
    bench.checked();
    assert_eq!(known(&bench), []);
}

#[test]
fn killed_worker_is_replaced_unseen() {
    let mut bench = sample();
    bench.force = true;
    bench.checked();
    let first = only(&bench);
    kill_process(pid(&first), Signal::KILL).expect("killed");
    await_end(&first);
    bench.checked();
    assert_ne!(only(&bench).pid, first.pid);
}

#[test]
fn environment_that_changed_has_another_worker() {
    let mut bench = sample();
    bench.force = true;
    bench.checked();
    let first = only(&bench);
    bench.install("fourth", "1.0", &[("fourth/__init__.py", "")]);
    await_age(&bench.site());
    bench.checked();
    let second = only(&bench);
    assert_ne!(second.pid, first.pid);
    await_end(&first);
    let lib = bench.site().join("extra.pth");
    crate::support::write(&lib, "import os; os.environ['STARTED'] = 'yes'\n");
    await_age(&bench.site());
    plugin(&bench, "with open('seen', 'w') as file:\n    file.write(os.environ['STARTED'])");
    bench.check();
    let seen = fs::read_to_string(bench.project.join("seen")).expect("the plugin was loaded");
    assert_eq!(seen, "yes");
    let third = only(&bench);
    bench.set("READ_AT_THE_START", "perhaps");
    bench.checked();
    assert_eq!(only(&bench).runs, third.runs, "its start may have read that variable");
}

#[test]
fn start_that_says_something_says_it_every_time() {
    let bench = sample();
    crate::support::write(
        &bench.site().join("loud.pth"),
        "import sys; print('hello', file=sys.stderr)\n",
    );
    bench.checked();
    bench.write("pkg/d.py", "y: int = ''\n");
    bench.checked();
    assert_eq!(known(&bench), []);
}

#[test]
fn stopped_worker_is_given_up() {
    let mut bench = sample();
    bench.force = true;
    bench.checked();
    let first = only(&bench);
    kill_process(pid(&first), Signal::STOP).expect("stopped");
    bench.worker.as_mut().expect("workers are used").patience = Duration::from_millis(50);
    bench.checked();
    assert_eq!(known(&bench), []);
    bench.worker = Some(options(&bench));
    bench.checked();
    assert_ne!(only(&bench).pid, first.pid);
    kill_process(pid(&first), Signal::CONT).expect("goes on");
    await_end(&first);
}

#[test]
fn garbage_on_the_socket_hurts_nobody() {
    let mut bench = sample();
    bench.force = true;
    bench.checked();
    let first = only(&bench);
    let names = fs::read_dir(directory(&bench)).expect("sockets").map(|e| e.expect("entry").path());
    let socket = names.last().expect("a socket");
    for text in
        [b"GET / HTTP/1.0\r\n\r\n".as_slice(), b"+\xff\xff\xff\xff", b"+\x04\0\0\0run\0", b""]
    {
        let mut stream = UnixStream::connect(&socket).expect("connected");
        stream.write_all(text).expect("written");
        stream.shutdown(std::net::Shutdown::Write).expect("shut");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert_eq!(rest, b"");
    }
    bench.checked();
    assert_eq!(only(&bench).pid, first.pid);
}

#[test]
fn worker_of_another_key_is_not_asked() {
    let mut bench = sample();
    bench.force = true;
    bench.checked();
    let first = only(&bench);
    let name = |bench: &Bench| -> PathBuf {
        let mut names = fs::read_dir(directory(bench)).expect("sockets");
        names.next().expect("a socket").expect("entry").path()
    };
    let old = name(&bench);
    bench.set("PYTHONHASHSEED", "1");
    end_workers(&directory(&bench), None, PATIENCE).expect("ended");
    await_end(&first);
    bench.checked();
    let second = only(&bench);
    // The first key's name now leads to the second key's worker.
    fs::hard_link(name(&bench), &old).expect("link");
    bench.unset("PYTHONHASHSEED");
    bench.checked();
    let all = known(&bench);
    assert!(all.iter().all(|worker| worker.runs == second.runs), "{all:?}");
}

#[test]
fn directory_that_others_may_enter_is_not_used() {
    let bench = sample();
    fs::create_dir(directory(&bench)).expect("directory");
    fs::set_permissions(directory(&bench), Permissions::from_mode(0o755)).expect("mode");
    bench.miss("nothing is known");
    assert_eq!(fs::read_dir(directory(&bench)).expect("sockets").count(), 0);
    fs::remove_dir(directory(&bench)).expect("removed");
    bench.write("pkg/d.py", "y: int = ''\n");
    bench.miss("an edit");
    let mode = |path: &Path| fs::symlink_metadata(path).expect("made").permissions().mode() & 0o777;
    assert_eq!(mode(&directory(&bench)), 0o700);
    for entry in fs::read_dir(directory(&bench)).expect("sockets") {
        assert_eq!(mode(&entry.expect("entry").path()), 0o600);
    }
    only(&bench);
}

#[test]
fn worker_ends_when_nobody_asks_and_when_its_name_is_gone() {
    let mut bench = sample();
    bench.force = true;
    bench.worker.as_mut().expect("workers are used").idle = Duration::from_millis(10);
    bench.checked();
    while fs::read_dir(directory(&bench)).expect("sockets").count() > 0 {
        std::thread::yield_now();
    }
    bench.worker = Some(options(&bench));
    bench.checked();
    let worker = only(&bench);
    fs::remove_dir_all(directory(&bench)).expect("removed");
    await_end(&worker);
}

#[test]
fn two_checks_at_once_are_both_right() {
    let mut bench = sample();
    bench.force = true;
    bench.checked();
    let (request, store) = (bench.request(), &bench.store);
    let check = || {
        let now = crate::support::now();
        rewarm_check::check(store, &request, now, &|_| {}).expect("an answer")
    };
    let reports = std::thread::scope(|scope| {
        [scope.spawn(check), scope.spawn(check)].map(|thread| thread.join().expect("no panic"))
    });
    let (stdout, _, code) = bench.plain();
    for report in reports {
        assert_eq!(
            (String::from_utf8_lossy(&report.stdout), report.exit_code),
            (stdout.as_str().into(), code)
        );
        assert!(matches!(report.reuse, Reuse::Ran { .. }));
    }
}
