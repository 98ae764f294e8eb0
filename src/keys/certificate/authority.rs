//! The self-signed CA of a release: it may sign for the release's own names and for nothing else.

use super::{CA, CERTIFICATE, CertificateError, PRIVATE_KEY, ServedName, certificates_of, parsed, pem};
use crate::keys::secret::Data;
use aws_lc_rs::digest::{SHA256, digest};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData as _, SanType,
};
use rustls::pki_types::CertificateDer;
use std::{collections::BTreeSet, net::IpAddr, time::Duration};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName};

/// As long as Kubernetes gives its own CAs: who trusts it has it in a file.
const CA_LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// The lifetime of a serving certificate.
pub const SERVING_LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Certificates begin so much earlier, for clients whose clock is late.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);

/// A CA with its key. No Debug: it signs.
pub struct Authority {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    /// A new one (ECDSA P-256) for `names` and the names below them (RFC 5280 §4.2.1.10). `owner` stands in its subject.
    ///
    /// # Errors
    /// [`CertificateError::NoName`] where `names` is empty: such a CA would be bound by nothing; [`CertificateError::Failed`].
    pub fn generate(owner: &str, names: &BTreeSet<ServedName>, now: Timestamp) -> Result<Self, CertificateError> {
        if names.is_empty() {
            return Err(CertificateError::NoName);
        }
        let key = KeyPair::generate().map_err(|_| CertificateError::Failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(&format!("Keywright CA of {owner}"));
        // So that a client never takes one CA of a release for the next.
        params
            .distinguished_name
            .push(DnType::OrganizationalUnitName, format!("since {}", Timestamp::from_second(now.as_second()).unwrap_or(now)));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.name_constraints = Some(constraints(names));
        set_validity(&mut params, now, later(now, CA_LIFETIME));
        let certificate = params.self_signed(&key).map_err(|_| CertificateError::Failed)?;
        Ok(Self { certificate: certificate.der().clone(), key })
    }

    /// Reads the data of the CA's Secret.
    ///
    /// # Errors
    /// [`CertificateError`] that says which entry is wrong, and how.
    pub fn parse(data: &Data) -> Result<Self, CertificateError> {
        let certificate = certificates_of(data, CERTIFICATE)?.into_iter().next().ok_or(CertificateError::Pem(CERTIFICATE))?;
        let text = std::str::from_utf8(super::bytes_of(data, PRIVATE_KEY)?).map_err(|_| CertificateError::PrivateKey)?;
        let key = KeyPair::from_pem(text).map_err(|_| CertificateError::PrivateKey)?;
        let x509 = parsed(&certificate, CERTIFICATE)?;
        if !x509.is_ca() {
            return Err(CertificateError::NotAnAuthority);
        }
        if x509.public_key().raw != key.subject_public_key_info() {
            return Err(CertificateError::Mismatch);
        }
        Ok(Self { certificate, key })
    }

    /// Its name: that of its certificate.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.certificate)
    }

    /// Its private key (PEM, PKCS#8).
    #[must_use]
    pub fn private_key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The same once more.
    ///
    /// # Errors
    /// [`CertificateError::PrivateKey`], never for one that was read.
    pub(super) fn again(&self) -> Result<Self, CertificateError> {
        let key = KeyPair::from_pem(&self.key.serialize_pem()).map_err(|_| CertificateError::PrivateKey)?;
        Ok(Self { certificate: self.certificate.clone(), key })
    }

