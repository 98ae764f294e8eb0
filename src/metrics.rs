//! All metrics, by name. Labels come from enums, or are the trust domains of the policy: nothing of a request ever becomes one (H09, S8).

use crate::{
    ambient,
    domain::{
        key_rotation::Stage,
        trust_domain::{Trust, TrustBundles},
    },
    keys::certificate::ServingCertificate,
    oauth::{Error, error::Code, used::UsedAssertions},
    registry::{Seen, snapshot::Snapshot},
    replica::Watched,
};
use arc_swap::ArcSwap;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{MetricType, counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;

/// How a request to the token endpoint ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// With a token.
    Issued,
    /// With this `error`.
    Refused(Code),
    /// With 429, after too many failed authentications (S17).
    TooManyFailures,
    /// With 429, because the client's quota is used up (G13).
    TooManyTokens,
}

impl Outcome {
    /// Of a request that was refused.
    #[must_use]
    pub fn of(error: Error) -> Self {
        match error {
            Error::TooManyFailures(_) => Self::TooManyFailures,
            Error::TooManyTokens(_) => Self::TooManyTokens,
            other => Self::Refused(other.codes().1),
        }
    }

    /// The label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Refused(code) => code.as_str(),
            Self::TooManyFailures => "too_many_failures",
            Self::TooManyTokens => "too_many_tokens",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: Outcome,
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(self.as_str())
    }
}

/// How a request to the introspection endpoint ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Introspected {
    /// The token is active.
    Active,
    /// It is not, or the caller is not told.
    Inactive,
    /// With an error.
    Refused,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IntrospectedLabel {
    outcome: Introspected,
}

impl EncodeLabelValue for Introspected {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Refused => "refused",
        })
    }
}

/// What the token endpoint counts.
#[derive(Clone)]
pub struct TokenMetrics {
    requests: Family<OutcomeLabel, Counter>,
    introspections: Family<IntrospectedLabel, Counter>,
    duration: Histogram,
}

impl TokenMetrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let requests = Family::default();
        registry.register("keywright_token_requests", "Requests to the token endpoint, by outcome", requests.clone());
        let introspections = Family::default();
        registry.register("keywright_introspections", "Requests to the introspection endpoint, by outcome", introspections.clone());
        let duration = Histogram::new([0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 1.0, 10.0]);
        let help = "Time from the head of a token request to its answer, the wait for its body included";
        registry.register_with_unit("keywright_token_request_duration", help, Unit::Seconds, duration.clone());
        Self { requests, introspections, duration }
    }

    /// A request to the introspection endpoint was answered.
    pub fn introspected(&self, outcome: Introspected) {
        self.introspections.get_or_create(&IntrospectedLabel { outcome }).inc();
    }

    /// A request was answered after `took`.
    pub fn answered(&self, outcome: Outcome, took: Duration) {
        self.requests.get_or_create(&OutcomeLabel { outcome }).inc();
        self.duration.observe(took.as_secs_f64());
    }
}

/// What is counted of the connections of a listener.
#[derive(Debug, Clone, Default)]
pub struct ConnectionMetrics {
    /// Those that are open.
    pub open: Gauge,
    /// Those that had to wait, because nothing came of many others from the same address.
    pub delayed: Counter,
}

impl ConnectionMetrics {
    /// Those of the token endpoint.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let Self { open, delayed } = Self::default();
        registry.register("keywright_open_connections", "Connections to the token endpoint that are open", open.clone());
        let help = "Connections to the token endpoint that waited, because nothing came of many others from their address";
        registry.register("keywright_delayed_connections", help, delayed.clone());
        Self { open, delayed }
    }
}

/// Events that the audit log lacks.
pub fn audit_events_left_out(registry: &mut Registry) -> Counter {
    let left_out = Counter::default();
    let help = "Events that the audit log lacks: refusals beyond what it takes in a second, or more of them than are written in time";
    registry.register("keywright_audit_events_left_out", help, left_out.clone());
    left_out
}

/// The keys of the cluster that a replica verifies ServiceAccount tokens with.
pub fn service_account_keys(registry: &mut Registry) -> Gauge {
    let known = Gauge::default();
    let help = "Keys of the cluster that this replica verifies ServiceAccount tokens with; with none they are answered 503";
    registry.register("keywright_service_account_keys", help, known.clone());
    known
}

/// How old what each watch shows may be, in seconds.
#[derive(Debug)]
pub struct SnapshotAge(watch::Receiver<Seen>);

impl SnapshotAge {
    /// Reads what the snapshot in use has reached.
    #[must_use]
    pub fn new(seen: watch::Receiver<Seen>) -> Self {
        Self(seen)
    }
}

impl Collector for SnapshotAge {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Time since what this replica knows of a kind last agreed with the API server";
        let mut ages = encoder.encode_descriptor("keywright_snapshot_age", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        let now = ambient::moment();
        for kind in Watched::ALL {
            let seen = self.0.borrow();
            let of_kind = seen.agreed.iter().filter(|(watch, _)| watch.kind == kind);
            // Of several watches of a kind the one that is furthest behind: namespaces are no label.
            let Some(age) = of_kind.map(|(_, agreed)| now.since(*agreed)).max() else { continue };
            let labels = [("kind", kind.as_str())];
            ages.encode_family(&labels)?.encode_gauge(&age.as_secs_f64())?;
        }
        Ok(())
    }
}

