//! A start that cannot work ends with one line that says what to change; one that may yet work goes on, not ready, and says what it waits for.

use std::process::Command;
use std::time::Duration;

use crate::cluster::proxy::Proxy;
use crate::cluster::{ControlPlane, Options, Output, eventually, free_port, run};
use crate::operator::{Operator, RELEASE, Replica, SOON};
use crate::teams::Teams;

/// `keywright run`, with what it needs, and these flags besides or instead.
fn keywright(flags: &[&str]) -> Command {
    let (listen, health) = (format!("127.0.0.1:{}", free_port().unwrap()), format!("127.0.0.1:{}", free_port().unwrap()));
    let needed = [("--namespace", "auth"), ("--pod", "keywright-0"), ("--listen", &listen), ("--health-listen", &health)];
    let mut command = Command::new(env!("CARGO_BIN_EXE_keywright"));
    command.arg("run").env_clear().env("KUBECONFIG", "/no/such/kubeconfig");
    for (flag, value) in needed {
        if !flags.iter().any(|given| given.starts_with(flag)) {
            command.args([flag, value]);
        }
    }
    command.args(flags);
    command
}

async fn ended(mut command: Command) -> Output {
    command.env("RUST_LOG", "error");
    tokio::time::timeout(SOON, run(command, String::new())).await.expect("it ends by itself").unwrap()
}

/// Exit code 2 and the flag's name, as command line tools have it.
#[tokio::test(flavor = "multi_thread")]
async fn a_flag_that_cannot_be_read_is_named() {
    for (flags, words) in [
        (vec!["--no-such-flag"], "--no-such-flag"),
        (vec!["--listen=8443"], "--listen"),
        (vec!["--health-listen=localhost"], "--health-listen"),
        (vec!["--tls=On"], "--tls"),
        (vec!["--tls=Secret"], "--tls-secret"),
        (vec!["--max-stale=1w"], "90s, 15m, 24h or 30d"),
        (vec!["--signing-algorithm=HS256"], "one of RS256, ES256, PS256 and EdDSA"),
        (vec!["--role=Leader"], "--role"),
        (vec!["--log-format=xml"], "--log-format"),
    ] {
        let output = ended(keywright(&flags)).await;
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {output:?}");
        assert!(output.stderr.contains(words) && output.stdout.is_empty(), "{flags:?}: {output:?}");
    }
    let nothing = ended({
        let mut command = Command::new(env!("CARGO_BIN_EXE_keywright"));
        command.arg("run").env_clear();
        command
    })
    .await;
    assert_eq!(nothing.status.code(), Some(2));
    assert!(nothing.stderr.contains("--namespace") && nothing.stderr.contains("--pod"), "{nothing:?}");
}

/// Exit code 1 and one line.
#[tokio::test(flavor = "multi_thread")]
async fn a_flag_that_cannot_be_followed_ends_with_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let unknown = path("unknown.yaml", "audience: []\n");
    let lifetime = path("lifetime.yaml", "maxLifetime: 1w\n");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let used = listener.local_addr().unwrap().to_string();
    for (flags, words) in [
        (vec!["--issuer=http://a.example"], vec!["--issuer http://a.example", "https"]),
        (vec!["--issuer=https://a.example/?x"], vec!["--issuer https://a.example/?x"]),
        (vec!["--tls=Off", "--listen=0.0.0.0:0"], vec!["--tls Off", "--tls-terminated-elsewhere"]),
        (vec!["--tls-san=a b"], vec!["--tls-san a b"]),
        (vec!["--signing-key-publish-ahead=30m"], vec!["--signing-key-publish-ahead 30m", "from 1h to 7d"]),
        (vec!["--signing-key-rotate-every=49h"], vec!["--signing-key-rotate-every 49h", "more than 2945m"]),
        (vec!["--policy=/no/such/file"], vec!["--policy /no/such/file", "No such file"]),
        (vec!["--policy", &unknown], vec!["--policy", "unknown.yaml", "audience"]),
        (vec!["--policy", &lifetime], vec!["lifetime.yaml", "write 15m or 1h"]),
        (vec!["--listen", &used], vec!["--listen", &used, "in use"]),
        (vec!["--health-listen", &used], vec!["--health-listen", &used, "in use"]),
        (vec![], vec!["no way to the API server", "KUBECONFIG"]),
    ] {
        let output = ended(keywright(&flags)).await;
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {output:?}");
        let lines: Vec<_> = output.stderr.lines().collect();
        assert!(lines.len() == 1 && lines[0].starts_with("keywright: "), "{flags:?}: {output:?}");
        assert!(words.iter().all(|word| lines[0].contains(word)), "{flags:?}: {words:?} in {output:?}");
    }
}