    /// What clients have to trust.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        pem(std::slice::from_ref(&self.certificate))
    }

    /// Its certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Those of `names` that it may sign for, and those that it may not.
    ///
    /// # Errors
    /// [`CertificateError::Unreadable`] where its certificate cannot be read.
    pub fn permits(&self, names: &BTreeSet<ServedName>) -> Result<(BTreeSet<ServedName>, BTreeSet<ServedName>), CertificateError> {
        let x509 = parsed(&self.certificate, CERTIFICATE)?;
        Ok(names.iter().cloned().partition(|name| is_permitted(&x509, name)))
    }

    /// When it ends.
    ///
    /// # Errors
    /// [`CertificateError::Unreadable`] where its certificate cannot be read.
    pub fn not_after(&self) -> Result<Timestamp, CertificateError> {
        ends(&self.certificate)
    }

    /// A serving certificate for `names` with a new key, as the data of its Secret. `bundle`: what clients have to trust.
    ///
    /// # Errors
    /// [`CertificateError::NoName`], [`CertificateError::Failed`].
    pub fn issue(&self, names: &BTreeSet<ServedName>, bundle: &str, now: Timestamp) -> Result<Data, CertificateError> {
        let name = names.first().ok_or(CertificateError::NoName)?;
        let key = KeyPair::generate().map_err(|_| CertificateError::Failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(&format!("Keywright at {name}"));
        params.subject_alt_names = names.iter().map(subject_alternative).collect::<Result<_, _>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, later(now, SERVING_LIFETIME).min(self.not_after()?));
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key).map_err(|_| CertificateError::Failed)?;
        let certificate = params.signed_by(&key, &issuer).map_err(|_| CertificateError::Failed)?;
        let chain = pem(std::slice::from_ref(certificate.der()));
        Ok(secret_data([(CERTIFICATE, chain), (PRIVATE_KEY, key.serialize_pem()), (CA, bundle.to_owned())]))
    }
}

/// The name of a CA: the SHA-256 of its certificate, in hexadecimal digits (`openssl x509 -fingerprint -sha256`, without the colons).
#[must_use]
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    digest(&SHA256, certificate).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// When a CA was made.
pub(super) fn begins(certificate: &CertificateDer<'_>) -> Result<Timestamp, CertificateError> {
    Ok(later(super::time_of(&parsed(certificate, CERTIFICATE)?.validity().not_before), BACKDATED))
}

/// When a CA ends.
pub(super) fn ends(certificate: &CertificateDer<'_>) -> Result<Timestamp, CertificateError> {
    Ok(super::time_of(&parsed(certificate, CERTIFICATE)?.validity().not_after))
}

fn secret_data<const N: usize>(entries: [(&str, String); N]) -> Data {
    entries.into_iter().map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes()))).collect()
}

/// An X.520 common name has at most 64 characters.
fn subject(text: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, text.chars().take(64).collect::<String>());
    subject
}

fn subject_alternative(name: &ServedName) -> Result<SanType, CertificateError> {
    match name {
        ServedName::Dns(name) => Ok(SanType::DnsName(name.as_str().try_into().map_err(|_| CertificateError::Failed)?)),
        ServedName::Ip(address) => Ok(SanType::IpAddress(*address)),
    }
}

/// Permitted are `names` alone. A kind of name without a permitted one would be free: it is excluded as a whole.
fn constraints(names: &BTreeSet<ServedName>) -> NameConstraints {
    let permitted_subtrees: Vec<_> = names.iter().map(subtree).collect();
    let mut excluded_subtrees = Vec::new();
    if !names.iter().any(|name| matches!(name, ServedName::Ip(_))) {
        let every = [IpAddr::from([0; 4]), IpAddr::from([0; 16])];
        excluded_subtrees.extend(every.map(|address| GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, 0))));
    }
    if !names.iter().any(|name| matches!(name, ServedName::Dns(_))) {
        excluded_subtrees.push(GeneralSubtree::DnsName(String::new()));
    }
    NameConstraints { permitted_subtrees, excluded_subtrees }
}

fn subtree(name: &ServedName) -> GeneralSubtree {
    match name {
        ServedName::Dns(name) => GeneralSubtree::DnsName(name.clone()),
        ServedName::Ip(address) => {
            let whole = if address.is_ipv4() { 32 } else { 128 };
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(*address, whole))
        }
    }
}

