//! Python environments: what a lock file wants, what is installed, and how to activate it.

pub mod activation;
