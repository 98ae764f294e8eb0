//! Observe, validate, plan, build, apply: what the leader does for each object, one write at a time.
