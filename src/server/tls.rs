//! TLS: what is offered (RFC 9325, FAPI 2.0 §5.2.2), and a certificate that is exchanged while connections are open.

use arc_swap::ArcSwapOption;
use rustls::{
    CipherSuite, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
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

/// Why a certificate cannot be served, or TLS not be offered. The one that was installed before stays.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No PEM certificate, or one that cannot be read.
    #[error("tls.crt holds no readable PEM certificate: put the serving certificate there, then its intermediates")]
    Certificate,
    /// No PEM private key, or one that cannot be read.
    #[error("tls.key holds no readable PEM private key (PKCS#8, SEC1 or PKCS#1)")]
    Key,
    /// They do not belong together, or are of a kind that is not supported.
    #[error("the certificate in tls.crt and the key in tls.key do not fit together: {0}")]
    Pair(rustls::Error),
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
    /// Takes the next handshakes over to this certificate chain and key, both PEM.
    ///
    /// # Errors
    /// Where they cannot be served.
    pub fn install(&self, chain: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>().map_err(|_| TlsError::Certificate)?;
        if chain.is_empty() {
            return Err(TlsError::Certificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(TlsError::Pair)?;
        self.current.store(Some(Arc::new(certified)));
        Ok(())
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
