//! From objects of the API to a snapshot; pure.
