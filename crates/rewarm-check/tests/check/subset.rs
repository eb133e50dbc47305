//! A part of a project after the whole, and the other way round: what was checked is not checked again,
//! and every answer is that of a cold mypy with the same targets in the same order.

use rewarm_check::{Report, Reuse};

use crate::sources::{Random, module};
use crate::support::{Bench, rounds};

/// How many modules a run checked; it has to start from others.
#[track_caller]
fn rechecked(report: &Report) -> usize {
    match report.reuse {
        Reuse::Ran { seeded: true, modules_rechecked: Some(count), .. } => count,
        ref other => panic!("mypy has to run, with what is known: {other:?}"),
    }
}

fn aim(bench: &mut Bench, text: &str) {
    bench.arguments = text.split(' ').map(Into::into).collect();
}

#[test]
fn part_of_the_whole_is_not_checked_again() {
    let mut bench = Bench::sample();
    bench.miss("nothing is known");
    for targets in ["pkg/d.py", "pkg/c.py pkg/d.py", "pkg", "pkg/c.py", "./pkg/a.py"] {
        aim(&mut bench, targets);
        assert_eq!(rechecked(&bench.miss(targets)), 0, "{targets}");
        bench.hit_again(targets);
    }
    bench.write("pkg/d.py", "y: int = ''\n");
    aim(&mut bench, "pkg/d.py");
    assert_eq!(rechecked(&bench.miss("an edit")), 1);
    aim(&mut bench, ".");
    assert_eq!(rechecked(&bench.miss("what was checked for the part holds for the whole")), 0);
}

#[test]
fn whole_after_a_part_checks_the_rest_only() {
    let mut bench = Bench::sample();
    aim(&mut bench, "pkg/a.py");
    bench.miss("nothing is known");
    aim(&mut bench, "pkg");
    assert_eq!(rechecked(&bench.miss("c, d and what is installed")), 3);
}

#[test]
fn part_in_another_checkout_is_not_checked_again() {
    let mut bench = Bench::sample();
    bench.miss("nothing is known");
    bench.moved("second");
    aim(&mut bench, "pkg/c.py");
    assert_eq!(rechecked(&bench.miss("another checkout")), 0);
}

#[test]
fn other_options_beside_equal_targets_share_nothing() {
    let mut bench = Bench::sample();
    aim(&mut bench, "pkg --no-strict-optional");
    bench.miss("nothing is known");
    aim(&mut bench, "pkg/d.py --strict");
    let Reuse::Ran { seeded, .. } = bench.miss("other options").reuse else { panic!("mypy runs") };
    assert!(!seeded);
}

/// Two modules of which the one that is checked first has an error.
fn cycle() -> Bench {
    let bench = Bench::new();
    bench.write("a.py", "import b\ndef f() -> int: return 1\ny = b.x\n");
    bench.write("b.py", "import a\nx = a.f()\nz = a.y\n");
    bench
}

#[test]
fn cycle_that_is_entered_elsewhere_is_checked_again() {
    let mut bench = cycle();
    let mut said = Vec::new();
    for targets in ["a.py b.py", "b.py a.py", "b.py", "a.py", ".", "b.py a.py"] {
        aim(&mut bench, targets);
        said.push(bench.checked().stdout);
    }
    assert_ne!(said[0], said[1], "the order of the targets has to matter");
}

#[test]
fn import_in_another_place_enters_a_cycle_elsewhere() {
    let mut bench = cycle();
    aim(&mut bench, "main.py");
    bench.write("main.py", "import a, b\n");
    let before = bench.miss("nothing is known").stdout;
    bench.write("main.py", "import b, a\n");
    assert_ne!(bench.miss("the cycle is entered by the other module").stdout, before);
    bench.moved("second");
    bench.write("main.py", "import a, b\n");
    assert_eq!(bench.checked().stdout, before);
}

