//! What is read out of a checker's text is what the checker tells programs itself, and every form
//! that it is given on in can be read by others.

use std::process::Command;

use rewarm_check::Program;
use rewarm_check::output::{
    self, Bases, Diagnostic, Findings, Location, Note, Severity, diagnostics,
};
use serde_json::Value;

use crate::support::Bench;

/// A source with messages of many sorts.
const SOURCE: &str = r#"from typing import Protocol
class P(Protocol):
    def f(self, x: int) -> str: ...
class A:
    def f(self, x: str) -> str: return x
def g(p: P) -> None: ...
g(A())
g(1, 2)
x: list[int] = ["a"]
reveal_type(x)
import nothere
def h(
    a: int) -> str:
    return a
y: str = "a: error: b  [c]" + 1
z: int = "%,:"  # type: ignore[assignment]
def very_long_name_of_a_function(parameter_of_a_function: dict[str, list[dict[str, int]]]) -> None: ...
very_long_name_of_a_function({"a": [{"b": "c"}]})
"#;

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("sub/a b.py", SOURCE);
    bench.write("pyproject.toml", "[project]\nname = 'p'\n");
    bench
}

fn bases(bench: &Bench) -> Bases {
    Bases { cwd: bench.project.join("sub"), repository: bench.project.clone() }
}

/// Runs a program in the bench, on the source.
fn run(bench: &Bench, program: &std::path::Path, args: &[&str]) -> (Vec<u8>, Vec<u8>, i32) {
    let output = Command::new(program)
        .args(args)
        .arg("a b.py")
        .current_dir(bench.project.join("sub"))
        .env_clear()
        .envs(bench.variables.iter().map(|(name, value)| (name, value)))
        .env("VIRTUAL_ENV", &bench.venv)
        .output()
        .expect("the checker starts");
    (output.stdout, output.stderr, output.status.code().expect("an end of its own"))
}

/// What is read out of the text that a checker prints with these arguments.
fn read(bench: &Bench, tool: &str, program: &std::path::Path, args: &[&str]) -> Vec<Diagnostic> {
    let (stdout, stderr, code) = run(bench, program, args);
    diagnostics(tool, (&stdout, &stderr), code, &bases(bench))
}

fn checker(name: &str) -> Program {
    let home = rewarm_testkit::tools::checker(name);
    let executable = home.join("bin").join(name);
    Program { checker: name.parse().expect("a checker"), executable, home: Some(home) }
}

/// Line, column, severity, code, message.
type Short = (u64, u64, Severity, String, String);

fn short(found: &Diagnostic) -> Short {
    let place = found.location.as_ref().expect("a place");
    assert_eq!(place.path, "sub/a b.py");
    let number = |number: Option<u32>| u64::from(number.unwrap_or_default());
    let code = found.code.clone().unwrap_or_default();
    (number(place.line), number(place.column), found.severity, code, found.message.clone())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn mypys_text_says_what_its_json_says() {
    let bench = bench();
    let mypy = bench.venv.join("bin/mypy");
    let cache = ["--cache-dir", "/dev/null"];
    let (stdout, _, _) = run(&bench, &mypy, &[&cache[..], &["-O", "json"]].concat());
    let lines = String::from_utf8(stdout).expect("text");
    // A message, what it adds, and where it ends.
    let told: Vec<(Short, String, u64)> = lines
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| {
            let value: Value = serde_json::from_str(line).expect("JSON");
            let severity =
                if value["severity"] == "note" { Severity::Note } else { Severity::Error };
            let number = |name: &str| value[name].as_u64().expect("a number");
            let place = (number("line"), number("column") + 1);
            let message =
                (place.0, place.1, severity, text(&value["code"]), text(&value["message"]));
            (message, text(&value["hint"]), number("end_column"))
        })
        .collect();
    assert!(told.len() > 7, "{lines}");
    let read = |args: &[&str]| read(&bench, "mypy", &mypy, &[&cache[..], args].concat());
    let full = read(&["--show-error-end"]);
    let found: Vec<_> = full
        .iter()
        .map(|found| {
            let notes: Vec<&str> = found.notes.iter().map(|note| note.message.as_str()).collect();
            let mut short = short(found);
            // The text has no code for notes.
            if short.2 == Severity::Note {
                short.3 = "misc".to_owned();
            }
            let end = found.location.as_ref().and_then(|place| place.end_column);
            (short, notes.join("\n"), u64::from(end.expect("an end")))
        })
        .collect();
    assert_eq!(found, told);
    let without = |columns: &[Diagnostic]| {
        let mut all = columns.to_vec();
        for place in all.iter_mut().flat_map(|found| &mut found.location) {
            (place.column, place.end_line, place.end_column) = (None, None, None);
        }
        all
    };
    assert_eq!(read(&[]), without(&full));
    assert_eq!(read(&["--pretty"]), without(&full), "wrapped text is joined");
    let mut colored = bench;
    colored.set("MYPY_FORCE_COLOR", "1");
    for terminal in ["xterm-256color", "screen"] {
        colored.set("TERM", terminal);
        let args = [&cache[..], &["--pretty"]].concat();
        let (stdout, stderr, code) = run(&colored, &mypy, &args);
        assert!(stdout.contains(&0x1b));
        let found = diagnostics("mypy", (&stdout, &stderr), code, &bases(&colored));
        assert_eq!(found, without(&full), "{terminal}");
    }
}

