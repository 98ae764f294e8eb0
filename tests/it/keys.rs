//! The key Secret, as leaders make and change it: two at once, crashed, answered by nobody, or meddled with by hand.

mod rotation;

use crate::cluster::{
    ControlPlane,
    proxy::{Proxy, calls},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use keywright::{
    domain::{
        key_rotation::{Need, Rules, Stage},
        resource::Algorithm,
    },
    keys::{
        KeySet,
        secret::{DIGEST_KEY, KeyFile, Recovery},
        store::{
            Release, StoreError,
            signing::{Advanced, Done, Wanted, advance},
        },
    },
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A release in a namespace of its own, behind a proxy.
pub(crate) struct Fixture {
    pub(crate) proxy: Proxy,
    /// Through the proxy, as the leader.
    pub(crate) leader: Client,
    /// Past the proxy, as somebody with kubectl.
    pub(crate) secrets: Api<Secret>,
    pub(crate) release: Release,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        let control_plane = ControlPlane::shared().await.unwrap();
        let namespace = control_plane.namespace().await.unwrap();
        let proxy = Proxy::start(control_plane.admin()).await.unwrap();
        let leader = proxy.kubeconfig().client().await.unwrap();
        let secrets = Api::namespaced(control_plane.client().await.unwrap(), &namespace);
        Self { proxy, leader, secrets, release: Release { namespace, name: "kw".to_owned() } }
    }

    /// One look of a leader, to which the replicas say nothing.
    async fn look(&self, needed: &[Algorithm], at: Timestamp) -> Result<Advanced, StoreError> {
        advance(&self.leader, &self.release, &wanted(needed), None, at).await
    }

    /// Looks of a leader, to which the replicas say each time that they have seen it.
    async fn advance(&self, needed: &[Algorithm], at: Timestamp) -> Result<Vec<Done>, StoreError> {
        advance_by(&self.leader, &self.release, needed, at).await
    }

    async fn secret(&self) -> Secret {
        self.secrets.get("kw-keys").await.unwrap()
    }

    async fn file(&self) -> KeyFile {
        KeyFile::parse(&self.secret().await.data.unwrap()).unwrap()
    }

    pub(crate) async fn edit(&self, name: &str, patch: Value) {
        self.secrets.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub(crate) async fn delete(&self, name: &str) {
        self.secrets.delete(name, &DeleteParams::default()).await.unwrap();
    }

    pub(crate) fn writes(&self) -> usize {
        self.proxy.count(&calls().mutating())
    }
}

pub(crate) fn now() -> Timestamp {
    keywright::ambient::now()
}

/// ES256 alone, because its keys are made in no time.
const ES256: &[Algorithm] = &[Algorithm::Es256];
const BOTH: &[Algorithm] = &[Algorithm::Rs256, Algorithm::Es256];

fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

const RULES: Rules =
    Rules { every: SignedDuration::from_hours(2_160), ahead: SignedDuration::from_hours(24), keep: SignedDuration::from_hours(26) };

fn wanted(needed: &[Algorithm]) -> Wanted<'static> {
    Wanted { needs: needed.iter().map(|algorithm| (*algorithm, Need::Needed)).collect(), rules: RULES, known: None }
}

async fn advance_by(leader: &Client, release: &Release, needed: &[Algorithm], at: Timestamp) -> Result<Vec<Done>, StoreError> {
    let (mut done, mut seen) = (Vec::new(), None);
    loop {
        let advanced = advance(leader, release, &wanted(needed), seen.as_deref(), at).await?;
        done.extend(advanced.done);
        if !advanced.waits_for_replicas {
            return Ok(done);
        }
        seen = Some(advanced.version);
    }
}

fn stages(file: &KeyFile) -> Vec<(Algorithm, Stage)> {
    file.keys.iter().map(|known| (known.life.line, known.life.stage)).collect()
}

fn kid(file: &KeyFile) -> String {
    file.keys[0].key.kid().to_owned()
}

/// Nobody can have cached another JWKS.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_makes_a_digest_key_and_active_keys() {
    let fixture = Fixture::start().await;
    let made = fixture.look(BOTH, now()).await.unwrap();
    let secret = fixture.secret().await;
    assert_eq!((made.version, made.waits_for_replicas, made.done), (secret.resource_version().unwrap(), false, vec![Done::Made]));
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    assert_eq!(secret.labels()["app.kubernetes.io/managed-by"], "keywright");
    assert!(secret.owner_references().is_empty());
    assert_eq!(stages(&fixture.file().await), [(Algorithm::Rs256, Stage::Active), (Algorithm::Es256, Stage::Active)]);
    assert_eq!(fixture.writes(), 1);
    assert_eq!(fixture.look(BOTH, now()).await.unwrap().done, []);
    assert_eq!((fixture.writes(), fixture.secret().await.resource_version()), (1, secret.resource_version()));
}

