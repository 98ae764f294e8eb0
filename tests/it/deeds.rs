//! What people do that the operator has to see through, and how it looks when it is done: for tests in which it dies or stands still
//! meanwhile.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use keywright::api::OAuthClient;
use keywright::api::client::{OAuthClientSpec, StoredCredential};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::cluster::eventually;
use crate::cluster::proxy::{Calls, calls};
use crate::operator::{Operator, SOON};
use crate::teams::{INVOICES, Teams, WORKER};
use crate::workload::{Credentials, condition};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A client is applied.
    Create,
    /// Its Secret is deleted.
    HealDeleted,
    /// Somebody writes a value of their own into it.
    HealEdited,
    /// The annotation asks for another secret.
    Rotate,
    /// What it has leaked.
    Revoke,
    /// The overlap after a rotation is over.
    Retire,
    /// The client is deleted.
    Remove,
}

impl Deed {
    pub(crate) const ALL: [Self; 7] =
        [Self::Create, Self::HealDeleted, Self::HealEdited, Self::Rotate, Self::Revoke, Self::Retire, Self::Remove];

    /// Whether there is another value in the Secret afterwards.
    fn reissues(self) -> bool {
        matches!(self, Self::HealDeleted | Self::HealEdited | Self::Rotate | Self::Revoke)
    }

    /// Whether what was published before it stays good.
    fn keeps_former(self) -> bool {
        !matches!(self, Self::Remove | Self::Revoke | Self::Retire)
    }
}

/// What the annotation of a rotation says.
const ORDER: &str = "now";
/// A little more than the overlap of the client whose former secret is retired.
const OVERLAP: Duration = Duration::from_secs(11 * 60);

/// A value of our form that nobody drew.
const FOREIGN: &str = "planted-by-a-deed-and-listed-in-no-register";

/// A deed, in namespaces of its own.
pub(crate) struct Scene<'cluster> {
    pub(crate) teams: Teams<'cluster>,
    deed: Deed,
    /// What was published so far.
    published: Vec<Credentials>,
}

impl<'cluster> Scene<'cluster> {
    /// All is as it is before the deed.
    pub(crate) async fn prepare(operator: &'cluster Operator<'cluster>, deed: Deed) -> Self {
        let teams = Teams::served_by(operator).await;
        teams.apply(INVOICES).await;
        operator.resource_is(&teams.shop, "invoices", "Accepted").await;
        let mut scene = Self { teams, deed, published: Vec::new() };
        if deed == Deed::Retire {
            let first = scene.teams.worker_with("{overlap: 10m, retire: AfterOverlap}").await;
            scene.teams.order(ORDER).await;
            let second = scene.teams.rotated(&first).await;
            operator.client_is(&scene.teams.billing, "worker", "Overlapping").await;
            scene.published.extend([first, second]);
        } else if deed != Deed::Create {
            scene.published.push(scene.teams.worker().await);
        }
        scene
    }

    /// The deed.
    pub(crate) async fn begin(&self) {
        let teams = &self.teams;
        match self.deed {
            Deed::Create => drop(teams.apply(WORKER).await),
            Deed::HealDeleted => drop(teams.secrets().delete("worker", &DeleteParams::default()).await.unwrap()),
            Deed::HealEdited => drop(teams.edit_secret("worker", json!({"stringData": {"client-secret": FOREIGN}})).await),
            Deed::Rotate => teams.order(ORDER).await,
            Deed::Revoke => {
                let now = teams.operator.first().now().to_string();
                teams.change_client("worker", json!({"revocation": {"secretsIssuedBefore": now}})).await;
            }
            Deed::Retire => teams.operator.advance(OVERLAP).await,
            Deed::Remove => drop(teams.clients().delete("worker", &DeleteParams::default()).await.unwrap()),
        }
    }

    /// What an operator asks of the API server for it.
    pub(crate) fn calls(&self) -> Calls {
        calls().in_namespace(&self.teams.billing)
    }

    /// What it writes for it.
    pub(crate) fn writes(&self) -> Calls {
        self.calls().mutating()
    }

    /// Notes what the Secret holds now: it was published, and is to stay good.
    pub(crate) async fn look(&mut self) {
        let found: Option<Secret> = self.teams.secrets().get_opt("worker").await.unwrap();
        let found = found.map(Credentials::of).filter(|found| found.get("client-secret") != FOREIGN);
        let new = found.filter(|found| !self.published.contains(found));
        self.teams.operator.saw(new.iter().map(|found| found.get("client-secret").to_owned()));
        self.published.extend(new);
    }

    /// Waits until nothing is left to do, as far as the objects say.
    pub(crate) async fn done(&self) {
        self.done_within(SOON).await;
    }

    /// Waits for that so long.
    pub(crate) async fn done_within(&self, deadline: Duration) {
        let what = format!("{:?} is done in {}", self.deed, self.teams.billing);
        let seen = eventually(deadline, &what, async || self.state().await).await;
        seen.unwrap_or_else(|error| panic!("{error}\n{}", self.teams.operator.logs()));
    }

