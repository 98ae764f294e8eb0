//! What exit codes mean, the same for every command.

use std::process::ExitCode;

/// How a command ended that did not succeed. Clap ends one that it cannot read with 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// For a reason without a code of its own.
    Failed = 1,
    /// The credentials cannot be read.
    Missing = 3,
    /// An OAuth error of the token endpoint: trying again does not help.
    Refused = 4,
    /// The token endpoint is out of reach or cannot answer now: trying again may help.
    OutOfReach = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