/// Whether the constraints of a CA let it sign for `name`; a CA that the platform made itself may have none.
fn is_permitted(authority: &X509Certificate<'_>, name: &ServedName) -> bool {
    let Ok(Some(constraints)) = authority.name_constraints() else { return true };
    let subtrees = |of: &Option<Vec<x509_parser::extensions::GeneralSubtree<'_>>>| {
        of.iter().flatten().filter_map(|subtree| covers(&subtree.base, name)).collect::<Vec<_>>()
    };
    let (permitted, excluded) = (subtrees(&constraints.value.permitted_subtrees), subtrees(&constraints.value.excluded_subtrees));
    (permitted.is_empty() || permitted.contains(&true)) && !excluded.contains(&true)
}

/// Whether a subtree covers a name; `None` where it is of another kind.
fn covers(subtree: &GeneralName<'_>, name: &ServedName) -> Option<bool> {
    match (subtree, name) {
        (GeneralName::DNSName(base), ServedName::Dns(name)) => {
            let base = base.to_ascii_lowercase();
            let below = name.strip_suffix(base.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            Some(base.is_empty() || below)
        }
        (GeneralName::IPAddress(range), ServedName::Ip(address)) => Some(in_range(range, *address)),
        _ => None,
    }
}

/// Whether an address lies in a range, which is its first address and its mask.
fn in_range(range: &[u8], address: IpAddr) -> bool {
    let octets = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let (base, mask) = range.split_at(range.len() / 2);
    base.len() == octets.len() && base.iter().zip(mask).zip(&octets).all(|((base, mask), octet)| base & mask == octet & mask)
}

/// The library's own type of time is reached from its epoch; times before 1970 do not occur.
fn set_validity(params: &mut CertificateParams, now: Timestamp, end: Timestamp) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let seconds = |time: Timestamp| Duration::from_secs(u64::try_from(time.as_second()).unwrap_or_default());
    params.not_before = epoch + seconds(now.checked_sub(BACKDATED).unwrap_or(now));
    params.not_after = epoch + seconds(end);
}

fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::certificate::ServingCertificate;
    use rustls::{
        RootCertStore,
        client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
        crypto::aws_lc_rs::default_provider,
        pki_types::{ServerName, UnixTime},
    };
    use std::sync::Arc;

    fn names(texts: &[&str]) -> BTreeSet<ServedName> {
        texts.iter().map(|text| ServedName::parse(text).unwrap()).collect()
    }

    fn start() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    fn authority(texts: &[&str]) -> Authority {
        Authority::generate("auth/keywright", &names(texts), start()).unwrap()
    }

    /// Whether a TLS client that trusts the CA accepts what it issued for `issued`, when it asked for `host`.
    fn accepts(authority: &Authority, issued: &[&str], host: &str, now: Timestamp) -> Result<(), rustls::Error> {
        let shown = ServingCertificate::parse(&authority.issue(&names(issued), &authority.certificate_pem(), start()).unwrap()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate().clone()).unwrap();
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider())).build().unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_second().try_into().unwrap()));
        let host = ServerName::try_from(host.to_owned()).unwrap();
        verifier.verify_server_cert(&shown.certified_key.cert[0], &[], &host, &[], now).map(drop)
    }

    fn data_of(made: &Authority) -> Data {
        secret_data([(CERTIFICATE, made.certificate_pem()), (PRIVATE_KEY, made.private_key_pem())])
    }

    #[test]
    fn a_client_that_trusts_the_ca_accepts_the_served_names_alone() {
        let all = ["kw.auth.svc", "kw.auth.svc.cluster.local", "127.0.0.1", "::1"];
        let authority = authority(&all);
        for host in all {
            accepts(&authority, &all, host, start()).unwrap();
        }
        for host in ["other.auth.svc", "127.0.0.2"] {
            assert!(accepts(&authority, &all, host, start()).is_err(), "{host}");
        }
        assert!(accepts(&authority, &all, "kw.auth.svc", start() + SERVING_LIFETIME + SignedDuration::from_secs(1)).is_err());
        assert!(accepts(&authority, &all, "kw.auth.svc", start() - SignedDuration::from_hours(2)).is_err());
    }

    /// Who steals the CA's key cannot be another server with it.
    #[test]
    fn a_client_refuses_what_the_ca_signed_for_another_name() {
        let by_name = authority(&["kw.auth.svc"]);
        accepts(&by_name, &["kw.auth.svc"], "kw.auth.svc", start()).unwrap();
        accepts(&by_name, &["below.kw.auth.svc"], "below.kw.auth.svc", start()).unwrap();
        for host in ["example.com", "xkw.auth.svc", "auth.svc", "127.0.0.1", "::1"] {
            assert!(accepts(&by_name, &[host], host, start()).is_err(), "{host}");
            assert!(accepts(&by_name, &["kw.auth.svc", host], "kw.auth.svc", start()).is_err(), "{host} beside a good one");
        }
        let by_address = authority(&["127.0.0.1"]);
        accepts(&by_address, &["127.0.0.1"], "127.0.0.1", start()).unwrap();
        for host in ["127.0.0.2", "::1", "kw.auth.svc", "localhost"] {
            assert!(accepts(&by_address, &[host], host, start()).is_err(), "{host}");
        }
    }

    /// What is asked before signing agrees with what clients do after it.
    #[test]
    fn the_ca_says_which_names_clients_would_refuse() {
        for of in [&["kw.auth.svc"][..], &["127.0.0.1"], &["::1"], &["kw.auth.svc", "127.0.0.1"]] {
            let authority = authority(of);
            for host in ["kw.auth.svc", "below.kw.auth.svc", "xkw.auth.svc", "auth.svc", "127.0.0.1", "127.0.0.2", "::1", "::2"] {
                let refused = authority.permits(&names(&[host])).unwrap().1.contains(&ServedName::parse(host).unwrap());
                assert_eq!(refused, accepts(&authority, &[host], host, start()).is_err(), "{of:?} for {host}");
            }
        }
    }

    #[test]
    fn a_ca_survives_its_secret() {
        let made = authority(&["kw.auth.svc"]);
        let read = Authority::parse(&data_of(&made)).unwrap();
        assert_eq!(read.certificate_pem(), made.certificate_pem());
        accepts(&read, &["kw.auth.svc"], "kw.auth.svc", start()).unwrap();
        assert_eq!(read.not_after().unwrap(), start() + CA_LIFETIME);
    }

    #[test]
    fn each_wrong_entry_of_a_ca_is_named() {
        let (one, other) = (data_of(&authority(&["kw.auth.svc"])), data_of(&authority(&["kw.auth.svc"])));
        let with = |entry: &str, bytes: &[u8]| {
            let mut data = one.clone();
            data.insert(entry.to_owned(), ByteString(bytes.to_vec()));
            data
        };
        let leaf = Authority::parse(&one).unwrap().issue(&names(&["kw.auth.svc"]), "", start()).unwrap();
        for (data, error) in [
            (Data::new(), CertificateError::Missing(CERTIFICATE)),
            (with(CERTIFICATE, b"rubbish"), CertificateError::Pem(CERTIFICATE)),
            (with(PRIVATE_KEY, b"\xff"), CertificateError::PrivateKey),
            (with(PRIVATE_KEY, b"rubbish"), CertificateError::PrivateKey),
            (with(PRIVATE_KEY, &other[PRIVATE_KEY].0), CertificateError::Mismatch),
            (leaf, CertificateError::NotAnAuthority),
        ] {
            assert_eq!(Authority::parse(&data).err(), Some(error));
        }
    }

    #[test]
    fn a_ca_for_no_name_is_not_made() {
        assert_eq!(Authority::generate("auth/keywright", &BTreeSet::new(), start()).err(), Some(CertificateError::NoName));
        assert_eq!(authority(&["kw.auth.svc"]).issue(&BTreeSet::new(), "", start()).err(), Some(CertificateError::NoName));
    }

    /// Names and owners of any length the cluster allows.
    #[test]
    fn a_long_name_fits() {
        let label = "x".repeat(63);
        let long = [label.as_str(), &label, &label, "svc"].join(".");
        let made = Authority::generate(&long, &names(&[&long]), start()).unwrap();
        accepts(&made, &[&long], &long, start()).unwrap();
    }
}
