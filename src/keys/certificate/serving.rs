//! The certificate that the token endpoint shows: read from a Secret, and when it has to be renewed.

use super::{
    CA, CERTIFICATE, CertificateError, PRIVATE_KEY, ServedName, authority, bytes_of, certificates_of, names_of, parsed, pem,
    succession::certificates, time_of,
};
use crate::keys::secret::Data;
use jiff::Timestamp;
use rustls::{
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use std::{collections::BTreeSet, sync::Arc};
use x509_parser::{certificate::X509Certificate, extensions::ParsedExtension, public_key::PublicKey};

/// A serving certificate that was read: key and certificate belong together.
pub struct ServingCertificate {
    /// For the TLS listener.
    pub certified_key: Arc<CertifiedKey>,
    /// `ca.crt`, the certificates alone, in PEM: what clients have to trust. `None`: what they trust anyway.
    pub ca: Option<String>,
    /// The names it is for.
    pub names: BTreeSet<ServedName>,
    /// When it begins.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
    /// Which key signed it (RFC 5280 §4.2.1.1).
    authority_key: Option<Vec<u8>>,
    /// The name of who signed it, in DER.
    issuer: Vec<u8>,
}

/// Why a serving certificate is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Renewal {
    /// It cannot be read; by itself it holds nothing that would be lost.
    #[error("it could not be read")]
    Unreadable,
    /// It is for other names.
    #[error("it was for other names")]
    Names,
    /// Another CA signed it.
    #[error("another CA had signed it")]
    Authority,
    /// Half of its life is over.
    #[error("half of its life is over")]
    Age,
}

/// What callers will stumble over; the certificate is shown all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Over.
    #[error("the serving certificate expired at {0}: renew it in its Secret")]
    Expired(Timestamp),
    /// Not begun.
    #[error("the serving certificate is not valid before {0}: check the clock of this node")]
    Early(Timestamp),
    /// The issuer's host is not among its names.
    #[error("the serving certificate is not for {0}, the host of the issuer: callers will refuse it")]
    Name(ServedName),
}

impl ServingCertificate {
    /// Reads the data of a Secret of the type `kubernetes.io/tls`: our own or one that the platform gives. `ca.crt` is optional.
    ///
    /// # Errors
    /// [`CertificateError`] that says which entry is wrong, and how.
    pub fn parse(data: &Data) -> Result<Self, CertificateError> {
        let chain = certificates_of(data, CERTIFICATE)?;
        let key = PrivateKeyDer::from_pem_slice(bytes_of(data, PRIVATE_KEY)?).map_err(|_| CertificateError::PrivateKey)?;
        let ca = data.contains_key(CA).then(|| certificates_of(data, CA)).transpose()?;
        let first = chain.first().cloned().ok_or(CertificateError::Pem(CERTIFICATE))?;
        let x509 = parsed(&first, CERTIFICATE)?;
        if !has_accepted_size(&x509) {
            return Err(CertificateError::PrivateKey);
        }
        Ok(Self {
            certified_key: Arc::new(certified(chain, key)?),
            ca: ca.as_deref().map(pem),
            names: names_of(&x509),
            not_before: time_of(&x509.validity().not_before),
            not_after: time_of(&x509.validity().not_after),
            authority_key: authority_key(&x509),
            issuer: x509.issuer().as_raw().to_vec(),
        })
    }

    /// What is wrong with showing it at `now` to callers of `host`.
    #[must_use]
    pub fn warning(&self, host: &ServedName, now: Timestamp) -> Option<Warning> {
        if now >= self.not_after {
            Some(Warning::Expired(self.not_after))
        } else if now < self.not_before {
            Some(Warning::Early(self.not_before))
        } else if !self.is_for(host) {
            Some(Warning::Name(host.clone()))
        } else {
            None
        }
    }

    /// When half of its life is over. More of it is left than another CA has to be known for before it signs: where a CA is lost, what it
    /// signed last is good until then.
    #[must_use]
    pub fn renew_at(&self) -> Timestamp {
        let life = self.not_after.duration_since(self.not_before);
        self.not_before.checked_add(life / 2).unwrap_or(self.not_after)
    }

