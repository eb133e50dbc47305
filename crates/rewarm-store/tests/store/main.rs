//! The store as its users see it: several processes, killed writers, damaged files, full disks.
//!
//! One binary for all of it. Processes are this binary, started again with a worker's name.

mod adopt;
mod entries;
mod faults;
mod handout;
mod plan;
mod processes;
mod slot;
mod support;
mod sweep;
mod tree;
mod verify;
