//! Graphs: what is in them, how arguments and environments get there, and what is refused.

use std::ffi::OsString;
use std::path::Path;

use rewarm_activation::Variables;
use rewarm_task::{Command, Dialect, Graph, Request, TaskError};

use crate::support::{commands, facts, failure, graph, graph_in, pixi, shown, tasks, words};

#[test]
fn dependencies_come_once_and_before_what_needs_them() {
    let text = r#"
        [default]
        a = "a"
        b = { cmd = "b", depends-on = ["a"] }
        c = { cmd = "c", depends-on = ["a", "b"] }
        all = ["c", "a"]
        "#;
    assert_eq!(commands(text, "c", &["x"]), ["a", "b", "c x"]);
    let graph = graph(&pixi(text), "all", &[]).expect("it can be run");
    assert_eq!(graph.root().command, Command::None);
    let needs: Vec<_> = graph.nodes().iter().map(|node| node.dependencies.clone()).collect();
    assert_eq!(needs, [vec![], vec![0], vec![0, 1], vec![2, 0]]);
}

#[test]
fn without_dependencies_only_the_task_itself_is_run() {
    let tasks = pixi("[default]\na = 'a'\nb = { cmd = 'b', depends-on = ['a'] }");
    let request = Request { task: "b", arguments: &[], environment: None, alone: true };
    let graph = Graph::new(&tasks, &request, &facts()).expect("it exists").expect("it can be run");
    assert_eq!(shown(&graph), ["b@default: b"]);
}

#[test]
fn the_same_task_with_other_arguments_is_another_command() {
    let text = r#"
        [default]
        say = { cmd = "say {{ word }}", args = ["word"] }
        both = [
            { task = "say", args = ["hi"] },
            { task = "say", args = [{ word = "ho" }] },
            { task = "say", args = ["hi"] },
        ]
        "#;
    assert_eq!(commands(text, "both", &[]), ["say hi", "say ho", ""]);
}

#[test]
fn arguments_are_bound_by_position_name_and_default() {
    let text = r#"
        [default.t]
        cmd = "run {{ one }} {{ two | upper }} {{ pixi.platform }} {{ pixi.environment.name }}"
        args = ["one", { arg = "two", default = "d", choices = ["d", "e"] }]
        "#;
    let run = |arguments: &[&str]| commands(text, "t", arguments);
    assert_eq!(run(&["1"]), ["run 1 D linux-64 default"]);
    assert_eq!(run(&["1", "e"]), ["run 1 E linux-64 default"]);
    assert_eq!(run(&["1", "--two=e"]), ["run 1 E linux-64 default"]);
    assert_eq!(run(&["--two=e", "--one=x"]), ["run x E linux-64 default"]);
    assert_eq!(run(&["1", "--", "--two=e"]), ["run 1 D linux-64 default --two=e"]);
    for (arguments, message) in [
        (&[][..], "task `t`: the argument `one` is missing"),
        (&["1", "f"], "task `t`: the argument `two` cannot be `f`; it may be `d`, `e`"),
        (&["1", "d", "x"], "task `t`: 3 arguments were given and 2 are taken"),
        (&["--one=1", "d"], "task `t`: the argument `d` stands after one with a name"),
    ] {
        let error = failure(text, Dialect::Pixi, "t", arguments);
        assert!(error.starts_with(message), "{arguments:?}: {error}");
    }
}

#[test]
fn templates_reach_everything_a_task_says() {
    let text = r#"
        [default.t]
        cmd = ["cc", "{{ name }}.c"]
        args = ["name"]
        env = { TARGET = "{{ name }}.o" }
        inputs = ["{{ name }}.c"]
        outputs = ["{{ name }}.o"]
        depends-on = [{ task = "dep", args = ["{{ name }}-x"] }]
        [default.dep]
        cmd = "dep {{ what }}"
        args = ["what"]
        "#;
    let graph = graph(&pixi(text), "t", &["m"]).expect("it can be run");
    assert_eq!(shown(&graph), ["dep@default: dep m-x", "t@default: cc m.c"]);
    let root = graph.root();
    assert_eq!(root.env, [("TARGET".to_owned(), "m.o".to_owned())]);
    assert_eq!(root.inputs, Some(vec!["m.c".to_owned()]));
    assert_eq!(root.outputs, Some(vec!["m.o".to_owned()]));
}

#[test]
fn a_task_without_declared_arguments_is_no_template() {
    assert_eq!(commands("[default]\na = 'jq \"{{ x }}\"'", "a", &["y"]), ["jq '{{ x }}' y"]);
}

