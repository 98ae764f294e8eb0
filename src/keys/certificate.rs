//! The self-signed CA and the serving certificate; pure but for the drawing of keys.
//!
//! The Secrets hold what `kubectl create secret tls` makes: `tls.crt` and `tls.key`, and beside a serving certificate `ca.crt`,
//! what clients have to trust. [`authority`] is a CA, [`succession`] those in `<release>-ca`, which the leader alone reads; [`serving`] is the
//! certificate in `<release>-tls` or in a Secret that the platform gives, which every replica reads.

pub mod authority;
pub mod serving;
pub mod succession;

pub use authority::Authority;
pub use serving::ServingCertificate;
pub use succession::Authorities;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, DnsName, pem::PemObject as _};
use std::{collections::BTreeSet, fmt, net::IpAddr};
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    prelude::{ASN1Time, FromDer as _},
};

/// The data key of a certificate and those that lead to its CA.
pub const CERTIFICATE: &str = "tls.crt";
/// The data key of a private key.
pub const PRIVATE_KEY: &str = "tls.key";
/// The data key of the CA certificates that clients have to trust.
pub const CA: &str = "ca.crt";
/// Most bytes of one entry.
const MAX_BYTES: usize = 64 * 1024;
/// Most certificates in one entry.
const MAX_CERTIFICATES: usize = 16;

/// Why a certificate could not be read or made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// An entry that has to be there is not.
    #[error("its entry {0} is missing")]
    Missing(&'static str),
    /// An entry over the limit.
    #[error("its entry {0} is longer than {MAX_BYTES} bytes")]
    TooLong(&'static str),
    /// Not PEM, or PEM without a certificate.
    #[error("its entry {0} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")]
    Pem(&'static str),
    /// More certificates than a chain has.
    #[error("its entry {0} holds more than {MAX_CERTIFICATES} certificates")]
    TooMany(&'static str),
    /// A certificate that is none.
    #[error("its entry {0} holds a certificate that cannot be read")]
    Unreadable(&'static str),
    /// No key, an encrypted one, or one of a kind that TLS cannot use here.
    #[error(
        "its entry tls.key holds no usable private key: it takes an unencrypted one in PEM form, RSA of 2048 to 4096 bits, ECDSA or Ed25519"
    )]
    PrivateKey,
    /// Key and certificate do not belong together.
    #[error("its entry tls.key is not the key of the first certificate in tls.crt")]
    Mismatch,
    /// The certificate in the CA's Secret may not sign.
    #[error("its entry tls.crt is not the certificate of a CA")]
    NotAnAuthority,
    /// The one that is to sign next is none.
    #[error("its entries next.crt and next.key are not the certificate of a CA and its key: take both out, then another one is made")]
    Next,
    /// A name that no certificate can carry.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    Name(String),
    /// A certificate for nobody.
    #[error("a certificate needs at least one name")]
    NoName,
    /// The library refused.
    #[error("making a certificate failed")]
    Failed,
}

/// A name under which the token endpoint is reached; a valid one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServedName {
    /// A DNS name, in lower case, without a dot at its end.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

impl ServedName {
    /// Reads a DNS name or an IP address; an IPv6 address also in brackets, as a URL has it.
    ///
    /// # Errors
    /// [`CertificateError::Name`] where it is neither.
    pub fn parse(text: &str) -> Result<Self, CertificateError> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse() {
            return Ok(Self::Ip(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        match DnsName::try_from(name.as_str()) {
            Ok(_) => Ok(Self::Dns(name)),
            Err(_) => Err(CertificateError::Name(text.chars().take(253).collect())),
        }
    }

    fn of(name: &GeneralName<'_>) -> Option<Self> {
        match name {
            GeneralName::DNSName(name) => Some(Self::Dns(name.to_ascii_lowercase())),
            GeneralName::IPAddress(bytes) => address(bytes).map(Self::Ip),
            _ => None,
        }
    }
}

impl fmt::Display for ServedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4().or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

/// An entry of a Secret, within the limit.
fn bytes_of<'a>(data: &'a super::secret::Data, entry: &'static str) -> Result<&'a [u8], CertificateError> {
    match data.get(entry) {
        None => Err(CertificateError::Missing(entry)),
        Some(bytes) if bytes.0.len() > MAX_BYTES => Err(CertificateError::TooLong(entry)),
        Some(bytes) => Ok(&bytes.0),
    }
}

/// The certificates of an entry: at least one, each of them readable.
fn certificates_of(data: &super::secret::Data, entry: &'static str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes_of(data, entry)?).take(MAX_CERTIFICATES + 1).collect();
    let certificates = read.ok().filter(|found| !found.is_empty()).ok_or(CertificateError::Pem(entry))?;
    if certificates.len() > MAX_CERTIFICATES {
        return Err(CertificateError::TooMany(entry));
    }
    certificates.iter().try_for_each(|der| parsed(der, entry).map(drop))?;
    Ok(certificates)
}

fn parsed<'a>(der: &'a CertificateDer<'_>, entry: &'static str) -> Result<X509Certificate<'a>, CertificateError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(CertificateError::Unreadable(entry)),
    }
}

/// The names that a certificate is for.
fn names_of(certificate: &X509Certificate<'_>) -> BTreeSet<ServedName> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    extension.map(|names| names.value.general_names.iter().filter_map(ServedName::of).collect()).unwrap_or_default()
}

/// Times beyond what a timestamp holds (RFC 5280 §4.1.2.5: "no expiry" is the year 9999) become the last one.
fn time_of(time: &ASN1Time) -> Timestamp {
    Timestamp::from_second(time.timestamp()).unwrap_or(Timestamp::MAX)
}

/// PEM (RFC 7468) of certificates alone, whatever else stood between them in the entry.
fn pem(certificates: &[CertificateDer<'_>]) -> String {
    certificates.iter().map(|der| pem_section(der)).collect()
}

fn pem_section(der: &[u8]) -> String {
    let base64: Vec<char> = STANDARD.encode(der).chars().collect();
    let lines: String = base64.chunks(64).flat_map(|line| line.iter().copied().chain(['\n'])).collect();
    format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_served_name_is_a_dns_name_or_an_address() {
        for (text, name) in [
            ("keywright.auth.svc", ServedName::Dns("keywright.auth.svc".to_owned())),
            ("Auth.Example.COM.", ServedName::Dns("auth.example.com".to_owned())),
            ("localhost", ServedName::Dns("localhost".to_owned())),
            ("127.0.0.1", ServedName::Ip([127, 0, 0, 1].into())),
            ("[::1]", ServedName::Ip("::1".parse().unwrap())),
            ("::1", ServedName::Ip("::1".parse().unwrap())),
        ] {
            assert_eq!(ServedName::parse(text), Ok(name), "{text}");
        }
        for text in ["", ".", "*.example.com", "a b", "https://example.com", "example.com:443", "-a.example", "exämple.com", "a..b"] {
            assert_eq!(ServedName::parse(text), Err(CertificateError::Name(text.to_owned())), "{text}");
        }
    }
}
