//! What a key Secret says, and what of it cannot be read.

use super::*;

pub(super) const DIGEST: [u8; 32] = [7; 32];

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

pub(super) fn es256(stage: Stage, activated_at: Option<Timestamp>) -> StoredKey {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let life = Key { stage, activated_at, ..Key::prepared(key.kid().to_owned(), Algorithm::Es256, at(1)) };
    StoredKey { key, life }
}

pub(super) fn data(keys: &[&StoredKey]) -> Data {
    let mut data = Data::from([(DIGEST_KEY.to_owned(), ByteString(DIGEST.to_vec()))]);
    data.extend(keys.iter().map(|known| entry(&known.key, &known.life).unwrap()));
    data
}

fn edit(data: &mut Data, kid: &str, change: impl FnOnce(&mut serde_json::Value)) {
    let bytes = data.get_mut(&entry_name(kid)).unwrap();
    let mut json = serde_json::from_slice(&bytes.0).unwrap();
    change(&mut json);
    bytes.0 = json.to_string().into_bytes();
}

/// A09, W06: a prepared and a retired key are published and do not sign.
#[test]
fn keys_that_do_not_sign_are_published_after_those_that_do() {
    let (old, new) = (es256(Stage::Retired, Some(at(1))), es256(Stage::Prepared, None));
    let active = es256(Stage::Active, Some(at(2)));
    let set = KeyFile::parse(&data(&[&old, &new, &active])).unwrap().into_key_set();
    assert_eq!(set.active[&Algorithm::Es256].kid(), active.key.kid());
    let jwks: serde_json::Value = serde_json::from_slice(&set.jwks).unwrap();
    let kids: Vec<_> = jwks["keys"].as_array().unwrap().iter().map(|jwk| jwk["kid"].as_str().unwrap()).collect();
    assert_eq!(kids, [active.key.kid(), new.key.kid(), old.key.kid()]);
}

#[test]
fn what_is_written_of_a_key_is_read_again() {
    let known = es256(Stage::Retired, Some(at(2)));
    let life = Key { published_at: Some(at(3)), unused_since: Some(at(4)), ..known.life.clone() };
    let mut data = data(&[]);
    data.extend([entry(&known.key, &life).unwrap()]);
    assert_eq!(KeyFile::parse(&data).unwrap().lives(), [life]);
}

/// What the first version wrote: no time of publication, none of the last signature.
#[test]
fn an_entry_of_the_first_version_is_read() {
    let known = es256(Stage::Active, Some(at(2)));
    let mut data = data(&[&known]);
    edit(&mut data, known.key.kid(), |json| {
        assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), ["activatedAt", "algorithm", "createdAt", "pkcs8", "state"]);
    });
    assert_eq!(KeyFile::parse(&data).unwrap().lives(), [known.life]);
}

/// S12.
#[test]
fn the_summary_holds_no_key() {
    let known = es256(Stage::Active, Some(at(2)));
    let text = summary(&[known.life]);
    assert_eq!(
        text,
        format!(
            r#"{{"{}":{{"algorithm":"ES256","state":"active","createdAt":"1970-01-01T00:00:01Z","activatedAt":"1970-01-01T00:00:02Z"}}}}"#,
            known.key.kid()
        )
    );
}

/// S16: without a digest key there is nothing to compare with, and a new one is never made here.
#[test]
fn a_digest_key_of_another_length_is_refused() {
    for bytes in [None, Some(vec![]), Some(vec![7; 31]), Some(vec![7; 33])] {
        let mut data = data(&[]);
        data.remove(DIGEST_KEY);
        data.extend(bytes.map(|bytes| (DIGEST_KEY.to_owned(), ByteString(bytes))));
        assert_eq!(KeyFile::parse(&data).unwrap_err(), KeySecretError::DigestKey);
    }
}

/// What one bad entry holds harms no other one, and is named.
#[test]
fn an_entry_that_cannot_be_read_is_reported_and_left_out() {
    let (good, bad) = (es256(Stage::Active, Some(at(1))), es256(Stage::Prepared, None));
    let other = STANDARD.encode(&*SigningKey::generate(Algorithm::Es256).unwrap().to_pkcs8().unwrap());
    let edits: [(&str, serde_json::Value, Fault); 7] = [
        ("pkcs8", "rubbish".into(), Fault::Key("ES256")),
        ("pkcs8", STANDARD.encode(b"rubbish").into(), Fault::Key("ES256")),
        ("pkcs8", other.into(), Fault::Name),
        ("algorithm", "RS256".into(), Fault::Key("RS256")),
        ("algorithm", "none".into(), Fault::Algorithm),
        ("state", "shiny".into(), Fault::Form),
        ("padding", "x".repeat(MAX_BYTES).into(), Fault::TooLong),
    ];
    for (member, value, why) in edits {
        let mut data = data(&[&good, &bad]);
        edit(&mut data, bad.key.kid(), |json| json[member] = value);
        let file = KeyFile::parse(&data).unwrap();
        assert_eq!(file.problems, [Problem { entry: entry_name(bad.key.kid()), why }]);
        assert_eq!(file.keys.iter().map(|known| known.key.kid()).collect::<Vec<_>>(), [good.key.kid()]);
    }
}

#[test]
fn of_two_active_keys_the_one_activated_later_signs() {
    let (older, newer) = (es256(Stage::Active, Some(at(1))), es256(Stage::Active, Some(at(2))));
    let file = KeyFile::parse(&data(&[&older, &newer])).unwrap();
    assert_eq!(file.problems, [Problem { entry: entry_name(older.key.kid()), why: Fault::Superseded }]);
    assert_eq!(file.into_key_set().active[&Algorithm::Es256].kid(), newer.key.kid());
}

/// S16.
#[test]
fn too_many_keys_are_refused() {
    let known = es256(Stage::Retired, None);
    let (_, bytes) = entry(&known.key, &known.life).unwrap();
    let mut data = data(&[]);
    data.extend((0..=MAX_SIGNING_KEYS).map(|number| (entry_name(&number.to_string()), bytes.clone())));
    assert_eq!(KeyFile::parse(&data).unwrap_err(), KeySecretError::TooManyKeys);
}

/// S12: neither a problem nor a key prints what the Secret holds.
#[test]
fn no_message_holds_key_material() {
    let known = es256(Stage::Active, None);
    let mut data = data(&[&known]);
    edit(&mut data, known.key.kid(), |json| json["algorithm"] = "RS256".into());
    let pkcs8 = STANDARD.encode(&*known.key.to_pkcs8().unwrap());
    let problems = KeyFile::parse(&data).unwrap().problems;
    let printed = format!("{problems:?} {} {known:?}", problems[0]);
    assert!(!pkcs8.as_bytes().chunks(12).any(|part| printed.contains(std::str::from_utf8(part).unwrap())), "{printed}");
    assert_eq!(
        problems[0].to_string(),
        format!("its entry signing-{}.json holds no RS256 key: restore the entry from a backup, or remove it", known.key.kid())
    );
}
