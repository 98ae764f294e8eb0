//! One number per key in constant memory: a count-min sketch with conservative updates (Estan and Varghese, 2002).

use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Two rows of so many cells, 512 KiB in all, however many keys there are.
const CELLS: usize = 1 << 15;

/// Zero for each key at first. A key may seem to have more than it has, where busier ones have both of its cells too; never less.
pub(super) struct Sketch {
    hasher: RandomState,
    rows: [Box<[AtomicU64]>; 2],
}

/// Those of one key.
pub(super) struct Cells<'a>([Option<&'a AtomicU64>; 2]);

impl Default for Sketch {
    fn default() -> Self {
        let row = || (0..CELLS).map(|_| AtomicU64::new(0)).collect();
        Self { hasher: RandomState::new(), rows: [row(), row()] }
    }
}

impl Sketch {
    pub(super) fn cells(&self, key: impl Hash) -> Cells<'_> {
        let hash = self.hasher.hash_one(key);
        let place = |bits: u64| usize::try_from(bits).unwrap_or_default() % CELLS;
        let [first, second] = &self.rows;
        Cells([first.get(place(hash & 0xffff_ffff)), second.get(place(hash >> 32))])
    }
}

impl Cells<'_> {
    pub(super) fn value(&self) -> u64 {
        self.0.iter().flatten().map(|cell| cell.load(Relaxed)).min().unwrap_or_default()
    }

    /// To this, unless it is more already.
    pub(super) fn raise(&self, to: u64) {
        self.0.iter().flatten().for_each(|cell| {
            cell.fetch_max(to, Relaxed);
        });
    }

    /// To what is made of it, where anything is.
    pub(super) fn lower(&self, less: impl Fn(u64) -> Option<u64>) {
        for cell in self.0.iter().flatten() {
            // Nothing is left to take.
            let _ = cell.fetch_update(Relaxed, Relaxed, &less);
        }
    }
}
