//! TLS: H04 and S19.

use crate::{fixture::Replica, served::Served};
use keywright::server::{Limits, TlsMode, tls::ServingCertificate};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::{
    CipherSuite, ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
    crypto::aws_lc_rs::default_provider,
    pki_types::{PrivatePkcs8KeyDer, ServerName},
    sign,
    version::{TLS12, TLS13},
};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

fn pair() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

fn install(certificate: &ServingCertificate, pair: &CertifiedKey<KeyPair>) {
    let key = PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der()).into();
    certificate.install(Arc::new(sign::CertifiedKey::from_der(vec![pair.cert.der().clone()], key, &default_provider()).unwrap()));
}

async fn served(certificate: &Arc<ServingCertificate>) -> Served {
    limited(certificate, Limits::default()).await
}

async fn limited(certificate: &Arc<ServingCertificate>, limits: Limits) -> Served {
    Served::with(Replica::new().router, TlsMode::with(Arc::clone(certificate)).unwrap(), limits).await
}

struct Offer<'a> {
    version: &'static SupportedProtocolVersion,
    suites: &'a [CipherSuite],
    alpn: &'a [&'a [u8]],
}

const ANYTHING: Offer<'_> = Offer { version: &TLS13, suites: &[], alpn: &[] };

async fn handshake(served: &Served, trusted: &CertifiedKey<KeyPair>, offer: Offer<'_>) -> io::Result<TlsStream<TcpStream>> {
    handshake_over(served.connect().await, trusted, offer).await
}

async fn handshake_over(stream: TcpStream, trusted: &CertifiedKey<KeyPair>, offer: Offer<'_>) -> io::Result<TlsStream<TcpStream>> {
    let mut provider = default_provider();
    provider.cipher_suites.retain(|suite| offer.suites.is_empty() || offer.suites.contains(&suite.suite()));
    let mut roots = RootCertStore::empty();
    roots.add(trusted.cert.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[offer.version]).unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = offer.alpn.iter().map(|name| name.to_vec()).collect();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await?;
    stream.write_all(b"GET /oauth2/jwks HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
    Ok(stream)
}

/// H04, S19.
#[tokio::test]
async fn tls_1_3_and_1_2_with_aes_gcm_are_spoken_and_nothing_else() {
    let (certificate, pair) = (Arc::new(ServingCertificate::default()), pair());
    install(&certificate, &pair);
    let served = served(&certificate).await;
    let stream = handshake(&served, &pair, ANYTHING).await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    for suite in [CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384] {
        let stream = handshake(&served, &pair, Offer { version: &TLS12, suites: &[suite], alpn: &[] }).await.unwrap();
        assert_eq!(stream.get_ref().1.negotiated_cipher_suite().unwrap().suite(), suite);
    }
    let chacha = [CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256];
    assert!(handshake(&served, &pair, Offer { version: &TLS12, suites: &chacha, alpn: &[] }).await.is_err());
}

/// ALPN: HTTP/2 where the client can, else HTTP/1.1.
#[tokio::test]
async fn http_2_is_preferred() {
    let (certificate, pair) = (Arc::new(ServingCertificate::default()), pair());
    install(&certificate, &pair);
    let served = served(&certificate).await;
    for (offered, chosen) in [(&[b"http/1.1".as_slice(), b"h2"] as &[&[u8]], b"h2".as_slice()), (&[b"http/1.1"], b"http/1.1")] {
        let stream = handshake(&served, &pair, Offer { alpn: offered, ..ANYTHING }).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(chosen));
    }
}

/// S19: the next handshake gets the new certificate, and an open connection goes on.
#[tokio::test]
async fn a_certificate_is_exchanged_without_a_restart() {
    let certificate = Arc::new(ServingCertificate::default());
    let (old, new) = (pair(), pair());
    let served = served(&certificate).await;
    assert!(handshake(&served, &old, ANYTHING).await.is_err(), "no certificate yet");
    install(&certificate, &old);
    let mut open = handshake(&served, &old, ANYTHING).await.unwrap();
    install(&certificate, &new);
    handshake(&served, &new, ANYTHING).await.unwrap();
    assert!(handshake(&served, &old, ANYTHING).await.is_err());
    let mut response = String::new();
    open.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

/// H03: a handshake ends well in the midst of which the process stood still (SIGSTOP, a machine that is paused).
#[tokio::test]
async fn a_handshake_goes_on_after_the_process_stood_still() {
    let (certificate, pair) = (Arc::new(ServingCertificate::default()), pair());
    install(&certificate, &pair);
    let limits = Limits { head: Duration::from_secs(1), ..Limits::default() };
    let served = limited(&certificate, limits).await;
    let stream = served.connect().await;
    served.open_are(1).await;
    std::thread::sleep(limits.head * 2);
    let mut stream = handshake_over(stream, &pair, ANYTHING).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}
