//! `keywright token`: what a workload runs that knows no OAuth library, and the sidecar of one that can only read a file.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;
use tempfile::TempDir;

use crate::clients::mounted;
use crate::cluster::{Output, Process, eventually, free_port, run};
use crate::operator::SOON;
use crate::teams::{INVOICES, Teams, WORKER};
use crate::workload::Credentials;

/// `keywright token`, in an environment that is empty but for what a test adds.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keywright"));
    command.arg("token").args(arguments).env_clear();
    command
}

pub(crate) async fn ended(command: Command) -> Output {
    tokio::time::timeout(SOON, run(command, String::new())).await.expect("it ends by itself").unwrap()
}

async fn of_folder(folder: &Path, flags: &[&str]) -> Output {
    let mut command = command(&["--directory"]);
    command.arg(folder).args(flags);
    ended(command).await
}

/// One line that says what to do, this exit code, nothing on standard output, and no secret.
pub(crate) fn assert_failed(output: &Output, code: i32, words: &[&str], secret: &str) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    assert!(output.stderr.starts_with("keywright: ") && output.stderr.lines().count() == 1, "{output:?}");
    assert!(words.iter().all(|word| output.stderr.contains(word)), "{words:?} in {output:?}");
    assert!(!output.stderr.contains(secret), "a message holds the secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_secret_gets_a_token_that_verifies() {
    let teams = Teams::new().await;
    let credentials = teams.worker().await;
    let folder = mounted(&credentials);
    let printed = of_folder(folder.path(), &[]).await.succeeded().unwrap();
    let token = printed.strip_suffix('\n').unwrap();
    let claims = credentials.verify(token, &teams.audience()).await;
    assert_eq!(claims["scope"], "invoices.read");

    // With what may be asked for besides.
    let audience = teams.audience();
    for flags in [vec!["--scope", "invoices.read"], vec!["--resource", &audience], vec!["--method", "client_secret_post"]] {
        let printed = of_folder(folder.path(), &flags).await.succeeded().unwrap();
        credentials.verify(printed.trim_end(), &teams.audience()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn header_and_claims_are_shown_to_people_and_programs_without_the_token() {
    let teams = Teams::new().await;
    let credentials = teams.worker().await;
    let folder = mounted(&credentials);
    let text = of_folder(folder.path(), &["--decode"]).await.succeeded().unwrap();
    let client = format!("{}.worker", teams.billing);
    for words in ["typ", "at+jwt", "client_id", &client, "invoices.read", &teams.audience(), "(in 14m)"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let json = of_folder(folder.path(), &["--decode", "-o", "json"]).await.succeeded().unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["header"]["typ"], &json["claims"]["client_id"]), (&"at+jwt".into(), &client.into()));
    assert!(!text.contains("eyJ"), "{text}");
}

/// Service Binding for Kubernetes, and variables of the format Env.
#[tokio::test(flavor = "multi_thread")]
async fn a_binding_root_or_the_environment_do_as_well() {
    let teams = Teams::new().await;
    let credentials = teams.worker().await;
    let root = tempfile::tempdir().unwrap();
    std::fs::rename(mounted(&credentials).keep(), root.path().join("worker")).unwrap();
    std::fs::create_dir(root.path().join("database")).unwrap();
    std::fs::write(root.path().join("database/type"), "postgresql").unwrap();
    let at_root = |flags: &[&str]| {
        let mut command = command(flags);
        command.env("SERVICE_BINDING_ROOT", root.path());
        command
    };
    credentials.verify(ended(at_root(&[])).await.succeeded().unwrap().trim_end(), &teams.audience()).await;

    // A second one has to be told from it.
    std::fs::rename(mounted(&credentials).keep(), root.path().join("other")).unwrap();
    assert_failed(&ended(at_root(&[])).await, 3, &["choose one of other, worker by --binding"], credentials.get("client-secret"));
    ended(at_root(&["--binding", "worker"])).await.succeeded().unwrap();

    let variables = [("CLIENT_ID", "client-id"), ("PASSWORD", "client-secret"), ("TOKEN_URL", "token-uri"), ("CA_CERT", "ca.crt")];
    let mut from_environment = at_root(&["--environment", "--key", "CLIENT_SECRET=PASSWORD"]);
    from_environment.envs(variables.map(|(name, key)| (name, credentials.get(key))));
    credentials.verify(ended(from_environment).await.succeeded().unwrap().trim_end(), &teams.audience()).await;
}

/// Bad input: exit code 3, and what to do.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_cannot_be_used_are_named() {
    let teams = Teams::new().await;
    let credentials = teams.worker().await;
    let secret = credentials.get("client-secret");
    let with = |key: &str, text: Option<&str>| {
        let mut changed = credentials.clone();
        changed.0.remove(key);
        changed.0.extend(text.map(|text| (key.to_owned(), text.to_owned())));
        mounted(&changed)
    };
    for (key, text, words) in [
        ("client-secret", None, vec!["there is no client-secret", "client-id, ", "--key client-secret=NAME"]),
        ("client-id", Some("\n"), vec!["there is no client-id"]),
        ("token-uri", Some("http://auth.example/oauth2/token"), vec!["in the clear"]),
        ("token-uri", Some("nowhere"), vec!["token-uri is no URL"]),
        ("client-authentication-method", Some("private_key_jwt"), vec!["private_key_jwt", "--service-account-token"]),
        ("ca.crt", Some("not PEM"), vec!["ca.crt holds no certificate"]),
    ] {
        assert_failed(&of_folder(with(key, text).path(), &[]).await, 3, &words, secret);
    }
    // As in an image with nothing but the program in it.
    let without_ca = with("ca.crt", None);
    let mut nobody_to_trust = command(&["--directory"]);
    nobody_to_trust.arg(without_ca.path()).envs([("SSL_CERT_FILE", "/dev/null"), ("SSL_CERT_DIR", "/proc/1/no-such")]);
    assert_failed(&ended(nobody_to_trust).await, 3, &["no CA to trust", "holds no ca.crt", "SSL_CERT_FILE"], secret);
    let folder = mounted(&credentials);
    assert_failed(&of_folder(&folder.path().join("none"), &[]).await, 3, &["none", "No such file", "mounted there"], secret);
    assert_failed(&of_folder(&folder.path().join("ca.crt"), &[]).await, 3, &["ca.crt", "Not a directory"], secret);
    // A folder where a file should be cannot be read by anybody, root included.
    let unreadable = with("client-secret", None);
    std::fs::create_dir(unreadable.path().join("client-secret")).unwrap();
    assert_failed(&of_folder(unreadable.path(), &[]).await, 3, &["client-secret", "directory"], secret);
    assert_failed(&ended(command(&[])).await, 3, &["no credentials", "--directory", "CLIENT_ID"], secret);
    assert_failed(&ended(command(&["--binding", "x"])).await, 3, &["SERVICE_BINDING_ROOT is not set"], secret);
    let empty = tempfile::tempdir().unwrap();
    let mut rootless = command(&[]);
    rootless.env("SERVICE_BINDING_ROOT", empty.path());
    assert_failed(&ended(rootless).await, 3, &["no binding of the type oauth2", "it is empty"], secret);
}

/// Exit codes 4 (asking again does not help) and 5 (it may).
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_refuses_or_is_not_there_is_told_apart() {
    let teams = Teams::new().await;
    let credentials = teams.worker().await;
    let secret = credentials.get("client-secret");
    let with = |key: &str, text: &str| {
        let mut changed = credentials.clone();
        changed.0.insert(key.to_owned(), text.to_owned());
        mounted(&changed)
    };
    let wrong = "A".repeat(43);
    let folder = with("client-secret", &wrong);
    assert_failed(&of_folder(folder.path(), &[]).await, 4, &["invalid_client", "newest credentials", "kubectl keywright status"], &wrong);
    let folder = mounted(&credentials);
    let refused = of_folder(folder.path(), &["--scope", "invoices.write"]).await;
    assert_failed(&refused, 4, &["invalid_scope", "kubectl keywright check"], secret);
    assert_failed(&of_folder(folder.path(), &["--resource", "https://other.svc"]).await, 4, &["invalid_target"], secret);

    let nobody = format!("https://localhost:{}/oauth2/token", free_port().unwrap());
    assert_failed(&of_folder(with("token-uri", &nobody).path(), &[]).await, 5, &["no answer from", &nobody, "refused"], secret);
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let distrusted = of_folder(with("ca.crt", &stranger).path(), &[]).await;
    assert_failed(&distrusted, 5, &["not to be trusted", "ca.crt of the Secret is not its CA"], secret);
    let jwks = credentials.get("jwk-set-uri").to_owned();
    assert_failed(&of_folder(with("token-uri", &jwks).path(), &[]).await, 4, &["refuses", "invalid_request"], secret);
}

/// Exit code 2, as clap has it.
#[tokio::test(flavor = "multi_thread")]
async fn flags_that_contradict_each_other_are_refused() {
    for flags in [
        vec!["--watch"],
        vec!["--decode", "--out", "x"],
        vec!["--directory", "a", "--binding", "b"],
        vec!["--key", "client-secret"],
        vec!["--scope", ""],
        vec!["--client-secret", "x"],
        vec!["--method", "private_key_jwt"],
        vec!["--private-key", "a", "--service-account-token", "b"],
        vec!["--jwt-svid", "a", "--service-account-token", "b"],
        vec!["--signing-algorithm", "PS256"],
        vec!["--private-key", "a", "--signing-algorithm", "HS256"],
    ] {
        let output = ended(command(&flags)).await;
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {output:?}");
    }
}

/// A process that keeps a file, and its log.
struct Kept {
    folder: TempDir,
    credentials: TempDir,
}

impl Kept {
    fn of(credentials: &Credentials) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), credentials: mounted(credentials) }
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("token")
    }

    fn arguments(&self) -> Vec<String> {
        let (directory, file) = (self.credentials.path().display().to_string(), self.file().display().to_string());
        ["token", "--directory", &directory, "--watch", "--out", &file].map(str::to_owned).to_vec()
    }

    fn start(&self) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keywright"));
        Process::start("keywright token", self.folder.path().join("log"), command.args(self.arguments()).env_clear()).unwrap()
    }

    /// Waits until the file holds another token than `earlier`.
    async fn renewed(&self, process: &Process, earlier: &str) -> String {
        let look = async || match std::fs::read_to_string(self.file()) {
            Ok(token) if token != earlier => Ok(token),
            Ok(_) => Err("the same token".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        process.wait_for("the file holds a new token", SOON, look).await.unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// A worker whose tokens live for a minute, so that they are renewed after about forty seconds.
async fn hasty(teams: &Teams<'_>) -> Credentials {
    teams.apply(INVOICES).await;
    teams.apply(&format!("{WORKER}  accessToken: {{lifetime: 1m}}\n")).await;
    teams.operator.credentials(&teams.billing, "worker").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_file_is_renewed_before_its_token_expires_and_survives_a_kill() {
    let teams = Teams::new().await;
    let credentials = hasty(&teams).await;
    let kept = Kept::of(&credentials);
    let process = kept.start();
    let first = kept.renewed(&process, "").await;
    let claims = credentials.verify(&first, &teams.audience()).await;
    assert_eq!(std::fs::metadata(kept.file()).unwrap().mode() & 0o777, 0o600);
    let second = kept.renewed(&process, &first).await;
    let renewed = credentials.verify(&second, &teams.audience()).await;
    let life = renewed["iat"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert!((34..60).contains(&life), "renewed after {life} s of 60");

    process.kill().unwrap();
    let process = kept.start();
    let third = kept.renewed(&process, &second).await;
    credentials.verify(&third, &teams.audience()).await;
    assert_eq!(kept.names(), ["log", "token"]);
    process.terminate().unwrap();
    assert_eq!(process.exit(SOON).await.unwrap().code(), Some(0), "{}", process.log());
    assert!(!process.log().contains(credentials.get("client-secret")) && !process.log().contains("eyJ"), "{}", process.log());
}

/// What is refused or out of reach leaves the old token, is told, and ends as soon as the Secret's new content is mounted.
#[tokio::test(flavor = "multi_thread")]
async fn a_watched_file_survives_credentials_that_change_and_an_endpoint_that_is_away() {
    let teams = Teams::new().await;
    let credentials = hasty(&teams).await;
    let kept = Kept::of(&credentials);
    let mounted_secret = kept.credentials.path().join("client-secret");
    let mounted_uri = kept.credentials.path().join("token-uri");
    std::fs::remove_file(&mounted_secret).unwrap();
    let process = kept.start();
    process.wait_for_log("there is no client-secret", SOON).await.unwrap();
    process.wait_for_log("is not written yet; next try", SOON).await.unwrap();
    std::fs::write(&mounted_secret, "A".repeat(43)).unwrap();
    process.wait_for_log("invalid_client", SOON).await.unwrap();
    std::fs::write(&mounted_uri, format!("https://localhost:{}/", free_port().unwrap())).unwrap();
    process.wait_for_log("no answer from", SOON).await.unwrap();
    assert!(!kept.file().exists());
    std::fs::write(&mounted_secret, credentials.get("client-secret")).unwrap();
    std::fs::write(&mounted_uri, credentials.get("token-uri")).unwrap();
    let token = kept.renewed(&process, "").await;
    credentials.verify(&token, &teams.audience()).await;
}

/// A limit of the file size is a disk that is full after some bytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_the_file_is_never_cut_short() {
    let teams = Teams::new().await;
    let credentials = teams.worker().await;
    let kept = Kept::of(&credentials);
    std::fs::write(kept.file(), "the old token").unwrap();
    // One block of 512 bytes: less than a token, more than what is told of it.
    let limited = "trap '' XFSZ; ulimit -S -f 1; exec \"$0\" \"$@\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", limited, env!("CARGO_BIN_EXE_keywright")]).args(kept.arguments());
    let process = Process::start("keywright token", kept.folder.path().join("log"), &mut shell).unwrap();
    process.wait_for_log("is there space left? The file is as it was", SOON).await.unwrap();
    let nothing_is_left = async || match kept.names() {
        names if names == ["log", "token"] => Ok(()),
        names => Err(format!("{names:?}")),
    };
    eventually(SOON, "what was begun is removed", nothing_is_left).await.unwrap();
    assert_eq!(std::fs::read_to_string(kept.file()).unwrap(), "the old token");

    let pid = Pid::from_raw(i32::try_from(process.pid()).unwrap());
    prlimit(pid, Resource::Fsize, Rlimit { current: None, maximum: None }).unwrap();
    let token = kept.renewed(&process, "the old token").await;
    credentials.verify(&token, &teams.audience()).await;
}
