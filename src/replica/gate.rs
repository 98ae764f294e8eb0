//! The gate: whether every replica that may be serving has seen a write.
