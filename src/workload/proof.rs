//! What a client proves who it is with: its secret, the token of the pod's ServiceAccount, or a key of its own. Files are read anew for
//! each request: the kubelet replaces them.

use super::{assertion, binding::Binding};
use crate::{ambient, cli::TokenArgs, domain::resource::Algorithm};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use std::{fs, io, path::PathBuf};
use zeroize::Zeroizing;

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// A file.
    #[error("the file {}: {source}; is it mounted there?", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It holds no key that can sign.
    #[error(
        "the file {} holds no private key that can sign: an unencrypted PKCS#8 document in PEM, RSA of 2048 to 4096 bits, P-256 or Ed25519 \
         (openssl pkcs8 -topk8 -nocrypt makes one of other forms)", .0.display()
    )]
    Key(PathBuf),
    /// A Secret without the issuer.
    #[error("there is no issuer-uri (or ISSUER_URL) among the credentials, which an assertion is addressed to")]
    Issuer,
    /// The library refuses.
    #[error("signing with the key in {} failed", .0.display())]
    Signing(PathBuf),
}

/// See above.
pub(super) enum Proof {
    Secret,
    ServiceAccount(PathBuf),
    Key(PathBuf, Option<Algorithm>),
}

impl Proof {
    pub(super) fn of(arguments: &TokenArgs) -> Self {
        match (&arguments.service_account_token, &arguments.private_key) {
            (Some(path), _) => Self::ServiceAccount(path.clone()),
            (None, Some(path)) => Self::Key(path.clone(), arguments.signing_algorithm),
            (None, None) => Self::Secret,
        }
    }

    pub(super) fn is_secret(&self) -> bool {
        matches!(self, Self::Secret)
    }

    /// The assertion of a request; `None`: the secret is the proof.
    pub(super) fn assertion(&self, binding: &Binding) -> Result<Option<Zeroizing<String>>, ProofError> {
        match self {
            Self::Secret => Ok(None),
            Self::ServiceAccount(path) => Ok(Some(Zeroizing::new(read(path)?.trim().to_owned()))),
            Self::Key(path, algorithm) => {
                let issuer = binding.issuer_uri.as_deref().ok_or(ProofError::Issuer)?;
                let der = PrivatePkcs8KeyDer::from_pem_slice(read(path)?.as_bytes()).map_err(|_| ProofError::Key(path.clone()))?;
                let key = assertion::key(der.secret_pkcs8_der(), *algorithm).ok_or_else(|| ProofError::Key(path.clone()))?;
                let signed = assertion::signed(&key, &binding.client_id, issuer, ambient::now(), &ambient::draw_jti());
                signed.map(Some).map_err(|_| ProofError::Signing(path.clone()))
            }
        }
    }
}

fn read(path: &PathBuf) -> Result<Zeroizing<String>, ProofError> {
    fs::read_to_string(path).map(Zeroizing::new).map_err(|source| ProofError::File { path: path.clone(), source })
}
