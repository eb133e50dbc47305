//! The three lock formats: what they select, and how they say no.

use std::path::PathBuf;
use std::sync::OnceLock;

use proptest::prelude::*;
use rewarm_env::{
    Interpreter, Location, Lock, LockError, LockFile, LockFormat, Names, Search, Selection, Source,
    Target, Wanted,
};

use crate::support::{Fixture, Result, later, options};

const SHA: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const HEX: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn interpreter() -> &'static Interpreter {
    static INTERPRETER: OnceLock<Interpreter> = OnceLock::new();
    INTERPRETER.get_or_init(|| {
        let fixture = Fixture::new().expect("a fixture");
        let search = Search { path: options().path, ..Search::default() };
        Interpreter::find(&search, &fixture.store, later()).expect("an interpreter")
    })
}

/// Reads a lock file of the fixture and selects from it.
fn select(fixture: &Fixture, name: &str, selection: &Selection) -> Result<Vec<Wanted>> {
    let interpreter = interpreter();
    let (markers, tags) = (interpreter.marker_environment()?, interpreter.tags()?);
    let target = Target { markers: &markers, tags: &tags, selection };
    Ok(read(fixture, name)?.select(target)?)
}

fn read(fixture: &Fixture, name: &str) -> std::result::Result<Lock, LockError> {
    let format = match name {
        "pylock.toml" => LockFormat::Pylock,
        "uv.lock" => LockFormat::Uv,
        _ => LockFormat::Requirements,
    };
    Lock::read(&LockFile { path: fixture.root().join(name), format })
}

fn names(wanted: &[Wanted]) -> Vec<&str> {
    wanted.iter().map(|wanted| wanted.name.as_str()).collect()
}

/// The error of a lock file with this text, whether in reading or in selecting.
fn error(name: &str, text: &str) -> Result<String> {
    let fixture = Fixture::new()?;
    fixture.write(name, text)?;
    match select(&fixture, name, &Selection::default()) {
        Ok(wanted) => Err(format!("selects {:?}", names(&wanted)).into()),
        Err(error) => {
            let text = error.to_string();
            Ok(text.replace(&format!("{}/", fixture.root().display()), ""))
        }
    }
}

fn pylock(packages: &str) -> String {
    format!("lock-version = \"1.0\"\ncreated-by = \"test\"\n{packages}")
}

fn package(name: &str, rest: &str) -> String {
    format!(
        "[[packages]]\nname = \"{name}\"\nversion = \"1\"\n{rest}\nwheels = [{{ url = \
         \"https://e.org/{name}-1-py3-none-any.whl\", hashes = {{ sha256 = \"{HEX}\" }} }}]\n"
    )
}

#[test]
fn pylock_markers_extras_and_groups_decide() -> Result {
    let fixture = Fixture::new()?;
    let head = "extras = [\"fast\"]\ndependency-groups = [\"dev\", \"docs\"]\ndefault-groups = [\"dev\"]\n";
    let text = [
        head.to_owned(),
        package("always", ""),
        package("never", "marker = \"sys_platform == 'never'\""),
        package("quick", "marker = \"'fast' in extras\""),
        package("tool", "marker = \"'dev' in dependency_groups\""),
        package("book", "marker = \"'docs' in dependency_groups\""),
    ];
    fixture.write("pylock.toml", pylock(&text.concat()))?;
    let chosen = |selection: &Selection| -> Result<Vec<String>> {
        let wanted = select(&fixture, "pylock.toml", selection)?;
        Ok(names(&wanted).into_iter().map(str::to_owned).collect())
    };
    assert_eq!(chosen(&Selection::default())?, ["always", "tool"]);
    let all = Selection { extras: Names::All, groups: Names::All, ..Selection::default() };
    assert_eq!(chosen(&all)?, ["always", "book", "quick", "tool"]);
    let bare = Selection { no_default_groups: true, ..Selection::default() };
    assert_eq!(chosen(&bare)?, ["always"]);
    let unknown = Selection { extras: Names::Some(vec!["slow".parse()?]), ..Selection::default() };
    let error = chosen(&unknown).map_err(|error| error.to_string());
    assert!(error.is_err_and(|text| text.ends_with("has no extra `slow`; it has `fast`")));
    Ok(())
}

