//! tmp
mod args;
mod config;
mod error;
mod settings;
mod ui;
fn main() {}
