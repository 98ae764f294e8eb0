//! Clients and verifiers that nobody here wrote, as a workload would use them: with the Secret mounted as files. Tokens that the library of
//! one language got are verified by those of all.

mod asked;
pub(crate) mod programs;

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::programs::{Program, output, programs};
use crate::secretless::{Key, account, projected};
use crate::teams::{INVOICES, Teams, WORKER};
use crate::workload::Credentials;

/// More than any lifetime of a token, in seconds.
const TWO_DAYS: &str = "172800";

/// The Secret as files, as the kubelet would mount it.
pub(crate) fn mounted(credentials: &Credentials) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in &credentials.0 {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

/// What a client has: its Secret and, beside it, what it authenticates with instead of a secret.
struct Workload {
    folder: TempDir,
    client: String,
    audience: String,
}

impl Workload {
    fn new(credentials: &Credentials, audience: &str, own: Option<(&str, String)>) -> Self {
        let folder = mounted(credentials);
        if let Some((name, content)) = own {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        Self { folder, client: credentials.get("client-id").to_owned(), audience: audience.to_owned() }
    }
}

/// A client of each kind; those without a secret are for an API that wants ES256.
struct Workloads {
    secret: Workload,
    signer: Workload,
    account: Workload,
}

impl Workloads {
    async fn new(teams: &Teams<'_>) -> Self {
        let secret = Workload::new(&teams.worker().await, &teams.audience(), None);
        let orders = INVOICES.replace("name: invoices,", "name: orders,").replace("[worker]", "[signer, account]");
        teams.apply(&orders.replace("  grants:", "  accessToken: {signingAlgorithm: ES256}\n  grants:")).await;
        let audience = format!("https://orders.{}.svc", teams.shop);
        let applied = async |name: &str, authentication: &Value| {
            let client = WORKER.replace("name: worker", &format!("name: {name}")).replace("/invoices", "/orders");
            teams.apply(&format!("{client}  authentication: {authentication}\n")).await;
            teams.operator.credentials(&teams.billing, name).await
        };
        let key = Key::new();
        let credentials = applied("signer", &key.authentication()).await;
        let signer = Workload::new(&credentials, &audience, Some(("private-key.pem", key.pem())));
        let accounts = account(teams, "pod").await;
        let credentials = applied("account", &json!({"serviceAccounts": [{"name": "pod"}]})).await;
        let token = projected(&accounts, "pod", credentials.get("issuer-uri")).await;
        let account = Workload::new(&credentials, &audience, Some(("service-account-token", token)));
        Self { secret, signer, account }
    }

    fn that_uses(&self, method: &str) -> &Workload {
        match method {
            "private_key_jwt" => &self.signer,
            "service_account" => &self.account,
            _ => &self.secret,
        }
    }
}

/// A01, A02, J01, K01: each way to authenticate in each language, and each token in the eyes of each language.
#[tokio::test(flavor = "multi_thread")]
async fn libraries_of_each_language_get_tokens_by_each_method_and_verify_those_of_all() {
    let teams = Teams::new().await;
    let (programs, workloads) = tokio::join!(programs(), Workloads::new(&teams));
    for program in programs {
        for method in &program.methods {
            let workload = workloads.that_uses(method);
            let token = program.token(method, &workload.folder).await;
            for verifier in programs {
                let verified = verifier.verify(&workload.folder, &workload.audience, "0", &token).await;
                assert_eq!(verified.succeeded().unwrap(), workload.client, "{method}");
            }
        }
    }
}

/// RFC 9068 §4, in each language and for each algorithm: the reason is the one meant.
#[tokio::test(flavor = "multi_thread")]
async fn libraries_of_each_language_refuse_tokens_that_are_tampered_with_expired_or_for_another_api() {
    let teams = Teams::new().await;
    let (programs, workloads) = tokio::join!(programs(), Workloads::new(&teams));
    for (workload, method) in [(&workloads.secret, "client_secret_basic"), (&workloads.signer, "private_key_jwt")] {
        let (token, another) = (programs[0].token(method, &workload.folder).await, programs[0].token(method, &workload.folder).await);
        for verifier in programs {
            assert_refuses(verifier, workload, &token, &another).await;
        }
    }
}

async fn assert_refuses(verifier: &Program, workload: &Workload, token: &str, another: &str) {
    let (audience, refusals) = (workload.audience.as_str(), &verifier.refusals);
    let cases = [
        (resigned(token, another), audience, "0", refusals.signature),
        (altered(token), audience, "0", refusals.signature),
        (token.to_owned(), audience, TWO_DAYS, refusals.expired),
        (token.to_owned(), "https://other.svc", "0", refusals.audience),
    ];
    for (token, audience, ahead, reason) in cases {
        let output = verifier.verify(&workload.folder, audience, ahead, &token).await;
        assert!(!output.status.success() && output.stderr.contains(reason), "{reason}: {output:?}");
    }
    let good = verifier.verify(&workload.folder, audience, "0", token).await;
    assert_eq!(good.succeeded().unwrap(), workload.client);
}

/// With the signature of another token.
pub(crate) fn resigned(token: &str, another: &str) -> String {
    let (content, signature) = (token.rsplit_once('.').unwrap().0, another.rsplit_once('.').unwrap().1);
    format!("{content}.{signature}")
}

/// With more scopes than were granted.
fn altered(token: &str) -> String {
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    claims["scope"] = json!("invoices.read invoices.write");
    format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// As the README has it, to the letter.
#[tokio::test(flavor = "multi_thread")]
async fn curl_gets_a_token_with_what_is_mounted() {
    let teams = Teams::new().await;
    let credentials = teams.worker().await;
    let folder = mounted(&credentials);
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let line = readme.lines().find(|line| line.starts_with("curl --cacert")).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(folder.path());
    let answer: Value = serde_json::from_str(&output(command, "").await).unwrap();
    credentials.verify(answer["access_token"].as_str().unwrap(), &teams.audience()).await;
}