#[test]
fn pylock_errors_name_the_line() -> Result {
    let cases = [
        ("lock-version = 1", "`pylock.toml` line 1: "),
        ("lock-version = \"2.0\"\n", "`pylock.toml` line 1: lock-version `2.0` is not supported"),
        (
            &pylock("[[packages]]\nname = \"a\"\n"),
            "`pylock.toml` line 4: package `a` needs exactly one of",
        ),
        (&pylock(&package("a", "marker = \"what\"")), "`pylock.toml` line 6: marker `what`: "),
        (&pylock(&package("a", "x = ")), "`pylock.toml` line 6: "),
        (
            &pylock(&(package("a", "") + &package("a", ""))),
            "`pylock.toml` line 9: package `a` is selected twice; line 4",
        ),
        (
            &pylock(
                "[[packages]]\nname = \"a\"\nvcs = { type = \"git\", url = \"https://e.org/a\" }\n",
            ),
            "`pylock.toml` line 4: `a` from a git checkout",
        ),
        (
            &pylock("environments = [\"sys_platform == 'never'\"]\n"),
            "`pylock.toml` does not cover this environment: none of its `environments` applies",
        ),
        (
            &pylock("requires-python = \"<3\"\n"),
            "`pylock.toml` does not cover this environment: it is for Python <3",
        ),
        (
            &pylock(&package("a", "").replace("py3-none-any", "cp27-cp27m-win32")),
            "`pylock.toml`: no file of `a` fits this interpreter",
        ),
        (
            &pylock(&package("a", "").replace("sha256", "md5")),
            "`pylock.toml` line 4: `a-1-py3-none-any.whl` has no sha256",
        ),
        (
            &pylock(&package("a", "").replace(HEX, "abc")),
            "`pylock.toml` line 4: `a-1-py3-none-any.whl`: `abc` is no sha256",
        ),
        (
            &pylock(&package("a", "").replace("https", "ftp")),
            "`pylock.toml` line 4: a URL of scheme `ftp` is not supported",
        ),
        (
            &pylock(&package("a", "").replace("/a-1", "/b-1")),
            "`pylock.toml` line 4: wheel `b-1-py3-none-any.whl` is not one of `a`",
        ),
    ];
    for (text, expected) in cases {
        let found = error("pylock.toml", text)?;
        assert!(found.starts_with(expected), "{text}\nsays {found}");
    }
    Ok(())
}

#[test]
fn the_best_wheel_wins_and_else_the_sdist() -> Result {
    let fixture = Fixture::new()?;
    let interpreter = interpreter();
    let [major, minor, _] = interpreter.version;
    let (python, arch) = (format!("cp{major}{minor}"), std::env::consts::ARCH);
    let file = |name: &str| {
        format!("{{ url = \"https://e.org/{name}\", hashes = {{ sha256 = \"{HEX}\" }} }}")
    };
    let text = |wheels: &[String]| {
        let wheels: Vec<_> = wheels.iter().map(|name| file(name)).collect();
        let (wheels, sdist) = (wheels.join(", "), file("a-1.tar.gz"));
        pylock(&format!(
            "[[packages]]\nname = \"a\"\nversion = \"1\"\nsdist = {sdist}\nwheels = [{wheels}]\n"
        ))
    };
    let exact = format!("a-1-{python}-{python}-manylinux_2_17_{arch}.whl");
    let newer = format!("a-1-2-{python}-{python}-manylinux_2_17_{arch}.whl");
    let pure = "a-1-py3-none-any.whl".to_owned();
    let other = "a-1-cp27-cp27mu-manylinux1_i686.whl".to_owned();
    let cases = [
        (vec![pure.clone(), exact.clone()], exact.as_str()),
        (vec![exact.clone(), newer.clone()], newer.as_str()),
        (vec![other.clone(), pure.clone()], pure.as_str()),
        (vec![other], "a-1.tar.gz"),
    ];
    for (wheels, expected) in cases {
        fixture.write("pylock.toml", text(&wheels))?;
        let wanted = select(&fixture, "pylock.toml", &Selection::default())?;
        let file = wanted[0].source.file().ok_or("no file")?;
        assert_eq!(file.filename, expected);
    }
    Ok(())
}

