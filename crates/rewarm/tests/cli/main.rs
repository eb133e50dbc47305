//! End-to-end tests: the binary, as a user would run it.
//!
//! Most of what rewarm promises is tested in its libraries. Here are the claims about commands:
//! what they print, how they end, and that the parts work together.

mod cache;
mod changed;
mod check;
mod conda;
mod docs;
mod doctor;
mod entries;
mod fetch;
mod history;
mod hot;
mod import;
mod install;
mod killed;
mod known;
mod misuse;
mod packages;
mod pixi;
mod projects;
mod proxy;
mod run;
mod shell;
mod support;
mod tasks;
mod watch;
mod with;
