//! TLS: what is offered (RFC 9325, FAPI 2.0 §5.2.2), and a certificate that is exchanged while connections are open.

use arc_swap::ArcSwapOption;
use rustls::{
    CipherSuite, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// How a listener's connections begin.
#[derive(Clone)]
pub enum TlsMode {
    /// Without TLS: on loopback, or where something in front ends it.
    Plain,
    /// With TLS.
    Tls(TlsAcceptor),
}

/// TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The library refuses its own parameters.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// The certificate in use. Until one is installed every handshake fails.
#[derive(Debug, Default)]
pub struct ServingCertificate {
    current: ArcSwapOption<CertifiedKey>,
}

impl ServingCertificate {
    /// Takes the next handshakes over to this one.
    pub fn install(&self, certified: Arc<CertifiedKey>) {
        self.current.store(Some(certified));
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}

impl TlsMode {
    /// TLS 1.3, and 1.2 with ECDHE and AES-GCM; HTTP/2 before HTTP/1.1.
    ///
    /// # Errors
    /// [`TlsError::Setup`], never for the parameters that stand here.
    pub fn with(certificate: Arc<ServingCertificate>) -> Result<Self, TlsError> {
        let versions = ServerConfig::builder_with_provider(Arc::new(provider())).with_protocol_versions(&[&TLS13, &TLS12]);
        let mut config = versions.map_err(TlsError::Setup)?.with_no_client_auth().with_cert_resolver(certificate);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self::Tls(TlsAcceptor::from(Arc::new(config))))
    }
}

fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| suite.version() == &TLS13 || TLS12_SUITES.contains(&suite.suite()));
    provider
}

const TLS12_SUITES: [CipherSuite; 4] = [
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
];
