//! The choice of the one file a package is installed from.
//!
//! Pure: the wheel whose tags rank best for the interpreter, the higher build number among equals,
//! and the source distribution where no wheel fits.

use std::str::FromStr;

use uv_distribution_filename::{BuildTag, WheelFilename};
use uv_platform_tags::{TagCompatibility, Tags};

use super::{RemoteFile, Source};

/// Chooses among the files of one package; the error says why none fits.
pub(crate) fn choose(
    wheels: &[RemoteFile],
    sdist: Option<&RemoteFile>,
    tags: &Tags,
) -> Result<Source, String> {
    let mut best: Option<(TagCompatibility, Option<BuildTag>, &RemoteFile)> = None;
    for file in wheels {
        let Ok(name) = WheelFilename::from_str(&file.filename) else { continue };
        let compatibility = name.compatibility(tags);
        if !compatibility.is_compatible() {
            continue;
        }
        let build = name.build_tag().cloned();
        let better = match &best {
            None => true,
            Some((rank, number, _)) => (compatibility, &build) > (*rank, number),
        };
        if better {
            best = Some((compatibility, build, file));
        }
    }
    if let Some((_, _, file)) = best {
        return Ok(Source::Wheel { file: file.clone(), direct: false });
    }
    match (sdist, wheels) {
        (Some(file), _) => {
            Ok(Source::Sdist { file: file.clone(), direct: false, subdirectory: None })
        }
        (None, []) => Err("the lock names neither a wheel nor a source distribution".to_owned()),
        (None, wheels) => {
            let names: Vec<_> = wheels.iter().map(|file| format!("`{}`", file.filename)).collect();
            Err(format!(
                "there is no source distribution, and of the wheels none: {}",
                names.join(", ")
            ))
        }
    }
}