#[test]
fn submodule_that_appears_is_seen_where_its_name_was_imported() {
    let mut bench = Bench::new();
    bench.write("pkg/__init__.py", "");
    bench.write("x.py", "from pkg import part\nfrom pkg import other\n");
    bench.write("pkg/user.py", "def f() -> None:\n    from . import part\n    part.value\n");
    bench.miss("nothing is known");
    for (path, text) in [("pkg/part.py", "value = 1\n"), ("pkg/other/mine.py", "")] {
        bench.write(path, text);
        bench.miss(path);
        bench.moved(&path.replace('/', "-"));
        bench.hit("another checkout");
        bench.remove(path);
        bench.checked();
        bench.write(path, text);
        bench.write("more.py", path);
        bench.checked();
    }
}

#[test]
fn silence_holds_for_the_run_that_asked_for_it() {
    for mode in ["silent", "skip", "error"] {
        let mut bench = Bench::sample();
        bench.write("pkg/b.py", "from pkg import a\n\ndef two() -> int:\n    return ''\n");
        bench.write("pkg/d.py", "from pkg import b\ny: str = b.two()\n");
        for targets in ["pkg", "pkg/d.py", "pkg/d.py pkg/b.py", "pkg"] {
            aim(&mut bench, &format!("{targets} --follow-imports={mode}"));
            bench.checked();
        }
    }
}

/// Sections that say for some modules whether imports of them are followed.
const SECTIONS: [&str; 5] = [
    "",
    "[mypy-pkg.a]\nfollow_imports = silent\n",
    "[mypy-pkg.sub.*]\nfollow_imports = skip\n",
    "[mypy-third]\nfollow_imports = error\n",
    "[mypy-pkg.*]\nfollow_imports = silent\nwarn_unused_ignores = True\n",
];

/// Checks parts of a project one after the other, now and then with an edit between.
fn parts(bench: &mut Bench, random: &mut Random, (files, edits): (&[String], bool), few: usize) {
    let mode = random.one_of(&["normal", "normal", "silent", "skip", "error"]);
    let section = random.one_of(&SECTIONS);
    bench.write("mypy.ini", &format!("[mypy]\nfollow_imports = {mode}\n{section}"));
    let mut history = vec![format!("{mode} {section:?}")];
    for _ in 0..rounds(few) {
        if edits && random.chance(30) {
            let path = &files[random.below(files.len())];
            bench.write(path, &module(random));
            history.push(format!("edit {path}"));
        }
        let mut targets = Vec::new();
        while targets.is_empty() || random.chance(60) {
            let path = &files[random.below(files.len())];
            let directory = path.rsplit_once('/').map_or(".", |(directory, _)| directory);
            let target = if random.chance(25) { directory } else { path };
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        history.push(targets.join(" "));
        aim(bench, &targets.join(" "));
        let (report, plain) = (bench.check(), bench.plain());
        assert_eq!(crate::support::answer(&report), plain, "{history:#?}\n{:?}", report.reuse);
    }
}

#[test]
fn any_parts_in_any_order_are_answered_as_by_a_cold_run() {
    for seed in 1..=2 {
        let mut random = Random::new(seed);
        let mut bench = Bench::new();
        bench.install("third", "1.0", &[("third/__init__.py", "value: int = 1\n")]);
        let files = &crate::sources::PATHS[..8];
        for path in files {
            bench.write(path, &module(&mut random));
        }
        let files: Vec<_> = files.iter().map(|path| (*path).to_owned()).collect();
        parts(&mut bench, &mut random, (&files, true), 4);
    }
}

#[test]
fn parts_of_a_real_package_are_answered_as_by_a_cold_run() {
    let mut random = Random::new(7);
    let mut bench = Bench::new();
    let source = rewarm_testkit::tools::site_packages(crate::support::venv()).join("pip/_vendor");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(source.join("packaging")).expect("a real package") {
        let path = entry.expect("entry").path();
        if path.extension().is_some_and(|end| end == "py") {
            let name =
                path.strip_prefix(&source).expect("below").to_str().expect("text").to_owned();
            bench.write(&name, &std::fs::read_to_string(&path).expect("source"));
            files.push(name);
        }
    }
    files.sort();
    parts(&mut bench, &mut random, (&files, false), 4);
}
