//! Variables that a text may read are found, or all count; shown against a real bash.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use rewarm_activation::observe::{Names, variables_read};
use rewarm_activation::{Variables, variables};

const NAMES: [&str; 6] = ["FOO", "BAR", "FOO_BAR", "x", "y", "AB"];

fn named(text: &str) -> Option<Vec<String>> {
    match variables_read(text.as_bytes(), &Variables::new()) {
        Names::All { .. } => None,
        Names::Named(names) => {
            Some(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
        }
    }
}

fn finds(text: &str, name: &str) -> bool {
    named(text).is_none_or(|names| names.iter().any(|known| known == name))
}

#[test]
fn expansions_name_their_variables() {
    for text in [
        "echo $FOO",
        "echo \"${FOO}\"",
        "echo ${FOO:-x}",
        "echo ${#FOO}",
        "echo ${BAR:-${FOO}}",
        "cat <<E\n# $FOO\nE",
        "echo '$FOO'",
        "echo $((FOO + 1))",
        "[[ -v FOO ]]",
        "test -v FOO",
        "FOO+=x",
        "FOO=x",
        "echo $F\\\nOO",
        "for FOO in a; do :; done",
        "read -r FOO BAR < /dev/null",
        "unset FOO",
        "exec {FOO}>/dev/null",
        "[ $BAR -eq 1 ] && [[ FOO -gt 1 ]]",
        "printf -v FOO x",
        "export FOO",
    ] {
        assert!(finds(text, "FOO"), "{text}: {:?}", named(text));
    }
}

#[test]
fn plain_text_does_not_make_all_variables_count() {
    for text in [
        "export FOO=\"$BAR/bin:$PATH\"",
        "if [ -n \"${FOO:-}\" ]; then export BAR=1; fi",
        "set -eu",
        "_dir=\"$(dirname \"$1\")\"",
        "case \"$FOO\" in a*) BAR=1 ;; *) BAR=2 ;; esac",
        "for f in \"$CONDA_PREFIX\"/etc/*.sh; do . \"$f\"; done",
        "if [ $SHLVL -gt 1 ]; then :; fi",
        "# set PATH, export all and go",
    ] {
        assert!(
            named(text).is_some(),
            "{text}: {:?}",
            variables_read(text.as_bytes(), &Variables::new())
        );
    }
}

#[test]
fn names_that_are_put_together_make_all_variables_count() {
    for text in [
        "eval \"echo \\$$x\"",
        "echo ${!x}",
        "echo ${!FOO*}",
        "declare -n r=$x; echo $r",
        "printenv",
        "env | sort",
        "set",
        "export -p",
        "declare",
        "x=FO; x+=O; echo $((x))",
        "x=FO y=O; echo $(($x$y))",
        "read x < file; (( x > 1 ))",
        "[[ -v $x ]]",
        "printf -v \"$x\" 1",
        "unset \"$x\"",
        "x='${FOO}'; echo ${x@P}",
        ". <(echo x)",
    ] {
        assert_eq!(named(text), None, "{text}");
    }
}

#[test]
fn a_callers_value_that_is_an_expression_makes_all_variables_count() {
    let caller = |value: &str| variables([("x".into(), value.into())]);
    assert!(matches!(variables_read(b"echo $((x))", &caller("12")), Names::Named(_)));
    assert!(matches!(variables_read(b"echo $((x))", &caller("FOO")), Names::All { .. }));
}

/// What a text prints in a real bash, and what it leaves in the exported variables.
fn outcome(text: &str, environment: &Variables) -> Vec<u8> {
    let output = Command::new("/bin/bash")
        .args(["-c", &format!("{text}\nprintf '\\0'; /usr/bin/env -0")])
        .env_clear()
        .envs(environment)
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .expect("bash runs");
    output.stdout
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMES[..])
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        name().prop_map(str::to_owned),
        "[0-9]{1,2}",
        Just(String::new()),
        (name(), "[0-9]").prop_map(|(name, number)| format!("{name}+{number}")),
    ]
}

