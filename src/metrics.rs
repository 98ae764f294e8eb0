//! All metrics, by name.