    /// The certificates of `ca.crt`.
    #[must_use]
    pub fn authorities(&self) -> Vec<CertificateDer<'static>> {
        certificates(self.ca.as_deref())
    }

    /// Whether that CA signed it: told by the key identifiers, and where the CA has none, which only one that we did not make has, by
    /// its name.
    #[must_use]
    pub fn is_signed_by(&self, authority: &CertificateDer<'_>) -> bool {
        let Ok(x509) = parsed(authority, CERTIFICATE) else { return false };
        match subject_key(&x509) {
            Some(key) => self.authority_key.as_ref() == Some(&key),
            None => self.issuer == x509.subject().as_raw(),
        }
    }

    /// When the CA that signed it ends, if `ca.crt` holds it.
    #[must_use]
    pub fn authority_not_after(&self) -> Option<Timestamp> {
        let authorities = self.authorities();
        authority::ends(authorities.iter().find(|authority| self.is_signed_by(authority))?).ok()
    }

    /// By name, or by a wildcard for its first label (RFC 9525 §6.3).
    fn is_for(&self, host: &ServedName) -> bool {
        let wildcard = match host {
            ServedName::Dns(name) => name.split_once('.').map(|(_, parent)| ServedName::Dns(format!("*.{parent}"))),
            ServedName::Ip(_) => None,
        };
        self.names.contains(host) || wildcard.is_some_and(|wildcard| self.names.contains(&wildcard))
    }
}

/// Whether the serving certificate, which a CA should have signed for `names`, has to be made anew at `now`.
///
/// # Errors
/// The reason why it has to be. `Ok`: until when it may stay.
pub fn renewal(
    shown: Option<&ServingCertificate>,
    authority: &CertificateDer<'_>,
    names: &BTreeSet<ServedName>,
    now: Timestamp,
) -> Result<Timestamp, Renewal> {
    let shown = shown.ok_or(Renewal::Unreadable)?;
    let authority_ends = authority::ends(authority).map_err(|_| Renewal::Authority)?;
    // One that ends with its CA would not last longer if it were made anew.
    let due = if shown.not_after < authority_ends { shown.renew_at() } else { authority_ends };
    if shown.names != *names {
        Err(Renewal::Names)
    } else if !shown.is_signed_by(authority) {
        Err(Renewal::Authority)
    } else if now >= due {
        Err(Renewal::Age)
    } else {
        Ok(due)
    }
}

fn certified(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<CertifiedKey, CertificateError> {
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => CertificateError::Mismatch,
        _ => CertificateError::PrivateKey,
    })
}

/// S16: RSA of 2048 to 4096 bits; the library itself goes to 8192.
fn has_accepted_size(x509: &X509Certificate<'_>) -> bool {
    match x509.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => (2048..=4096).contains(&key.key_size()),
        _ => true,
    }
}

fn authority_key(x509: &X509Certificate<'_>) -> Option<Vec<u8>> {
    x509.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
        _ => None,
    })
}

