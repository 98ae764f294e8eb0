//! Breadth-first search of all states of a small cluster.
//!
//! A search of our own, of a hundred lines: it shares canonical forms between states that differ in nothing that matters, finds the
//! shortest history that breaks a law, and stops there.

use crate::{
    laws::Broken,
    small::{Move, Setup, Small, fingerprint},
};
use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

/// Searches run on so many threads.
const THREADS: usize = 2;

/// A history, and the law that it breaks.
type Breach = (Vec<Move>, Broken);

/// What a search found.
pub struct Found {
    /// How many different states there are.
    pub states: usize,
    /// How many moves the farthest one is away.
    pub depth: usize,
    /// The shortest history that breaks a law.
    pub broken: Option<Breach>,
}

/// One state that was reached: from which, and how. The history is told from these alone.
struct Node {
    from: usize,
    by: Option<Move>,
}

struct Search<'a> {
    setup: &'a Setup,
    nodes: Vec<Node>,
    seen: HashSet<u64>,
    /// States after a crash of both leaders that were settled already.
    settled: Mutex<HashSet<u64>>,
}

/// A state that one move leads to, or the law that the move breaks.
struct Reached {
    from: usize,
    by: Move,
    next: Result<(u64, Small), Broken>,
}

/// Tries everything that can happen, until a law breaks or nothing new is reached.
pub fn explore(setup: &Setup) -> Found {
    let mut search = Search { setup, nodes: vec![Node { from: 0, by: None }], seen: HashSet::new(), settled: Mutex::default() };
    let start = Small::start(setup);
    search.seen.insert(fingerprint(&start));
    let mut frontier = vec![(0, start)];
    let mut depth = 0;
    while !frontier.is_empty() {
        let reached = search.step(&frontier);
        frontier = match search.keep(reached) {
            Ok(next) => next,
            Err(broken) => return Found { states: search.nodes.len(), depth, broken: Some(broken) },
        };
        depth += 1;
    }
    Found { states: search.nodes.len(), depth, broken: None }
}

impl Search<'_> {
    /// All that follows from these states, in the order of the states.
    fn step(&self, frontier: &[(usize, Small)]) -> Vec<Reached> {
        let part = frontier.len().div_ceil(THREADS);
        std::thread::scope(|scope| {
            let parts: Vec<_> = frontier.chunks(part).map(|part| scope.spawn(move || self.successors(part))).collect();
            parts.into_iter().flat_map(|part| part.join().expect("a search ends")).collect()
        })
    }

    fn successors(&self, states: &[(usize, Small)]) -> Vec<Reached> {
        let mut reached = Vec::new();
        let mut own = HashSet::new();
        for (from, state) in states {
            for by in state.moves(self.setup) {
                let mut next = state.clone();
                let made = next.make(self.setup, by).and_then(|()| self.settles(&next));
                let next = made.map(|()| (fingerprint(&next), next));
                if next.as_ref().is_ok_and(|(print, _)| self.seen.contains(print) || !own.insert(*print)) {
                    continue;
                }
                reached.push(Reached { from: *from, by, next });
            }
        }
        reached
    }

    /// L1 depends on what is stored and on the way alone: what the leaders do and the replicas have seen is forgotten there.
    fn settles(&self, state: &Small) -> Result<(), Broken> {
        let core = &state.core;
        let under_way: Vec<_> = core.leaders.iter().map(|leader| &leader.doing).filter(|doing| doing.is_waiting()).collect();
        let print = fingerprint(&(&core.server, &core.late, under_way, &core.laws, core.now));
        let new = self.settled.lock().unwrap_or_else(PoisonError::into_inner).insert(print);
        if new { state.settle(self.setup) } else { Ok(()) }
    }

    fn keep(&mut self, reached: Vec<Reached>) -> Result<Vec<(usize, Small)>, Breach> {
        let mut frontier = Vec::new();
        for Reached { from, by, next } in reached {
            match next {
                Err(broken) => return Err((self.history(from, by), broken)),
                Ok((print, next)) if self.seen.insert(print) => {
                    self.nodes.push(Node { from, by: Some(by) });
                    frontier.push((self.nodes.len() - 1, next));
                }
                Ok(_) => {}
            }
        }
        Ok(frontier)
    }

    fn history(&self, mut at: usize, last: Move) -> Vec<Move> {
        let mut moves = vec![last];
        while let Node { from, by: Some(by) } = self.nodes[at] {
            moves.push(by);
            at = from;
        }
        moves.reverse();
        moves
    }
}

/// What happens in a history, and what is stored after each move.
pub fn tell(setup: &Setup, moves: &[Move]) -> String {
    let mut state = Small::start(setup);
    let mut told = format!("{setup:?}\n    {}\n", state.core.tell());
    for one in moves {
        let broken = state.make(setup, *one).err().unwrap_or_default();
        told += &format!("{one:?}\n    {} {broken}\n", state.core.tell());
    }
    told
}
