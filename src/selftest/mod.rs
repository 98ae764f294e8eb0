//! `keywright selftest`: proves on a running installation what it is for, as a team without special rights would find out.
//!
//! ```text
//! objects (pure) → place: created, Ready → workload::{binding, exchange}: a token → verify: an API accepts it
//!                → place: deleted → the Secret is gone, the client is refused
//! ```
//!
//! `course` has the steps and tells each in a line, `patience` waits. Whatever happens, also a signal, what was made is removed.

mod course;
mod fault;
mod objects;
mod patience;
mod place;
mod verify;

use crate::{
    ambient,
    api::{OAuthClient, ProtectedResource},
    cli::SelftestArgs,
    cluster,
    domain::names::ObjectName,
    interrupt,
};
use course::{Course, Failed};
use objects::Order;
use patience::{InVain, Not, Patience};
use place::{Place, PlaceError};
use std::{
    fmt::Write as _,
    io::{self, Write as _},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// For removing what was made: less than the 30 seconds after which the kubelet kills a pod.
const REMOVAL: Duration = Duration::from_secs(10);

/// Why `keywright selftest` did not pass.
#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    /// The runtime, or the signals.
    #[error("starting the runtime: {0}")]
    Runtime(io::Error),
    /// How the API server is reached.
    #[error("no way to the API server: {0}; run in a pod with a ServiceAccount, or name a kubeconfig by --kubeconfig or KUBECONFIG")]
    Kubeconfig(String),
    /// A step.
    #[error("{why}; {left}")]
    Failed {
        /// Which step, what is wrong, and what to do.
        why: String,
        /// What became of the objects.
        left: String,
    },
}

/// Runs the test.
///
/// # Errors
/// Says which step failed, why, and whether anything is left of it.
pub fn run(arguments: &SelftestArgs) -> Result<(), SelftestError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(SelftestError::Runtime)?;
    runtime.block_on(start(arguments))
}

async fn start(arguments: &SelftestArgs) -> Result<(), SelftestError> {
    let stop = stopped_by_a_signal().map_err(SelftestError::Runtime)?;
    let unusable = |error: &dyn std::fmt::Display| SelftestError::Kubeconfig(error.to_string());
    let chosen = cluster::chosen(arguments.kubeconfig.as_deref(), arguments.context.as_deref()).await;
    let config = chosen.map_err(|error| unusable(&error))?;
    let place = Place::new(&config, order(arguments)).map_err(|error| unusable(&error))?;

    let begun = ambient::boot_time();
    let patience = Patience::of(Duration::try_from(arguments.timeout).unwrap_or_default(), stop);
    let course = Course { place: &place, patience: &patience, issuer: arguments.issuer.as_deref() };
    let proved = course.prove().await;
    // Also after a success: then it sees that there is nothing.
    let removed = remove(&place).await;
    conclude(proved, removed, &place.order().object)?;
    // Nobody may be reading.
    let _ = writeln!(io::stdout(), "passed in {:.1} s", ambient::boot_time().saturating_sub(begun).as_secs_f32());
    Ok(())
}

fn order(arguments: &SelftestArgs) -> Order {
    let run = ambient::random::<4>().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    let name = arguments.object.clone().unwrap_or_else(|| format!("keywright-selftest-{run}"));
    Order { object: ObjectName::new(&arguments.namespace, name), installation: arguments.name.clone(), run }
}

fn stopped_by_a_signal() -> io::Result<CancellationToken> {
    let interrupted = interrupt::interrupted()?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        interrupted.await;
        stopping.cancel();
    });
    Ok(stop)
}

/// A signal does not cut it short.
async fn remove(place: &Place) -> Result<(), InVain<PlaceError>> {
    let look = async || {
        place.remove::<OAuthClient>().await?;
        place.remove::<ProtectedResource>().await
    };
    let sorted = async || look().await.map_err(|error| if error.may_pass() { Not::Yet(error) } else { Not::Ever(error) });
    Patience::of(REMOVAL, CancellationToken::new()).until(sorted).await
}

fn conclude(proved: Result<(), Failed>, removed: Result<(), InVain<PlaceError>>, object: &ObjectName) -> Result<(), SelftestError> {
    let left = match removed {
        Ok(()) => None,
        Err(InVain::Late(error) | InVain::Never(error)) => Some(error.to_string()),
        Err(InVain::Stopped) => Some("interrupted".to_owned()),
    };
    match (proved, left) {
        (Ok(()), None) => Ok(()),
        (proved, left) => {
            let why = proved.err().map_or_else(|| "everything was as it should be".to_owned(), |failed| failed.to_string());
            Err(SelftestError::Failed { why, left: left.map_or_else(nothing_is_left, |error| remains(object, &error)) })
        }
    }
}

fn nothing_is_left() -> String {
    "what it made is removed".to_owned()
}

fn remains(object: &ObjectName, error: &str) -> String {
    let ObjectName { namespace, name } = object;
    format!(
        "what it made may still be there ({error}): kubectl --namespace {namespace} delete --ignore-not-found \
         oauthclients.keywright.dev/{name} protectedresources.keywright.dev/{name}"
    )
}
