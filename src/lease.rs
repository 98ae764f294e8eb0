//! The leader Lease.
