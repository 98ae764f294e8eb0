//! The CAs of a release, from one to the next: what stands in `<release>-ca`, and what each step of `domain::key_rotation` makes of it.
//!
//! | Entry | Holds |
//! |---|---|
//! | `tls.crt`, `tls.key` | the CA that signs; without a private key it was lost, and what it signed stays in use for as long as it can |
//! | `next.crt`, `next.key` | the one that signs next |
//! | `former.crt` | those that sign no more, without their keys |
//!
//! All of their certificates together are `ca.crt`, in an order that no step changes, so that the Secrets of clients are written to
//! when one comes or goes, and not when another one begins to sign. Since when each is what it is, the annotation
//! `keywright.dev/authorities` says; what it does not say counts from now.

use super::{Authority, CA, CERTIFICATE, CertificateError, PRIVATE_KEY, ServingCertificate, authority, bytes_of, certificates_of, pem};
use crate::{
    domain::key_rotation::{Key, Rules, Stage, Step, activated, confirmed, removed, retired, revoked},
    keys::secret::Data,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The data key of the certificate of the CA that signs next.
pub const NEXT_CERTIFICATE: &str = "next.crt";
/// The data key of its private key.
pub const NEXT_PRIVATE_KEY: &str = "next.key";
/// The data key of the CAs that sign no more.
pub const FORMER: &str = "former.crt";

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// A CA signs for half of its life, so that there are years left when something keeps the next one from being known everywhere. That
/// one is in every `ca.crt` for 30 days before (rotation.md); the former stays until the last certificate that it signed has ended.
pub const RULES: Rules = Rules {
    every: SignedDuration::from_hours(5 * 365 * 24),
    ahead: SignedDuration::from_hours(30 * 24),
    keep: SignedDuration::from_hours(91 * 24),
};

/// All CAs of a release. No Debug: they sign.
pub struct Authorities(Vec<Known>);

struct Known {
    life: Key<()>,
    certificate: CertificateDer<'static>,
    signer: Option<Authority>,
    /// Whether the annotation names it.
    is_recorded: bool,
}

/// What the annotation says of one CA.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    state: Stage,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    published_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activated_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unused_since: Option<Timestamp>,
    not_after: Timestamp,
}

impl Authorities {
    /// The first one signs at once: nobody trusts another.
    ///
    /// # Errors
    /// [`CertificateError::Unreadable`], never for one that was made here.
    pub fn first(signer: Authority, now: Timestamp) -> Result<Self, CertificateError> {
        Ok(Self(vec![Known::of(signer, Key::active, now)?]))
    }

    /// Those that clients trust, as the serving certificate says whose CA is lost, and beside them the one that signs next. `None`: that
    /// certificate has ended, or none of them signed it, and so nothing is lost with them.
    ///
    /// # Errors
    /// [`CertificateError::Unreadable`], never for one that was made here.
    pub fn beside(shown: &ServingCertificate, next: Authority, now: Timestamp) -> Result<Option<Self>, CertificateError> {
        if now >= shown.not_after || !shown.authorities().iter().any(|certificate| shown.is_signed_by(certificate)) {
            return Ok(None);
        }
        let mut known = vec![Known::of(next, Key::prepared, now)?];
        for certificate in shown.authorities() {
            let stage = if shown.is_signed_by(&certificate) { Stage::Active } else { Stage::Retired };
            known.push(Known::read(certificate, None, stage, &BTreeMap::new())?);
        }
        Ok(Some(Self(known).in_order()))
    }

    /// Reads the CA's Secret: its data, and the annotation.
    ///
    /// # Errors
    /// [`CertificateError`] that says which entry is wrong, and how.
    pub fn parse(data: &Data, annotation: Option<&str>) -> Result<Self, CertificateError> {
        let records: BTreeMap<String, Record> = annotation.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let active = certificates_of(data, CERTIFICATE)?.into_iter().next().ok_or(CertificateError::Pem(CERTIFICATE))?;
        let is_lost = bytes_of(data, PRIVATE_KEY)?.is_empty();
        let signer = if is_lost { None } else { Some(Authority::parse(data)?) };
        let mut known = vec![Known::read(active, signer, Stage::Active, &records)?];
        if data.contains_key(NEXT_CERTIFICATE) || data.contains_key(NEXT_PRIVATE_KEY) {
            let pair = [(NEXT_CERTIFICATE, CERTIFICATE), (NEXT_PRIVATE_KEY, PRIVATE_KEY)];
            let pair = pair.into_iter().filter_map(|(from, to)| Some((to.to_owned(), data.get(from)?.clone())));
            let next = Authority::parse(&pair.collect()).map_err(|_| CertificateError::Next)?;
            known.push(Known::read(next.certificate().clone(), Some(next), Stage::Prepared, &records)?);
        }
        let former = if data.contains_key(FORMER) { certificates_of(data, FORMER)? } else { Vec::new() };
        for certificate in former {
            known.push(Known::read(certificate, None, Stage::Retired, &records)?);
        }
        Ok(Self(known).in_order())
    }