#[test]
fn bad_templates_are_named_with_task_and_part() {
    for (body, message) in [
        ("cmd = 'x {{ no }}'", "task `t`: `cmd`: cannot fill in `x {{ no }}`: undefined value"),
        ("cmd = 'x {{ a '", "task `t`: `cmd`: cannot fill in `x {{ a `: syntax error"),
        (
            "cmd = 'x', env = { V = '{{ no }}' }",
            "task `t`: variable `V`: cannot fill in `{{ no }}`",
        ),
        ("cmd = 'x', inputs = ['{{ no }}']", "task `t`: `inputs`: cannot fill in `{{ no }}`"),
    ] {
        let text = format!("[default]\nt = {{ {body}, args = [{{ arg = 'a', default = '' }}] }}");
        let error = failure(&text, Dialect::Pixi, "t", &[]);
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn environments_come_from_the_dependency_the_request_or_the_task() {
    let text = r#"
        [default]
        test = "pytest"
        lint = { cmd = "ruff", default-environment = "lint" }
        all = [{ task = "test", environment = "py311" }, { task = "test", environment = "py312" }, "lint"]
        [py311]
        test = "pytest"
        lint = { cmd = "ruff", default-environment = "lint" }
        [py312]
        test = "pytest"
        special = "special"
        [lint]
        lint = { cmd = "ruff", default-environment = "lint" }
        "#;
    let tasks = pixi(text);
    let all = graph(&tasks, "all", &[]).expect("it can be run");
    assert_eq!(
        shown(&all),
        ["test@py311: pytest", "test@py312: pytest", "lint@lint: ruff", "all@default: "]
    );
    let asked =
        |environment| shown(&graph_in(&tasks, "test", &[], environment).expect("it can be run"));
    assert_eq!(asked(None), ["test@default: pytest"]);
    assert_eq!(asked(Some("py312")), ["test@py312: pytest"]);
    assert_eq!(shown(&graph(&tasks, "special", &[]).unwrap()), ["special@py312: special"]);
    assert!(
        Graph::new(
            &tasks,
            &Request { task: "special", arguments: &[], environment: Some("lint"), alone: false },
            &facts()
        )
        .is_none()
    );
}

#[test]
fn a_name_that_means_several_tasks_is_refused_unless_it_is_near() {
    let text = r#"
        [default]
        test = "one"
        [a]
        test = "two"
        only = "x"
        near = { cmd = "y", depends-on = ["only"] }
        [b]
        only = "x"
        "#;
    let error = failure(text, Dialect::Pixi, "test", &[]);
    let message =
        "task `test` is another one in each of the environments `default`, `a`; name one with `-e`";
    assert_eq!(error, message);
    assert!(failure(text, Dialect::Pixi, "only", &[]).starts_with("task `only` is another one"));
    let near = graph(&pixi(text), "near", &[]).expect("it can be run");
    assert_eq!(shown(&near), ["only@a: x", "near@a: y"]);
}

#[test]
fn a_task_of_its_own_name_in_another_environment_is_no_cycle() {
    let text = r#"
        [default]
        test = [{ task = "test", environment = "a" }]
        [a]
        test = "two"
        "#;
    let graph = graph_in(&pixi(text), "test", &[], Some("default")).expect("it can be run");
    assert_eq!(shown(&graph), ["test@a: two", "test@default: "]);
}

#[test]
fn what_cannot_be_run_is_named() {
    for (text, task, message) in [
        ("'a b' = 'x'", "a b", "task `a b`: blanks"),
        ("a = ''", "a", "task `a` has neither"),
        ("a = []", "a", "task `a` has neither"),
        ("a = {}", "a", "task `a` has neither"),
        ("a = 1", "a", "task `a`: `the task`: expected a command"),
        ("a = { depends-on = ['b'] }", "a", "task `a` depends on `b`, which does not exist"),
        (
            "a = { depends-on = [{ task = 'a', environment = 'e' }] }",
            "a",
            "task `a` names the environment `e`, which does not exist",
        ),
        ("a = { depends-on = ['a'] }", "a", "tasks depend on each other: a -> a"),
        (
            "a = { depends-on = ['b'] }\nb = { depends-on = ['c'] }\nc = { depends-on = ['b'] }",
            "a",
            "tasks depend on each other: b -> c -> b",
        ),
        (
            "a = { cmd = 'x', args = ['n'], depends-on = [{ task = 'a', args = ['{{ n }}x'] }] }",
            "a",
            "task `a`: the argument `n` is missing",
        ),
        (
            "a = { cmd = 'x', args = [{ arg = 'n', default = '' }], depends-on = [{ task = 'a', args = ['{{ n }}x'] }] }",
            "a",
            "tasks depend on each other: a -> a",
        ),
        ("a = { cmd = 'x', env = { 'B C' = '' } }", "a", "task `a`: variable `B C`"),
        ("a = { cmd = 'x', env = { B = '$(x)' } }", "a", "task `a`: variable `B`: command sub"),
        ("a = { cmd = 'x', args = ['b-c'] }", "a", "task `a`: the argument `b-c` cannot be used"),
        (
            "a = { cmd = 'x', args = [{ arg = 'b', default = '' }, 'c'] }",
            "a",
            "task `a`: the argument `c` needs a default",
        ),
        ("a = 'x\\u0000'", "a", "task `a`: command: it holds a NUL byte"),
    ] {
        let text = format!("[default]\n{}", text.replace("'x\\u0000'", "\"x\\u0000\""));
        let error = failure(&text, Dialect::Rewarm, task, &[]);
        assert!(error.starts_with(message), "{text}: {error}");
    }
}

#[test]
fn one_bad_task_is_in_nobodys_way() {
    let text = "[default]\na = 1\nb = { depends-on = ['none'] }\nc = 'c'";
    assert_eq!(commands(text, "c", &[]), ["c"]);
}

#[test]
fn arguments_for_a_task_without_command_are_refused() {
    let text = "[default]\na = 'a'\nb = { depends-on = ['a'] }";
    let error = graph(&tasks(text, Dialect::Rewarm), "b", &["x"]).expect_err("it takes none");
    assert!(matches!(error, TaskError::NoCommand(at) if at.task == "b"));
}

#[test]
fn dependencies_without_number_end_in_an_error() {
    let mut text = "[default]\nt0 = { cmd = 'x {{ a }}', args = ['a'] }\n".to_owned();
    for level in 1..20 {
        let below = level - 1;
        text += &format!(
            "t{level} = {{ args = ['a'], depends-on = [{{ task = 't{below}', args = ['{{{{ a }}}}0'] }}, {{ task = 't{below}', args = ['{{{{ a }}}}1'] }}] }}\n"
        );
    }
    let error = failure(&text, Dialect::Pixi, "t19", &["x"]);
    assert_eq!(error, "task `t19` takes more than 10000 commands to run");
}

#[test]
fn a_long_chain_is_no_problem() {
    let mut text = "[default]\nt0 = 'x'\n".to_owned();
    for index in 1..5000 {
        text += &format!("t{index} = ['t{}']\n", index - 1);
    }
    assert_eq!(commands(&text, "t4999", &[]).len(), 5000);
}

#[test]
fn shells_differ_by_dialect() {
    let text =
        "[default]\na = { cmd = 'echo $A && true', cwd = 'sub', env = { C = '1', A = 'x$B$C' } }";
    let graph = graph(&tasks(text, Dialect::Rewarm), "a", &["y z"]).expect("it can be run");
    let step = graph.root().step(Path::new("/w"), &[]).expect("it has a command");
    assert_eq!(step.argv, words(&["/bin/sh", "-c", "echo $A && true \"$@\"", "a", "y z"]));
    assert_eq!(step.cwd, Path::new("/w/sub"));
    let activated = Variables::from([("B".into(), "y".into())]);
    let environment = step.environment(activated, Path::new("/here"));
    assert_eq!(environment[&OsString::from("A")], "xy1");
    assert_eq!(environment[&OsString::from("INIT_CWD")], "/here");

    let graph = crate::support::graph(&pixi(text), "a", &["y'z"]).expect("it can be run");
    let step = graph.root().step(Path::new("/w"), &words(&["shell"])).expect("it has a command");
    let script = "export \"C=1\";\nexport \"A=x$B$C\";\necho $A && true 'y'\"'\"'z'";
    assert_eq!(step.argv, words(&["shell", script]));
    let environment = step.environment(Variables::new(), Path::new("/here"));
    assert_eq!(environment.get(&OsString::from("A")), None);
}

#[test]
fn values_that_only_the_shell_can_expand_go_to_the_shell() {
    for (value, is_direct) in [
        ("plain", true),
        ("$B/$C", true),
        ("a$", false),
        ("${B}", false),
        ("$(date)", false),
        ("a\\b", false),
        ("`date`", false),
    ] {
        let text = format!("[default]\na = {{ cmd = 'x', env = {{ A = '{value}' }} }}");
        let graph = graph(&pixi(&text), "a", &[]).expect("it can be run");
        assert_eq!(matches!(graph.root().command, Command::Argv(_)), is_direct, "{value}");
    }
}
