//! Installation, end to end, on generated packages; the real tools take part where they are the
//! measure. Every test has its own store and project directory.

mod builds;
mod faults;
mod install;
mod interpreters;
mod locks;
mod prefix;
mod real;
mod support;
mod torture;
mod upkeep;
