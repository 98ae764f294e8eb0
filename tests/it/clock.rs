//! The clock that tests move: the wall clock of a running operator, days on within a second. The cargo feature `test-clock`, which no image
//! contains.
//!
//! A replica whose wall clock jumps is in doubt until it has renewed its Lease and listed again, as after a freeze: `advance` waits for the
//! end of that.

use std::process::Command;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::cluster::{ControlPlane, eventually};
use crate::operator::{Operator, Replica, SOON};
use crate::teams::Teams;

impl Replica {
    /// By how many milliseconds its clock is off.
    fn offset(&self) -> i64 {
        std::fs::read_to_string(&self.clock).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// What its clock says, or will say in a moment.
    pub(crate) fn now(&self) -> Timestamp {
        keywright::ambient::now() + SignedDuration::from_millis(self.offset())
    }

    /// Moves its clock alone, and does not wait.
    pub(crate) fn move_clock(&self, milliseconds: i64) {
        let written = self.clock.with_extension("new");
        std::fs::write(&written, (self.offset() + milliseconds).to_string()).unwrap();
        std::fs::rename(written, &self.clock).unwrap();
    }

    /// Waits until it goes by its clock, and is in contact.
    pub(crate) async fn follows_its_clock(&self) {
        let url = format!("http://127.0.0.1:{}/contact", self.health_port);
        let look = async || {
            let seen = std::fs::read_to_string(self.clock.with_extension("seen")).unwrap_or_default();
            if seen != self.offset().to_string() {
                return Err(format!("its clock is off by {seen:?} ms"));
            }
            match reqwest::get(&url).await {
                Ok(response) if response.status() == 200 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        };
        self.process().wait_for("it goes by its clock", SOON, look).await.unwrap();
    }
}

impl Operator<'_> {
    /// Moves the clocks of all replicas forward, and waits until all are in contact again.
    pub(crate) async fn advance(&self, by: Duration) {
        let running = || self.replicas.iter().filter(|replica| replica.is_started() && replica.process().is_running());
        self.replicas.iter().for_each(|replica| replica.move_clock(i64::try_from(by.as_millis()).unwrap()));
        for replica in running() {
            replica.follows_its_clock().await;
        }
    }
}

/// What `cargo build` gives, and so an image: without what only tests depend on.
fn features_of_an_image(arguments: &[&str]) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--locked", "--offline", "--edges", "normal,build", "--depth", "0", "--format", "features:{f}"]).args(arguments);
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn no_image_contains_the_clock_that_tests_move() {
    assert_eq!(features_of_an_image(&[]), "features:");
    assert_eq!(features_of_an_image(&["--features", "test-clock"]), "features:test-clock");
}

/// F13: both replicas notice that their clocks jump, say so, and go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_is_followed_and_reported() {
    let operator = Operator::running(ControlPlane::shared().await.unwrap()).await;
    let teams = Teams::served_by(&operator).await;
    let credentials = teams.worker().await;
    let issued_at = async || {
        let token = credentials.token().await.token().to_owned();
        credentials.verify(&token, &teams.audience()).await["iat"].as_i64().unwrap()
    };
    let before = issued_at().await;
    operator.advance(Duration::from_secs(2 * 3_600)).await;
    let after = issued_at().await;
    assert!((7_200..7_300).contains(&(after - before)), "{after} after {before}");
    // A leader whose term the jump itself has ended, because it was renewing the Lease, begins with the new time: then once more.
    let mut terms = 0;
    let reported = async || {
        if operator.replicas.iter().any(|replica| replica.log().contains("the wall clock was set")) {
            return Ok(());
        }
        if operator.terms_over() > terms {
            terms = operator.terms_over();
            operator.advance(Duration::from_secs(2 * 3_600)).await;
        }
        Err("not reported")
    };
    eventually(SOON, "the leader reports it", reported).await.unwrap();
}
