//! What the cluster says of ServiceAccount tokens: the keys that it signs them with, and whether one is still good.
//!
//! Requests never reach the API server themselves. They read what `desk` holds, and put a question there where that is not enough: a key
//! that nobody knows, or a client that wants every token reviewed. `keeper` answers, with the operator's own identity and in bounded
//! numbers: it alone touches the kube client.

pub mod desk;
pub mod keeper;
