//! A package of 10 000 small modules, each importing a few that come before it.

use super::{Checkout, sources};
use crate::bench::Bench;
use crate::steps::Result;

const PACKAGES: usize = 100;
const MODULES: usize = 100;

pub(super) fn prepare(bench: &Bench) -> Result<Checkout> {
    let home = tempfile::tempdir().map_err(|e| format!("no temporary directory: {e}"))?;
    let dir = home.path().join("generated");
    write(&dir.join("pkg")).map_err(|e| format!("cannot write modules: {e}"))?;
    std::fs::write(dir.join("pyproject.toml"), "[tool.mypy]\nstrict = true\n")
        .map_err(|e| e.to_string())?;
    let venv = sources::environment(bench, "generated", &["mypy==2.4.1"])?;
    Ok(Checkout { home, dir, venv, arguments: &["pkg"] })
}

fn write(root: &std::path::Path) -> std::io::Result<()> {
    std::fs::create_dir_all(root)?;
    std::fs::write(root.join("__init__.py"), "")?;
    for package in 0..PACKAGES {
        let dir = root.join(format!("p{package}"));
        std::fs::create_dir_all(&dir)?;
        // One of the hundred is the package itself.
        std::fs::write(dir.join("__init__.py"), "")?;
        for module in 1..MODULES {
            std::fs::write(dir.join(format!("m{module}.py")), text(package, module))?;
        }
    }
    Ok(())
}

fn text(package: usize, module: usize) -> String {
    let number = package * MODULES + module;
    let earlier = [1, 7, 131].map(|back| number.saturating_sub(back));
    let earlier =
        earlier.into_iter().filter(|other| *other > 0 && other % MODULES != 0 && *other < number);
    let mut text = String::new();
    let mut sum = String::from("x");
    for other in earlier {
        let (package, module) = (other / MODULES, other % MODULES);
        text += &format!("from pkg.p{package}.m{module} import value as value_{other}\n");
        sum += &format!(" + value_{other}(x)");
    }
    text + &format!(
        "\n\nclass Thing{number}:\n    def __init__(self, size: int) -> None:\n        self.size = size\n\n\
         \x20   def grown(self, by: int) -> \"Thing{number}\":\n        return Thing{number}(self.size + by)\n\n\n\
         def value(x: int) -> int:\n    thing = Thing{number}(x).grown(1)\n    return thing.size + {sum}\n"
    )
}
