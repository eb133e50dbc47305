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

#[test]
fn the_time_of_day_in_a_shell_is_recognised() {
    let place = Place::new();
    // Put together, so that the text does not show it.
    let seen = place.run("f='%'; f+='(%s)T'; printf \"$f\"\n");
    assert_unprovable(&seen, |why| matches!(why, Unprovable::Clock { .. }));
    assert_provable(&place.run("x=$(echo a); (echo b); for i in 1 2; do echo $i | cat; done\n"));
}

#[test]
fn a_document_in_a_script_is_no_effect() {
    let place = Place::new();
    let text = format!("cat <<'E' | wc -l\n{}E\n", "line\n".repeat(40_000));
    let seen = place.run(&text);
    assert_eq!(printed(&seen).trim(), "40000");
    // The C library names the file that holds it after the time, and one in twenty times after a
    // random number, which is all there is to it.
    let is_expected =
        |why: &Unprovable| matches!(why, Unprovable::Clock { .. } | Unprovable::Random { .. });
    assert!(seen.unprovable.iter().all(is_expected), "{:?}", seen.unprovable);
    assert_provable(&place.run("cat <<< short\n"));
}

#[test]
fn a_service_on_a_socket_is_the_network() {
    let place = Place::new();
    let socket = place.root.join("socket");
    let _listening = std::os::unix::net::UnixListener::bind(&socket).expect("it can be made");
    let text =
        "perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Peer => \"$ENV{ROOT}/socket\")'\n";
    let seen = place.run(text);
    assert_unprovable(&seen, |why| matches!(why, Unprovable::Network { .. }));
}

#[test]
fn devices_and_the_running_system_are_recognised() {
    let place = Place::new();
    let seen = place.run("cat /proc/uptime\n");
    assert_unprovable(&seen, |why| matches!(why, Unprovable::Kernel { .. }));
    let seen = place.run("read -r x < /dev/tty\n");
    assert_unprovable(&seen, |why| matches!(why, Unprovable::Device { .. }));
    place.run("mkfifo \"$ROOT/pipe\"\n");
    let seen = place.run("cat \"$ROOT/pipe\" & echo x > \"$ROOT/pipe\"; wait\n");
    assert_unprovable(&seen, |why| matches!(why, Unprovable::Device { .. }));
}

#[test]
fn changes_of_every_kind_are_effects() {
    let place = Place::new();
    for (name, text) in [
        ("a", "mkdir \"$ROOT/a\""),
        ("b", "ln -s x \"$ROOT/b\""),
        ("data", "mv \"$ROOT/data\" \"$ROOT/moved\""),
        ("data", "rm \"$ROOT/data\""),
        ("data", "chmod 700 \"$ROOT/data\""),
        ("data", "touch \"$ROOT/data\""),
        ("data", "echo more >> \"$ROOT/data\""),
        ("c", "cp \"$ROOT/data\" \"$ROOT/c\""),
    ] {
        place.write("data", "x");
        let path = place.root.join(name);
        let seen = place.run(text);
        assert_unprovable(&seen, |why| *why == Unprovable::Effect { path: path.clone() });
    }
    place.write("data", "x");
    assert_provable(&place.run("mkdir -p \"$ROOT/own\" /tmp; rm -f \"$ROOT/absent\"\n"));
}

#[test]
fn a_static_program_and_one_with_threads_are_followed() {
    let place = Place::new();
    let source = place.write(
        "thread.c",
        "#include <pthread.h>\n#include <fcntl.h>\n#include <stdlib.h>\n\
         static void *run(void *path) { open(path, O_RDONLY); return 0; }\n\
         int main(int c, char **v) { pthread_t t; pthread_create(&t, 0, run, v[1]); return pthread_join(t, 0); }\n",
    );
    place.write("data", "x");
    for kind in ["-static", "-pie"] {
        let built = std::process::Command::new("gcc")
            .args([kind, "-pthread", "-o"])
            .args([&place.root.join("thread"), &source])
            .status();
        assert!(built.expect("gcc is installed").success());
        let seen = place.run("\"$ROOT/thread\" \"$ROOT/data\"\n");
        assert_eq!(place.seen(&seen, "data").expect("it was read").how, Use::Read);
        assert_eq!(place.seen(&seen, "thread").expect("it was run").how, Use::Executed);
        assert!(matches!(seen.variables, Names::All { .. }));
        assert_provable(&seen);
    }
}

