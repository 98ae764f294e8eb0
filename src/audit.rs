//! The audit log: who got a token or revoked one, who was refused that or an introspection, and why. One JSON object a line, whatever
//! the form of the other lines, and whatever `RUST_LOG` says.
//!
//! ```text
//! server/record ── Event ── Desk (which are written; never waits) ── queue ── writer (batches, standard error)
//! ```
//!
//! An introspection that is answered is none: an API may ask about every request that it gets, and learns nothing that its owner has not
//! granted.
//!
//! An event has no secret and no token. Of what an unauthenticated caller wrote it has at most the id of a client that exists, and a
//! trace id.

mod desk;
mod event;
mod trace;
mod writer;

pub use desk::{Desk, REFUSALS_PER_SECOND, Share, ShareError};
pub use event::{Event, Probe, Purpose, Request, Token, Wanted, Who};
pub use trace::trace_id;
pub use writer::write;
