//! Incremental answers equal cold ones: order, hints that are given once, positions, paths.

use rewarm_check::Reuse;

use crate::support::Bench;

/// Edits, each followed by a comparison with a cold mypy.
fn follow(bench: &Bench, edits: &[(&str, &str)]) {
    bench.miss("nothing is known");
    for (path, text) in edits {
        bench.write(path, text);
        bench.checked();
    }
}

#[test]
fn messages_come_in_the_order_of_a_cold_run() {
    let bench = Bench::new();
    for name in ["a", "b", "c", "d", "e"] {
        bench.write(&format!("{name}.py"), "x: int = ''\n");
    }
    bench.miss("nothing is known");
    for name in ["a", "c", "e"] {
        bench.write(&format!("{name}.py"), "y = 1\nx: int = ''\n");
        let report = bench.miss(name);
        let Reuse::Ran { seeded, modules_rechecked, .. } = report.reuse else {
            panic!("mypy has to run");
        };
        assert_eq!((seeded, modules_rechecked), (true, Some(1)), "{name}");
    }
}

#[test]
fn hint_given_once_moves_to_the_next_module() {
    let bench = Bench::new();
    let missing = "import nowhere_to_be_found\nx: int = ''\n";
    bench.write("a.py", missing);
    bench.write("b.py", missing);
    bench.write("c.py", "");
    follow(
        &bench,
        &[("a.py", ""), ("a.py", missing), ("b.py", ""), ("c.py", missing), ("a.py", "")],
    );
}

#[test]
fn colours_do_not_hide_messages_that_are_given_once() {
    let mut bench = Bench::new();
    bench.set("TERM", "xterm-256color");
    bench.set("FORCE_COLOR", "1");
    let missing = "import nowhere_to_be_found\nx: int = ''\n";
    bench.write("a.py", missing);
    bench.write("b.py", missing);
    follow(&bench, &[("a.py", ""), ("a.py", missing), ("b.py", "")]);
}

#[test]
fn hint_of_one_module_survives_edits_of_others() {
    let bench = Bench::new();
    bench.write("a.py", "import nowhere_to_be_found\nx: int = ''\n");
    bench.write("b.py", "y: int = ''\n");
    bench.miss("nothing is known");
    for text in ["z = 1\ny: int = ''\n", "y: int = 1\n"] {
        bench.write("b.py", text);
        let report = bench.miss(text);
        let Reuse::Ran { seeded, modules_rechecked, .. } = report.reuse else {
            panic!("mypy has to run");
        };
        assert_eq!((seeded, modules_rechecked), (true, Some(1)), "{text}");
    }
    bench.write("b.py", "import nowhere_else\ny: int = ''\n");
    bench.miss("two modules could have the hint");
    bench.write("a.py", "");
    bench.miss("the other one has it");
}

#[test]
fn hints_of_several_modules_cost_no_second_check() {
    let bench = Bench::new();
    let missing = "import yaml\nimport nowhere, requests\nimport pkg.nowhere\n";
    bench.write("pkg/__init__.py", "");
    for name in ["a", "pkg/b", "c"] {
        bench.write(&format!("{name}.py"), &missing.replace(", ", "\nimport "));
    }
    bench.write("d.py", "import a, c, pkg.b\nx: int = ''\n");
    bench.miss("nothing is known");
    for (path, text) in [
        ("a.py", "x = 1\nimport nowhere\nimport yaml\n"),
        ("c.py", "import yaml\nx: int = ''\n"),
        ("a.py", "x = 1\n"),
        ("pkg/b.py", "x = 1\nimport six  # type: ignore\n"),
        ("d.py", "import six\nimport c\n"),
    ] {
        bench.write(path, text);
        let report = bench.miss(path);
        let Reuse::Ran { seeded, modules_rechecked, .. } = report.reuse else {
            panic!("mypy has to run");
        };
        assert!(seeded && modules_rechecked < Some(4), "{path}: {modules_rechecked:?}");
    }
}

#[test]
fn links_to_error_codes_are_given_once_per_run() {
    let mut bench = Bench::new();
    bench.arguments.push("--show-error-code-links".into());
    let attribute = "''.nope\n";
    bench.write("a.py", attribute);
    bench.write("b.py", attribute);
    follow(&bench, &[("a.py", ""), ("a.py", "1 + ''\n"), ("b.py", "")]);
}

#[test]
fn absolute_paths_are_not_lost_on_the_way_through_the_cache() {
    let mut bench = Bench::new();
    bench.arguments.push("--show-absolute-path".into());
    bench.write("a.py", "x: int = ''\n");
    bench.write("b.py", "");
    follow(&bench, &[("b.py", "x: int = ''\n"), ("b.py", "")]);
    bench.hit_again("nothing changed");
    bench.moved("elsewhere");
    bench.miss("the answer names the directory");
}

#[test]
fn modules_that_are_not_followed_are_named_once() {
    let mut bench = Bench::new();
    bench.arguments = vec!["--follow-imports=error".into(), "a.py".into(), "b.py".into()];
    bench.write("a.py", "import c\n");
    bench.write("b.py", "import c\n");
    bench.write("c.py", "x: int = ''\n");
    follow(&bench, &[("a.py", ""), ("a.py", "import c\nc.x\n"), ("b.py", "")]);
}

#[test]
fn edit_within_the_same_second_and_size_is_seen() {
    let bench = Bench::new();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    for text in ["x: int = 1\n", "x: str = 1\n", "x: int = 1\n"] {
        bench.write("a.py", text);
        let file = std::fs::File::options().append(true).open(bench.project.join("a.py"));
        file.and_then(|file| file.set_modified(time)).expect("time set");
        let report = bench.checked();
        assert_eq!(report.exit_code, i32::from(text.contains("str")));
    }
}

#[test]
fn options_that_mypy_leaves_out_of_its_own_key_count() {
    let mut bench = Bench::new();
    bench.write("a.py", "from typing import cast\nx = cast(int, 1)\nreveal_type(x)\n");
    bench.miss("nothing is known");
    for option in ["--warn-redundant-casts", "--show-error-context", "--pretty"] {
        bench.arguments.push(option.into());
        bench.miss(option);
    }
    bench.arguments.truncate(1);
    bench.hit("options of before");
}

#[test]
fn file_of_no_package_and_program_text_are_checked() {
    let mut bench = Bench::new();
    bench.write("script", "x: int = ''\n");
    bench.arguments = vec!["script".into()];
    bench.miss("a script without a suffix");
    bench.hit_again("a script without a suffix");
    bench.write("script", "x: int = 1\n");
    bench.miss("the script was edited");
    bench.arguments = vec!["-c".into(), "x: int = ''".into()];
    bench.miss("a program text");
    bench.hit_again("a program text");
    bench.write("m.py", "y: int = ''\n");
    bench.arguments = vec!["-m".into(), "m".into()];
    bench.miss("a module by name");
    bench.hit_again("a module by name");
}

#[test]
fn messages_of_a_module_that_moved_name_where_it_is() {
    let mut bench = Bench::new();
    bench.arguments = vec!["one".into(), "two".into()];
    bench.write("one/mod.py", "x: int = ''\n");
    bench.write("two/other.py", "");
    bench.miss("nothing is known");
    bench.remove("one/mod.py");
    bench.write("one/other_too.py", "");
    bench.write("two/mod.py", "x: int = ''\n");
    bench.miss("the module has the same name and content");
}
