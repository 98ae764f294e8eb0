//! What a workload does with its client's Secret: `keywright token`.
//!
//! ```text
//! mount (reads) → binding (pure) → proof (reads; assertion, pure) → exchange (RFC 6749 §4.4) ─┬→ claims (pure): what people read
//!                                                            └→ file: what programs read, kept fresh by keep and renewal (pure)
//! ```
//!
//! Nothing here knows the cluster. What is secret (the client secret, a token) is in no message and has no Debug.

mod assertion;
pub mod binding;
pub mod claims;
mod environment;
pub mod exchange;
mod file;
mod keep;
mod mount;
mod proof;
mod renewal;

use crate::{
    ambient,
    cli::{Exit, Form, TokenArgs},
};
use binding::Names;
use exchange::{Ask, ExchangeError, Issued};
use file::{FileError, TokenFile};
use mount::{Mount, MountError};
use proof::{Proof, ProofError};
use std::io::{self, Write as _};

/// Why `keywright token` ended without a token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The credentials.
    #[error("{0}")]
    Credentials(MountError),
    /// What is in place of a secret.
    #[error("{0}")]
    Proof(ProofError),
    /// The token endpoint.
    #[error("{0}")]
    Exchange(ExchangeError),
    /// The file.
    #[error("{0}")]
    File(FileError),
    /// `--decode` of a token that is no JWT.
    #[error("the token is no JWT, so that there is nothing to decode")]
    Opaque,
    /// Standard output.
    #[error("writing to standard output: {0}")]
    Output(io::Error),
    /// The runtime.
    #[error("starting the runtime: {0}")]
    Runtime(io::Error),
}

impl TokenError {
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Credentials(_) | Self::Proof(_) => Exit::Missing,
            Self::Exchange(ExchangeError::Authority(_) | ExchangeError::NoAuthority(_)) => Exit::Missing,
            Self::Exchange(ExchangeError::Refused { .. }) => Exit::Refused,
            Self::Exchange(_) => Exit::OutOfReach,
            Self::File(_) | Self::Opaque | Self::Output(_) | Self::Runtime(_) => Exit::Failed,
        }
    }
}

/// Where the credentials are, and what to ask for with them.
struct Order {
    mount: Mount,
    names: Names,
    proof: Proof,
    ask: Ask,
}

impl Order {
    fn of(arguments: &TokenArgs) -> Self {
        Self {
            mount: Mount::of(arguments),
            proof: Proof::of(arguments),
            names: Names::renamed(arguments.keys.iter().cloned().collect()),
            ask: Ask { scope: arguments.scope.clone(), resource: arguments.resource.clone(), method: arguments.method.map(Into::into) },
        }
    }

    /// Reads the credentials, each time anew: a rotation may have changed them.
    async fn carry_out(&self) -> Result<Issued, TokenError> {
        let binding = self.mount.read(&self.names, self.proof.is_secret()).map_err(TokenError::Credentials)?;
        let assertion = self.proof.assertion(&binding).map_err(TokenError::Proof)?;
        exchange::token(&binding, assertion.as_ref(), &self.ask).await.map_err(TokenError::Exchange)
    }
}

/// Gets a token, and prints it, shows it, or keeps it in a file.
///
/// # Errors
/// Says what failed and what to do; with `--watch` only what cannot get better by waiting.
pub fn run(arguments: &TokenArgs) -> Result<(), TokenError> {
    let order = Order::of(arguments);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(TokenError::Runtime)?;
    match &arguments.out {
        Some(path) if arguments.watch => {
            let file = TokenFile::at(path).map_err(TokenError::File)?;
            runtime.block_on(keep::keep(&order, &file)).map_err(TokenError::Runtime)
        }
        Some(path) => {
            let file = TokenFile::at(path).map_err(TokenError::File)?;
            let issued = runtime.block_on(order.carry_out())?;
            file.replace(&issued.token).map_err(TokenError::File)
        }
        None => {
            let issued = runtime.block_on(order.carry_out())?;
            print(&shown(&issued, arguments)?)
        }
    }
}

fn shown(issued: &Issued, arguments: &TokenArgs) -> Result<String, TokenError> {
    if !arguments.decode {
        return Ok(format!("{}\n", *issued.token));
    }
    let decoded = claims::Decoded::read(&issued.token).ok_or(TokenError::Opaque)?;
    Ok(match arguments.output {
        Form::Text => decoded.text(ambient::now()),
        Form::Json => format!("{:#}\n", decoded.json()),
    })
}

fn print(text: &str) -> Result<(), TokenError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(TokenError::Output)
}