/// F5: both POST; one is told 409 and takes what the other one made.
#[tokio::test(flavor = "multi_thread")]
async fn two_leaders_that_start_at_once_end_with_the_same_keys() {
    let fixture = Fixture::start().await;
    let mut posts = fixture.proxy.when(calls().create().of("secrets")).first(2).hold_request();
    let second = fixture.proxy.kubeconfig().client().await.unwrap();
    let release_both = async {
        let held = [posts.next(SOON).await.unwrap(), posts.next(SOON).await.unwrap()];
        held.into_iter().for_each(|call| call.release());
    };
    let (first, second, ()) =
        tokio::join!(fixture.advance(ES256, now()), advance_by(&second, &fixture.release, ES256, now()), release_both);
    assert_eq!([first.unwrap(), second.unwrap()].concat(), [Done::Made]);
    assert_eq!(stages(&fixture.file().await), [(Algorithm::Es256, Stage::Active)]);
}

/// F5: what somebody else wrote between the read and the patch is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_in_between_is_not_lost() {
    let fixture = Fixture::start().await;
    fixture.look(ES256, now()).await.unwrap();
    let mut patches = fixture.proxy.when(calls().patch().of("secrets")).first(1).hold_request();
    let meddle = async {
        let held = patches.next(SOON).await.unwrap();
        fixture.edit("kw-keys", json!({"metadata": {"annotations": {"note": "kept"}}})).await;
        held.release();
    };
    let (advanced, ()) = tokio::join!(fixture.look(BOTH, now()), meddle);
    assert_eq!(advanced.unwrap().done.len(), 1);
    assert_eq!(fixture.secret().await.annotations()["note"], "kept");
    assert_eq!(stages(&fixture.file().await).len(), 2);
}

/// F7: the leader froze between its read and its patch; the Secret was deleted and made anew meanwhile. Nothing comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_write_does_not_reach_a_secret_that_was_made_anew() {
    let fixture = Fixture::start().await;
    fixture.look(ES256, now()).await.unwrap();
    let mut patches = fixture.proxy.when(calls().patch().of("secrets")).first(1).hold_request();
    let former = fixture.file().await;
    let replace = async {
        let held = patches.next(SOON).await.unwrap();
        fixture.delete("kw-keys").await;
        let other = fixture.proxy.kubeconfig().client().await.unwrap();
        advance_by(&other, &fixture.release, ES256, now()).await.unwrap();
        let anew = fixture.file().await;
        held.release();
        anew
    };
    let (advanced, anew) = tokio::join!(fixture.look(BOTH, now()), replace);
    advanced.unwrap();
    let after = fixture.file().await;
    assert_ne!(former.digest.name(), anew.digest.name());
    assert_eq!(after.digest.name(), anew.digest.name());
    assert_eq!(stages(&after), [(Algorithm::Es256, Stage::Active), (Algorithm::Rs256, Stage::Prepared)]);
    assert_eq!(kid(&after), kid(&anew));
}

