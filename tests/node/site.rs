//! Where the tests of this binary take place: one cluster, one installation, three teams whose pods call all the time.

use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::cluster::node::{self, Cluster};
use crate::installation::Installation;
use crate::load::Load;
use crate::teams;

/// Makes what cannot run a failure.
const REQUIRED: &str = "KEYWRIGHT_REQUIRE_NODE";

/// Held by tests that look, and, for writing, by those that make faults.
static QUIET: RwLock<()> = RwLock::const_new(());

/// What all tests share.
pub(crate) struct Site {
    pub(crate) cluster: &'static Cluster,
    /// The release `keywright`.
    pub(crate) installation: Installation<'static>,
    /// The pods that call.
    pub(crate) load: Load,
}

/// A test that disturbs nobody, and is not disturbed.
pub(crate) async fn undisturbed() -> Option<(&'static Site, RwLockReadGuard<'static, ()>)> {
    let site = shared().await?;
    Some((site, QUIET.read().await))
}

/// A test that makes faults, alone.
pub(crate) async fn disturbing() -> Option<(&'static Site, RwLockWriteGuard<'static, ()>)> {
    let site = shared().await?;
    Some((site, QUIET.write().await))
}

/// Whether nodes can run here; says once why not.
pub(crate) fn nodes_can_run() -> bool {
    static WHY_NOT: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let why_not = WHY_NOT.get_or_init(|| {
        let why_not = node::missing()?;
        assert!(std::env::var_os(REQUIRED).is_none(), "{REQUIRED} is set, and {why_not}");
        // Written to the stream itself: the test runner captures what the macros print.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("tests/node: left out, because {why_not}\n").as_bytes());
        Some(why_not)
    });
    why_not.is_none()
}

async fn shared() -> Option<&'static Site> {
    static SHARED: OnceCell<Site> = OnceCell::const_new();
    if !nodes_can_run() {
        return None;
    }
    let start = async || {
        let cluster = Cluster::shared(node::images).await.unwrap();
        let installation = Installation { cluster, release: "keywright", namespace: "keywright-system" };
        installation.install(&[]).await;
        teams::arrive(cluster).await;
        let load = Load::start(cluster).await;
        Site { cluster, installation, load }
    };
    Some(SHARED.get_or_init(start).await)
}
