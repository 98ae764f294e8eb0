//! Keywright.