    /// Each once, and where it counts most: the one that signs first.
    fn in_order(mut self) -> Self {
        self.0.sort_by_key(|known| (known.life.stage, known.life.created_at));
        let mut seen = BTreeSet::new();
        self.0.retain(|known| seen.insert(known.life.id.clone()));
        self
    }

    /// The data of the Secret.
    #[must_use]
    pub fn to_data(&self) -> Data {
        let (active, next) = (self.at(Stage::Active), self.at(Stage::Prepared));
        let key = |known: &Known| known.signer.as_ref().map(Authority::private_key_pem).unwrap_or_default();
        let former: String = self.0.iter().filter(|known| known.life.stage == Stage::Retired).map(Known::pem).collect();
        let entries = [
            (CERTIFICATE, active.map(Known::pem)),
            (PRIVATE_KEY, active.map(key)),
            (NEXT_CERTIFICATE, next.map(Known::pem)),
            (NEXT_PRIVATE_KEY, next.map(key)),
            (FORMER, Some(former).filter(|text| !text.is_empty())),
        ];
        entries.into_iter().filter_map(|(name, text)| Some((name.to_owned(), ByteString(text?.into_bytes())))).collect()
    }

    /// What turns the data of the Secret into [`Authorities::to_data`]; `None`: the entry goes.
    #[must_use]
    pub fn changes(&self, found: &Data) -> BTreeMap<String, Option<ByteString>> {
        let wanted = self.to_data();
        let gone = [NEXT_CERTIFICATE, NEXT_PRIVATE_KEY, FORMER]
            .into_iter()
            .filter(|name| !wanted.contains_key(*name) && found.contains_key(*name));
        let gone: BTreeMap<_, _> = gone.map(|name| (name.to_owned(), None)).collect();
        let changed = wanted.into_iter().filter(|(name, bytes)| found.get(name) != Some(bytes));
        changed.map(|(name, bytes)| (name, Some(bytes))).chain(gone).collect()
    }

    /// The annotation: what people may read of the CAs without reading the Secret's data, by fingerprint, as JSON.
    #[must_use]
    pub fn summary(&self) -> String {
        let records: BTreeMap<&str, Record> = self.0.iter().map(|known| (known.life.id.as_str(), known.record())).collect();
        serde_json::to_string(&records).unwrap_or_default()
    }

    /// `ca.crt`: what clients have to trust.
    #[must_use]
    pub fn bundle(&self) -> String {
        let mut all: Vec<_> = self.0.iter().map(|known| (known.life.created_at, &known.life.id, &known.certificate)).collect();
        all.sort_by(|one, other| (one.0, one.1).cmp(&(other.0, other.1)));
        all.into_iter().map(|(_, _, certificate)| pem(std::slice::from_ref(certificate))).collect()
    }

    /// The lives of all, for a plan. `shown`: the serving certificate in use, the last that a lost CA has signed.
    #[must_use]
    pub fn lives(&self, shown: Option<&ServingCertificate>, now: Timestamp) -> Vec<Key<()>> {
        let life = |known: &Known| Key { signs_until: known.signs_until(shown, now), ..known.life.clone() };
        self.0.iter().map(life).collect()
    }

