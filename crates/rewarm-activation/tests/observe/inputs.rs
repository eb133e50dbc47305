//! Files, commands, facts and variables that a run uses are seen.

use std::path::Path;

use rewarm_activation::observe::{HostFact, Names, Unprovable, Use};

use crate::support::{Place, assert_provable, assert_unprovable, names, printed};

#[test]
fn a_plain_script_has_few_inputs() {
    let place = Place::new();
    let seen = place.run("export GREETING=hello\necho done\n");
    assert_eq!(printed(&seen), "done\n");
    assert!(seen.status.success());
    assert_provable(&seen);
    assert!(seen.files.len() <= 8, "{:#?}", seen.files);
    assert!(seen.facts.is_empty(), "{:?}", seen.facts);
    assert!(names(&seen, "GREETING") && !names(&seen, "OTHER"));
}

#[test]
fn a_sourced_file_is_read() {
    let place = Place::new();
    place.write("lib/inner.sh", "X=1\n");
    place.write("lib/outer.sh", ". \"$ROOT/lib/inner.sh\"\n");
    let seen = place.run(". \"$ROOT/lib/outer.sh\"\necho $X\n");
    assert_eq!(printed(&seen), "1\n");
    for name in ["lib/inner.sh", "lib/outer.sh"] {
        let file = place.seen(&seen, name).expect("it was sourced");
        assert!(file.how == Use::Read && file.witness.is_some());
    }
    assert_provable(&seen);
}

#[test]
fn an_absent_file_is_looked_for() {
    let place = Place::new();
    let seen = place.run("[ -f \"$ROOT/absent\" ] && echo there\n");
    let file = place.seen(&seen, "absent").expect("it was looked for");
    assert!(file.how == Use::Looked && file.witness.is_none());
    assert_provable(&seen);
}

#[test]
fn a_pattern_lists_its_directory() {
    let place = Place::new();
    place.write("list/one.sh", "");
    let seen = place.run("for f in \"$ROOT\"/list/*.sh; do echo ${f##*/}; done\n");
    assert_eq!(printed(&seen), "one.sh\n");
    assert_eq!(place.seen(&seen, "list").expect("it was listed").how, Use::Listed);
}

#[test]
fn a_program_that_reads_a_file_is_seen_through() {
    let place = Place::new();
    place.write("data", "text\n");
    let seen = place.run("cat \"$ROOT/data\"\n");
    assert_eq!(printed(&seen), "text\n");
    assert_eq!(place.seen(&seen, "data").expect("it was read").how, Use::Read);
    assert!(
        seen.files
            .iter()
            .any(|file| file.how == Use::Executed && file.path == Path::new("/usr/bin/cat"))
    );
    assert_provable(&seen);
    assert!(names(&seen, "LC_ALL"));
}

#[test]
fn a_command_is_searched_on_the_path() {
    let mut place = Place::new();
    let path = format!("{}:/usr/bin", place.root.join("bin").display());
    place.set("PATH", path);
    let seen = place.run("cat /dev/null\nabsent-command\n");
    let found = |name: &str| {
        seen.commands.iter().find(|command| command.name == *name).map(|command| &command.path)
    };
    assert_eq!(found("cat"), Some(&Some("/usr/bin/cat".into())));
    assert_eq!(found("absent-command"), Some(&None));
    assert!(place.seen(&seen, "bin/cat").is_none());
}

#[test]
fn an_unknown_program_may_read_every_variable() {
    let place = Place::new();
    let seen = place.run("perl -e '1'\n");
    assert!(matches!(seen.variables, Names::All { .. }));
}

#[test]
fn the_host_name_is_a_fact_when_it_is_asked_for() {
    let place = Place::new();
    assert!(place.run("uname -n\n").facts.contains(&HostFact::System));
    assert!(place.run("echo $HOSTNAME\n").facts.contains(&HostFact::System));
    assert!(place.run("id -u\n").facts.contains(&HostFact::User));
}

#[test]
fn the_clock_is_recognised() {
    let place = Place::new();
    let seen = place.run("date +%s\n");
    assert_unprovable(&seen, |why| matches!(why, Unprovable::Clock { .. }));
}

#[test]
fn an_effect_is_recognised() {
    let place = Place::new();
    let seen = place.run("echo x > \"$ROOT/left\"\n");
    let path = place.root.join("left");
    assert_unprovable(&seen, |why| *why == Unprovable::Effect { path: path.clone() });
    let seen = place.run("echo x > \"$ROOT/gone\"; cat \"$ROOT/gone\"; rm \"$ROOT/gone\"\n");
    assert_provable(&seen);
    assert!(place.seen(&seen, "gone").is_none());
}

#[test]
fn a_process_left_behind_is_recognised() {
    let place = Place::new();
    let seen = place.run("sleep 3 >&- 2>&- &\n");
    assert_unprovable(&seen, |why| *why == Unprovable::Background);
}

#[test]
fn the_network_is_recognised() {
    let place = Place::new();
    let seen = place.run("echo > /dev/tcp/127.0.0.1/9\n");
    assert_unprovable(&seen, |why| matches!(why, Unprovable::Network { .. }));
}