const UV: &str = r#"
version = 1
revision = 3
requires-python = ">=3.8"

[[package]]
name = "demo"
version = "0.1.0"
source = { editable = "." }
dependencies = [
    { name = "plain" },
    { name = "other", marker = "sys_platform == 'never'" },
    { name = "rich", extra = ["colour"] },
]

[package.optional-dependencies]
fast = [{ name = "quick" }]

[package.dev-dependencies]
dev = [{ name = "tool" }]
docs = [{ name = "book" }]

[[package]]
name = "local"
version = "3"
source = { path = "wheels/local-3-py3-none-any.whl" }
wheels = [{ filename = "local-3-py3-none-any.whl", hash = "SHA" }]
"#;

fn uv_lock() -> String {
    let mut text = UV.replace("SHA", SHA);
    for (name, rest) in [
        ("plain", "dependencies = [{ name = \"deep\" }]"),
        ("deep", "dependencies = [{ name = \"plain\" }, { name = \"local\" }]"),
        ("other", ""),
        ("rich", "[package.optional-dependencies]\ncolour = [{ name = \"paint\" }]\n"),
        ("paint", ""),
        ("quick", ""),
        ("tool", ""),
        ("book", ""),
    ] {
        let files = format!(
            "wheels = [{{ url = \"https://e.org/{name}-1-py3-none-any.whl\", hash = \"{SHA}\", size = 3 }}]"
        );
        let (inline, tables) = if rest.starts_with('[') { ("", rest) } else { (rest, "") };
        text += &format!(
            "\n[[package]]\nname = \"{name}\"\nversion = \"1\"\n\
             source = {{ registry = \"https://pypi.org/simple\" }}\n{inline}\n{files}\n{tables}\n"
        );
    }
    text
}

#[test]
fn files_with_a_url_and_a_sha256_are_pinned_whatever_they_fit() -> Result {
    let fixture = Fixture::new()?;
    fixture.write("uv.lock", uv_lock())?;
    let lock = read(&fixture, "uv.lock")?;
    let pinned = lock.pinned_files();
    let is_pinned = |name: &str| pinned.iter().any(|(url, _)| url.path().starts_with(name));
    assert!(is_pinned("/plain-1") && is_pinned("/paint-1") && !is_pinned("/local-3"));
    assert!(pinned.iter().all(|(_, digest)| digest.to_string() == HEX));

    let text = package("a", "marker = \"sys_platform == 'none'\"") + &package("b", "");
    fixture.write("pylock.toml", pylock(&text))?;
    let lock = read(&fixture, "pylock.toml")?;
    let urls: Vec<_> = lock.pinned_files().iter().map(|(url, _)| url.to_string()).collect();
    let expected = ["https://e.org/a-1-py3-none-any.whl", "https://e.org/b-1-py3-none-any.whl"];
    assert_eq!(urls, expected);
    Ok(())
}

