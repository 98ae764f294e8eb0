//! The key Secret, as leaders make and change it: two at once, crashed, answered by nobody, or meddled with by hand.

use crate::cluster::{
    ControlPlane,
    proxy::{Proxy, calls},
};
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use keywright::{
    domain::resource::Algorithm,
    keys::{
        secret::{DIGEST_KEY, KeyFile, State},
        store::{
            Release, StoreError,
            signing::{Ensured, Wanted, activate, ensure},
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

    async fn ensure(&self, wanted: &Wanted) -> Result<Ensured, StoreError> {
        ensure(&self.leader, &self.release, wanted, now()).await
    }

    async fn activate(&self, kid: &str) -> bool {
        activate(&self.leader, &self.release, kid, now()).await.unwrap()
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

/// ES256, because its keys are made in no time.
fn es256() -> Wanted {
    Wanted { first: Algorithm::Es256, needed: [Algorithm::Es256].into() }
}

fn both() -> Wanted {
    Wanted { first: Algorithm::Es256, needed: [Algorithm::Es256, Algorithm::Rs256].into() }
}

fn states(file: &KeyFile) -> Vec<(Algorithm, State)> {
    file.keys.iter().map(|known| (known.key.algorithm(), known.state)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_makes_a_digest_key_and_one_active_key() {
    let fixture = Fixture::start().await;
    let wanted = Wanted { first: Algorithm::Rs256, needed: [].into() };
    let made = fixture.ensure(&wanted).await.unwrap();
    let secret = fixture.secret().await;
    assert_eq!((made.version, made.prepared.len()), (secret.resource_version().unwrap(), 0));
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    assert_eq!(secret.labels()["app.kubernetes.io/managed-by"], "keywright");
    assert!(secret.owner_references().is_empty());
    assert_eq!(states(&fixture.file().await), [(Algorithm::Rs256, State::Active)]);
    assert_eq!(fixture.writes(), 1);
    fixture.ensure(&wanted).await.unwrap();
    assert_eq!((fixture.writes(), fixture.secret().await.resource_version()), (1, secret.resource_version()));
}

/// F5: both POST; one is told 409 and takes what the other one made.
#[tokio::test(flavor = "multi_thread")]
async fn two_leaders_that_start_at_once_end_with_the_same_keys() {
    let fixture = Fixture::start().await;
    let mut posts = fixture.proxy.when(calls().create().of("secrets")).first(2).hold_request();
    let second = fixture.proxy.kubeconfig().client().await.unwrap();
    let (wanted, release) = (es256(), fixture.release.clone());
    let first = fixture.ensure(&wanted);
    let second = ensure(&second, &release, &wanted, now());
    let release_both = async {
        let held = [posts.next(SOON).await.unwrap(), posts.next(SOON).await.unwrap()];
        held.into_iter().for_each(|call| call.release());
    };
    let (first, second, ()) = tokio::join!(first, second, release_both);
    assert_eq!(first.unwrap().version, second.unwrap().version);
    assert_eq!(states(&fixture.file().await), [(Algorithm::Es256, State::Active)]);
}

/// Calls until nothing is lost on the way, as a leader after a leader does; counts what was lost.
async fn persist<T>(lost: &mut usize, mut call: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    loop {
        match call().await {
            Ok(done) => return done,
            Err(StoreError::Call { .. }) => *lost += 1,
            Err(other) => panic!("{other}"),
        }
    }
}

/// F1, F4: the process dies, or the reply is lost, at each single call; the next leader ends with the same keys and no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_any_call_leaves_nothing_behind() {
    for nth in 1.. {
        let fixture = Fixture::start().await;
        let rule = fixture.proxy.when(calls().of("secrets")).nth(nth).drop_reply();
        let mut lost = 0;
        let ensured = persist(&mut lost, async || fixture.ensure(&both()).await).await;
        let [kid] = ensured.prepared.as_slice() else { panic!("{ensured:?}") };
        persist(&mut lost, async || activate(&fixture.leader, &fixture.release, kid, now()).await).await;
        fixture.proxy.remove(rule);
        assert_eq!(states(&fixture.file().await), [(Algorithm::Rs256, State::Active), (Algorithm::Es256, State::Active)]);
        assert_eq!(fixture.writes(), 3, "one POST and two patches, whatever was lost");
        let settled = fixture.ensure(&both()).await.unwrap();
        assert_eq!((fixture.writes(), settled.prepared.len(), settled.problems.len()), (3, 0, 0));
        if lost == 0 {
            assert!(nth > 6, "every call was tried");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_a_new_algorithm_signs_only_when_it_is_activated() {
    let fixture = Fixture::start().await;
    fixture.ensure(&es256()).await.unwrap();
    let prepared = fixture.ensure(&both()).await.unwrap();
    let [kid] = prepared.prepared.as_slice() else { panic!("{prepared:?}") };
    let set = fixture.file().await.into_key_set();
    assert_eq!(set.active.keys().copied().collect::<Vec<_>>(), [Algorithm::Es256]);
    assert!(std::str::from_utf8(&set.jwks).unwrap().contains(kid));
    assert!(fixture.activate(kid).await);
    assert_eq!(fixture.file().await.into_key_set().active[&Algorithm::Rs256].kid(), kid);
    assert!(!fixture.activate(kid).await);
    assert!(!fixture.activate("unknown").await);
}

/// F5: what somebody else wrote between the read and the patch is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_in_between_is_not_lost() {
    let fixture = Fixture::start().await;
    fixture.ensure(&es256()).await.unwrap();
    let mut patches = fixture.proxy.when(calls().patch().of("secrets")).first(1).hold_request();
    let meddle = async {
        let held = patches.next(SOON).await.unwrap();
        fixture.edit("kw-keys", json!({"metadata": {"annotations": {"note": "kept"}}})).await;
        held.release();
    };
    let wanted = both();
    let (ensured, ()) = tokio::join!(fixture.ensure(&wanted), meddle);
    assert_eq!(ensured.unwrap().prepared.len(), 1);
    assert_eq!(fixture.secret().await.annotations()["note"], "kept");
    assert_eq!(states(&fixture.file().await).len(), 2);
}

/// F7: the leader froze between its read and its patch; the Secret was deleted and made anew meanwhile. Nothing comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_write_does_not_reach_a_secret_that_was_made_anew() {
    let fixture = Fixture::start().await;
    fixture.ensure(&es256()).await.unwrap();
    let mut patches = fixture.proxy.when(calls().patch().of("secrets")).first(1).hold_request();
    let former = fixture.file().await;
    let replace = async {
        let held = patches.next(SOON).await.unwrap();
        fixture.delete("kw-keys").await;
        let other = fixture.proxy.kubeconfig().client().await.unwrap();
        ensure(&other, &fixture.release, &es256(), now()).await.unwrap();
        let anew = fixture.file().await;
        held.release();
        anew
    };
    let wanted = both();
    let (ensured, anew) = tokio::join!(fixture.ensure(&wanted), replace);
    ensured.unwrap();
    let after = fixture.file().await;
    assert_ne!(former.digest.name(), anew.digest.name());
    assert_eq!(after.digest.name(), anew.digest.name());
    assert_eq!(states(&after), [(Algorithm::Es256, State::Active), (Algorithm::Rs256, State::Prepared)]);
    assert_eq!(after.keys[0].key.kid(), anew.keys[0].key.kid());
}

/// F17, by hand: what cannot be read is reported, stays as it is, and stops what would be built on it.
#[tokio::test(flavor = "multi_thread")]
async fn rubbish_is_reported_and_never_replaced() {
    let fixture = Fixture::start().await;
    fixture.ensure(&es256()).await.unwrap();
    let whole = fixture.secret().await.data.unwrap();
    let entry = whole.keys().find(|name| *name != DIGEST_KEY).unwrap();
    let rubbish = ByteString(b"rubbish".to_vec());

    fixture.edit("kw-keys", json!({"data": {entry: rubbish}})).await;
    let spoilt = fixture.secret().await;
    let found = fixture.ensure(&both()).await.unwrap();
    assert_eq!(found.problems[0].entry, *entry);
    assert_eq!(fixture.secret().await, spoilt);

    fixture.edit("kw-keys", json!({"data": {DIGEST_KEY: rubbish, entry: whole[entry]}})).await;
    let error = fixture.ensure(&both()).await.unwrap_err().to_string();
    assert!(error.contains("/kw-keys cannot be used: its entry digest-key"), "{error}");
    assert_eq!(fixture.writes(), 1);

    fixture.edit("kw-keys", json!({"data": {DIGEST_KEY: whole[DIGEST_KEY]}})).await;
    assert_eq!(fixture.ensure(&es256()).await.unwrap().problems, []);
    assert_eq!(fixture.secret().await.data.unwrap(), whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_a_hand_removed_is_made_again() {
    let fixture = Fixture::start().await;
    fixture.ensure(&es256()).await.unwrap();
    let file = fixture.file().await;
    let entry = keywright::keys::secret::entry_name(file.keys[0].key.kid());
    fixture.edit("kw-keys", json!({"data": {entry: null}})).await;
    let ensured = fixture.ensure(&es256()).await.unwrap();
    assert!(fixture.activate(&ensured.prepared[0]).await);
    let after = fixture.file().await;
    assert_eq!(states(&after), [(Algorithm::Es256, State::Active)]);
    assert_eq!(after.digest.name(), file.digest.name());
}

/// F17: deleted; the digest key is another one from then on.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_key_secret_is_made_anew() {
    let fixture = Fixture::start().await;
    fixture.ensure(&es256()).await.unwrap();
    let former = fixture.file().await;
    fixture.delete("kw-keys").await;
    assert!(!fixture.activate(former.keys[0].key.kid()).await);
    fixture.ensure(&es256()).await.unwrap();
    let after = fixture.file().await;
    assert_ne!(after.digest.name(), former.digest.name());
    assert_eq!(states(&after), [(Algorithm::Es256, State::Active)]);
}

/// S10.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_secret_is_never_touched() {
    let fixture = Fixture::start().await;
    let mut foreign = Secret { data: Some(BTreeMap::from([("a".to_owned(), ByteString(b"b".to_vec()))])), ..Secret::default() };
    foreign.metadata.name = Some("kw-keys".to_owned());
    let foreign = fixture.secrets.create(&PostParams::default(), &foreign).await.unwrap();
    let error = fixture.ensure(&es256()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Foreign(name) if *name == fixture.release.keys()), "{error}");
    assert_eq!((fixture.writes(), fixture.secret().await), (0, foreign));
}

/// The API server says no, or nothing: an error that says what was tried, and no key lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_reported_with_the_object() {
    let fixture = Fixture::start().await;
    for status in [403, 429, 500, 503] {
        let rule = fixture.proxy.when(calls().create()).answer(status);
        let error = fixture.ensure(&es256()).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("creating the Secret {}/kw-keys failed: ", fixture.release.namespace)), "{error}");
        fixture.proxy.remove(rule);
    }
    fixture.ensure(&es256()).await.unwrap();
    assert_eq!(states(&fixture.file().await), [(Algorithm::Es256, State::Active)]);
}