    /// It is done, and what is promised of it holds at every replica.
    pub(crate) async fn is_whole(&mut self) {
        self.done().await;
        self.look().await;
        for (age, credentials) in self.published.iter().rev().enumerate() {
            let good = self.deed.keeps_former() || age == 0 && self.deed != Deed::Remove;
            self.teams.every_replica_answers(credentials, if good { 200 } else { 401 }).await;
        }
    }

    /// What is registered.
    pub(crate) async fn credentials(&self) -> Vec<StoredCredential> {
        let client = self.teams.clients().get_opt("worker").await.unwrap();
        client.and_then(|client| client.status).and_then(|status| status.credentials).unwrap_or_default()
    }

    /// How many are registered when it is done and nothing went wrong.
    pub(crate) fn credentials_without_faults(&self) -> usize {
        match self.deed {
            Deed::Create | Deed::Revoke | Deed::Retire => 1,
            Deed::HealDeleted | Deed::HealEdited | Deed::Rotate => 2,
            Deed::Remove => 0,
        }
    }

    async fn state(&self) -> Result<(), String> {
        let labelled = ListParams::default().labels("keywright.dev/client");
        let secrets = self.teams.secrets().list(&labelled).await.map_err(|error| error.to_string())?.items;
        let client = self.teams.clients().get_opt("worker").await.map_err(|error| error.to_string())?;
        match (self.deed, client, secrets.as_slice()) {
            (Deed::Remove, None, []) => Ok(()),
            (Deed::Remove, client, secrets) => Err(format!("client: {}, Secrets: {}", client.is_some(), secrets.len())),
            (_, Some(client), [secret]) => self.is_settled(&client, secret),
            (_, client, secrets) => Err(format!("client: {}, Secrets: {}", client.is_some(), secrets.len())),
        }
    }

    /// Ready, one Current credential, which the Secret names; none Pending; another value where one is due.
    fn is_settled(&self, client: &OAuthClient, secret: &Secret) -> Result<(), String> {
        let status = client.status.clone().unwrap_or_default();
        let ready = condition(status.conditions.as_ref(), "Ready").filter(|ready| ready.status == "True");
        ready.filter(|ready| ready.observed_generation == client.metadata.generation).ok_or(format!("{:?}", status.conditions))?;
        let handled = self.deed != Deed::Rotate || status.last_handled_rotate.as_deref() == Some(ORDER);
        let credentials = status.credentials.unwrap_or_default();
        if !handled || credentials.iter().any(|known| self.is_over(&client.spec, known)) {
            return Err(format!("{:?}: {credentials:?}", status.last_handled_rotate));
        }
        let named = secret.annotations().get("keywright.dev/credential");
        let in_state = |state: &str| -> Vec<&StoredCredential> { credentials.iter().filter(|known| known.state == state).collect() };
        match (in_state("Current").as_slice(), in_state("Pending").as_slice()) {
            ([current], []) if Some(&current.id) == named => {}
            _ => return Err(format!("the Secret names {named:?}: {credentials:?}")),
        }
        let value = Credentials::of(secret.clone());
        let is_former = value.get("client-secret") == FOREIGN || self.before().is_some_and(|before| *before == value);
        if self.deed.reissues() && is_former { Err("the Secret holds the former value".to_owned()) } else { Ok(()) }
    }

    /// What is to be forgotten. A lost Pending one, as young as what was issued instead of a leaked one, is not.
    fn is_over(&self, spec: &OAuthClientSpec, known: &StoredCredential) -> bool {
        let leaked = spec.revocation.as_ref().and_then(|revocation| revocation.secrets_issued_before.as_ref());
        let time = |text: &str| -> Timestamp { text.parse().unwrap() };
        match self.deed {
            Deed::Retire => known.state == "Previous",
            Deed::Revoke => leaked.is_some_and(|before| time(&known.created_at) < time(before)),
            _ => false,
        }
    }

    /// What the workload had before the deed.
    fn before(&self) -> Option<&Credentials> {
        self.published.first()
    }
}

/// Shares cases out among installations, each on a thread of its own: what one of them computes holds no other one up, whose connections a
/// server would close for being idle. In the end each has kept its secrets.
pub(crate) async fn share_out<C, R>(cases: Vec<C>, siblings: Vec<Operator<'static>>, run: R)
where
    C: Copy + Send + 'static,
    R: AsyncFn(&Operator<'static>, Vec<C>) + Copy + Send + 'static,
{
    let (mut runs, beside) = (JoinSet::new(), siblings.len());
    for (index, sibling) in siblings.into_iter().enumerate() {
        let share: Vec<_> = cases.iter().copied().skip(index).step_by(beside).collect();
        let runtime = Handle::current();
        runs.spawn_blocking(move || {
            runtime.block_on(async {
                run(&sibling, share).await;
                sibling.keeps_its_secrets().await;
            });
        });
    }
    runs.join_all().await;
}
