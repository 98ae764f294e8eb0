//! Makes the keys on first start: leader alone, by POST; the others wait for them.
