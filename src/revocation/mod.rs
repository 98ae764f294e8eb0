//! Tokens that were revoked (RFC 7009): the hash and the expiry of each, in one ConfigMap per replica, `<release>-revoked-<pod>`.
//!
//! Every replica reads all of them, writes its own alone, and answers 200 only when that is done: what was revoked at one replica is not
//! active at any other that is in contact a moment later, and stays so when the pod is gone. `list` is pure; `desk` is where requests put
//! what they revoke; `keeper` alone touches the kube client, one write at a time for all that wait.

pub mod desk;
pub mod keeper;
pub mod list;
