//! What exit codes mean, the same for every command.

use std::process::ExitCode;

/// How a command ended that did not succeed. Clap ends one that it cannot read with 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// For a reason without a code of its own.
    Failed = 1,
    /// The credentials, or the object that is meant, are not there.
    Missing = 3,
    /// By the token endpoint, by the API server or by the operator: trying again does not help.
    Refused = 4,
    /// What is asked is out of reach, cannot answer now, or has not done it yet: trying again may help.
    OutOfReach = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
