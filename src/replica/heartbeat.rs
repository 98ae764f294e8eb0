//! This replica's own Lease: join, report, renew, leave.