#[test]
fn uv_lock_is_walked_from_the_project() -> Result {
    let fixture = Fixture::new()?;
    fixture.write("uv.lock", uv_lock())?;
    let wanted = select(&fixture, "uv.lock", &Selection::default())?;
    assert_eq!(names(&wanted), ["deep", "demo", "local", "paint", "plain", "rich", "tool"]);
    let source = |name: &str| {
        let found = wanted.iter().find(|wanted| wanted.name.as_str() == name);
        found.map(|wanted| wanted.source.clone()).ok_or("not selected")
    };
    let expected = Source::Directory { path: fixture.root(), editable: true, build_files: None };
    assert_eq!(source("demo")?, expected);
    let Source::Wheel { file, direct: true } = source("local")? else {
        return Err("not a wheel".into());
    };
    let path = fixture.root().join("wheels/local-3-py3-none-any.whl");
    assert_eq!(file.location, Location::Path(path));

    let bare = Selection { no_default_groups: true, extras: Names::All, ..Selection::default() };
    let wanted = select(&fixture, "uv.lock", &bare)?;
    assert_eq!(names(&wanted), ["deep", "demo", "local", "paint", "plain", "quick", "rich"]);

    fixture.write("uv.lock", uv_lock().replace("editable = \".\"", "virtual = \".\""))?;
    let wanted = select(&fixture, "uv.lock", &bare)?;
    assert!(!names(&wanted).contains(&"demo"));
    Ok(())
}

#[test]
fn uv_lock_errors_name_the_line() -> Result {
    let lock = uv_lock();
    let cases = [
        (
            lock.replace("version = 1\n", "version = 2\n"),
            "`uv.lock` line 2: version 2 of the format is not supported",
        ),
        (lock.replace("name = \"deep\" }]", "name = \"gone\" }]"), "`uv.lock` line "),
        (lock.replace("requires-python = \">=3.8\"", "requires-python = 3"), "`uv.lock` line 4: "),
        (
            lock.replace("sha256:aaaa", "sha256:zzzz"),
            "`uv.lock` line 24: `local-3-py3-none-any.whl`: ",
        ),
        (
            lock.replace(
                "source = { path = \"wheels/local-3-py3-none-any.whl\" }",
                "source = { git = \"https://e.org/x\" }",
            ),
            "`uv.lock` line 24: ",
        ),
    ];
    for (text, expected) in cases {
        let found = error("uv.lock", &text)?;
        assert!(found.starts_with(expected), "{found}");
    }
    Ok(())
}

#[test]
fn requirements_are_read_with_what_they_include() -> Result {
    let fixture = Fixture::new()?;
    let text = format!(
        "-i https://index.example/simple\n-r base.txt\n-c pins.txt\n\
         one[extra]==1.0 ; python_version >= '3' \\\n    --hash={SHA} \\\n    --hash=sha256:{}\n\
         never==1 ; sys_platform == 'never' --hash={SHA}\n\
         direct @ https://e.org/direct-2-py3-none-any.whl#{}\n",
        HEX.replace('a', "b"),
        SHA.replace(':', "="),
    );
    fixture.write("requirements.txt", text)?;
    fixture.write("base.txt", format!("open --hash={SHA}\n"))?;
    fixture.write("pins.txt", "open==3.1\nunused==4\n")?;
    let lock = read(&fixture, "requirements.txt")?;
    assert_eq!(lock.indexes(), ["https://index.example/simple"]);
    let files: Vec<PathBuf> = lock.files().iter().map(|(path, _)| path.clone()).collect();
    let expected =
        ["requirements.txt", "base.txt", "pins.txt"].map(|name| fixture.root().join(name));
    assert_eq!(files, expected);
    let wanted = select(&fixture, "requirements.txt", &Selection::default())?;
    assert_eq!(names(&wanted), ["direct", "one", "open"]);
    let versions: Vec<_> = wanted
        .iter()
        .map(|w| w.version.as_ref().map(ToString::to_string).unwrap_or_default())
        .collect();
    assert_eq!(versions, ["2", "1.0", "3.1"]);
    let Source::Index { hashes } = &wanted[1].source else {
        return Err("not from an index".into());
    };
    assert_eq!(hashes.len(), 2);
    Ok(())
}

