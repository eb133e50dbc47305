//! Source distributions and directories, built by the real pip without a network, and packages
//! that only an index knows.

use std::fs;
use std::io::Write;

use rewarm_env::{Event, index};
use rewarm_testkit::packages::{Package, requirements, simple_page};

use crate::support::{Fixture, Result, options, python};

fn building(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event, Event::Building(_)))
}

#[test]
fn a_source_distribution_is_built_once() -> Result {
    let fixture = Fixture::new()?;
    fixture.lock(&[Package::new("sourced", "1").sdist()])?;
    let (report, events) = fixture.install()?;
    assert!(building(&events));
    assert_eq!(python(&report.environment, "import sourced; print(sourced.__version__)")?, "1\n");
    assert!(!fixture.site_packages()?.join("sourced-1.dist-info/direct_url.json").exists());

    fs::remove_dir_all(fixture.venv())?;
    let (report, events) = fixture.install()?;
    assert!(!building(&events));
    assert_eq!(python(&report.environment, "import sourced; print(sourced.__version__)")?, "1\n");
    assert!(fixture.is_up_to_date()?);
    Ok(())
}

#[test]
fn a_failed_build_shows_what_pip_said() -> Result {
    let fixture = Fixture::new()?;
    fixture.lock(&[Package::new("sourced", "1").file("fail", "").sdist()])?;
    let error = fixture.install().map(drop).map_err(|error| error.to_string());
    let text = error.err().ok_or("it was built")?;
    assert!(text.starts_with("building `sourced-1.zip` failed"), "{text}");
    assert!(text.contains("the build was asked to fail"), "{text}");
    assert!(!fixture.venv().exists());
    Ok(())
}

/// A project directory whose backend hands out a wheel that was made before.
fn library(fixture: &Fixture, wheel: &Package) -> Result {
    let root = fixture.root().join("library");
    fs::create_dir_all(root.join("prebuilt"))?;
    fs::write(
        root.join("pyproject.toml"),
        "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n\
         [project]\nname = \"library\"\nversion = \"1\"\n",
    )?;
    let backend = concat!(env!("CARGO_MANIFEST_DIR"), "/../rewarm-testkit/data/backend.py");
    fs::copy(backend, root.join("backend.py"))?;
    wheel.wheel().write_to(&root.join("prebuilt"))?;
    Ok(())
}

fn lock_library(fixture: &Fixture, editable: bool) -> Result {
    let text = "lock-version = \"1.0\"\ncreated-by = \"test\"\n[[packages]]\nname = \"library\"\n";
    fixture.write(
        "pylock.toml",
        format!("{text}directory = {{ path = \"library\", editable = {editable} }}\n"),
    )
}

#[test]
fn a_directory_is_built_again_when_its_build_files_change() -> Result {
    let fixture = Fixture::new()?;
    library(&fixture, &Package::new("library", "1"))?;
    lock_library(&fixture, false)?;
    let (report, events) = fixture.install()?;
    assert!(building(&events));
    assert_eq!(python(&report.environment, "import library; print(library.__version__)")?, "1\n");
    let url = fixture.site_packages()?.join("library-1.dist-info/direct_url.json");
    let url: serde_json::Value = serde_json::from_slice(&fs::read(url)?)?;
    assert_eq!(url["url"], format!("file://{}", fixture.root().join("library").display()));
    let (_, events) = fixture.install()?;
    assert_eq!(events, []);
    fs::write(fixture.root().join("library/setup.cfg"), "\n")?;
    let (_, events) = fixture.install()?;
    assert!(building(&events));
    Ok(())
}

#[test]
fn an_editable_directory_is_installed_in_place() -> Result {
    let fixture = Fixture::new()?;
    let source = fixture.root().join("library/src");
    fs::create_dir_all(&source)?;
    fs::write(source.join("living.py"), "x = 1\n")?;
    let path = format!("{}\n", source.display());
    library(&fixture, &Package::new("library", "1").file("library.pth", path))?;
    lock_library(&fixture, true)?;
    let (report, _) = fixture.install()?;
    assert_eq!(python(&report.environment, "import living; print(living.x)")?, "1\n");
    fs::write(source.join("living.py"), "x = 22\n")?;
    assert_eq!(python(&report.environment, "import living; print(living.x)")?, "22\n");
    assert!(fixture.is_up_to_date()?);
    let (_, events) = fixture.install()?;
    assert_eq!(events, []);
    lock_library(&fixture, false)?;
    let (_, events) = fixture.install()?;
    assert!(building(&events));
    Ok(())
}

