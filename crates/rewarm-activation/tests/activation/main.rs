//! Activation as its users meet it: what is stored, what still holds, what shells make of it.

mod concurrent;
mod conda;
mod conda_fresh;
mod conda_seen;
mod conda_support;
mod fresh;
mod shell;
mod support;
