//! Walks over a directed graph: who can reach whom, and which nodes lie in a cycle together.
//!
//! Nodes are numbers from 0; nothing here knows what they stand for. No walk recurses, so no chain
//! is too long.

use super::names::Id;

/// A graph by the targets of each node's edges.
#[derive(Debug, Clone, Default)]
pub(super) struct Edges {
    targets: Vec<Vec<Id>>,
}

impl Edges {
    /// The node with the next number.
    pub(super) fn push(&mut self, mut targets: Vec<Id>) {
        targets.sort_unstable();
        targets.dedup();
        self.targets.push(targets);
    }

    /// Where the edges of a node lead, in order.
    pub(super) fn of(&self, node: Id) -> &[Id] {
        &self.targets[node as usize]
    }

    /// How many edges there are.
    pub(super) fn count(&self) -> usize {
        self.targets.iter().map(Vec::len).sum()
    }

    /// Every edge turned round.
    pub(super) fn reversed(&self) -> Self {
        let mut targets = vec![Vec::new(); self.targets.len()];
        for (node, leads_to) in (0..).zip(&self.targets) {
            for target in leads_to {
                targets[*target as usize].push(node);
            }
        }
        Self { targets }
    }

    /// Marks every node that can be reached from these, and these.
    pub(super) fn reachable(&self, from: impl IntoIterator<Item = Id>) -> Vec<bool> {
        let mut seen = vec![false; self.targets.len()];
        let mut next: Vec<Id> = from.into_iter().collect();
        while let Some(node) = next.pop() {
            if !std::mem::replace(&mut seen[node as usize], true) {
                next.extend(self.of(node));
            }
        }
        seen
    }

    /// The strongly connected components, each after those that it leads to (R. Tarjan, Depth-first
    /// search and linear graph algorithms, 1972).
    pub(super) fn components(&self) -> Vec<Vec<Id>> {
        const NEW: usize = usize::MAX;
        let count = self.targets.len();
        let (mut order, mut low) = (vec![NEW; count], vec![0; count]);
        let (mut waiting, mut is_waiting) = (Vec::new(), vec![false; count]);
        let (mut found, mut seen) = (Vec::new(), 0);
        for root in 0..count {
            // Nodes that are being walked, with the number of the edge to follow next.
            let mut walk = if order[root] == NEW { vec![(root, 0)] } else { Vec::new() };
            while let Some((node, edge)) = walk.pop() {
                if edge == 0 {
                    (order[node], low[node]) = (seen, seen);
                    seen += 1;
                    waiting.push(node);
                    is_waiting[node] = true;
                }
                if let Some(target) = self.targets[node].get(edge) {
                    let target = *target as usize;
                    walk.push((node, edge + 1));
                    if order[target] == NEW {
                        walk.push((target, 0));
                    } else if is_waiting[target] {
                        low[node] = low[node].min(order[target]);
                    }
                    continue;
                }
                if let Some((above, _)) = walk.last() {
                    low[*above] = low[*above].min(low[node]);
                }
                if low[node] == order[node] {
                    let start = waiting.iter().rposition(|other| *other == node);
                    let members = waiting.split_off(start.expect("a node waits until it is done"));
                    members.iter().for_each(|member| is_waiting[*member] = false);
                    let id = |member| Id::try_from(member).expect("nodes are numbered by ids");
                    found.push(members.into_iter().map(id).collect());
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn edges(targets: &[&[Id]]) -> Edges {
        let mut edges = Edges::default();
        targets.iter().for_each(|targets| edges.push(targets.to_vec()));
        edges
    }

    fn sorted(edges: &Edges) -> Vec<Vec<Id>> {
        let mut components = edges.components();
        components.iter_mut().for_each(|component| component.sort_unstable());
        components
    }

    #[test]
    fn a_cycle_is_one_component_after_what_it_leads_to() {
        let edges = edges(&[&[1], &[2], &[0, 3], &[], &[4, 0]]);
        assert_eq!(sorted(&edges), [vec![3], vec![0, 1, 2], vec![4]]);
        assert_eq!(edges.reachable([3]), [false, false, false, true, false]);
        assert_eq!(edges.reversed().reachable([3]), [true; 5]);
    }

    #[test]
    fn a_long_chain_needs_no_deep_stack() {
        let mut chain = Edges::default();
        let length = 200_000;
        (0..length).for_each(|node| chain.push(vec![(node + 1) % length]));
        assert_eq!(chain.components().len(), 1);
        assert!(chain.reachable([5]).iter().all(|seen| *seen));
    }

    proptest! {
        #[test]
        fn components_are_the_nodes_that_reach_each_other(
            targets in proptest::collection::vec(proptest::collection::vec(0_u32..9, 0..4), 9),
        ) {
            let mut edges = Edges::default();
            targets.into_iter().for_each(|targets| edges.push(targets));
            let reach: Vec<_> = (0..9).map(|node| edges.reachable([node])).collect();
            let components = edges.components();
            prop_assert_eq!(components.iter().map(Vec::len).sum::<usize>(), 9);
            let place = |node: Id| components.iter().position(|c| c.contains(&node)).expect("all");
            for (one, other) in (0..9).flat_map(|one| (0..9).map(move |other| (one, other))) {
                let both = reach[one as usize][other as usize] && reach[other as usize][one as usize];
                prop_assert_eq!(place(one) == place(other), both);
                prop_assert!(!reach[one as usize][other as usize] || place(other) <= place(one));
            }
        }
    }
}
