//! The programs of `tests/clients`, ready to run. All take the same arguments.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::cluster::{Output, run};

/// In each language.
pub(super) const METHODS: &[&str] = &["client_secret_basic", "client_secret_post", "private_key_jwt", "service_account"];

/// What the next run keeps says what it was made of, and where: a virtual environment that is moved is none any more.
const STAMP: &str = "made-of";

/// One language, with the libraries that most of its users take.
pub(super) struct Program {
    words: Vec<PathBuf>,
    /// How it can authenticate.
    pub(super) methods: Vec<&'static str>,
    /// What its verifier says.
    pub(super) refusals: Refusals,
}

/// Words of a library about a token that it refuses.
pub(super) struct Refusals {
    pub(super) signature: &'static str,
    pub(super) expired: &'static str,
    pub(super) audience: &'static str,
}

impl Program {
    fn command(&self, folder: &TempDir) -> Command {
        let mut words = self.words.iter();
        let mut command = Command::new(words.next().unwrap());
        command.args(words).env("NODE_EXTRA_CA_CERTS", folder.path().join("ca.crt"));
        command
    }

    /// An access token, got with the files of a folder.
    pub(super) async fn token(&self, method: &str, folder: &TempDir) -> String {
        let mut command = self.command(folder);
        command.args(["token", method]).arg(folder.path());
        output(command, "").await
    }

    /// Asks about a token with the files of a folder, at `url` or, without one, where the metadata says: its client, or `inactive`.
    pub(super) async fn introspect(&self, method: &str, folder: &TempDir, url: Option<&str>, token: &str) -> String {
        let mut command = self.command(folder);
        command.args(["introspect", method]).arg(folder.path()).args(url);
        output(command, token).await
    }

    /// Revokes a token with the files of a folder.
    pub(super) async fn revoke(&self, method: &str, folder: &TempDir, token: &str) -> Output {
        let mut command = self.command(folder);
        command.args(["revoke", method]).arg(folder.path());
        run(command, token.to_owned()).await.unwrap()
    }

    /// Prints the client of a good token, by a clock that is some seconds ahead.
    pub(super) async fn verify(&self, folder: &TempDir, audience: &str, ahead: &str, token: &str) -> Output {
        let mut command = self.command(folder);
        command.arg("verify").arg(folder.path()).args([audience, ahead]);
        run(command, token.to_owned()).await.unwrap()
    }
}

/// All of them, made once for all tests.
pub(super) async fn programs() -> &'static [Program] {
    static PROGRAMS: OnceCell<Vec<Program>> = OnceCell::const_new();
    let make = async || {
        let (go, python, javascript) = tokio::join!(go(), python(), javascript());
        vec![go, python, javascript]
    };
    PROGRAMS.get_or_init(make).await
}

pub(super) async fn output(command: Command, input: &str) -> String {
    run(command, input.to_owned()).await.unwrap().succeeded().unwrap()
}

/// In the target folder: what is made here is kept for the next run.
fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(path)
}

/// Built by Go each time, which takes no time where nothing has changed.
async fn go() -> Program {
    let binary = kept("go-client");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&binary).arg(".").current_dir(source("go")).env("CGO_ENABLED", "0");
    output(build, "").await;
    let refusals = Refusals { signature: "failed to verify signature", expired: "token is expired", audience: "expected audience" };
    Program { words: vec![binary], methods: METHODS.to_vec(), refusals }
}

/// A virtual environment with the pinned libraries and programs, Node.js and Envoy among them, made once for each version of the
/// requirements: the folder of its programs.
pub(crate) async fn environment() -> &'static Path {
    static ENVIRONMENT: OnceCell<PathBuf> = OnceCell::const_new();
    let make = async || {
        let (requirements, folder) = (source("python/requirements.txt"), kept("python"));
        let programs = folder.join("bin");
        if !is_made_of(&folder, &requirements) {
            let mut create = Command::new("python3");
            create.args(["-m", "venv", "--clear"]).arg(&folder);
            let created = run(create, String::new()).await.and_then(Output::succeeded);
            assert!(created.is_ok(), "it needs Python 3 with venv (Debian: python3-venv): {}", created.unwrap_err());
            let mut install = Command::new(programs.join("python"));
            install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&requirements);
            output(install, "").await;
            std::fs::write(folder.join(STAMP), stamp(&folder, &requirements)).unwrap();
        }
        programs
    };
    ENVIRONMENT.get_or_init(make).await
}

async fn python() -> Program {
    let methods = METHODS.iter().copied().chain(["requests-oauthlib"]).collect();
    let refusals = Refusals { signature: "InvalidSignatureError", expired: "ExpiredSignatureError", audience: "InvalidAudienceError" };
    Program { words: vec![environment().await.join("python"), source("python/client.py")], methods, refusals }
}

/// A copy of the program beside its pinned libraries: Node.js looks for them there, and the source tree stays as it is.
async fn javascript() -> Program {
    let programs = environment().await;
    let lock = source("javascript/package-lock.json");
    let folder = kept("javascript");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["client.mjs", "package.json", "package-lock.json"] {
        std::fs::copy(source("javascript").join(name), folder.join(name)).unwrap();
    }
    if !is_made_of(&folder, &lock) {
        let mut install = Command::new(programs.join("npm"));
        install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&folder);
        output(install, "").await;
        std::fs::write(folder.join(STAMP), stamp(&folder, &lock)).unwrap();
    }
    let refusals = Refusals {
        signature: "ERR_JWS_SIGNATURE_VERIFICATION_FAILED",
        expired: "ERR_JWT_EXPIRED",
        audience: "unexpected \"aud\" claim value",
    };
    Program { words: vec![programs.join("node"), folder.join("client.mjs")], methods: METHODS.to_vec(), refusals }
}

fn is_made_of(folder: &Path, source: &Path) -> bool {
    std::fs::read_to_string(folder.join(STAMP)).is_ok_and(|made| made == stamp(folder, source))
}

fn stamp(folder: &Path, source: &Path) -> String {
    format!("{}\n{}", folder.display(), std::fs::read_to_string(source).unwrap())
}

#[test]
fn what_was_made_elsewhere_is_made_again() {
    let place = tempfile::tempdir().unwrap();
    let [source, here, there] = ["requirements.txt", "here", "there"].map(|name| place.path().join(name));
    std::fs::write(&source, "requests==2\n").unwrap();
    std::fs::create_dir(&here).unwrap();
    assert!(!is_made_of(&here, &source));
    std::fs::write(here.join(STAMP), stamp(&here, &source)).unwrap();
    assert!(is_made_of(&here, &source));
    std::fs::rename(&here, &there).unwrap();
    assert!(!is_made_of(&there, &source));
    std::fs::rename(&there, &here).unwrap();
    std::fs::write(&source, "requests==3\n").unwrap();
    assert!(!is_made_of(&here, &source));
}