/// What `/readyz` says of a replica that is not ready.
async fn not_ready(replica: &Replica) -> Result<String, String> {
    let url = format!("http://127.0.0.1:{}/readyz", replica.health_port);
    let response = reqwest::get(url).await.map_err(|error| error.to_string())?;
    let (status, text) = (response.status().as_u16(), response.text().await.map_err(|error| error.to_string())?);
    if status == 503 { Ok(text) } else { Err(format!("{status}: {text}")) }
}

/// Waits until the replica lives, is not ready, and its log holds a line with all these words, which is not told over and over.
async fn says(replica: &Replica, words: &[&str]) {
    let told = async || {
        let text = not_ready(replica).await?;
        let log = replica.log();
        let lines = log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count();
        if lines > 0 { Ok(lines) } else { Err(format!("{text}\n{log}")) }
    };
    let seen = eventually(SOON, &format!("the log says {words:?}"), told).await;
    let lines = seen.unwrap_or_else(|error| panic!("{error}"));
    assert!(lines < 20, "{lines} times {words:?}");
    assert!(replica.process().is_running());
}

/// Not ready, and ready as soon as it is there.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_cannot_be_reached_is_waited_for() {
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), Default::default()).await;
    let proxy = Proxy::start(&operator.kubeconfig).await.unwrap();
    proxy.cut_off().await;
    operator.start(operator.first(), proxy.kubeconfig());
    says(operator.first(), &["connection to the API server failed"]).await;
    proxy.restore().await.unwrap();
    operator.first().ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_still_waits_ends_when_it_is_told_to() {
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), Default::default()).await;
    let proxy = Proxy::start(&operator.kubeconfig).await.unwrap();
    proxy.cut_off().await;
    let process = operator.start(operator.first(), proxy.kubeconfig());
    eventually(SOON, "it lives", async || not_ready(operator.first()).await).await.unwrap();
    process.terminate().unwrap();
    let status = process.exit(Duration::from_secs(15)).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", operator.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_missing_are_named_and_waited_for() {
    let cluster = ControlPlane::shared().await.unwrap();
    let operator = Operator::install(cluster, Default::default()).await;
    let name = format!("keywright:{}:{RELEASE}", operator.namespace);
    let binding = cluster.kubectl(&["get", "clusterrolebinding", &name, "-o", "json"]).await.unwrap().succeeded().unwrap();
    cluster.kubectl(&["delete", "clusterrolebinding", &name]).await.unwrap().succeeded().unwrap();
    operator.start(operator.first(), &operator.kubeconfig);
    says(operator.first(), &["cannot list resource", "oauthclients"]).await;
    cluster.admin().kubectl_with(&["create", "-f", "-"], &binding).await.unwrap().succeeded().unwrap();
    operator.first().ready().await;
    Teams::served_by(&operator).await.worker().await.token().await.token();
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_that_are_missing_are_named_and_waited_for() {
    let bare = Options { controllers: Vec::new(), crds: Vec::new(), ..Options::default() };
    let cluster = ControlPlane::start(bare).await.unwrap();
    let operator = Operator::install(&cluster, Default::default()).await;
    operator.start(operator.first(), &operator.kubeconfig);
    says(operator.first(), &["oauthclients", "CustomResourceDefinition"]).await;
    let crds = Command::new(env!("CARGO_BIN_EXE_keywright")).arg("crds").output().unwrap();
    let crds = String::from_utf8(crds.stdout).unwrap();
    cluster.admin().kubectl_with(&["apply", "--server-side", "-f", "-"], &crds).await.unwrap().succeeded().unwrap();
    operator.first().ready().await;
    let established = ["wait", "--for=condition=Established", "crd", "--all"];
    cluster.kubectl(&established).await.unwrap().succeeded().unwrap();
    Teams::served_by(&operator).await.worker().await.token().await.token();
}
