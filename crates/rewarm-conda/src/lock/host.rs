//! What a machine offers: its subdirectory and virtual packages, and which platforms can be used on
//! it.
//!
//! Nothing is looked up unless [`Host::detect`] is called, and that takes the values of
//! `CONDA_OVERRIDE_…` from the caller.

use std::collections::BTreeMap;

use rattler_conda_types::{GenericVirtualPackage, MatchSpec, Matches, ParseStrictness, Subdir};
use rattler_virtual_packages::{Override, VirtualPackageOverrides, VirtualPackages};

use super::error::{LockError, list};
use crate::manifest::Platform;

/// A machine, as far as packages ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The subdirectory whose packages it runs.
    pub subdir: Subdir,
    /// What it offers.
    pub virtual_packages: Vec<GenericVirtualPackage>,
}

/// The variables that override what is detected, by virtual package.
pub const OVERRIDES: [(&str, &str); 9] = [
    ("__amdgpu", "CONDA_OVERRIDE_AMDGPU"),
    ("__amdgpu_arch", "CONDA_OVERRIDE_AMDGPU_ARCH"),
    ("__archspec", "CONDA_OVERRIDE_ARCHSPEC"),
    ("__cuda", "CONDA_OVERRIDE_CUDA"),
    ("__cuda_arch", "CONDA_OVERRIDE_CUDA_ARCH"),
    ("__glibc", "CONDA_OVERRIDE_GLIBC"),
    ("__linux", "CONDA_OVERRIDE_LINUX"),
    ("__osx", "CONDA_OVERRIDE_OSX"),
    ("__win", "CONDA_OVERRIDE_WIN"),
];

impl Host {
    /// This machine. `overrides` are the variables of [`OVERRIDES`] that are set, by name; an empty
    /// value means that the machine has not got it.
    ///
    /// # Errors
    ///
    /// When an override is no version, or the operating system tells a version that is none.
    pub fn detect(overrides: &BTreeMap<String, String>) -> Result<Self, LockError> {
        let given = |name: &str| {
            let (_, variable) = OVERRIDES.iter().find(|(package, _)| *package == name)?;
            overrides.get(*variable).cloned().map(Override::String)
        };
        let mut wanted = VirtualPackageOverrides::default();
        wanted.amdgpu = given("__amdgpu");
        wanted.amdgpu_arch = given("__amdgpu_arch");
        wanted.archspec = given("__archspec");
        wanted.cuda = given("__cuda");
        wanted.cuda_arch = given("__cuda_arch");
        wanted.libc = given("__glibc");
        wanted.linux = given("__linux");
        wanted.osx = given("__osx");
        wanted.win = given("__win");
        let detected = VirtualPackages::detect(&wanted, None)
            .map_err(|error| LockError::Detect(Box::new(error)))?;
        Ok(Self {
            subdir: Subdir::current().unwrap_or(Subdir::NoArch),
            virtual_packages: detected.into_generic_virtual_packages().collect(),
        })
    }

    /// The subdirectories whose packages it runs, its own first: macOS and Windows run those of
    /// older processors.
    pub fn subdirs(&self) -> Vec<Subdir> {
        let mut subdirs = vec![self.subdir];
        match self.subdir {
            Subdir::OsxArm64 => subdirs.push(Subdir::Osx64),
            Subdir::WinArm64 => subdirs.push(Subdir::Win64),
            Subdir::Win64 => subdirs.push(Subdir::Win32),
            _ => {}
        }
        subdirs
    }

    /// What a platform asks for and the machine lacks.
    fn lacks<'p>(&self, platform: &'p Platform) -> Option<&'p GenericVirtualPackage> {
        platform.virtual_packages.iter().find(|asked| {
            let offered = self.virtual_packages.iter().find(|it| it.name == asked.name);
            offered.is_none_or(|it| it.version < asked.version)
        })
    }

    /// The first of some platforms that the machine can use, its own subdirectory before others.
    ///
    /// # Errors
    ///
    /// When it can use none: the first virtual package that it lacks, or the platforms that there
    /// are.
    pub fn choose<'p>(
        &self,
        platforms: &'p [Platform],
        environment: &str,
    ) -> Result<&'p Platform, LockError> {
        let mut lacking = None;
        for subdir in self.subdirs() {
            for platform in platforms.iter().filter(|it| it.subdir == subdir) {
                match self.lacks(platform) {
                    None => return Ok(platform),
                    Some(asked) => lacking = lacking.or(Some((platform, asked))),
                }
            }
        }
        Err(match lacking {
            Some((platform, asked)) => {
                let name = asked.name.as_normalized();
                let needs = format!("{name} >={}", asked.version);
                self.missing(format!("the platform `{}`", platform.name), name, needs)
            }
            None => LockError::Machine {
                environment: environment.to_owned(),
                known: list(platforms.iter().map(|it| it.name.as_str())),
                machine: self.subdir.to_string(),
            },
        })
    }

    fn missing(&self, who: String, name: &str, needs: String) -> LockError {
        let offered = self.virtual_packages.iter().find(|it| it.name.as_normalized() == name);
        let has =
            offered.map_or_else(|| format!("no `{name}`"), |it| format!("`{name}` {}", shown(it)));
        let known = OVERRIDES.iter().find(|(package, _)| *package == name);
        let variable = known.map_or_else(
            || format!("CONDA_OVERRIDE_{}", name.trim_start_matches('_').to_ascii_uppercase()),
            |(_, variable)| (*variable).to_owned(),
        );
        LockError::VirtualPackage { who, needs, has, variable }
    }

    /// Whether it offers what a package depends on, of virtual packages.
    ///
    /// # Errors
    ///
    /// The first that it does not.
    pub fn meets<'d>(
        &self,
        package: &str,
        depends: impl IntoIterator<Item = &'d String>,
    ) -> Result<(), LockError> {
        for needs in depends.into_iter().filter(|it| it.starts_with("__")) {
            let Ok(spec) = MatchSpec::from_str(needs, ParseStrictness::Lenient) else { continue };
            if !self.virtual_packages.iter().any(|it| spec.matches(it)) {
                let name = needs.split(|it: char| " <>=!~[".contains(it)).next().unwrap_or(needs);
                return Err(self.missing(format!("`{package}`"), name, needs.clone()));
            }
        }
        Ok(())
    }
}

fn shown(package: &GenericVirtualPackage) -> String {
    match package.build_string.as_str() {
        "" | "0" => package.version.to_string(),
        build => build.to_owned(),
    }
}
