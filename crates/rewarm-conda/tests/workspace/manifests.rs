//! What manifests say: features, environments, targets, activation, tasks; and what is wrong with
//! those that say it wrongly.

use std::fs;
use std::path::Path;

use rattler_conda_types::Subdir;
use rewarm_conda::manifest::{Detached, Platform, Workspace, detached, find};

use super::{corpus, parsed, plain, refused, workspace};

const HEAD: &str = "[workspace]\nchannels = [\"conda-forge\"]\nplatforms = [\"linux-64\", \
                    \"osx-arm64\", \"win-64\"]\n";

fn with_head(rest: &str) -> Workspace {
    parsed(&format!("{HEAD}{rest}"))
}

#[test]
fn default_is_always_an_environment_and_the_first() {
    assert_eq!(with_head("").environments().collect::<Vec<_>>(), ["default"]);
    let workspace = workspace("environments");
    assert_eq!(workspace.environments().collect::<Vec<_>>(), ["default", "test", "lint"]);
    assert_eq!(workspace.solve_group("default"), Some("main"));
    assert_eq!(workspace.solve_group("test"), Some("main"));
    assert_eq!(workspace.solve_group("lint"), None);
    assert!(workspace.warnings.is_empty(), "{:?}", workspace.warnings);
}

#[test]
fn features_count_in_the_order_of_the_environment_and_the_default_one_last() {
    let workspace = with_head(
        r#"
        [activation]
        scripts = ["default.sh"]
        env = { A = "default", B = "default" }
        [tasks]
        build = "default"
        test = "default"
        [feature.one.activation]
        scripts = ["one.sh"]
        env = { C = "one", A = "one" }
        [feature.one.tasks]
        build = "one"
        [feature.two.activation]
        scripts = ["two.sh", "more.sh"]
        env = { A = "two", D = "two" }
        [feature.two.tasks]
        build = "two"
        lint = "two"
        [environments]
        both = ["two", "one"]
        only = { features = ["one"], no-default-feature = true }
        "#,
    );
    let linux = plain(Subdir::Linux64);
    let both = workspace.activation("both", &linux);
    assert_eq!(both.scripts, ["two.sh", "more.sh", "one.sh", "default.sh"]);
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let env = [("A", "two"), ("D", "two"), ("C", "one"), ("B", "default")].map(pair);
    assert_eq!(both.env, env);
    let only = workspace.activation("only", &linux);
    assert_eq!(only.scripts, ["one.sh"]);
    assert_eq!(only.env, [("C", "one"), ("A", "one")].map(pair));
    let tasks = workspace.tasks("both", &linux);
    let from: Vec<_> =
        tasks.iter().map(|(name, it)| (name.as_str(), it.feature.as_str())).collect();
    assert_eq!(from, [("build", "two"), ("lint", "two"), ("test", "default")]);
    assert_eq!(tasks["test"].line, 10);
    assert_eq!(tasks["test"].value.as_str(), Some("default"));
    assert!(workspace.tasks("only", &linux).keys().eq(["build"]));
    assert!(workspace.tasks("none", &linux).is_empty());
}

#[test]
fn of_targets_that_match_the_last_counts_most_and_replaces_scripts() {
    let workspace = with_head(
        r#"
        [activation]
        scripts = ["plain.sh"]
        env = { WHERE = "plain", ALSO = "plain" }
        [target.linux-64.activation]
        scripts = ["subdir.sh"]
        env = { WHERE = "subdir" }
        [target.unix.activation]
        env = { WHERE = "unix" }
        [target.osx.activation]
        scripts = []
        [target.win.tasks]
        run = "win"
        [tasks]
        run = { cmd = "plain", depends-on = [{ task = "x", args = [1] }] }
        "#,
    );
    let on = |subdir| workspace.activation("default", &plain(subdir));
    let linux = on(Subdir::Linux64);
    assert_eq!(linux.scripts, ["subdir.sh"]);
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    assert_eq!(linux.env, [("WHERE", "unix"), ("ALSO", "plain")].map(pair));
    assert_eq!(on(Subdir::OsxArm64).scripts, Vec::<String>::new());
    assert_eq!(on(Subdir::Win64).scripts, ["plain.sh"]);
    let task = |subdir| workspace.tasks("default", &plain(subdir))["run"].value.clone();
    assert_eq!(task(Subdir::Win64).as_str(), Some("win"));
    assert_eq!(task(Subdir::Linux64)["cmd"].as_str(), Some("plain"));
    assert_eq!(task(Subdir::Linux64)["depends-on"][0]["args"][0].as_integer(), Some(1));
}

