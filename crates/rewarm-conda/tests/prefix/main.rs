//! Conda packages into prefixes: what is installed, what is kept, what is refused.

mod faults;
mod install;
mod stamp;
mod support;
