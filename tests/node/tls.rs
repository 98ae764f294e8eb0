//! What the pods' TLS accepts, as curl sees it over the bridge.

use std::process::Command;

use tempfile::NamedTempFile;

use crate::cluster::{Output, run};
use crate::site::{Site, undisturbed};

/// GET of the JWKS from one replica, under the name of the Service.
async fn asked(site: &Site, scheme: &str, authority: &NamedTempFile, arguments: &[&str]) -> Output {
    let address = site.installation.pods().await[0].status.as_ref().unwrap().pod_ip.clone().unwrap();
    let (host, port) = ("keywright.keywright-system.svc", if scheme == "http" { 80 } else { 443 });
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "30", "--noproxy", "*", "--cacert"]).arg(authority.path());
    curl.arg("--connect-to").arg(format!("{host}:{port}:{address}:8443")).args(arguments);
    curl.arg(format!("{scheme}://{host}/oauth2/jwks"));
    run(curl, String::new()).await.unwrap()
}

/// S19, H04 (RFC 9325): TLS 1.3, and 1.2 with AES-GCM and forward secrecy. curl may offer what is refused: the server says so by an alert.
#[tokio::test(flavor = "multi_thread")]
async fn tls_1_3_and_1_2_with_aes_gcm_are_spoken_by_the_pods_and_nothing_else() {
    let Some((site, _quiet)) = undisturbed().await else { return };
    let authority = NamedTempFile::new().unwrap();
    let trusted =
        site.installation.kubectl(&["get", "secret", "keywright-tls", "--output=go-template={{index .data \"ca.crt\" | base64decode}}"]);
    std::fs::write(authority.path(), trusted.await).unwrap();
    let suite = |name| ["--tls-max", "1.2", "--ciphers", name];
    let spoken: [&[&str]; 4] =
        [&["--tlsv1.3"], &suite("ECDHE-ECDSA-AES128-GCM-SHA256"), &suite("ECDHE-ECDSA-AES256-GCM-SHA384"), &["--http1.1"]];
    for arguments in spoken {
        let answer = asked(site, "https", &authority, arguments).await.succeeded().unwrap();
        assert!(answer.contains("\"keys\""), "{arguments:?}: {answer}");
    }
    let refused: [&[&str]; 5] = [
        &["--tlsv1.0", "--tls-max", "1.0", "--ciphers", "ALL:@SECLEVEL=0"],
        &["--tlsv1.1", "--tls-max", "1.1", "--ciphers", "ALL:@SECLEVEL=0"],
        &suite("ECDHE-ECDSA-CHACHA20-POLY1305"),
        &suite("ECDHE-ECDSA-AES128-SHA256"),
        &suite("AES128-GCM-SHA256"),
    ];
    for arguments in refused {
        let answer = asked(site, "https", &authority, arguments).await;
        assert!(answer.status.code() == Some(35) && answer.stderr.contains("alert"), "{arguments:?}: {answer:?}");
    }
    // Nor anything in plain text.
    let plain = asked(site, "http", &authority, &[]).await;
    assert!(!plain.status.success() && plain.stdout.is_empty(), "{plain:?}");
}