#[test]
fn unknown_keys_warn_with_their_line_and_stop_nothing() {
    let workspace = parsed(
        "[workspace]\nchannels = []\nplatforms = []\nnovelty = 1\n[tasks]\na = \"x\"\n[strange]\nb = 2\n[dependencies]\nfoo = { version = \"1\", sparkle = true }\n",
    );
    let shown: Vec<String> = workspace.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "/w/pixi.toml:4: unknown key `workspace.novelty` is ignored",
            "/w/pixi.toml:7: unknown key `strange` is ignored",
            "/w/pixi.toml:10: unknown key `dependencies.foo.sparkle` is ignored",
        ]
    );
    assert!(workspace.tasks("default", &plain(Subdir::Linux64)).contains_key("a"));
}

#[test]
fn wrong_values_are_named_with_their_place_and_the_mend() {
    let cases = [
        ("x", "/w/pixi.toml:1:2: key with no value, expected `=`"),
        (
            "[dependencies]\npython = \"*\"\n",
            "/w/pixi.toml:1:1: there is no table `[workspace]`; add it with `channels` and `platforms`",
        ),
        (
            "[workspace]\nplatforms = []\n",
            "/w/pixi.toml:1:1: `[workspace]` needs `channels = [\"conda-forge\"]` or others",
        ),
        (
            "[workspace]\nchannels = []\nplatforms = [\"linux-64\", \"amiga-68k\"]\n",
            "/w/pixi.toml:3:26: `amiga-68k` is no conda platform; expected `linux-64`, `osx-arm64`, `win-64` or such",
        ),
        (
            "[workspace]\nchannels = []\n[dependencies]\npython = 3.12\n",
            "/w/pixi.toml:4:10: `dependencies.python` is a float, expected a version such as \">=1.2\", or a table",
        ),
        (
            "[workspace]\nchannels = []\n[activation.env]\nN = 1\n",
            "/w/pixi.toml:4:5: `activation.env.N` is an integer, expected a string; put it in quotes",
        ),
        (
            "[workspace]\nchannels = []\n[environments]\ntest = [\"tset\"]\n",
            "/w/pixi.toml:4:9: there is no feature `tset`; add `[feature.tset]` or take it out of `environments.test`",
        ),
        (
            "[workspace]\nchannels = []\n[environments]\n\"../up\" = []\n",
            "/w/pixi.toml:4:1: `../up` is no name of an environment; use letters, digits and `-`",
        ),
        (
            "[workspace]\nchannels = []\n[project]\nchannels = []\n",
            "/w/pixi.toml:3:1: `workspace` and `project` mean the same; keep `workspace`",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(refused(text), message);
    }
}

#[test]
fn the_nearest_manifest_is_found_and_a_pyproject_only_with_a_pixi_table() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path();
    let inner = root.join("a/b");
    fs::create_dir_all(&inner).expect("writable");
    assert_eq!(find(&inner), None);
    fs::write(root.join("pixi.toml"), "").expect("writable");
    assert_eq!(find(&inner), Some(root.join("pixi.toml")));
    let pyproject = root.join("a/pyproject.toml");
    fs::write(&pyproject, "[project]\nname = \"pixi\"\n").expect("writable");
    assert_eq!(find(&inner), Some(root.join("pixi.toml")), "that is no workspace of pixi");
    fs::write(&pyproject, "[tool.pixi.workspace]\nchannels = []\n").expect("writable");
    assert_eq!(find(&inner), Some(pyproject));
    fs::write(root.join("a/pixi.toml"), "").expect("writable");
    assert_eq!(find(&inner), Some(root.join("a/pixi.toml")));
}

#[test]
fn a_pyproject_gives_name_version_python_and_dependencies() {
    let workspace = workspace("custom-platforms-v7");
    assert_eq!(workspace.name.as_deref(), Some("custom"));
    assert_eq!(workspace.version.as_deref(), Some("1.2.3"));
    assert_eq!(workspace.root, corpus("custom-platforms-v7"));
    let gpu: Platform = workspace.environment_platforms("default")[1].clone();
    assert_eq!(gpu.name, "gpu");
    let requirements = workspace.requirements("default", &gpu);
    let conda: Vec<_> = requirements.conda.iter().map(|it| it.name.as_normalized()).collect();
    assert_eq!(conda, ["cuda-version", "python"]);
    let pypi: Vec<_> = requirements.pypi.iter().map(|it| it.name.to_string()).collect();
    assert_eq!(pypi, ["custom", "idna"]);
    let pair = |value: &str| vec![("DEVICE".to_owned(), value.to_owned())];
    assert_eq!(workspace.activation("default", &gpu).env, pair("gpu"));
    assert_eq!(workspace.activation("default", &plain(Subdir::OsxArm64)).env, pair("cpu"));
    let other = Workspace::parse(Path::new("/w/pyproject.toml"), "[project]\nname = \"a\"\n");
    assert_eq!(
        other.expect_err("no table").to_string(),
        "/w/pyproject.toml has no table `[tool.pixi]`; add `[tool.pixi.workspace]` to make it a \
         pixi workspace"
    );
}