#[test]
fn names_with_odd_bytes_are_kept() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let name = std::ffi::OsStr::from_bytes(b"odd \xff\n'name");
    std::fs::write(place.root.join(name), "X=odd\n").expect("a file can be written");
    let seen = place.run(". \"$ROOT/\"$'odd \\xff\\n\\'name'; echo $X\n");
    assert_eq!(printed(&seen), "odd\n");
    assert!(seen.files.iter().any(|file| file.path == place.root.join(name)));
}

#[test]
fn relative_paths_start_where_the_process_is() {
    let place = Place::new();
    place.write("sub/file", "X=1\n");
    let seen = place.run("cd \"$ROOT/sub\"; . ./file; cat ../sub/file\n");
    assert_eq!(printed(&seen), "X=1\n");
    assert!(place.seen(&seen, "sub/file").is_some());
    assert!(place.seen(&seen, "sub/../sub/file").is_some());
    place.write("home/here", "X=1\n");
    let seen = place.run(". ./here\n");
    assert!(seen.facts.contains(&HostFact::WorkingDirectory));
    assert!(place.seen(&seen, "home/here").is_some());
}

#[test]
fn what_is_named_by_its_path_is_no_search() {
    let mut place = Place::new();
    let first = place.root.join("bin");
    place.set("PATH", format!("{}:/usr/bin", first.display()));
    let seen = place.run(&format!("[ -x {}/cat ] || cat /dev/null\n", first.display()));
    assert!(place.seen(&seen, "bin/cat").is_some());
    assert!(seen.commands.iter().all(|command| command.name != "cat"));
}

#[test]
fn text_that_comes_through_a_pipe_may_read_every_variable() {
    let place = Place::new();
    for text in [
        "echo 'echo $FOO' | bash\n",
        "echo 'echo $FOO' | sh -s\n",
        ". <(echo 'X=$FOO')\n",
        "echo 'X=$FOO' | . /dev/stdin\n",
        "env\n",
        "(exec env -0)\n",
    ] {
        assert!(matches!(place.run(text).variables, Names::All { .. }), "{text}");
    }
    let seen = place.run("bash -c 'echo ${INNER:-none}'\n");
    assert!(names(&seen, "INNER"));
    place.write("script", "echo $INNER_TOO\n");
    assert!(names(&place.run("bash \"$ROOT/script\"\n"), "INNER_TOO"));
}

#[test]
fn the_environment_can_be_handed_over() {
    let place = Place::new();
    let seen = place.run("export X=1\nexec /usr/bin/env -0 >| \"$ROOT/own/environment\"\n");
    assert!(names(&seen, "X"));
    assert_provable(&seen);
    let dump = std::fs::read(place.root.join("own/environment")).expect("it was written");
    assert!(dump.split(|byte| *byte == 0).any(|entry| entry == b"X=1"));
}

#[test]
fn what_properties_do_not_tell_is_read_or_recognised() {
    let place = Place::new();
    let file = place.write("data", "x");
    let seen = place.run("[ -s \"$ROOT/data\" ] && echo full\n");
    assert_eq!(place.seen(&seen, "data").expect("its size was asked for").how, Use::Read);
    assert_provable(&seen);
    std::os::unix::fs::symlink(&file, place.root.join("link")).expect("a link can be made");
    for text in
        ["readlink \"$ROOT/link\"\n", "[ -L \"$ROOT/link\" ]\n", "[ \"$ROOT/link\" -nt / ]\n"]
    {
        assert!(!place.run(text).unprovable.is_empty(), "{text}");
    }
    assert_provable(&place.run("readlink -f \"$ROOT/data\" /bin/cat; cat \"$ROOT/link\"\n"));
}
