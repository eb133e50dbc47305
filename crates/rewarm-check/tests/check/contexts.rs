//! The context managers that the driver gives mypy do what those of the standard library do.

use std::process::Command;

use crate::support::{must, venv, write};

/// Stands for mypy: goes through its context managers in all ways, and prints what it sees.
const MYPY: &str = r#"
from contextlib import contextmanager

class Scope:
    @contextmanager
    def around(self, how, *more, **named):
        """Says what it is for."""
        if how == "nothing":
            return
        print("enter", how, more, named)
        try:
            yield how
            if how == "twice":
                yield how
        except ValueError as error:
            print("sees", repr(error))
            if how == "swallows":
                return
            if how == "replaces":
                raise KeyError("other") from error
            if how == "raises stop":
                raise StopIteration
            raise
        finally:
            print("leave", how)

@contextmanager
def plain():
    yield 1

def console_entry():
    print(Scope.around.__name__, Scope.around.__doc__, Scope.around.__wrapped__ is not None)
    for how in ("ends", "twice", "swallows", "replaces", "raises stop", "passes on"):
        for error in (None, ValueError("mine"), LookupError("other"), StopIteration("end")):
            try:
                with Scope().around(how, 1, 2, named=3) as given:
                    print("in", given)
                    if error:
                        raise error
                print("after")
            except BaseException as raised:
                print("raised", repr(raised), repr(raised.__cause__), raised is error)
                if raised is error:
                    trace, depth = raised.__traceback__, 0
                    while trace:
                        trace, depth = trace.tb_next, depth + 1
                    print("depth", depth)
    with plain() as one, plain() as two:
        print(one + two)
    for _ in range(2):
        with plain():
            for each in (1, 2):
                with plain():
                    break
    try:
        with Scope().around("nothing"):
            print("never")
    except BaseException:
        print("did not begin")
"#;

#[test]
fn context_managers_of_mypy_behave_as_those_of_the_standard_library() {
    let directory = tempfile::tempdir().expect("directory");
    let contexts = include_str!("../../src/driver/contexts.py");
    write(&directory.path().join("mypy/__init__.py"), "");
    write(&directory.path().join("mypy/__main__.py"), MYPY);
    let run = |program: &str| {
        let mut command = Command::new(venv().join("bin/python"));
        must(command.args(["-c", program]).current_dir(directory.path())).stdout
    };
    let usual = run("from mypy.__main__ import console_entry\nconsole_entry()\n");
    let ours = run(&format!(
        "{contexts}\nimport_mypy()()\n\
         import mypy.__main__\n\
         assert isinstance(mypy.__main__.plain(), Context)\n\
         assert contextlib.contextmanager.__module__ == 'contextlib'\n\
         assert not isinstance(contextlib.nullcontext(), Context)\n"
    ));
    assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&usual));
    assert!(usual.len() > 1000, "nothing was tried");
}