#[test]
fn a_manifest_of_a_package_alone_is_passed_over() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path();
    let inner = root.join("packages/one");
    fs::create_dir_all(&inner).expect("writable");
    fs::write(root.join("mojoproject.toml"), HEAD).expect("writable");
    fs::write(inner.join("pixi.toml"), "[package]\nname = \"one\"\n").expect("writable");
    assert_eq!(find(&inner), Some(root.join("mojoproject.toml")));
    fs::write(inner.join("pixi.toml"), format!("{HEAD}[package]\nname = \"one\"\n"))
        .expect("writable");
    assert_eq!(find(&inner), Some(inner.join("pixi.toml")));
    fs::write(inner.join("pixi.toml"), "[package\n").expect("writable");
    assert_eq!(find(&inner), Some(inner.join("pixi.toml")), "reading it says what is wrong");
}

#[test]
fn prefixes_are_in_the_workspace_unless_the_configuration_says_otherwise() {
    let workspace = with_head("");
    let config = |text: &str| detached(Path::new("/w/.pixi/config.toml"), text);
    let set = |text: &str| config(text).expect("sound").expect("it is set");
    let cache = Path::new("/cache");
    assert_eq!(config("pinning-strategy = \"semver\"").expect("sound"), None);
    assert_eq!(set("detached-environments = false"), Detached::No);
    assert_eq!(set("detached-environments = true"), Detached::Cache);
    let inside = Path::new("/w/.pixi/envs");
    assert_eq!(workspace.environments_dir(&Detached::No, cache), inside);
    assert_eq!(workspace.prefix("test"), inside.join("test"));
    // The digest of `/w` by xxh3 with 64 bits.
    let digest = xxhash_rust::xxh3::xxh3_64(b"/w");
    let name = format!("w-{digest}/envs");
    assert_eq!(
        workspace.environments_dir(&Detached::Cache, cache),
        Path::new("/cache/envs").join(&name)
    );
    let elsewhere = set("detached-environments = \"/opt/envs\"");
    assert_eq!(workspace.environments_dir(&elsewhere, cache), Path::new("/opt/envs").join(&name));
    assert_eq!(
        config("detached-environments = \"envs\"").expect_err("relative").to_string(),
        "/w/.pixi/config.toml:1:25: `detached-environments` is a string, expected `true`, `false` \
         or an absolute path"
    );
}

#[test]
fn platforms_of_an_environment_are_those_that_all_its_features_support() {
    let names = |workspace: &Workspace, environment: &str| -> Vec<String> {
        workspace.environment_platforms(environment).into_iter().map(|it| it.name).collect()
    };
    let workspace = with_head(
        r#"
        [feature.unix]
        platforms = ["linux-64", "osx-arm64"]
        [feature.gpu]
        platforms = ["linux-64", "win-64"]
        system-requirements = { cuda = "12", libc = "2.31", macos = "14" }
        [environments]
        unix = ["unix"]
        both = ["unix", "gpu"]
        "#,
    );
    assert_eq!(names(&workspace, "default"), ["linux-64", "osx-arm64", "win-64"]);
    assert_eq!(names(&workspace, "unix"), ["linux-64", "osx-arm64"]);
    assert_eq!(names(&workspace, "both"), ["linux-64-cuda-12-glibc-2-31"]);
    let rich = parsed(
        r#"
        [workspace]
        channels = []
        platforms = [
            "linux-64",
            { platform = "linux-64", cuda = "12.0", archspec = "x86-64-v3", __special = "1=a" },
            { name = "macs", platform = "osx-arm64" },
        ]
        [feature.gpu]
        platforms = ["linux-64-cuda-12-0-archspec-x86-64-v3-special-1-a"]
        [target."linux-64-cuda*".activation]
        scripts = ["gpu.sh"]
        [environments]
        gpu = ["gpu"]
        "#,
    );
    let gpu = "linux-64-cuda-12-0-archspec-x86-64-v3-special-1-a";
    assert_eq!(names(&rich, "default"), ["linux-64", gpu, "macs"]);
    assert_eq!(names(&rich, "gpu"), [gpu]);
    let platforms = rich.environment_platforms("default");
    assert_eq!(rich.activation("default", &platforms[1]).scripts, ["gpu.sh"]);
    assert!(rich.activation("default", &platforms[0]).scripts.is_empty());
}
