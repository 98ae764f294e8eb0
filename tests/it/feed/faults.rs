//! A feed whose API server is silent, busy or away. For one that was restored (F19), see `replicas`.

use super::*;
use k8s_openapi::api::core::v1::Secret;

#[tokio::test(flavor = "multi_thread")]
async fn f9_a_silent_watch_is_opened_again_when_the_server_should_have_ended_it() {
    let usual = Pace::default();
    assert!(usual.watch + usual.grace + Duration::from_secs(1) < Duration::from_secs(35));
    let place = Place::new().await;
    let listener = Listener::start(place.source(brisk()));
    listener.until(SOON, "the list", |told| told.begun.is_some()).await;
    place.watch_is_open().await;
    place.proxy.silence_open_watches(&place.watches());
    place.create("a").await;
    let told = listener.until(SOON, "what the silent watch has kept", |told| told.names() == ["a"]).await;
    assert_eq!(told.lists.len(), 1, "a watch that goes on where it was needs no list");
}

#[tokio::test(flavor = "multi_thread")]
async fn f9_an_object_that_the_watch_does_not_show_in_time_opens_it_again() {
    let pace = Pace { watch: Duration::from_secs(3600), unseen: Duration::from_secs(1), ..brisk() };
    let place = Place::new().await;
    let listener = Listener::start(place.source(pace));
    listener.until(SOON, "the list", |told| told.begun.is_some()).await;
    place.watch_is_open().await;
    place.proxy.silence_open_watches(&place.watches());
    place.create("a").await;
    listener.until(SOON, "what the silent watch has kept", |told| told.names() == ["a"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f9_a_head_check_without_an_answer_opens_the_watch_again() {
    let pace = Pace { watch: Duration::from_secs(3600), answer: Duration::from_secs(2), ..brisk() };
    let place = Place::new().await;
    let listener = Listener::start(place.source(pace));
    listener.until(SOON, "the list", |told| told.begun.is_some()).await;
    place.watch_is_open().await;
    place.proxy.silence_open_watches(&place.watches());
    let hang = place.proxy.when(place.lists()).first(1).hang();
    let before = place.proxy.count(&place.watches());
    let again = async || match place.proxy.count(&place.watches()) {
        count if count > before => Ok(()),
        count => Err(format!("{count} watches")),
    };
    eventually(SOON, "the watch is opened again", again).await.unwrap();
    place.proxy.remove(hang);
    place.create("a").await;
    listener.until(SOON, "a is there", |told| told.names() == ["a"]).await;
}

/// F16: the right to a namespace goes with it. A refusal means nothing at first: an API server that has just started may not know
/// all Roles.
#[tokio::test(flavor = "multi_thread")]
async fn f16_a_feed_that_is_refused_for_long_says_that_nothing_is_there_until_it_is_let_in_again() {
    let place = Place::new().await;
    place.create("a").await;
    let source = Source { lapses: true, ..place.source(brisk()) };
    let listener = Listener::start(source);
    listener.until(SOON, "the list", |told| told.names() == ["a"]).await;
    let begun = ambient::boot_time();
    let refusals = [place.proxy.when(place.lists()).answer(403), place.proxy.when(place.watches()).answer(403)];
    place.proxy.expire_open_watches(&place.watches());
    let told = listener.until(SOON, "nothing is there", |told| told.known.is_empty()).await;
    assert!(ambient::boot_time() - begun >= brisk().lapse, "{told:?}");
    assert_eq!(told.version, 0, "no write there was seen");
    // A join or the end of a doubt may be waiting for a list that begins after this.
    let asked = ambient::moment();
    let again = |told: &Told| told.begun.is_some_and(|begun| begun.is_after(asked));
    listener.until(SOON, "it is said again by each try", again).await;
    refusals.into_iter().for_each(|rule| place.proxy.remove(rule));
    listener.until(SOON, "all is there again", |told| told.names() == ["a"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f9_an_idle_feed_knows_until_when_it_agreed_with_the_api_server() {
    let place = Place::new().await;
    let listener = Listener::start(place.source(brisk()));
    let told = listener.until(SOON, "the list", |told| told.agreed.is_some()).await;
    assert_eq!(told.agreed, told.begun, "a list agrees as of its start");
    // Writes of other kinds move the head on, and only a bookmark says that nothing of this kind is among them.
    let other: Api<Secret> = Api::namespaced(place.direct.clone().into_client(), &place.namespace);
    let metadata = ObjectMeta { name: Some("other".to_owned()), ..Default::default() };
    other.create(&PostParams::default(), &Secret { metadata, ..Default::default() }).await.unwrap();
    let written = ambient::moment();
    let is_later = |told: &Told| told.agreed.is_some_and(|agreed| agreed.is_after(written));
    let told = listener.until(SOON, "agreement as of a later moment", is_later).await;
    assert_eq!(told.lists.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_a_429_is_followed_by_at_most_one_try_a_second() {
    let listed = async || {
        let place = Place::new().await;
        let busy = place.proxy.when(calls().of("configmaps")).answer(429);
        let pace = Pace { head: Duration::from_secs(3600), ..brisk() };
        let listener = Listener::start(place.source(pace));
        let tries = async || match place.proxy.count(&calls().of("configmaps")) {
            count if count >= 4 => Ok(()),
            count => Err(format!("{count} tries")),
        };
        eventually(SOON, "some tries", tries).await.unwrap();
        let times: Vec<_> = place.proxy.log().iter().map(|call| call.at).collect();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(1)), "{times:?}");
        place.create("a").await;
        let begun = ambient::boot_time();
        place.proxy.remove(busy);
        listener.until(SOON, "the list", |told| told.names() == ["a"]).await;
        (ambient::boot_time() - begun, ())
    };
    in_time(Duration::from_secs(5), "it lists again", listed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f8_what_changed_while_the_api_server_was_away_is_known_within_seconds_of_its_return() {
    let known = async || {
        let place = Place::new().await;
        let listener = Listener::start(place.source(brisk()));
        listener.until(SOON, "the list", |told| told.begun.is_some()).await;
        place.watch_is_open().await;
        place.proxy.cut_off().await;
        place.create("a").await;
        let told = listener.told();
        assert!(told.names().is_empty(), "{told:?}");
        let begun = ambient::boot_time();
        place.proxy.restore().await.unwrap();
        listener.until(SOON, "a is there", |told| told.names() == ["a"]).await;
        (ambient::boot_time() - begun, ())
    };
    in_time(Duration::from_secs(5), "what changed is known", known).await.unwrap();
}