fn statement() -> impl Strategy<Value = String> {
    prop_oneof![
        (name(), name()).prop_map(|(a, b)| format!("{a}=${b}")),
        (name(), value()).prop_map(|(a, v)| format!("{a}={v}")),
        (name(), value()).prop_map(|(a, v)| format!("{a}+={v}")),
        (name(), name()).prop_map(|(a, b)| format!("{a}=${{{b}:-none}}")),
        (name(), name()).prop_map(|(a, b)| format!("{a}=\"${b}_\"")),
        name().prop_map(|a| format!("echo ${a}")),
        name().prop_map(|a| format!("echo $(({a} + 1))")),
        name().prop_map(|a| format!("echo ${{{a}:1}}")),
        (name(), name()).prop_map(|(a, b)| format!("echo ${{{a}:{b}}}")),
        name().prop_map(|a| format!("echo ${{!{a}}}")),
        name().prop_map(|a| format!("[[ -v {a} ]] && echo set")),
        (name(), name()).prop_map(|(a, b)| format!("[[ {a} -eq {b} ]] && echo same")),
        (name(), name()).prop_map(|(a, b)| format!("let {a}={b}+1")),
        (name(), name()).prop_map(|(a, b)| format!("declare -i {a}; {a}={b}")),
        (name(), name()).prop_map(|(a, b)| format!("{a}[{b}]=3; echo ${{{a}[0]}}")),
        (name(), name()).prop_map(|(a, b)| format!("read {a} <<< \"${b}\"")),
        (name(), name()).prop_map(|(a, b)| format!("for {a} in ${b} z; do echo ${a}; done")),
        (name(), name()).prop_map(|(a, b)| format!("cat <<E\n${a} $(({b}))\nE")),
        (name(), name()).prop_map(|(a, b)| format!("f() {{ echo $(($1)); }}; f {a}; f ${b}")),
        name().prop_map(|a| format!("unset {a}")),
        name().prop_map(|a| format!("export {a}")),
        name().prop_map(|a| format!("printf -v {a} %s FOO")),
        name().prop_map(|a| format!("eval \"echo \\${a}\"")),
        (name(), name()).prop_map(|(a, b)| format!("declare -n {a}={b}; echo ${a}")),
        name().prop_map(|a| format!("case ${a} in F*) echo yes ;; esac")),
        name().prop_map(|a| format!("x=$((1)); (( {a}++ )); echo ${a}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_variable_that_is_not_named_changes_nothing(
        statements in prop::collection::vec(statement(), 1..5),
        values in prop::collection::vec(prop::option::of(value()), NAMES.len()),
        others in prop::collection::vec(prop::option::of(value()), NAMES.len()),
    ) {
        let text = statements.join("\n");
        let environment = |values: &[Option<String>]| -> Variables {
            let pairs = NAMES.iter().zip(values);
            variables(
                pairs.filter_map(|(name, value)| {
                    Some((OsString::from(name), value.clone()?.into()))
                })
                .chain([("PATH".into(), "/usr/bin:/bin".into())]),
            )
        };
        let before = environment(&values);
        if let Names::Named(names) = variables_read(text.as_bytes(), &before) {
            let mixed: Vec<_> = NAMES.iter().enumerate().map(|(index, name)| {
                match names.contains(Path::new(name).as_os_str()) {
                    true => values[index].clone(),
                    false => others[index].clone(),
                }
            }).collect();
            let after = environment(&mixed);
            let strip = |environment: &Variables| -> Vec<Vec<u8>> {
                let mut entries: Vec<_> = outcome(&text, environment)
                    .split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
                entries.retain(|entry| !NAMES.iter().any(|name| {
                    !names.contains(Path::new(name).as_os_str())
                        && entry.starts_with(format!("{name}=").as_bytes())
                }));
                entries.sort();
                entries
            };
            prop_assert_eq!(strip(&before), strip(&after), "{}", text);
        }
    }
}
