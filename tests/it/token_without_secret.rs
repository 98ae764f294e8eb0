//! `keywright token` for clients that have no secret: the pod's ServiceAccount, or a key of their own.

use keywright::domain::resource::Algorithm;
use keywright::keys::SigningKey;

use crate::clients::mounted;
use crate::secretless::{Key, account, projected};
use crate::teams::{INVOICES, Teams, WORKER};
use crate::token_command::{assert_failed, command, ended};

/// K01, as a pod does it: two mounted folders and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_projected_service_account_token_gets_a_token() {
    let teams = Teams::new().await;
    let accounts = account(&teams, "worker").await;
    account(&teams, "other").await;
    teams.apply(INVOICES).await;
    teams.apply(&format!("{WORKER}  authentication: {{serviceAccounts: [{{name: worker}}]}}\n")).await;
    let credentials = teams.operator.credentials(&teams.billing, "worker").await;
    let folder = mounted(&credentials);
    let (directory, file) = (folder.path().display().to_string(), folder.path().join("projected"));
    let path = file.display().to_string();
    let arguments = ["--directory", &directory, "--service-account-token", &path];
    assert_failed(&ended(command(&arguments)).await, 3, &["projected", "is it mounted there?"], "eyJ");
    // Read anew each time: the kubelet replaces it.
    for _ in 0..2 {
        std::fs::write(&file, projected(&accounts, "worker", credentials.get("issuer-uri")).await + "\n").unwrap();
        let printed = ended(command(&arguments)).await.succeeded().unwrap();
        let claims = credentials.verify(printed.trim_end(), &teams.audience()).await;
        assert_eq!(claims["client_id"], credentials.get("client-id"));
    }
    std::fs::write(&file, projected(&accounts, "other", credentials.get("issuer-uri")).await).unwrap();
    assert_failed(&ended(command(&arguments)).await, 4, &["invalid_client"], "eyJ");
    // Without it there is no secret to fall back to.
    let hint = ["private_key_jwt", "--service-account-token", "--private-key"];
    assert_failed(&ended(command(&["--directory", &directory])).await, 3, &hint, "eyJ");
}

/// J01: a key of each kind signs an assertion for each request.
#[tokio::test(flavor = "multi_thread")]
async fn a_private_key_gets_tokens() {
    let teams = Teams::new().await;
    teams.apply(INVOICES).await;
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps256] {
        let key = Key(SigningKey::generate(algorithm).unwrap());
        teams.apply(&format!("{WORKER}  authentication: {}\n", key.authentication())).await;
        let credentials = teams.operator.credentials(&teams.billing, "worker").await;
        let folder = mounted(&credentials);
        let (directory, path) = (folder.path().display().to_string(), folder.path().join("key").display().to_string());
        std::fs::write(&path, key.pem()).unwrap();
        let mut arguments = vec!["--directory", &directory, "--private-key", &path];
        if algorithm == Algorithm::Ps256 {
            arguments.extend(["--signing-algorithm", "PS256"]);
        }
        for _ in 0..2 {
            let printed = ended(command(&arguments)).await.succeeded().unwrap();
            credentials.verify(printed.trim_end(), &teams.audience()).await;
        }
        std::fs::write(&path, Key::new().pem()).unwrap();
        arguments.truncate(4);
        assert_failed(&ended(command(&arguments)).await, 4, &["invalid_client"], "PRIVATE");
        std::fs::write(&path, "no key").unwrap();
        assert_failed(&ended(command(&arguments)).await, 3, &["holds no private key", "PKCS#8"], "PRIVATE");
        std::fs::write(&path, key.pem()).unwrap();
        std::fs::remove_file(folder.path().join("issuer-uri")).unwrap();
        assert_failed(&ended(command(&arguments)).await, 3, &["issuer-uri"], "PRIVATE");
    }
}
