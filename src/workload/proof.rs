//! What a client proves who it is with: its secret, the token of the pod's ServiceAccount, a JWT-SVID, or a key of its own. Files are read
//! anew for each request: whoever made them replaces them.

use super::{
    assertion::{self, Assertion, JWT_BEARER, JWT_SPIFFE},
    binding::Binding,
};
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
    JwtSvid(PathBuf),
    Key(PathBuf, Option<Algorithm>),
}

impl Proof {
    pub(super) fn of(arguments: &TokenArgs) -> Self {
        match (&arguments.service_account_token, &arguments.jwt_svid, &arguments.private_key) {
            (Some(path), _, _) => Self::ServiceAccount(path.clone()),
            (None, Some(path), _) => Self::JwtSvid(path.clone()),
            (None, None, Some(path)) => Self::Key(path.clone(), arguments.signing_algorithm),
            (None, None, None) => Self::Secret,
        }
    }

    pub(super) fn is_secret(&self) -> bool {
        matches!(self, Self::Secret)
    }

    /// The assertion of a request; `None`: the secret is the proof.
    pub(super) fn assertion(&self, binding: &Binding) -> Result<Option<Assertion>, ProofError> {
        match self {
            Self::Secret => Ok(None),
            Self::ServiceAccount(path) => made_for_it(JWT_BEARER, path).map(Some),
            Self::JwtSvid(path) => made_for_it(JWT_SPIFFE, path).map(Some),
            Self::Key(path, algorithm) => {
                let issuer = binding.issuer_uri.as_deref().ok_or(ProofError::Issuer)?;
                let der = PrivatePkcs8KeyDer::from_pem_slice(read(path)?.as_bytes()).map_err(|_| ProofError::Key(path.clone()))?;
                let key = assertion::key(der.secret_pkcs8_der(), *algorithm).ok_or_else(|| ProofError::Key(path.clone()))?;
                let signed = assertion::signed(&key, &binding.client_id, issuer, ambient::now(), &ambient::draw_jti());
                let text = signed.map_err(|_| ProofError::Signing(path.clone()))?;
                Ok(Some(Assertion { assertion_type: JWT_BEARER, text }))
            }
        }
    }
}

fn made_for_it(assertion_type: &'static str, path: &PathBuf) -> Result<Assertion, ProofError> {
    let text = Zeroizing::new(read(path)?.trim().to_owned());
    Ok(Assertion { assertion_type, text })
}

fn read(path: &PathBuf) -> Result<Zeroizing<String>, ProofError> {
    fs::read_to_string(path).map(Zeroizing::new).map_err(|source| ProofError::File { path: path.clone(), source })
}