fn subject_key(x509: &X509Certificate<'_>) -> Option<Vec<u8>> {
    x509.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::certificate::{Authority, authority::SERVING_LIFETIME};
    use jiff::SignedDuration;
    use k8s_openapi::ByteString;
    use rcgen::{CertificateParams, KeyPair};

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    fn names(texts: &[&str]) -> BTreeSet<ServedName> {
        texts.iter().map(|text| ServedName::parse(text).unwrap()).collect()
    }

    fn start() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    fn issued() -> (Authority, Data) {
        let authority = Authority::generate("auth/keywright", &names(&["kw.auth.svc"]), start()).unwrap();
        let data = authority.issue(&names(&["kw.auth.svc"]), &authority.certificate_pem(), start()).unwrap();
        (authority, data)
    }

    fn with(data: &Data, entry: &str, bytes: &[u8]) -> Data {
        let mut data = data.clone();
        data.insert(entry.to_owned(), ByteString(bytes.to_vec()));
        data
    }

    fn self_signed(key: &KeyPair) -> Data {
        let certificate = CertificateParams::new(vec!["*.example.com".to_owned()]).unwrap().self_signed(key).unwrap();
        let text = |text: String| ByteString(text.into_bytes());
        Data::from([(CERTIFICATE.to_owned(), text(certificate.pem())), (PRIVATE_KEY.to_owned(), text(key.serialize_pem()))])
    }

    #[test]
    fn our_own_secret_is_read_with_names_times_and_ca() {
        let (authority, data) = issued();
        let shown = ServingCertificate::parse(&data).unwrap();
        assert_eq!(shown.names, names(&["kw.auth.svc"]));
        assert_eq!(shown.ca, Some(authority.certificate_pem()));
        assert_eq!(shown.not_after, start() + SERVING_LIFETIME);
        assert_eq!(shown.not_before, start() - SignedDuration::from_hours(1));
        assert_eq!(shown.certified_key.cert.len(), 1);
    }

    #[test]
    fn a_given_secret_without_a_ca_is_read() {
        let shown = ServingCertificate::parse(&self_signed(&KeyPair::generate().unwrap())).unwrap();
        assert_eq!(shown.ca, None);
        let host = |text: &str| ServedName::parse(text).unwrap();
        assert_eq!(shown.warning(&host("auth.example.com"), start()), None);
        assert!(matches!(shown.warning(&host("a.b.example.com"), start()), Some(Warning::Name(_))));
        assert!(matches!(shown.warning(&host("example.com"), start()), Some(Warning::Name(_))));
    }

    #[test]
    fn each_wrong_entry_is_named() {
        let (_, data) = issued();
        let missing = |entry: &str| {
            let mut data = data.clone();
            data.remove(entry);
            data
        };
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let other = KeyPair::generate().unwrap().serialize_pem();
        let cases = [
            (missing(CERTIFICATE), CertificateError::Missing(CERTIFICATE)),
            (missing(PRIVATE_KEY), CertificateError::Missing(PRIVATE_KEY)),
            (with(&data, CERTIFICATE, b""), CertificateError::Pem(CERTIFICATE)),
            (with(&data, CERTIFICATE, b"\xff\x00rubbish"), CertificateError::Pem(CERTIFICATE)),
            (with(&data, CERTIFICATE, &data[PRIVATE_KEY].0), CertificateError::Pem(CERTIFICATE)),
            (with(&data, CERTIFICATE, broken.as_bytes()), CertificateError::Unreadable(CERTIFICATE)),
            (with(&data, CERTIFICATE, &[b'x'; 64 * 1024 + 1]), CertificateError::TooLong(CERTIFICATE)),
            (with(&data, CERTIFICATE, broken.repeat(17).as_bytes()), CertificateError::TooMany(CERTIFICATE)),
            (with(&data, PRIVATE_KEY, b"rubbish"), CertificateError::PrivateKey),
            (with(&data, PRIVATE_KEY, &data[CERTIFICATE].0), CertificateError::PrivateKey),
            (with(&data, PRIVATE_KEY, other.as_bytes()), CertificateError::Mismatch),
            (with(&data, CA, b"rubbish"), CertificateError::Pem(CA)),
        ];
        for (data, error) in cases {
            assert_eq!(ServingCertificate::parse(&data).err(), Some(error));
        }
    }

    /// C21, S12: what a careless hand put beside the certificates is not passed on to clients.
    #[test]
    fn a_private_key_in_ca_crt_goes_nowhere() {
        let (authority, data) = issued();
        let both = [data[CA].0.clone(), data[PRIVATE_KEY].0.clone(), b"comment".to_vec()].concat();
        assert_eq!(ServingCertificate::parse(&with(&data, CA, &both)).unwrap().ca, Some(authority.certificate_pem()));
    }

    /// S16.
    #[test]
    fn an_rsa_certificate_has_2048_to_4096_bits() {
        let long = KeyPair::try_from(&include_bytes!("../testdata/rsa-4104.der")[..]).unwrap();
        assert_eq!(ServingCertificate::parse(&self_signed(&long)).err(), Some(CertificateError::PrivateKey));
        let usual = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        assert!(ServingCertificate::parse(&self_signed(&usual)).is_ok());
    }

    #[test]
    fn a_certificate_outside_of_its_time_is_warned_of() {
        let (_, data) = issued();
        let shown = ServingCertificate::parse(&data).unwrap();
        let host = ServedName::parse("kw.auth.svc").unwrap();
        assert_eq!(shown.warning(&host, start()), None);
        assert_eq!(shown.warning(&host, shown.not_after), Some(Warning::Expired(shown.not_after)));
        assert_eq!(shown.warning(&host, start() - DAY), Some(Warning::Early(shown.not_before)));
    }

    fn due(data: &Data, by: &Authority, of: &[&str], now: Timestamp) -> Result<Timestamp, Renewal> {
        renewal(ServingCertificate::parse(data).ok().as_ref(), by.certificate(), &names(of), now)
    }

    #[test]
    fn a_certificate_is_renewed_after_half_of_its_life() {
        let (authority, data) = issued();
        let due = |now| due(&data, &authority, &["kw.auth.svc"], now).err();
        let at = ServingCertificate::parse(&data).unwrap().renew_at();
        assert!((at.duration_since(start()) - DAY * 45).abs() < SignedDuration::from_hours(1));
        assert_eq!(due(start()), None);
        assert_eq!(due(at - SignedDuration::from_secs(1)), None);
        assert_eq!(due(at), Some(Renewal::Age));
        assert_eq!(due(start() + DAY * 365), Some(Renewal::Age));
    }

    /// In the last weeks of a CA nothing is written again and again.
    #[test]
    fn a_certificate_that_ends_with_its_ca_stays() {
        let (authority, _) = issued();
        let end = authority.not_after().unwrap();
        let late = end - SignedDuration::from_mins(10);
        let data = authority.issue(&names(&["kw.auth.svc"]), &authority.certificate_pem(), late).unwrap();
        assert_eq!(ServingCertificate::parse(&data).unwrap().not_after, end);
        assert_eq!(due(&data, &authority, &["kw.auth.svc"], late), Ok(end));
    }

    #[test]
    fn a_certificate_is_renewed_when_names_ca_or_content_changed() {
        let (authority, data) = issued();
        let due = |data: &Data, by: &Authority, of: &[&str]| due(data, by, of, start()).err();
        assert_eq!(due(&data, &authority, &["kw.auth.svc", "127.0.0.1"]), Some(Renewal::Names));
        assert_eq!(due(&data, &authority, &["kw2.auth.svc"]), Some(Renewal::Names));
        let other = Authority::generate("auth/keywright", &names(&["kw.auth.svc"]), start()).unwrap();
        assert_eq!(due(&data, &other, &["kw.auth.svc"]), Some(Renewal::Authority));
        assert_eq!(due(&with(&data, CERTIFICATE, b"rubbish"), &authority, &["kw.auth.svc"]), Some(Renewal::Unreadable));
        assert_eq!(due(&Data::new(), &authority, &["kw.auth.svc"]), Some(Renewal::Unreadable));
    }

    /// One that the platform made has perhaps no key identifier: then its name says so.
    #[test]
    fn a_ca_is_told_by_its_key_or_by_its_name() {
        let (authority, data) = issued();
        let shown = ServingCertificate::parse(&data).unwrap();
        let other = Authority::generate("auth/keywright", &names(&["kw.auth.svc"]), start()).unwrap();
        assert!(shown.is_signed_by(authority.certificate()) && !shown.is_signed_by(other.certificate()));
        assert_eq!(shown.authorities(), [authority.certificate().clone()]);
        assert_eq!(shown.authority_not_after(), Some(authority.not_after().unwrap()));
        let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
        params.is_ca = rcgen::IsCa::NoCa;
        let nameless = params.self_signed(&key).unwrap();
        let by_name = ServingCertificate { issuer: parsed(nameless.der(), CA).unwrap().subject().as_raw().to_vec(), ..shown };
        assert!(by_name.is_signed_by(nameless.der()));
    }
}
