//! Doubt: whether this replica may still conclude that what it does not know does not exist. Pure but for the atomic cell.

use jiff::Timestamp;
use std::time::Duration;

/// Both clocks at one moment: the larger advance of the two counts, because each of them can stand still or be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// `CLOCK_BOOTTIME`.
    pub boot: Duration,
    /// The wall clock.
    pub wall: Timestamp,
}

/// How far a replica may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In contact: a failed authentication is 401.
    Current,
    /// Accepts what it knows; a failed authentication is 503.
    Doubt,
    /// Out of contact for longer than `--max-stale`: issues nothing.
    Stale,
}
