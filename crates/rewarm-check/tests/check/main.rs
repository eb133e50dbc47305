//! Tests of `check` against a real mypy from PyPI.
//!
//! Each test works on a project and an environment of its own, and compares every answer with that
//! of a plain mypy on an empty cache.

mod carry;
mod checkers;
mod contexts;
mod entries;
mod faults;
mod first;
mod graph;
mod history;
mod key;
mod names;
mod order;
mod output;
mod sources;
mod state;
mod subset;
mod support;
mod together;
mod versions;
mod worker;