/// F17, by hand: what cannot be read is reported, stays as it is, and stops what would be built on it; but it can be revoked.
#[tokio::test(flavor = "multi_thread")]
async fn rubbish_is_reported_and_never_replaced() {
    let fixture = Fixture::start().await;
    fixture.look(ES256, now()).await.unwrap();
    let kid = kid(&fixture.file().await);
    let whole = fixture.secret().await.data.unwrap();
    let entry = whole.keys().find(|name| *name != DIGEST_KEY).unwrap();
    let rubbish = ByteString(b"rubbish".to_vec());

    fixture.edit("kw-keys", json!({"data": {entry: rubbish}})).await;
    let spoilt = fixture.secret().await;
    let found = fixture.look(BOTH, now()).await.unwrap();
    assert_eq!((found.problems[0].entry.as_str(), found.waits_for_replicas), (entry.as_str(), false));
    assert_eq!(fixture.secret().await, spoilt);

    fixture.edit("kw-keys", json!({"data": {DIGEST_KEY: rubbish, entry: whole[entry]}})).await;
    let error = fixture.look(BOTH, now()).await.unwrap_err().to_string();
    assert!(error.contains("/kw-keys cannot be used: its entry digest-key"), "{error}");
    assert_eq!(fixture.writes(), 1);

    fixture.edit("kw-keys", json!({"data": {DIGEST_KEY: whole[DIGEST_KEY]}})).await;
    assert_eq!(fixture.look(ES256, now()).await.unwrap().problems, []);
    assert_eq!(fixture.secret().await.data.unwrap(), whole);

    fixture.edit("kw-keys", json!({"data": {entry: rubbish}, "metadata": {"annotations": {"keywright.dev/revoke": kid}}})).await;
    fixture.advance(ES256, now()).await.unwrap();
    let file = fixture.file().await;
    assert_eq!((stages(&file), file.problems.len()), (vec![(Algorithm::Es256, Stage::Active)], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_a_hand_removed_is_made_again() {
    let fixture = Fixture::start().await;
    fixture.look(ES256, now()).await.unwrap();
    let file = fixture.file().await;
    let entry = keywright::keys::secret::entry_name(&kid(&file));
    fixture.edit("kw-keys", json!({"data": {entry: null}})).await;
    fixture.advance(ES256, now()).await.unwrap();
    let after = fixture.file().await;
    assert_eq!(stages(&after), [(Algorithm::Es256, Stage::Active)]);
    assert_eq!(after.digest.name(), file.digest.name());
}

/// F17: deleted; it is what it was where a replica still knows it, and else everything is another one.
#[tokio::test(flavor = "multi_thread")]
async fn f17_a_deleted_key_secret_is_made_again_as_it_was_where_somebody_knows_it() {
    let fixture = Fixture::start().await;
    fixture.look(ES256, now()).await.unwrap();
    let former = fixture.secret().await;
    let file = fixture.file().await;
    let digest = file.digest.name().to_owned();
    let known = KeySet { recovery: Some(Recovery::of(former.data.as_ref().unwrap())), ..file.into_key_set() };
    fixture.delete("kw-keys").await;
    let restoring = Wanted { known: Some(&known), ..wanted(ES256) };
    let restored = advance(&fixture.leader, &fixture.release, &restoring, None, now()).await.unwrap();
    assert_eq!(restored.done, [Done::Restored]);
    assert_eq!(fixture.secret().await.data, former.data);

    fixture.delete("kw-keys").await;
    assert_eq!(fixture.look(ES256, now()).await.unwrap().done, [Done::Made]);
    let after = fixture.file().await;
    assert_ne!(after.digest.name(), digest);
    assert_eq!(stages(&after), [(Algorithm::Es256, Stage::Active)]);
}

/// S10.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_secret_is_never_touched() {
    let fixture = Fixture::start().await;
    let mut foreign = Secret { data: Some(BTreeMap::from([("a".to_owned(), ByteString(b"b".to_vec()))])), ..Secret::default() };
    foreign.metadata.name = Some("kw-keys".to_owned());
    let foreign = fixture.secrets.create(&PostParams::default(), &foreign).await.unwrap();
    let error = fixture.look(ES256, now()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Foreign(name) if *name == fixture.release.keys()), "{error}");
    assert_eq!((fixture.writes(), fixture.secret().await), (0, foreign));
}

/// The API server says no, or nothing: an error that says what was tried, and no key lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_reported_with_the_object() {
    let fixture = Fixture::start().await;
    for status in [403, 429, 500, 503] {
        let rule = fixture.proxy.when(calls().create()).answer(status);
        let error = fixture.look(ES256, now()).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("creating the Secret {}/kw-keys failed: ", fixture.release.namespace)), "{error}");
        fixture.proxy.remove(rule);
    }
    fixture.look(ES256, now()).await.unwrap();
    assert_eq!(stages(&fixture.file().await), [(Algorithm::Es256, Stage::Active)]);
}