#[test]
fn zubans_text_is_read_as_mypys() {
    let bench = bench();
    let zuban = checker("zuban");
    let found = read(&bench, "zuban", &zuban.executable, &["check"]);
    let pretty = read(&bench, "zuban", &zuban.executable, &["check", "--pretty"]);
    assert_eq!(found, pretty);
    let errors = found.iter().filter(|found| found.severity == Severity::Error).count();
    let (stdout, _, _) = run(&bench, &zuban.executable, &["check"]);
    let summary = String::from_utf8(stdout).expect("text");
    assert!(summary.contains(&format!("Found {errors} errors in 1 file")), "{summary}");
    assert!(found.iter().any(|found| found.notes.len() == 5), "{found:?}");
}

#[test]
fn tys_text_says_what_its_report_for_gitlab_says() {
    let bench = bench();
    let ty = checker("ty").executable;
    let (stdout, _, _) = run(&bench, &ty, &["check", "--output-format", "gitlab"]);
    let value: Value = serde_json::from_slice(&stdout).expect("JSON");
    let places = |value: &Value| {
        let begin = &value["location"]["positions"]["begin"];
        let number = |name: &str| begin[name].as_u64().expect("a number");
        (number("line"), number("column"), text(&value["check_name"]))
    };
    let mut told: Vec<_> = value.as_array().expect("a list").iter().map(places).collect();
    told.sort();
    for format in ["full", "concise"] {
        let found = read(&bench, "ty", &ty, &["check", "--output-format", format]);
        let mut found: Vec<_> = found.iter().map(short).map(|s| (s.0, s.1, s.3)).collect();
        found.sort();
        assert_eq!(found, told, "{format}");
    }
    let full = read(&bench, "ty", &ty, &["check"]);
    let note = full.iter().flat_map(|found| &found.notes).find(|note| note.location.is_some());
    let place = note.and_then(|note| note.location.clone()).expect("a note with a place");
    assert_eq!((place.line, place.column), (Some(6), Some(5)), "{full:?}");
}

#[test]
fn pyreflys_text_says_what_its_json_says() {
    let bench = bench();
    bench.write("pyrefly.toml", "");
    let pyrefly = checker("pyrefly").executable;
    let (stdout, _, _) = run(&bench, &pyrefly, &["check", "--output-format", "json"]);
    let value: Value = serde_json::from_slice(&stdout).expect("JSON");
    let severity = |value: &Value| match value["severity"].as_str() {
        Some("error") => Severity::Error,
        Some("warn" | "warning") => Severity::Warning,
        _ => Severity::Note,
    };
    let number = |value: &Value| value.as_u64().expect("a number");
    let mut told: Vec<Short> = value["errors"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|v| {
            let place = (number(&v["line"]), number(&v["column"]));
            (place.0, place.1, severity(v), text(&v["name"]), text(&v["concise_description"]))
        })
        .collect();
    told.sort();
    assert!(told.len() > 4, "{value}");
    for format in ["full-text", "min-text"] {
        let found = read(&bench, "pyrefly", &pyrefly, &["check", "--output-format", format]);
        let mut found: Vec<_> = found.iter().map(short).collect();
        found.sort();
        assert_eq!(found, told, "{format}");
    }
}

