//! What is kept of the tasks beside an activation.

use std::ffi::OsStr;
use std::path::Path;

use proptest::prelude::*;
use rewarm_task::{Dialect, Found, TaskTable};

use crate::support::{pixi, tasks, words};

fn find(bytes: &[u8], name: &str, arguments: &[&str]) -> Found {
    TaskTable::find(bytes, OsStr::new(name), &words(arguments), Path::new("/w"))
}

fn argv(bytes: &[u8], name: &str, arguments: &[&str]) -> Vec<String> {
    match find(bytes, name, arguments) {
        Found::Direct(step) => {
            step.argv.into_iter().map(|word| word.into_string().expect("text")).collect()
        }
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn plain_tasks_are_executed_as_they_lie() {
    let text = r#"
        [default]
        plain = { cmd = "python -m x", cwd = "sub", env = { A = "1" } }
        list = ["x", "y"]
        shell = "a && b"
        "#;
    let bytes = TaskTable::bytes(&tasks(text, Dialect::Rewarm), "default");
    assert_eq!(argv(&bytes, "plain", &["--", "z"]), ["python", "-m", "x", "--", "z"]);
    assert_eq!(argv(&bytes, "list", &["z"]), ["x", "y", "z"]);
    assert_eq!(argv(&bytes, "shell", &[]), ["/bin/sh", "-c", "a && b", "shell"]);
    assert_eq!(argv(&bytes, "shell", &["z"]), ["/bin/sh", "-c", "a && b \"$@\"", "shell", "z"]);
    let Found::Direct(step) = find(&bytes, "plain", &[]) else { panic!("it is plain") };
    assert_eq!(step.cwd, Path::new("/w/sub"));
    let bytes = TaskTable::bytes(&pixi("[default]\nplain = 'x'"), "default");
    assert_eq!(argv(&bytes, "plain", &["--", "z", "--"]), ["x", "z", "--"]);
}

#[test]
fn any_other_task_is_known_by_name_only() {
    let text = r#"
        [default]
        deps = ["plain"]
        plain = "x"
        shell = "a && b"
        builtin = "echo x"
        args = { cmd = "x", args = [] }
        action = { cmd = "x", inputs = ["y"] }
        clean = { cmd = "x", clean-env = true }
        elsewhere = { cmd = "x", default-environment = "other" }
        wrong = 1
        several = "x"
        [other]
        elsewhere = { cmd = "x", default-environment = "other" }
        there = "x"
        several = "y"
        "#;
    let bytes = TaskTable::bytes(&pixi(text), "default");
    let names = ["deps", "shell", "builtin", "args", "action", "clean", "elsewhere", "wrong"];
    for name in names.into_iter().chain(["several", "there"]) {
        assert_eq!(find(&bytes, name, &[]), Found::Unknown, "{name}");
    }
    assert_eq!(argv(&bytes, "plain", &[]), ["x"]);
    assert_eq!(find(&bytes, "python", &[]), Found::NoTask);
    let other = TaskTable::bytes(&pixi(text), "other");
    assert_eq!(argv(&other, "there", &[]), ["x"]);
    assert_eq!(argv(&other, "elsewhere", &[]), ["x"]);
    assert_eq!(find(&other, "plain", &[]), Found::Unknown);
}

#[test]
fn bytes_of_another_form_say_nothing() {
    assert_eq!(find(&[], "a", &[]), Found::NoTask);
    assert_eq!(find(b"RWT0\0", "a", &[]), Found::Unknown);
    assert_eq!(find(b"RWT1", "a", &[]), Found::Unknown);
}

proptest! {
    #[test]
    fn damaged_bytes_never_panic(
        cut in 0_usize..80, at in 0_usize..80, flip in 1_u8..=255, arguments in 0_usize..2,
    ) {
        let mut bytes = TaskTable::bytes(&pixi("[default]\na = 'x y'\nb = 'a && b'"), "default");
        let at = at % bytes.len();
        bytes[at] ^= flip;
        bytes.truncate(bytes.len().saturating_sub(cut % 4));
        find(&bytes, "a", &["z"][..arguments]);
    }
}
