//! Clients and verifiers that nobody here wrote, as a workload would use them: with the Secret mounted as files. Tokens that the library of
//! one language got are verified by that of another.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::cluster::run;
use crate::teams::{INVOICES, Teams, WORKER};
use crate::workload::Credentials;

/// In the target folder: what is made here is kept for the next run.
fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(path)
}

async fn output(command: Command, input: &str) -> String {
    run(command, input.to_owned()).await.unwrap().succeeded().unwrap()
}

/// The Secret as files, as the kubelet would mount it.
pub(crate) fn mounted(credentials: &Credentials) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in &credentials.0 {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

/// Built by Go each time, which takes no time where nothing has changed.
async fn go_client() -> PathBuf {
    let binary = kept("go-client");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&binary).arg(".").current_dir(source("go")).env("CGO_ENABLED", "0");
    output(build, "").await;
    binary
}

/// A virtual environment with the pinned libraries, made once for each version of the requirements.
async fn python() -> PathBuf {
    let requirements = std::fs::read_to_string(source("python/requirements.txt")).unwrap();
    let (folder, stamp) = (kept("python"), kept("python/requirements.txt"));
    let python = folder.join("bin/python");
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == requirements) {
        return python;
    }
    let mut create = Command::new("python3");
    create.args(["-m", "venv", "--clear"]).arg(&folder);
    output(create, "").await;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(source("python/requirements.txt"));
    output(install, "").await;
    std::fs::write(stamp, requirements).unwrap();
    python
}

/// A client, and the same one for an API that wants ES256.
async fn workers(teams: &Teams<'_>) -> [(Credentials, String); 2] {
    let rs256 = (teams.worker().await, teams.audience());
    let efficient = INVOICES.replace("name: invoices,", "name: orders,").replace("clients: [worker]", "clients: [orders]");
    teams.apply(&efficient.replace("  grants:", "  accessToken: {signingAlgorithm: ES256}\n  grants:")).await;
    teams.apply(&WORKER.replace("name: worker", "name: orders").replace("/invoices", "/orders")).await;
    let es256 = (teams.operator.credentials(&teams.billing, "orders").await, format!("https://orders.{}.svc", teams.shop));
    [rs256, es256]
}

#[tokio::test(flavor = "multi_thread")]
async fn libraries_of_two_languages_get_tokens_and_verify_those_of_each_other() {
    let teams = Teams::new().await;
    let (go, python, workers) = tokio::join!(go_client(), python(), workers(&teams));
    let with_go = |arguments: &[&str], folder: &TempDir, rest: &[&str]| {
        let mut command = Command::new(&go);
        command.args(arguments).arg(folder.path()).args(rest);
        command
    };
    let with_python = |arguments: &[&str], folder: &TempDir, rest: &[&str]| {
        let mut command = Command::new(&python);
        command.arg(source("python/client.py")).args(arguments).arg(folder.path()).args(rest);
        command
    };
    for (credentials, audience) in &workers {
        let folder = mounted(credentials);
        let of_go = output(with_go(&["token"], &folder, &[]), "").await;
        let of_oauthlib = output(with_python(&["requests-oauthlib"], &folder, &[]), "").await;
        let of_authlib = output(with_python(&["authlib"], &folder, &[]), "").await;
        for token in [&of_go, &of_oauthlib, &of_authlib] {
            let client = credentials.get("client-id");
            assert_eq!(output(with_python(&["verify"], &folder, &[audience]), token).await, client);
            assert_eq!(output(with_go(&["verify"], &folder, &[audience]), token).await, client);
        }
        // A token for another API, or by another hand, is refused by them as well.
        let forged = format!("{}A", &of_go[..of_go.len() - 2]);
        for (token, audience) in [(&of_go, "https://other.svc"), (&forged, audience.as_str())] {
            for command in [with_python(&["verify"], &folder, &[audience]), with_go(&["verify"], &folder, &[audience])] {
                assert!(!run(command, token.clone()).await.unwrap().status.success());
            }
        }
    }
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
    let answer: serde_json::Value = serde_json::from_str(&output(command, "").await).unwrap();
    credentials.verify(answer["access_token"].as_str().unwrap(), &teams.audience()).await;
}