#[test]
fn pyrights_text_says_what_its_json_says() {
    let bench = bench();
    let pyright = checker("pyright").executable;
    let (stdout, _, _) = run(&bench, &pyright, &["--outputjson"]);
    let value: Value = serde_json::from_slice(&stdout).expect("JSON");
    let told: Vec<Short> = value["generalDiagnostics"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|value| {
            let severity = match value["severity"].as_str() {
                Some("error") => Severity::Error,
                Some("warning") => Severity::Warning,
                _ => Severity::Note,
            };
            let start = &value["range"]["start"];
            let number = |name: &str| start[name].as_u64().expect("a number") + 1;
            let message = text(&value["message"]).replace('\u{a0}', " ");
            (number("line"), number("character"), severity, text(&value["rule"]), message)
        })
        .collect();
    assert!(told.len() > 5, "{value}");
    let found = read(&bench, "pyright", &pyright, &[]);
    assert_eq!(found.iter().map(short).collect::<Vec<_>>(), told);
}

/// Messages with everything that has to be escaped somewhere.
fn awkward() -> Vec<Findings> {
    let place = |path: &str| Location {
        path: path.to_owned(),
        line: Some(3),
        column: Some(5),
        end_line: Some(3),
        end_column: Some(9),
    };
    let diagnostic = Diagnostic {
        location: Some(place("a,b/c:d %é.py")),
        severity: Severity::Error,
        code: Some("arg-type".to_owned()),
        message: "100% <\"of\">, 'all' & \u{1}: end".to_owned(),
        notes: vec![
            Note { location: None, message: "one\nmore".to_owned() },
            Note { location: Some(place("/abs/x.py")), message: "defined here".to_owned() },
        ],
    };
    let mut lost = diagnostic.clone();
    (lost.location, lost.code, lost.notes) = (None, None, Vec::new());
    let mut note = diagnostic.clone();
    note.severity = Severity::Note;
    let found = |tool, exit_code, diagnostics| {
        let partition = None;
        Findings { tool, partition, exit_code, replayed: false, diagnostics }
    };
    vec![
        found("mypy", 1, vec![diagnostic, note]),
        found("ty", 2, vec![lost]),
        found("zuban", 0, Vec::new()),
    ]
}

#[test]
fn a_partition_is_named_where_there_are_several() {
    let mut findings = awkward();
    let plain = String::from_utf8(output::sarif(&findings)).expect("text");
    assert!(!plain.contains("automationDetails"), "{plain}");
    findings[2].partition = Some("libs/<a>".to_owned());
    let log: Value = serde_json::from_slice(&output::sarif(&findings)).expect("JSON");
    assert_eq!(log["runs"][2]["automationDetails"]["id"], "zuban/libs/<a>/");
    let json: Value = serde_json::from_slice(&output::json(&findings)).expect("JSON");
    assert_eq!(json["tools"][2]["partition"], "libs/<a>");
    assert!(json["tools"][0].get("partition").is_none(), "{json}");
    let junit = String::from_utf8(output::junit(&findings)).expect("text");
    assert!(junit.contains("<testsuite name=\"zuban: libs/&lt;a&gt;\""), "{junit}");
}

#[test]
fn workflow_commands_are_escaped() {
    let text = String::from_utf8(output::github(&awkward())).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    let error = "::error file=a%2Cb/c%3Ad %25é.py,line=3,col=5,endLine=3,endColumn=9,\
                 title=mypy%3A arg-type::100%25 <\"of\">, 'all' & \u{1}: end%0Aone%0Amore%0A\
                 /abs/x.py:3: defined here";
    assert_eq!(lines[0], error);
    assert!(lines[1].starts_with("::notice "), "{text}");
    assert_eq!(lines[2], "::error title=ty::100%25 <\"of\">, 'all' & \u{1}: end");
    assert_eq!(lines.len(), 3);
}

