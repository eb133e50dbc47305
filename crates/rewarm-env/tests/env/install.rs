//! From a lock file to an environment, and what keeps it right afterwards.

use std::process::Command;

use rewarm_env::Event;
use rewarm_testkit::packages::Package;

use crate::support::{Fixture, Result, python, run};

#[test]
fn a_lock_file_becomes_an_environment_that_works() -> Result {
    let fixture = Fixture::new()?;
    let tool = Package::new("tool-box", "1.2")
        .file("tool_box/cli.py", "import sys\ndef main():\n    print('tool', sys.prefix)\n")
        .console_script("tool", "tool_box.cli:main")
        .data("data/share/tool/readme", "read me\n")
        .data("scripts/helper", "#!python\nprint('helped')\n")
        .data("headers/tool.h", "#define TOOL\n")
        .wheel();
    fixture.lock(&[tool, Package::new("leaf", "0.1").wheel()])?;
    let (report, events) = fixture.install()?;
    assert_eq!((report.installed, report.removed, report.kept), (2, 0, 0));
    // Packages are prepared in any order, and all before the environment is touched.
    let made = events.iter().position(|event| *event == Event::Created(fixture.venv()));
    let prepared = &events[..made.ok_or("the environment was not made")?];
    for name in ["leaf", "tool-box"] {
        assert!(prepared.contains(&Event::Prepared(name.parse()?)), "{name}: {events:?}");
    }

    let environment = &report.environment;
    let code = "import leaf, tool_box; print(leaf.__version__, tool_box.__version__)";
    assert_eq!(python(environment, code)?, "0.1 1.2\n");
    let tool = run(&mut Command::new(fixture.venv().join("bin/tool")))?;
    assert_eq!(tool, format!("tool {}\n", fixture.venv().display()));
    assert_eq!(run(&mut Command::new(fixture.venv().join("bin/helper")))?, "helped\n");
    assert_eq!(std::fs::read_to_string(fixture.venv().join("share/tool/readme"))?, "read me\n");

    let info = fixture.site_packages()?.join("tool_box-1.2.dist-info");
    assert_eq!(std::fs::read_to_string(info.join("INSTALLER"))?, "rewarm");
    assert!(fixture.is_up_to_date()?);
    Ok(())
}
