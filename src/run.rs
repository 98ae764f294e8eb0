//! Wires the rooms together.
