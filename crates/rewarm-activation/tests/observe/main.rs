//! Observation of real shells: each kind of input is seen, and each kind of unprovable result.

#[cfg(target_os = "linux")]
mod faults;
#[cfg(target_os = "linux")]
mod inputs;
#[cfg(target_os = "linux")]
mod names;
#[cfg(target_os = "linux")]
mod support;
