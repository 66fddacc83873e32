//! Which of several jobs goes first, where some have to wait for others.
//!
//! Nodes are jobs, an edge `(parent, child)` says that the child waits for the parent. Nothing here
//! recurses, so that a chain may be as long as memory allows.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap, VecDeque};

/// A job to be put in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Names the node in edges.
    pub id: i64,
    /// The higher goes first.
    pub priority: i32,
    /// Of equal priorities the earlier goes first; of equal times the lower id.
    pub due: i64,
}

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The node.
    pub id: i64,
    /// How many edges the longest path to it has, from a node without parents. `None` for a node that is on
    /// a cycle or waits for one.
    pub level: Option<u32>,
}

/// Nodes in the order in which they are to go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Order {
    /// Parents before their children. Nodes on a cycle, and those that wait for one, come last.
    pub places: Vec<Place>,
}

/// Puts nodes in order: of those whose parents all have a place the next is the one with the highest
/// priority, then the earliest due, then the lowest id. Of nodes that cannot get a place, because of a
/// cycle, likewise, without regard to the edges among them.
///
/// Edges from or to ids that are no node are ignored; of nodes with the same id the first counts.
pub fn order(nodes: &[Node], edges: &[(i64, i64)]) -> Order {
    let mut graph = Graph::default();
    let nodes: Vec<&Node> = nodes.iter().filter(|node| graph.add(node.id)).collect();
    graph.connect(edges);

    let rank = |index: usize| {
        let node = nodes[index];
        (node.priority, Reverse(node.due), Reverse(node.id), index)
    };
    let mut waits_for = graph.parents();
    let mut levels = vec![0_u32; nodes.len()];
    let mut ready: BinaryHeap<_> = (0..nodes.len())
        .filter(|&index| waits_for[index] == 0)
        .map(rank)
        .collect();
    let mut places = Vec::with_capacity(nodes.len());
    while let Some((.., index)) = ready.pop() {
        let level = levels[index];
        places.push(Place {
            id: nodes[index].id,
            level: Some(level),
        });
        for &child in graph.children(index) {
            levels[child] = levels[child].max(level.saturating_add(1));
            waits_for[child] -= 1;
            if waits_for[child] == 0 {
                ready.push(rank(child));
            }
        }
    }

    let mut stuck: Vec<_> = (0..nodes.len())
        .filter(|&index| waits_for[index] > 0)
        .map(|index| Reverse(rank(index)))
        .collect();
    stuck.sort_unstable();
    places.extend(stuck.into_iter().map(|Reverse((.., index))| Place {
        id: nodes[index].id,
        level: None,
    }));
    Order { places }
}

/// One cycle, as the path along it from its lowest id back to that id; `None` where there is none. Which of
/// several it is depends on the edges alone and not on their order. It is the shortest one through one of
/// its nodes, though there may be a shorter one elsewhere.
pub fn cycle(edges: &[(i64, i64)]) -> Option<Vec<i64>> {
    let mut edges = edges.to_vec();
    edges.sort_unstable();
    edges.dedup();
    let mut ids: Vec<i64> = edges.iter().flat_map(|&(from, to)| [from, to]).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut graph = Graph::default();
    for &id in &ids {
        graph.add(id);
    }
    graph.connect(&edges);

    // Whoever always goes on to a node from which one can go on for ever, comes to a cycle.
    let endless = endless(&graph);
    let next = |from: usize| {
        let mut children = graph.children(from).iter().copied();
        children.find(|&child| endless[child])
    };
    let mut seen = vec![false; ids.len()];
    let mut walk = endless.iter().position(|&endless| endless)?;
    while !seen[walk] {
        seen[walk] = true;
        walk = next(walk)?;
    }
    // It is on a cycle now; the lowest of that cycle's nodes does not depend on where the walk came in.
    let mut start = walk;
    let mut at = next(walk)?;
    while at != walk {
        start = start.min(at);
        at = next(at)?;
    }

    let mut path = shortest_round(&graph, start)?;
    // Shorter cycles may take another way, over lower ids.
    let lowest = (0..path.len()).min_by_key(|&index| path[index])?;
    path.rotate_left(lowest);
    path.push(path[0]);
    Some(path.into_iter().map(|index| ids[index]).collect())
}

/// From which nodes one can go on for ever: those that are left when nodes without children are taken away
/// until there are none.
fn endless(graph: &Graph) -> Vec<bool> {
    let backwards = graph.reversed();
    let mut children = backwards.parents();
    let mut ends: Vec<usize> = (0..children.len())
        .filter(|&index| children[index] == 0)
        .collect();
    while let Some(end) = ends.pop() {
        for &parent in backwards.children(end) {
            children[parent] -= 1;
            if children[parent] == 0 {
                ends.push(parent);
            }
        }
    }
    children.into_iter().map(|count| count > 0).collect()
}

