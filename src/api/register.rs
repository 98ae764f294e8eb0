//! Between `status.credentials` and the domain's credentials, both ways.

use super::client::{OAuthClientStatus, StoredCredential};
use crate::domain::{
    credential::{Credential, CredentialId, CredentialState, Digest},
    rotation::Register,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;

/// Why `status.credentials` cannot be read. Nothing is rotated on what is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// It has another shape.
    #[error("status.credentials has not the form that this version writes ({0}): restore it, or remove status.credentials")]
    Shape(String),
    /// A field of one credential.
    #[error("status.credentials: the {field} of credential {id:?} cannot be read: restore it, or remove status.credentials")]
    Field {
        /// The id, as it is written.
        id: String,
        /// The name of the field.
        field: &'static str,
    },
    /// Two credentials with one id, or two Current ones.
    #[error("status.credentials has two {0}: restore it, or remove status.credentials")]
    Twice(&'static str),
}

/// What `status.credentials` says. [`Register::Never`] where it was never written, and where all that it holds was made with
/// another digest key than the one called `digest_key`, which is then lost.
///
/// # Errors
/// [`RegisterError`] where any part of it cannot be read.
pub fn register(status: Option<&OAuthClientStatus>, digest_key: &str) -> Result<Register, RegisterError> {
    let Some(status) = status else { return Ok(Register::Never) };
    if let Some(why) = &status.unreadable {
        return Err(RegisterError::Shape(why.clone()));
    }
    let Some(stored) = &status.credentials else { return Ok(Register::Never) };
    let credentials = stored.iter().map(credential).collect::<Result<Vec<_>, _>>()?;
    refuse_repetition(&credentials)?;
    let lost = !credentials.is_empty() && credentials.iter().all(|known| known.digest.key != digest_key);
    Ok(if lost { Register::Never } else { Register::Known(credentials) })
}

/// The credentials that a replica may compare with: each that can be read, whatever stands beside it.
#[must_use]
pub fn readable(status: Option<&OAuthClientStatus>) -> Vec<Credential> {
    let stored = status.and_then(|status| status.credentials.as_deref()).unwrap_or_default();
    stored.iter().filter_map(|stored| credential(stored).ok()).collect()
}

/// Whether nothing of it is left out by [`readable`].
#[must_use]
pub fn is_readable(status: Option<&OAuthClientStatus>) -> bool {
    let is_whole = |status: &OAuthClientStatus| {
        status.unreadable.is_none() && status.credentials.iter().flatten().all(|stored| credential(stored).is_ok())
    };
    status.is_none_or(is_whole)
}

/// What `status.credentials` is to hold.
#[must_use]
pub fn stored(credentials: &[Credential]) -> Vec<StoredCredential> {
    let text = |time: Timestamp| time.to_string();
    let entry = |known: &Credential| StoredCredential {
        id: known.id.as_str().to_owned(),
        digest: format!("{}:{}", known.digest.key, URL_SAFE_NO_PAD.encode(known.digest.mac)),
        state: state_text(known.state).to_owned(),
        created_at: text(known.created_at),
        retire_after: known.retire_after.map(text),
        accepted_until: known.accepted_until.map(text),
        rehearsed_until: known.rehearsed_until.map(text),
        last_used_at: known.last_used_at.map(text),
    };
    credentials.iter().map(entry).collect()
}

fn refuse_repetition(credentials: &[Credential]) -> Result<(), RegisterError> {
    let mut ids: Vec<_> = credentials.iter().map(|known| &known.id).collect();
    ids.sort();
    ids.dedup();
    if ids.len() < credentials.len() {
        return Err(RegisterError::Twice("credentials with one id"));
    }
    if credentials.iter().filter(|known| known.state == CredentialState::Current).count() > 1 {
        return Err(RegisterError::Twice("credentials that are Current"));
    }
    Ok(())
}

fn credential(stored: &StoredCredential) -> Result<Credential, RegisterError> {
    let unreadable = |field| RegisterError::Field { id: stored.id.clone(), field };
    let time = |text: &str, field| text.parse::<Timestamp>().map_err(|_| unreadable(field));
    let optional = |text: &Option<String>, field| text.as_deref().map(|text| time(text, field)).transpose();
    Ok(Credential {
        id: CredentialId::parse(&stored.id).ok_or_else(|| unreadable("id"))?,
        digest: digest(&stored.digest).ok_or_else(|| unreadable("digest"))?,
        state: state(&stored.state).ok_or_else(|| unreadable("state"))?,
        created_at: time(&stored.created_at, "createdAt")?,
        retire_after: optional(&stored.retire_after, "retireAfter")?,
        accepted_until: optional(&stored.accepted_until, "acceptedUntil")?,
        rehearsed_until: optional(&stored.rehearsed_until, "rehearsedUntil")?,
        last_used_at: optional(&stored.last_used_at, "lastUsedAt")?,
    })
}

fn digest(text: &str) -> Option<Digest> {
    let (key, mac) = text.split_once(':').filter(|(key, _)| !key.is_empty())?;
    let mac = URL_SAFE_NO_PAD.decode(mac).ok()?.try_into().ok()?;
    Some(Digest { key: key.to_owned(), mac })
}

fn state(text: &str) -> Option<CredentialState> {
    use CredentialState::{Current, Pending, Previous};
    [Pending, Current, Previous].into_iter().find(|state| state_text(*state) == text)
}

fn state_text(state: CredentialState) -> &'static str {
    match state {
        CredentialState::Pending => "Pending",
        CredentialState::Current => "Current",
        CredentialState::Previous => "Previous",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time() -> impl Strategy<Value = Timestamp> {
        (0_i64..4_000_000_000_000).prop_map(|milliseconds| Timestamp::from_millisecond(milliseconds).unwrap())
    }

    fn any_credential() -> impl Strategy<Value = Credential> {
        use CredentialState::{Pending, Previous};
        let digest = (prop_oneof![Just("0a1b2c3d"), Just("other")], any::<[u8; 32]>());
        let may_be = || proptest::option::of(time());
        let times = (time(), may_be(), may_be(), may_be(), may_be());
        (any::<[u8; 16]>(), digest, proptest::bool::ANY, times).prop_map(|(id, (key, mac), pending, times)| Credential {
            id: CredentialId::from_random(id),
            digest: Digest { key: key.to_owned(), mac },
            state: if pending { Pending } else { Previous },
            created_at: times.0,
            retire_after: times.1,
            accepted_until: times.2,
            rehearsed_until: times.4,
            last_used_at: times.3,
        })
    }

    fn status(credentials: &[Credential]) -> OAuthClientStatus {
        let written = OAuthClientStatus { credentials: Some(stored(credentials)), ..OAuthClientStatus::default() };
        serde_json::from_value(serde_json::to_value(written).unwrap()).unwrap()
    }

    fn one() -> Credential {
        Credential {
            id: CredentialId::from_random([7; 16]),
            digest: Digest { key: "0a1b2c3d".into(), mac: [9; 32] },
            state: CredentialState::Current,
            created_at: Timestamp::UNIX_EPOCH,
            retire_after: None,
            accepted_until: None,
            rehearsed_until: None,
            last_used_at: None,
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_unchanged(mut credentials in proptest::collection::vec(any_credential(), 1..9)) {
            credentials[0].digest.key = "0a1b2c3d".into();
            let Ok(Register::Known(read)) = register(Some(&status(&credentials)), "0a1b2c3d") else { panic!("not known") };
            prop_assert_eq!(format!("{read:?}"), format!("{credentials:?}"));
            prop_assert_eq!(format!("{:?}", readable(Some(&status(&credentials)))), format!("{credentials:?}"));
        }
    }

    #[test]
    fn never_written_is_not_empty() {
        assert!(matches!(register(None, "k"), Ok(Register::Never)));
        assert!(matches!(register(Some(&OAuthClientStatus::default()), "k"), Ok(Register::Never)));
        assert!(matches!(register(Some(&status(&[])), "k"), Ok(Register::Known(known)) if known.is_empty()));
    }

    #[test]
    fn digests_of_a_lost_key_count_as_never_written() {
        assert!(matches!(register(Some(&status(&[one()])), "another"), Ok(Register::Never)));
        assert!(matches!(register(Some(&status(&[one()])), "0a1b2c3d"), Ok(Register::Known(known)) if known.len() == 1));
    }

    /// L5: unreadable state stops and reports.
    #[test]
    fn what_cannot_be_read_stops_and_is_named() {
        type Damage = fn(&mut StoredCredential);
        let cases: [(Damage, &str); 6] = [
            (|known| known.id = "Short".into(), "id"),
            (|known| known.digest = "0a1b2c3d:AAAA".into(), "digest"),
            (|known| known.digest = known.digest.replace(':', ""), "digest"),
            (|known| known.state = "Active".into(), "state"),
            (|known| known.created_at = "yesterday".into(), "createdAt"),
            (|known| known.accepted_until = Some(String::new()), "acceptedUntil"),
        ];
        for (damage, field) in cases {
            let mut entries = stored(&[one()]);
            damage(&mut entries[0]);
            let status = OAuthClientStatus { credentials: Some(entries), ..OAuthClientStatus::default() };
            let error = register(Some(&status), "0a1b2c3d").unwrap_err().to_string();
            assert!(error.contains(&format!("the {field} of credential")), "{error}");
            assert!(readable(Some(&status)).is_empty() && !is_readable(Some(&status)));
        }
        let twice = [one(), one()];
        assert!(matches!(register(Some(&status(&twice)), "0a1b2c3d"), Err(RegisterError::Twice(_))));
        let unreadable = OAuthClientStatus { unreadable: Some("a map".into()), ..OAuthClientStatus::default() };
        assert!(matches!(register(Some(&unreadable), "0a1b2c3d"), Err(RegisterError::Shape(_))));
        assert!(!is_readable(Some(&unreadable)) && is_readable(None));
    }

    #[test]
    fn a_replica_keeps_accepting_what_it_can_read() {
        let mut entries = stored(&[one()]);
        entries.push(StoredCredential { id: "planted".into(), ..entries[0].clone() });
        let status = OAuthClientStatus { credentials: Some(entries), ..OAuthClientStatus::default() };
        assert_eq!(readable(Some(&status)).len(), 1);
        assert!(!is_readable(Some(&status)));
    }
}
