//! Activation as its users meet it: what is stored, what still holds, what shells make of it.

mod concurrent;
mod fresh;
mod shell;
mod support;