    /// The certificate of the CA that signs, or that signed what is shown.
    #[must_use]
    pub fn active(&self) -> Option<&CertificateDer<'static>> {
        self.at(Stage::Active).map(|known| &known.certificate)
    }

    /// The CA that signs, if its private key is not lost.
    #[must_use]
    pub fn signer(&self) -> Option<&Authority> {
        self.at(Stage::Active)?.signer.as_ref()
    }

    /// The CA that signs next.
    #[must_use]
    pub fn next(&self) -> Option<(&str, &Authority)> {
        let next = self.at(Stage::Prepared)?;
        Some((&next.life.id, next.signer.as_ref()?))
    }

    /// Where a hand put another CA in the place of the one that signed what is shown, and has not insisted: beside what clients trust.
    /// `None`: all is as it was written.
    ///
    /// # Errors
    /// [`CertificateError::Unreadable`], never for one that was read.
    pub fn put_beside(&self, shown: Option<&ServingCertificate>, now: Timestamp) -> Result<Option<Self>, CertificateError> {
        let (Some(active), Some(shown)) = (self.at(Stage::Active).filter(|active| !active.is_recorded), shown) else { return Ok(None) };
        let is_known = self.0.iter().any(|known| shown.is_signed_by(&known.certificate));
        match active.signer.as_ref().filter(|_| !is_known) {
            Some(signer) => Self::beside(shown, signer.again()?, now),
            None => Ok(None),
        }
    }

    /// What a step makes of them. `fresh`: a new one, for the steps that need one ([`Authorities::draws`]).
    ///
    /// # Errors
    /// [`CertificateError::Unreadable`], never for one that was made here.
    pub fn after(mut self, step: &Step<()>, fresh: Option<Authority>, now: Timestamp) -> Result<Self, CertificateError> {
        let lives: Vec<_> = self.0.iter().map(|known| known.life.clone()).collect();
        let lives = match step {
            Step::Activate(id) => activated(&lives, id, now),
            Step::Retire(id) => retired(&lives, id),
            Step::Confirm => confirmed(&lives, now),
            Step::Remove(ids) => removed(&lives, ids),
            Step::Revoke(ids) => revoked(&lives, ids, now).0,
            Step::Prepare { .. } | Step::Acknowledge | Step::Gate => lives,
        };
        self.0.retain_mut(|known| match lives.iter().find(|life| life.id == known.life.id) {
            Some(life) => {
                known.life = life.clone();
                if life.stage == Stage::Retired {
                    known.signer = None;
                }
                true
            }
            None => false,
        });
        if let Some(fresh) = fresh {
            let life = if matches!(step, Step::Revoke(_)) { Key::active } else { Key::prepared };
            self.0.push(Known::of(fresh, life, now)?);
        }
        Ok(self.in_order())
    }

    /// Whether a step needs a new one.
    #[must_use]
    pub fn draws(&self, step: &Step<()>, now: Timestamp) -> bool {
        let lives: Vec<_> = self.0.iter().map(|known| known.life.clone()).collect();
        match step {
            Step::Prepare { .. } => true,
            Step::Revoke(ids) => !revoked(&lives, ids, now).1.is_empty(),
            _ => false,
        }
    }

    fn at(&self, stage: Stage) -> Option<&Known> {
        self.0.iter().find(|known| known.life.stage == stage)
    }
}

impl Known {
    fn of(signer: Authority, life: fn(String, (), Timestamp) -> Key<()>, now: Timestamp) -> Result<Self, CertificateError> {
        let certificate = signer.certificate().clone();
        let created_at = authority::begins(&certificate)?;
        let life = Key { created_at, ..life(authority::fingerprint(&certificate), (), now) };
        Ok(Self { life, certificate, signer: Some(signer), is_recorded: false })
    }

    fn read(
        certificate: CertificateDer<'static>,
        signer: Option<Authority>,
        stage: Stage,
        records: &BTreeMap<String, Record>,
    ) -> Result<Self, CertificateError> {
        let id = authority::fingerprint(&certificate);
        let record = records.get(&id);
        let life = Key {
            stage,
            created_at: authority::begins(&certificate)?,
            published_at: record.and_then(|record| record.published_at),
            activated_at: record.and_then(|record| record.activated_at),
            unused_since: record.and_then(|record| record.unused_since),
            ..Key::prepared(id, (), Timestamp::default())
        };
        Ok(Self { is_recorded: record.is_some(), life, certificate, signer })
    }

    fn pem(&self) -> String {
        pem(std::slice::from_ref(&self.certificate))
    }

    fn record(&self) -> Record {
        let Key { stage, created_at, published_at, activated_at, unused_since, .. } = self.life;
        let not_after = authority::ends(&self.certificate).unwrap_or_default();
        Record { state: stage, created_at, published_at, activated_at, unused_since, not_after }
    }

    /// A day before the end of its certificate, which is also the end of those that it signs; where its private key is lost, a day before
    /// that of the last one.
    fn signs_until(&self, shown: Option<&ServingCertificate>, now: Timestamp) -> Option<Timestamp> {
        if self.life.stage != Stage::Active {
            return None;
        }
        let last = shown.filter(|shown| shown.is_signed_by(&self.certificate)).map(|shown| shown.not_after);
        let end = authority::ends(&self.certificate).unwrap_or(now);
        let end = if self.signer.is_some() { end } else { last.unwrap_or(now).min(end) };
        Some(end.checked_sub(DAY).unwrap_or(end))
    }
}

/// The certificates of a `ca.crt`, in PEM; what cannot be read is left out.
pub(super) fn certificates(bundle: Option<&str>) -> Vec<CertificateDer<'static>> {
    let data = bundle.map(|text| Data::from([(CA.to_owned(), ByteString(text.as_bytes().to_vec()))]));
    data.and_then(|data| certificates_of(&data, CA).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