#[test]
fn requirements_errors_name_the_line() -> Result {
    let cases = [
        ("a==1\nb>=2\n", "`requirements.txt` line 2: `b>=2` is not pinned"),
        ("a==1.*\n", "`requirements.txt` line 1: `a==1.*` is not pinned"),
        ("a==1\nb==\n", "`requirements.txt` line 2: `b==`: "),
        ("a==1 \\\n --hash=md5:aa\n", "`requirements.txt` line 1: digest `md5:aa` is not"),
        (
            "a==${VERSION}\n",
            "`requirements.txt` line 1: the variable `${VERSION}` is not supported",
        ),
        ("git+https://e.org/a\n", "`requirements.txt` line 1: "),
        ("a @ git+https://e.org/a\n", "`requirements.txt` line 1: `a` from a checkout"),
        (
            "https://e.org/a-1.tar.gz\n",
            "`requirements.txt` line 1: `https://e.org/a-1.tar.gz` without a name",
        ),
        ("--no-binary :all:\n", "`requirements.txt` line 1: option `--no-binary` is not supported"),
        ("a==1\na==2\n", "`requirements.txt` line 2: line 1 pins `a` differently"),
        (
            "-r requirements.txt\n",
            "`requirements.txt` line 1: `requirements.txt` is included in itself",
        ),
        ("--require-hashes\na==1\n", "`requirements.txt` line 2: `a==1` has no `--hash`"),
        ("-r gone.txt\n", "cannot read `gone.txt`"),
    ];
    for (text, expected) in cases {
        let found = error("requirements.txt", text)?;
        assert!(found.starts_with(expected), "{text}\nsays {found}");
    }
    Ok(())
}

#[test]
fn text_that_is_not_utf8_is_named_with_its_line() -> Result {
    let fixture = Fixture::new()?;
    fixture.write("requirements.txt", b"a==1\n\xff==1\n")?;
    let error = read(&fixture, "requirements.txt").map(drop).map_err(|error| error.to_string());
    assert!(error.is_err_and(|text| text.ends_with("requirements.txt` line 2: is not UTF-8")));
    Ok(())
}

/// Pieces from which arbitrary text comes near to what the parsers expect.
fn text() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "a==1",
        "--hash=",
        "sha256:",
        "\\\n",
        "\n",
        "#",
        " ; ",
        "-r ",
        "-e .",
        "[[packages]]",
        "name = \"a\"",
        "version = 1\n",
        "lock-version = \"1.0\"\n",
        "[[package]]",
        "wheels = [",
        "]",
        "{",
        "}",
        "source = ",
        "url = \"https://e.org/a-1-py3-none-any.whl\"",
        "@ ",
        "${",
        "é",
        "\u{0}",
        "==",
        "-",
        "=",
        "\"",
    ]);
    let piece = prop_oneof![pieces.prop_map(str::to_owned), any::<char>().prop_map(String::from)];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_text_makes_a_parser_panic(texts in prop::collection::vec(text(), 16)) {
        let fixture = Fixture::new().expect("a fixture");
        let names = ["pylock.toml", "uv.lock", "requirements.txt"];
        for (text, name) in texts.iter().flat_map(|text| names.map(|name| (text, name))) {
            fixture.write(name, text).expect("a writable directory");
            let _ = read(&fixture, name);
        }
    }

    #[test]
    fn no_bytes_make_the_index_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), text in text()) {
        let project = "a".parse().expect("a name");
        let url = "https://e.org/simple/a/".parse().expect("a URL");
        let _ = rewarm_env::index::parse(&project, &url, &bytes);
        let near = serde_json::json!({ "files": [{ "filename": &text, "url": text, "yanked": bytes }] });
        let _ = rewarm_env::index::parse(&project, &url, near.to_string().as_bytes());
    }
}
