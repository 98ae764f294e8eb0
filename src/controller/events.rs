//! Events for people. Never waited for, and dropped where the API server cannot keep up: no decision rests on one.

use super::verdict::Finding;
use crate::{
    api::{OAuthClient, Reason, condition::whole_seconds},
    domain::{
        credential::{Credential, CredentialId},
        names::ObjectName,
        rotation::Cause,
        usage::Use,
    },
    installation::Installation,
};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::sync::mpsc;

/// Most events that wait to be sent.
const WAITING: usize = 256;
/// Most bytes of a note: the API's limit is 1 kB.
const NOTE: usize = 1_000;

/// Something to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) note: String,
}

impl Notice {
    pub(crate) fn normal(reason: &'static str, note: impl Into<String>) -> Self {
        Self { warning: false, reason, note: note.into() }
    }

    pub(crate) fn warning(reason: &'static str, note: impl Into<String>) -> Self {
        Self { warning: true, ..Self::normal(reason, note) }
    }
}

/// Sends events in the background.
pub(crate) struct Events(mpsc::Sender<(Event, ObjectReference)>);

impl Events {
    /// Starts the sender; it ends with the last handle.
    pub(crate) fn start(kube: Client, installation: &Installation, pod: &str) -> Self {
        let reporter = Reporter { controller: format!("keywright.dev/{}", installation.name), instance: Some(pod.to_owned()) };
        let recorder = Recorder::new(kube, reporter);
        let (sender, mut waiting) = mpsc::channel::<(Event, ObjectReference)>(WAITING);
        tokio::spawn(async move {
            while let Some((event, object)) = waiting.recv().await {
                if let Err(error) = recorder.publish(&event, &object).await {
                    tracing::debug!(reason = event.reason, %error, "event not written");
                }
            }
        });
        Self(sender)
    }

    pub(crate) fn registered(&self, client: &OAuthClient, cause: Cause, evicts: bool) {
        let (reason, note) = match cause {
            Cause::First => ("Registered", "registered the first credential"),
            Cause::SecretMissing => ("RotationStarted", "the Secret is gone: registered a new credential"),
            Cause::ValueUnknown => ("RotationStarted", "the Secret holds a value that is not registered: registered a new credential"),
            Cause::PendingLost => ("RotationStarted", "an earlier rotation was cut off: registered a new credential"),
            Cause::Ordered => ("RotationStarted", "registered a new credential, as ordered"),
            Cause::Due => ("RotationStarted", "registered a new credential, as scheduled"),
        };
        self.say(client, EventType::Normal, reason, note);
        if evicts {
            let note = "too many credentials at a time: the earlier one that is missed least is no longer accepted";
            self.say(client, EventType::Warning, "PreviousSecretStillInUse", note);
        }
    }

    pub(crate) fn created(&self, client: &OAuthClient, secret: &str) {
        self.say(client, EventType::Normal, "SecretCreated", &format!("created the Secret {secret}"));
    }

    pub(crate) fn adopted(&self, client: &OAuthClient, secret: &str) {
        let note = format!("took over the Secret {secret}, whose annotation keywright.dev/adopt names this client");
        self.say(client, EventType::Normal, "SecretAdopted", &note);
    }

    /// What the Secret holds is Current. `is_new`: not an earlier one that somebody has restored.
    pub(crate) fn completed(&self, client: &OAuthClient, is_new: bool, former: Option<&Credential>) {
        let done = if is_new { "the Secret holds the new credential" } else { "the Secret holds an earlier credential again" };
        let until = |known: &Credential| match (known.accepted_until, known.retire_after) {
            (Some(end), _) => format!("until {}", whole_seconds(end)),
            (None, Some(end)) => format!("until {} at least", whole_seconds(end)),
            (None, None) => "for now".to_owned(),
        };
        let note = former.map_or_else(|| done.to_owned(), |former| format!("{done}; the former one is accepted {}", until(former)));
        self.say(client, EventType::Normal, "RotationCompleted", &note);
    }

    /// After the end of its overlap.
    pub(crate) fn still_in_use(&self, client: &OAuthClient, id: &CredentialId, last: Option<Use>) {
        let by = last.map(|seen| format!(", last at {} by {}", whole_seconds(seen.last), seen.from)).unwrap_or_default();
        let note = format!(
            "the credential {} is in use after its overlap{by}: it stays accepted until whoever uses it reads the Secret again",
            id.as_str()
        );
        self.say(client, EventType::Warning, "PreviousSecretStillInUse", &note);
    }

    pub(crate) fn restarted(&self, client: &OAuthClient, kind: &str, name: &str) {
        let note = format!("restarted the {kind} {name}, as its annotation keywright.dev/restart-on asks, for the new credential");
        self.say(client, EventType::Normal, "WorkloadRestarted", &note);
    }

    pub(crate) fn revoked(&self, client: &OAuthClient) {
        let note = "the credentials made before spec.revocation.secretsIssuedBefore are refused from now on";
        self.say(client, EventType::Warning, "SecretRevoked", note);
    }

    pub(crate) fn reissued(&self, client: &OAuthClient, secret: &str) {
        self.say(client, EventType::Normal, "SecretReissued", &format!("wrote a new credential into the Secret {secret}"));
    }

    pub(crate) fn blocked(&self, client: &OAuthClient, why: &str) {
        self.say(client, EventType::Warning, "RotationBlocked", why);
    }

    /// Where a new reason of Ready is worth a warning.
    pub(crate) fn warned(&self, client: &OAuthClient, ready: &Finding) {
        use Reason::{AccessDenied, ClientIdConflict, ControllerConflict, InvalidSpec, PolicyViolation, SecretConflict, StatusUnreadable};
        use Reason::{ClusterKeysUnavailable, TrustBundleUnavailable};
        let is_worth_it = matches!(
            ready.reason,
            AccessDenied
                | ClientIdConflict
                | ClusterKeysUnavailable
                | ControllerConflict
                | InvalidSpec
                | PolicyViolation
                | SecretConflict
                | StatusUnreadable
                | TrustBundleUnavailable
        );
        if is_worth_it {
            self.say(client, EventType::Warning, ready.reason.as_str(), &ready.message);
        }
    }

    /// On a Secret of the release's own.
    pub(crate) fn of_release(&self, secret: &ObjectName, uid: &str, Notice { warning, reason, note }: &Notice) {
        let object = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Secret".to_owned()),
            namespace: Some(secret.namespace.clone()),
            name: Some(secret.name.clone()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        self.send(object, if *warning { EventType::Warning } else { EventType::Normal }, reason, note);
    }

    fn say(&self, client: &OAuthClient, type_: EventType, reason: &str, note: &str) {
        self.send(client.object_ref(&()), type_, reason, note);
    }

    fn send(&self, object: ObjectReference, type_: EventType, reason: &str, note: &str) {
        let end = note.floor_char_boundary(NOTE);
        let note = note.get(..end).map(str::to_owned);
        let event = Event { type_, reason: reason.to_owned(), note, action: "Reconcile".to_owned(), secondary: None };
        // A full queue drops the event.
        let _ = self.0.try_send((event, object));
    }
}
