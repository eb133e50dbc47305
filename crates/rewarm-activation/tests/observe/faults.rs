//! Runs that end badly, never end, or do too much: a clear answer, and nothing left over.

use std::time::Duration;

use rewarm_activation::observe::{ObserveError, Unprovable};

use crate::support::{Place, assert_provable, assert_unprovable, printed};

/// Whether a process is there and no zombie.
fn is_running(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_failing_script_tells_its_status_and_messages() {
    let place = Place::new();
    let seen = place.run("echo oops >&2; exit 7\n");
    assert_eq!(seen.status.code(), Some(7));
    assert_eq!(seen.stderr, b"oops\n");
}

#[test]
fn a_script_killed_by_a_signal_tells_so() {
    let place = Place::new();
    let seen = place.run("kill -TERM $$\n");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&seen.status), Some(15));
}

#[test]
fn a_script_that_hangs_is_ended_with_all_it_started() {
    let mut place = Place::new();
    place.limits.time = Duration::from_secs(1);
    let text = "sleep 1000 & echo $! > \"$ROOT/child\"; (trap '' TERM; sleep 1000) \n";
    let error = place.try_run(text).expect_err("it does not end");
    assert!(matches!(error, ObserveError::TimedOut { .. }), "{error}");
    assert!(error.to_string().contains("own/script"), "{error}");
    let child = std::fs::read_to_string(place.root.join("child")).expect("it was started");
    assert!(!is_running(&child), "{child} is still there");
}

#[test]
fn a_talkative_script_is_cut_but_goes_on() {
    let mut place = Place::new();
    place.limits.output = 1000;
    let seen = place.run("head -c 100000000 /dev/zero; echo end >&2\n");
    assert!(seen.status.success());
    assert_eq!((seen.stdout.len(), seen.stderr.as_slice()), (1000, &b"end\n"[..]));
}

#[test]
fn many_processes_are_followed() {
    let place = Place::new();
    let seen = place.run("i=0; while [ $i -lt 1000 ]; do (:); i=$((i+1)); done; echo $i\n");
    assert_eq!(printed(&seen), "1000\n");
}

#[test]
fn runs_side_by_side_do_not_disturb_each_other() {
    std::thread::scope(|scope| {
        for number in 0..50 {
            scope.spawn(move || {
                let place = Place::new();
                place.write("data", number.to_string());
                let seen = place.run("cat \"$ROOT/data\"\n");
                assert_eq!(printed(&seen), number.to_string());
                assert!(place.seen(&seen, "data").is_some());
            });
        }
    });
}

#[test]
fn a_missing_interpreter_is_no_failure_of_the_observer() {
    let place = Place::new();
    let seen = place.run("/nowhere/program\n");
    assert_eq!(seen.status.code(), Some(127));
    assert_provable(&seen);
}

#[test]
fn random_numbers_are_recognised() {
    let place = Place::new();
    for text in ["echo $RANDOM\n", "echo $$\n", "head -c 1 /dev/urandom | wc -c\n", "mktemp -u\n"] {
        assert_unprovable(&place.run(text), |why| {
            matches!(why, Unprovable::Random { .. } | Unprovable::Text { .. })
        });
    }
}
