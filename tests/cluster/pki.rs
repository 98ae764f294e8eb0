//! The cluster's own certificate authority, and what it signs.

use std::net::{IpAddr, Ipv4Addr};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, RsaKeySize, SanType,
};

use super::error::Error;

/// A certificate and its private key, in PEM.
#[derive(Clone)]
pub struct Certified {
    pub certificate: String,
    pub key: String,
}

/// The certificate authority of one control plane.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new one, with a key of its own.
    pub fn new() -> Result<Self, Error> {
        const SUBJECT: &str = "kubernetes-ca";
        let make = || {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, SUBJECT);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            CertifiedIssuer::self_signed(params, KeyPair::generate()?)
        };
        Ok(Self { issuer: make().map_err(failed(SUBJECT))? })
    }

    /// Its certificate in PEM.
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// A serving certificate for `localhost`, the Service `kubernetes` and these addresses.
    pub fn server(&self, common_name: &str, addresses: &[Ipv4Addr]) -> Result<Certified, Error> {
        let addresses = addresses.iter().map(|address| SanType::IpAddress(IpAddr::V4(*address)));
        let make = || {
            let mut params = subject(common_name, None, ExtendedKeyUsagePurpose::ServerAuth);
            let names = [SanType::DnsName("localhost".try_into()?), SanType::DnsName("kubernetes.default.svc".try_into()?)];
            params.subject_alt_names = addresses.chain(names).collect();
            self.sign(&params)
        };
        make().map_err(failed(common_name))
    }

    /// A client certificate: the API server takes the common name for the user, the organization for the group.
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Certified, Error> {
        self.sign(&subject(user, group, ExtendedKeyUsagePurpose::ClientAuth)).map_err(failed(user))
    }

    fn sign(&self, params: &CertificateParams) -> Result<Certified, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Certified { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn subject(common_name: &str, organization: Option<&str>, purpose: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, DnValue::Utf8String(common_name.to_owned()));
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, DnValue::Utf8String(organization.to_owned()));
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params
}

/// The key that signs ServiceAccount tokens: RSA, as in clusters that kubeadm made, so that the verifier under test meets RS256.
pub fn service_account_key() -> Result<String, Error> {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).map_err(failed("the ServiceAccount issuer"))?;
    Ok(key.serialize_pem())
}

fn failed(subject: &str) -> impl FnOnce(rcgen::Error) -> Error {
    let subject = subject.to_owned();
    move |source| Error::Certificate { subject, source }
}