/// Exactly what the binary does, with a `file:` index in the place of a network.
#[test]
fn pinned_requirements_are_found_through_the_index() -> Result {
    let fixture = Fixture::new()?;
    let wheels = [Package::new("one", "1").wheel(), Package::new("two", "2").wheel()];
    fixture.write("requirements.txt", requirements(&wheels))?;
    let preparation = fixture.preparation(&options())?;
    let mut pages = Vec::new();
    for project in preparation.queries()? {
        let wheel = wheels.iter().find(|wheel| wheel.name == project.as_str()).ok_or("unknown")?;
        let newer = Package::new(&wheel.name, "9").wheel();
        let files = [newer, wheel.clone()];
        let page = simple_page(&wheel.name, &files, "../../files/");
        let url = format!("https://index.example/simple/{project}/").parse()?;
        pages.push(index::parse(&project, &url, page.as_bytes())?);
    }
    let mut plan = preparation.plan(&pages)?;
    let files: Vec<_> = plan.downloads(&fixture.store).into_iter().cloned().collect();
    assert_eq!(files.len(), 2);
    for file in files {
        let wheel = wheels.iter().find(|w| w.filename == file.filename).ok_or("unknown file")?;
        let mut writer = fixture.store.blob_writer()?;
        writer.write_all(&wheel.bytes)?;
        let blob = writer.commit(file.sha256().as_ref())?;
        plan.supply(&fixture.store, &file, &blob.digest)?;
    }
    assert_eq!(plan.downloads(&fixture.store), Vec::<&rewarm_env::RemoteFile>::new());
    let report = plan.execute(&fixture.store, &|_| {})?;
    let code = "import one, two; print(one.__version__, two.__version__)";
    assert_eq!(python(&report.environment, code)?, "1 2\n");
    assert!(fixture.is_up_to_date()?);

    // What is installed needs no index.
    fixture.write("requirements.txt", requirements(&wheels) + "# a comment\n")?;
    let preparation = fixture.preparation(&options())?;
    assert!(preparation.queries()?.is_empty());
    assert!(preparation.plan(&[])?.is_empty());
    Ok(())
}

#[test]
fn yanked_foreign_and_wrong_files_of_an_index_are_passed_over() -> Result {
    let fixture = Fixture::new()?;
    let good = Package::new("one", "1").wheel();
    fixture.write("requirements.txt", "one==1\n")?;
    let url = "https://index.example/simple/one/".parse()?;
    let page = |change: &dyn Fn(&mut serde_json::Value)| -> Result<_> {
        let mut page: serde_json::Value =
            serde_json::from_str(&simple_page("one", std::slice::from_ref(&good), "f/"))?;
        change(&mut page["files"][0]);
        let page = index::parse(&"one".parse()?, &url, page.to_string().as_bytes())?;
        let preparation = fixture.preparation(&options())?;
        Ok(preparation.plan(&[page]).map(drop).map_err(|error| error.to_string()))
    };
    // A yanked file is taken if the pin leaves no other.
    assert_eq!(page(&|file| file["yanked"] = "broken".into())?, Ok(()));
    let found = page(&|file| file["requires-python"] = "<3".into())?;
    assert!(found.is_err_and(|text| text.contains("is for another Python")));
    let found = page(&|file| file["filename"] = "one-2-py3-none-any.whl".into())?;
    assert!(found.is_err_and(|text| text.contains("it lists none of that version")));
    fixture.write("requirements.txt", format!("one==1 --hash=sha256:{}\n", "b".repeat(64)))?;
    let found = page(&|_| {})?;
    assert!(found.is_err_and(|text| text.contains("has none of the allowed digests")));
    Ok(())
}
