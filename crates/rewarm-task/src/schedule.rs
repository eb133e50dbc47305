//! Which commands of a graph may run now: pure bookkeeping, driven by whoever runs them.
//!
//! Commands become ready when all that they depend on have succeeded, and are handed out in the
//! order of the graph, so that one at a time means the declared order. After a failure nothing new
//! is handed out, or, if asked to keep going, whatever does not depend on what failed.

use std::collections::BTreeSet;

use crate::graph::Graph;

/// The state of a run.
#[derive(Debug)]
pub struct Schedule {
    /// For each command, how many of those it depends on have not succeeded yet.
    missing: Vec<usize>,
    dependents: Vec<Vec<usize>>,
    ready: BTreeSet<usize>,
    running: usize,
    jobs: usize,
    keep_going: bool,
    is_stopped: bool,
    /// Commands that have neither succeeded nor failed.
    unfinished: usize,
}

impl Schedule {
    /// Nothing has run yet. At most `jobs` commands are to run at a time, at least one.
    pub fn new(graph: &Graph, jobs: usize, keep_going: bool) -> Self {
        let nodes = graph.nodes();
        let mut dependents = vec![Vec::new(); nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            node.dependencies.iter().for_each(|&needed| dependents[needed].push(index));
        }
        let missing: Vec<usize> = nodes.iter().map(|node| node.dependencies.len()).collect();
        let ready = (0..nodes.len()).filter(|&index| missing[index] == 0).collect();
        let unfinished = nodes.len();
        Self {
            missing,
            dependents,
            ready,
            running: 0,
            jobs: jobs.max(1),
            keep_going,
            is_stopped: false,
            unfinished,
        }
    }

    /// A command that is to be started now, by its place in the graph.
    pub fn start(&mut self) -> Option<usize> {
        if self.running == self.jobs || self.is_stopped {
            return None;
        }
        let index = self.ready.pop_first()?;
        self.running += 1;
        Some(index)
    }

    /// Notes how a command that was started has ended.
    pub fn finish(&mut self, index: usize, is_success: bool) {
        self.running -= 1;
        self.unfinished -= 1;
        if !is_success {
            self.is_stopped |= !self.keep_going;
            return;
        }
        for &dependent in &self.dependents[index] {
            self.missing[dependent] -= 1;
            if self.missing[dependent] == 0 {
                self.ready.insert(dependent);
            }
        }
    }

    /// Hands out nothing more.
    pub fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// How many commands were started and have not ended.
    pub fn running(&self) -> usize {
        self.running
    }

    /// How many commands were never started, once nothing runs and nothing is handed out.
    pub fn left_out(&self) -> usize {
        self.unfinished - self.running
    }
}