/// How many client assertions are remembered, so that none is used twice.
#[derive(Debug)]
pub struct RememberedAssertions(Arc<UsedAssertions>);

impl RememberedAssertions {
    /// Counts what is remembered here.
    #[must_use]
    pub fn new(used: Arc<UsedAssertions>) -> Self {
        Self(used)
    }
}

impl Collector for RememberedAssertions {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Client assertions that this replica remembers, so that none is used twice";
        let mut gauge = encoder.encode_descriptor("keywright_remembered_assertions", help, None, MetricType::Gauge)?;
        gauge.encode_gauge(&i64::try_from(self.0.len()).unwrap_or(i64::MAX))
    }
}

/// The signing keys: how many are where in their lives, and for how long the one that signs has done so.
pub struct SigningKeys(Arc<ArcSwap<Snapshot>>);

impl SigningKeys {
    /// Reads the keys in use.
    #[must_use]
    pub fn new(snapshot: Arc<ArcSwap<Snapshot>>) -> Self {
        Self(snapshot)
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKeys")
    }
}

impl Collector for SigningKeys {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let snapshot = self.0.load();
        let lives = snapshot.keys.as_ref().map(|keys| keys.lives.as_slice()).unwrap_or_default();
        let mut counts = BTreeMap::<_, i64>::new();
        lives.iter().for_each(|life| *counts.entry((life.line, life.stage)).or_default() += 1);
        let help = "Signing keys, by where they are in their lives: prepared (published), active (it signs), retired (published)";
        let mut keys = encoder.encode_descriptor("keywright_signing_keys", help, None, MetricType::Gauge)?;
        for ((algorithm, stage), count) in counts {
            keys.encode_family(&[("algorithm", algorithm.as_str()), ("stage", stage_label(stage))])?.encode_gauge(&count)?;
        }
        let help = "For how long the active signing key has signed";
        let mut ages = encoder.encode_descriptor("keywright_signing_key_age", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for life in lives.iter().filter(|life| life.stage == Stage::Active) {
            let age = ambient::now().duration_since(life.activated_at.unwrap_or(life.created_at));
            ages.encode_family(&[("algorithm", life.line.as_str())])?.encode_gauge(&age.as_secs_f64())?;
        }
        Ok(())
    }
}

fn stage_label(stage: Stage) -> &'static str {
    match stage {
        Stage::Active => "active",
        Stage::Prepared => "prepared",
        Stage::Retired => "retired",
    }
}

/// The bundles of the trust domains: whether each can be used as it is now, and how many keys are in use.
pub struct Bundles(Arc<ArcSwap<TrustBundles>>);

impl Bundles {
    /// Reads what is known of them.
    #[must_use]
    pub fn new(known: Arc<ArcSwap<TrustBundles>>) -> Self {
        Self(known)
    }
}

impl fmt::Debug for Bundles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bundles")
    }
}

impl Collector for Bundles {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let known = self.0.load();
        if known.is_empty() {
            return Ok(());
        }
        let help = "Whether the bundle of a trust domain can be used as its ConfigMap has it now";
        let mut usable = encoder.encode_descriptor("keywright_trust_bundle_usable", help, None, MetricType::Gauge)?;
        for name in known.names() {
            usable.encode_family(&[("trust_domain", name)])?.encode_gauge(&i64::from(known.fault(name).is_none()))?;
        }
        let help = "Keys that this replica verifies the JWT-SVIDs of a trust domain with; with none they are answered 503";
        let mut keys = encoder.encode_descriptor("keywright_trust_bundle_keys", help, None, MetricType::Gauge)?;
        for name in known.names() {
            let count = if let Trust::Keys(keys) = known.of(name) { keys.len() } else { 0 };
            keys.encode_family(&[("trust_domain", name)])?.encode_gauge(&i64::try_from(count).unwrap_or(i64::MAX))?;
        }
        Ok(())
    }
}

/// Which certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Certificate {
    Serving,
    Authority,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabel {
    certificate: Certificate,
}

impl EncodeLabelValue for Certificate {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(match self {
            Self::Serving => "serving",
            Self::Authority => "authority",
        })
    }
}

/// When what is shown to callers ends.
#[derive(Debug, Clone, Default)]
pub struct CertificateMetrics(Family<CertificateLabel, Gauge>);

impl CertificateMetrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let ends = Self::default();
        let help = "When the serving certificate ends, and the CA in ca.crt that signed it, in seconds since 1970";
        registry.register_with_unit("keywright_certificate_not_after", help, Unit::Seconds, ends.0.clone());
        ends
    }

    /// This one is shown from now on.
    pub fn installed(&self, shown: &ServingCertificate) {
        let label = |certificate| CertificateLabel { certificate };
        self.0.get_or_create(&label(Certificate::Serving)).set(shown.not_after.as_second());
        match shown.authority_not_after() {
            Some(end) => drop(self.0.get_or_create(&label(Certificate::Authority)).set(end.as_second())),
            None => drop(self.0.remove(&label(Certificate::Authority))),
        }
    }
}
