//! The form in which the key Secret holds the keys; pure.