/// The properties that the schema requires, and its types and limits for what is used.
#[test]
fn sarif_has_what_its_schema_requires() {
    let log: Value = serde_json::from_slice(&output::sarif(&awkward())).expect("JSON");
    assert_eq!(log["version"], "2.1.0");
    let runs = log["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 3);
    for run in runs {
        let driver = &run["tool"]["driver"];
        assert!(driver["name"].is_string() && driver["rules"].is_array());
        assert_eq!(run["columnKind"], "unicodeCodePoints");
        assert!(run["invocations"][0]["executionSuccessful"].is_boolean());
        for result in run["results"].as_array().expect("results") {
            assert!(result["message"]["text"].is_string());
            assert!(
                ["error", "warning", "note"].contains(&result["level"].as_str().expect("level"))
            );
            if let Some(index) = result["ruleIndex"].as_u64() {
                let index = usize::try_from(index).expect("small");
                assert_eq!(driver["rules"][index]["id"], result["ruleId"]);
            }
            let related = result["relatedLocations"].as_array().into_iter().flatten();
            let own = result["locations"].as_array().into_iter().flatten();
            for location in own.chain(related) {
                let physical = &location["physicalLocation"];
                let uri = physical["artifactLocation"]["uri"].as_str().expect("a URI");
                assert!(uri.is_ascii() && !uri.contains(' '), "{uri}");
                let region = &physical["region"];
                assert_eq!((&region["startLine"], &region["startColumn"]), (&3.into(), &5.into()));
                assert_eq!(region["endColumn"], 10);
            }
        }
    }
    let artifact = &runs[0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"];
    assert_eq!(artifact["uri"], "a%2Cb/c%3Ad%20%25%C3%A9.py");
    assert_eq!(artifact["uriBaseId"], "%SRCROOT%");
    let related = &runs[0]["results"][0]["relatedLocations"][0];
    assert_eq!(related["physicalLocation"]["artifactLocation"]["uri"], "file:///abs/x.py");
    assert_eq!(runs[1]["invocations"][0]["executionSuccessful"], false);
}

#[test]
fn junit_is_well_formed_and_counts_what_is_there() {
    use quick_xml::events::Event;
    let bytes = output::junit(&awkward());
    let text = String::from_utf8(bytes).expect("text");
    let mut reader = quick_xml::Reader::from_str(&text);
    let (mut names, mut messages) = (Vec::new(), Vec::new());
    loop {
        match reader.read_event().expect("well-formed XML") {
            Event::Start(tag) | Event::Empty(tag) => {
                names.push(tag.name().as_ref().to_owned());
                for attribute in tag.attributes() {
                    let attribute = attribute.expect("a well-formed attribute");
                    if attribute.key.as_ref() == "message" {
                        messages.push(
                            quick_xml::escape::unescape(&attribute.value)
                                .expect("escaped")
                                .into_owned(),
                        );
                    }
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    let count = |name: &str| names.iter().filter(|other| *other == name).count();
    assert_eq!(["testsuite", "testcase", "failure", "error"].map(count), [3, 3, 1, 1]);
    assert_eq!(messages, ["100% <\"of\">, 'all' & \u{fffd}: end"]);
    assert!(text.contains("tests=\"3\" failures=\"1\" errors=\"1\">\n  <testsuite"), "{text}");
}

#[test]
fn what_is_not_understood_is_not_lost() {
    let bases = Bases { cwd: "/p".into(), repository: "/p".into() };
    let crash = b"Traceback (most recent call last):\nBoom\n";
    let found = diagnostics("mypy", (b"", crash), 2, &bases);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].severity, Severity::Error);
    assert!(found[0].message.ends_with("Boom"), "{found:?}");
    assert_eq!(diagnostics("ty", (b"nonsense\n", b""), 1, &bases).len(), 1);
    assert!(diagnostics("ty", (b"All checks passed!\n", b""), 0, &bases).is_empty());
}

#[test]
fn json_carries_every_field() {
    let value: Value = serde_json::from_slice(&output::json(&awkward())).expect("JSON");
    let first = &value["tools"][0];
    assert_eq!((&first["tool"], &first["errors"]), (&"mypy".into(), &1.into()));
    let found = &first["diagnostics"][0];
    assert_eq!((&found["path"], &found["line"]), (&"a,b/c:d %é.py".into(), &3.into()));
    assert_eq!(found["notes"][1]["location"]["path"], "/abs/x.py");
    assert_eq!(value["tools"][1]["diagnostics"][0].get("path"), None);
}
