//! Installation, end to end, on generated packages; the real tools take part where they are the
//! measure. Every test has its own store and project directory.

mod install;
mod support;
