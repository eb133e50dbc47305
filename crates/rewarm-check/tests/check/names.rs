//! mypy's cache keeps names in alphabetical order, a cold run has them in that of their definition.
//! What tells the difference comes from a cold run.

use rewarm_check::{Report, Reuse};

use crate::support::Bench;

const COLOR: &str = "from enum import Enum\nclass Color(Enum):\n    Z = 1\n    M = 2\n    A = 3\n";
const USE: &str = "from a import Color\ndef f(x: Color) -> None:\n    if x is not Color.M:\n        reveal_type(x)\n";

#[test]
fn members_of_an_enumeration_are_listed_as_they_were_defined() {
    let bench = Bench::new();
    bench.write("a.py", COLOR);
    bench.write("b.py", USE);
    bench.miss("nothing is known");
    bench.write("b.py", &format!("{USE}x = 1\n"));
    bench.miss("the module with the list was edited");
    bench.write("a.py", &COLOR.replace("Z = 1", "B = 1"));
    bench.miss("a member has another name");
    bench.write("a.py", &COLOR.replace("    Z = 1\n", "").replace("A = 3\n", "A = 3\n    Z = 1\n"));
    bench.miss("the members changed places");
}

#[test]
fn members_that_change_places_are_seen_in_modules_that_are_not_checked_again() {
    let bench = Bench::new();
    bench.write("a.py", COLOR);
    bench.write("b.py", USE);
    bench.write("c.py", "y: int = ''\n");
    bench.miss("nothing is known");
    let swapped = COLOR.replace("Z = 1\n    M = 2", "M = 2\n    Z = 1");
    for (text, other) in [(&*swapped, 1), (COLOR, 2)] {
        bench.write("a.py", text);
        bench.miss("another order");
        bench.write("c.py", &format!("y: int = ''\nx = {other}\n"));
        bench.miss("a module that has nothing to do with it");
    }
}

#[test]
fn names_of_a_star_import_are_reported_as_they_were_defined() {
    let bench = Bench::new();
    bench.write("a.py", "z = 1\nb = 1\nm = 1\n");
    bench.write("c.py", "class m: ...\nclass b: ...\nclass z: ...\nfrom a import *\n");
    bench.miss("nothing is known");
    bench.write("c.py", "class m: ...\nclass b: ...\nclass z: ...\nfrom a import *\nx = 1\n");
    bench.miss("the importing module was edited");
}

#[test]
fn messages_without_an_order_cost_one_module() {
    let bench = Bench::new();
    bench.write("a.py", COLOR);
    bench.write("b.py", "from a import Color\nx: int = Color.M\ny: str = Color.Z\n");
    bench.miss("nothing is known");
    bench.write("b.py", "from a import Color\nx: int = Color.M\ny: str = Color.A\n");
    assert_checks_one(bench.miss("one module was edited"));
}

#[test]
fn name_that_is_defined_again_costs_one_module() {
    let bench = Bench::new();
    let function = "def f() -> None:\n    pass\n";
    bench.write("a.py", COLOR);
    bench.write("b.py", USE);
    bench.write("c.py", function);
    bench.miss("nothing is known");
    for times in [2, 3, 4] {
        bench.write("c.py", &function.repeat(times));
        assert_checks_one(bench.miss("the function is there another number of times"));
    }
}

fn assert_checks_one(report: Report) {
    let Reuse::Ran { seeded, modules_rechecked, .. } = report.reuse else {
        panic!("mypy has to run");
    };
    assert_eq!((seeded, modules_rechecked), (true, Some(1)));
}