/// The nodes of the shortest cycle through one of them, from it on.
fn shortest_round(graph: &Graph, start: usize) -> Option<Vec<usize>> {
    let mut came_from: Vec<Option<usize>> = vec![None; graph.len()];
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for &child in graph.children(at) {
            if child == start {
                let mut path = vec![at];
                let mut at = at;
                while at != start {
                    at = came_from[at]?;
                    path.push(at);
                }
                path.reverse();
                return Some(path);
            }
            if came_from[child].is_none() {
                came_from[child] = Some(at);
                queue.push_back(child);
            }
        }
    }
    None
}

/// Nodes as indexes from 0, with their children side by side in one vector.
#[derive(Default)]
struct Graph {
    index: HashMap<i64, usize>,
    /// Where the children of each node begin, and of the last one end.
    begin: Vec<usize>,
    targets: Vec<usize>,
}

impl Graph {
    /// Whether the node is new.
    fn add(&mut self, id: i64) -> bool {
        let index = self.index.len();
        match self.index.entry(id) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(index);
                true
            }
        }
    }

    /// Sets the edges, once all nodes are there.
    fn connect(&mut self, edges: &[(i64, i64)]) {
        let known: Vec<(usize, usize)> = edges
            .iter()
            .filter_map(|(from, to)| Some((*self.index.get(from)?, *self.index.get(to)?)))
            .collect();
        self.link(self.index.len(), &known);
    }

    fn link(&mut self, nodes: usize, edges: &[(usize, usize)]) {
        self.begin = vec![0; nodes + 1];
        for &(from, _) in edges {
            self.begin[from + 1] += 1;
        }
        for node in 0..nodes {
            self.begin[node + 1] += self.begin[node];
        }
        let mut free = self.begin.clone();
        self.targets = vec![0; edges.len()];
        for &(from, to) in edges {
            self.targets[free[from]] = to;
            free[from] += 1;
        }
    }

    fn len(&self) -> usize {
        self.begin.len().saturating_sub(1)
    }

    fn children(&self, node: usize) -> &[usize] {
        &self.targets[self.begin[node]..self.begin[node + 1]]
    }

    /// How many edges lead to each node.
    fn parents(&self) -> Vec<usize> {
        let mut parents = vec![0; self.len()];
        for &to in &self.targets {
            parents[to] += 1;
        }
        parents
    }

    fn reversed(&self) -> Self {
        let edges: Vec<(usize, usize)> = (0..self.len())
            .flat_map(|from| self.children(from).iter().map(move |&to| (to, from)))
            .collect();
        let mut reversed = Self::default();
        reversed.link(self.len(), &edges);
        reversed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn node(id: i64, priority: i32, due: i64) -> Node {
        Node { id, priority, due }
    }

    fn ids(order: &Order) -> Vec<i64> {
        order.places.iter().map(|place| place.id).collect()
    }

    #[test]
    fn rank_decides_where_edges_do_not() {
        let nodes = [
            node(4, 0, 10),
            node(3, 0, 10),
            node(2, 0, 5),
            node(1, 9, 90),
        ];
        assert_eq!(ids(&order(&nodes, &[])), [1, 2, 3, 4]);
        // The urgent one has to wait, and goes as soon as it can.
        let waiting = order(&nodes, &[(3, 1)]);
        assert_eq!(ids(&waiting), [2, 3, 1, 4]);
        let levels: Vec<_> = waiting.places.iter().map(|place| place.level).collect();
        assert_eq!(levels, [Some(0), Some(0), Some(1), Some(0)]);
    }

    #[test]
    fn levels_are_the_longest_paths() {
        let nodes: Vec<Node> = (0..5).map(|id| node(id, 0, 0)).collect();
        let order = order(&nodes, &[(0, 4), (0, 1), (1, 2), (2, 4), (3, 4), (0, 1)]);
        let levels: Vec<_> = order.places.iter().map(|p| (p.id, p.level)).collect();
        assert_eq!(
            levels,
            [
                (0, Some(0)),
                (1, Some(1)),
                (2, Some(2)),
                (3, Some(0)),
                (4, Some(3))
            ]
        );
    }

    #[test]
    fn what_is_unknown_or_repeated_is_ignored() {
        let nodes = [node(1, 0, 0), node(1, 9, 0), node(2, 5, 0)];
        assert_eq!(ids(&order(&nodes, &[(7, 1), (2, 8), (7, 8)])), [2, 1]);
        assert_eq!(order(&[], &[(1, 2)]), Order::default());
    }

    #[test]
    fn cycles_come_last() {
        let nodes: Vec<Node> = (1..=6).map(|id| node(id, id as i32, 0)).collect();
        let order = order(&nodes, &[(1, 2), (2, 3), (3, 2), (3, 6), (5, 5), (1, 4)]);
        let places: Vec<_> = order.places.iter().map(|p| (p.id, p.level)).collect();
        assert_eq!(
            places,
            [
                (1, Some(0)),
                (4, Some(1)),
                (6, None),
                (5, None),
                (3, None),
                (2, None)
            ]
        );
    }

    #[test]
    fn a_cycle_is_shown_as_a_path() {
        assert_eq!(cycle(&[]), None);
        assert_eq!(cycle(&[(1, 2), (2, 3), (1, 3)]), None);
        assert_eq!(cycle(&[(8, 8)]), Some(vec![8, 8]));
        assert_eq!(
            cycle(&[(3, 1), (1, 2), (2, 3), (0, 1), (3, 9)]),
            Some(vec![1, 2, 3, 1])
        );
        // The way over 2 and 3 is longer than the edge from 1 to 4.
        let edges = [(1, 2), (2, 3), (3, 4), (4, 1), (1, 4)];
        assert_eq!(cycle(&edges), Some(vec![1, 4, 1]));
    }

    #[test]
    fn a_long_chain_does_not_overflow_the_stack() {
        const LENGTH: i64 = 1_000_000;
        let nodes: Vec<Node> = (0..LENGTH).map(|id| node(id, id as i32, 0)).collect();
        let mut edges: Vec<_> = (1..LENGTH).map(|id| (id - 1, id)).collect();
        let order = order(&nodes, &edges);
        assert!(ids(&order).into_iter().eq(0..LENGTH));
        assert_eq!(order.places[999_999].level, Some(999_999));
        assert_eq!(cycle(&edges), None);
        edges.push((LENGTH - 1, 0));
        assert_eq!(cycle(&edges).map(|path| path.len()), Some(1_000_001));
    }

    /// Edges from lower to higher ids, which cannot make a cycle, and nodes with few different ranks.
    fn dag() -> impl Strategy<Value = (Vec<Node>, Vec<(i64, i64)>)> {
        let nodes = prop::collection::vec((0_i32..4, 0_i64..3), 2..40).prop_map(|ranks| {
            let ranks = ranks.into_iter().zip(0..);
            ranks
                .map(|((priority, due), id)| node(id, priority, due))
                .collect::<Vec<_>>()
        });
        nodes.prop_flat_map(|nodes| {
            let count = nodes.len() as i64;
            let edge = (0..count - 1).prop_flat_map(move |from| (Just(from), from + 1..count));
            (
                Just(nodes).prop_shuffle(),
                prop::collection::vec(edge, 0..80),
            )
        })
    }

    proptest! {
        #[test]
        fn each_place_goes_to_the_best_that_is_ready((nodes, edges) in dag()) {
            let order = order(&nodes, &edges);
            prop_assert_eq!(order.places.len(), nodes.len());
            let mut levels = BTreeMap::new();
            for place in &order.places {
                let best = nodes
                    .iter()
                    .filter(|node| !levels.contains_key(&node.id))
                    .filter(|node| edges.iter().all(|(from, to)| *to != node.id || levels.contains_key(from)))
                    .max_by_key(|node| (node.priority, -node.due, -node.id));
                prop_assert_eq!(best.map(|node| node.id), Some(place.id));
                let level = edges
                    .iter()
                    .filter(|(_, to)| *to == place.id)
                    .map(|(from, _)| levels[from] + 1)
                    .max()
                    .unwrap_or(0);
                prop_assert_eq!(place.level, Some(level));
                levels.insert(place.id, level);
            }
            prop_assert_eq!(cycle(&edges), None);
        }

        #[test]
        fn an_edge_back_is_found((nodes, mut edges) in dag(), chosen in any::<prop::sample::Index>()) {
            prop_assume!(!edges.is_empty());
            let (from, to) = edges[chosen.index(edges.len())];
            edges.push((to, from));
            // No other edge leads back.
            prop_assert_eq!(cycle(&edges), Some(vec![from, to, from]));
            let places = order(&nodes, &edges).places;
            let stuck: Vec<i64> = places.iter().filter(|p| p.level.is_none()).map(|p| p.id).collect();
            prop_assert!(stuck.contains(&from) && stuck.contains(&to));
            prop_assert!(places[places.len() - stuck.len()..].iter().all(|p| p.level.is_none()));
        }

        #[test]
        fn any_graph(edges in prop::collection::vec((-8_i64..8, -8_i64..8), 0..30)) {
            let used: BTreeSet<i64> = edges.iter().flat_map(|&(from, to)| [from, to]).collect();
            let nodes: Vec<Node> = used.into_iter().map(|id| node(id, 0, 0)).collect();
            let order = order(&nodes, &edges);
            let stuck = order.places.iter().any(|place| place.level.is_none());
            let found = cycle(&edges);
            prop_assert_eq!(found.is_some(), stuck);
            if let Some(path) = &found {
                prop_assert!(path.len() > 1 && path.first() == path.last());
                prop_assert!(path.windows(2).all(|step| edges.contains(&(step[0], step[1]))));
                let distinct: BTreeSet<_> = path.iter().collect();
                prop_assert_eq!(distinct.len(), path.len() - 1);
                prop_assert_eq!(distinct.first(), Some(&&path[0]));
            }
            let mut backwards = edges.clone();
            backwards.reverse();
            prop_assert_eq!(cycle(&backwards), found);
        }
    }
}
