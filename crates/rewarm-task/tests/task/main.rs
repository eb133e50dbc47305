//! Tasks, from their definitions to the commands they take.

mod actions;
mod graphs;
mod schedule;
mod support;
mod table;
