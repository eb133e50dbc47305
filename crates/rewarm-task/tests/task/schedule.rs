//! The order in which commands may run.

use rewarm_task::Schedule;

use crate::support::{graph, pixi};

/// Runs a graph in rounds: all that may start, then all of it ends. Tasks with `bad` in their name
/// fail.
fn rounds(text: &str, task: &str, jobs: usize, keep_going: bool) -> (Vec<Vec<String>>, usize) {
    let graph = graph(&pixi(text), task, &[]).expect("it can be run");
    let mut schedule = Schedule::new(&graph, jobs, keep_going);
    let mut rounds = Vec::new();
    loop {
        let started: Vec<usize> = std::iter::from_fn(|| schedule.start()).collect();
        if started.is_empty() {
            return (rounds, schedule.left_out());
        }
        let names = started.iter().map(|&index| graph.nodes()[index].task.clone());
        rounds.push(names.collect());
        for index in started {
            schedule.finish(index, !graph.nodes()[index].task.contains("bad"));
        }
    }
}

const DIAMOND: &str = r#"
    [default]
    base = "x"
    left = { cmd = "x", depends-on = ["base"] }
    right = { cmd = "x", depends-on = ["base"] }
    top = { cmd = "x", depends-on = ["left", "right"] }
    "#;

#[test]
fn what_is_independent_may_run_at_once() {
    let (rounds, left) = rounds(DIAMOND, "top", 8, false);
    assert_eq!(rounds, [vec!["base"], vec!["left", "right"], vec!["top"]]);
    assert_eq!(left, 0);
}

#[test]
fn one_job_means_the_declared_order() {
    let (rounds, _) = rounds(DIAMOND, "top", 1, false);
    assert_eq!(rounds, [["base"], ["left"], ["right"], ["top"]]);
}

const BROKEN: &str = r#"
    [default]
    bad = "x"
    after = { cmd = "x", depends-on = ["bad"] }
    other = "x"
    later = { cmd = "x", depends-on = ["other"] }
    top = ["after", "later"]
    "#;

#[test]
fn a_failure_stops_everything_new() {
    let (rounds, left) = rounds(BROKEN, "top", 1, false);
    assert_eq!(rounds, [["bad"]]);
    assert_eq!(left, 4);
}

#[test]
fn keep_going_runs_what_does_not_need_what_failed() {
    let (rounds, left) = rounds(BROKEN, "top", 1, true);
    assert_eq!(rounds, [["bad"], ["other"], ["later"]]);
    assert_eq!(left, 2);
}

#[test]
fn two_hundred_tasks_run_within_the_limit() {
    let mut text = "[default]\nroot = 'x'\n".to_owned();
    for index in 0..198 {
        text += &format!("t{index} = {{ cmd = 'x', depends-on = ['root'] }}\n");
    }
    let names: Vec<String> = (0..198).map(|index| format!("'t{index}'")).collect();
    text += &format!("top = [{}]\n", names.join(", "));
    let (rounds, left) = rounds(&text, "top", 4, false);
    assert_eq!(rounds.iter().map(Vec::len).sum::<usize>(), 200);
    assert!(rounds.iter().all(|round| round.len() <= 4));
    assert_eq!((rounds[0].as_slice(), left), (["root".to_owned()].as_slice(), 0));
}
