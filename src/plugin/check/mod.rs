//! `kubectl keywright check`: what is wrong with clients and APIs, or will be once a file is applied.
//!
//! ```text
//! files → document, manifest (pure) ─┐
//! cluster (reads) ───────────────────┴→ ledger (pure): what the operator would say ─┐
//!                     secret, consumers (pure): what becomes of a rotation ─┴→ finding (pure)
//! ```

mod consumers;
mod document;
mod finding;
mod gather;
mod ledger;
mod manifest;
mod secret;

use super::{PluginError, cluster::Cluster, report::Report};
use crate::{
    ambient,
    api::{OAuthClient, ProtectedResource},
    cli::{CheckArgs, Form},
    domain::names::ObjectName,
};
use finding::{Checked, Finding, Told};
use gather::Gathered;
use ledger::{Ledger, name_of};
use std::{collections::BTreeMap, fmt::Write as _};

const CLIENT: &str = "OAuthClient";
const RESOURCE: &str = "ProtectedResource";

/// What was found, for people or programs, and how many objects have a fault.
pub(super) async fn check(arguments: &CheckArgs) -> Result<(String, usize), PluginError> {
    let cluster = match arguments.offline {
        true => None,
        false => Some(Cluster::connect(&arguments.cluster).await.map_err(PluginError::Cluster)?),
    };
    let gathered = gather::gather(arguments, cluster.as_ref()).await?;
    let ledgers = gathered.ledgers(arguments, cluster.as_ref()).await?;
    let mut checked = Vec::new();
    for (name, client) in gathered.subjects_of(gathered.objects.clients()) {
        let mut findings =
            ledgers.of(client.spec.issuer.as_deref()).map(|ledger| ledger.of_client(name, ambient::now())).unwrap_or_default();
        if let Some(cluster) = &cluster {
            findings.extend(seen_in_the_cluster(cluster, client, gathered.is_applied).await);
        }
        findings.extend(gathered.findings_of(CLIENT, name));
        checked.push(Checked::of(CLIENT, name, findings));
    }
    for (name, resource) in gathered.subjects_of(gathered.objects.resources()) {
        let mut findings = ledgers.of(resource.spec.issuer.as_deref()).map(|ledger| ledger.of_resource(name)).unwrap_or_default();
        if gathered.is_applied {
            findings.extend(told_of_resource(resource));
        }
        findings.extend(gathered.findings_of(RESOURCE, name));
        checked.push(Checked::of(RESOURCE, name, findings));
    }
    checked.extend(gathered.unread());
    Ok(told(&checked, &ledgers.notes(&gathered), arguments.output))
}

fn told(checked: &[Checked], notes: &[Finding], form: Form) -> (String, usize) {
    let faulty = checked.iter().filter(|one| one.is_faulty()).count();
    let text = match form {
        Form::Json => {
            let all = serde_json::json!({"objects": checked, "notChecked": notes});
            format!("{all:#}\n")
        }
        Form::Text => {
            let mut text: String = checked.iter().map(Checked::text).collect();
            for note in notes {
                // A String takes everything.
                let _ = writeln!(text, "not checked: {}: {}", note.about, note.message);
            }
            if checked.is_empty() { "no OAuthClient and no ProtectedResource\n".to_owned() + &text } else { text }
        }
    };
    (text, faulty)
}

/// What the operator has said, the Secret, and who reads it; of an object that is not applied yet, whether its Secret is in the way.
async fn seen_in_the_cluster(cluster: &Cluster, client: &OAuthClient, is_applied: bool) -> Vec<Finding> {
    let report = Report::of(client);
    if !is_applied {
        return gather::foreign_secret(cluster, client, &report).await.into_iter().collect();
    }
    let status = client.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let told = Told { controller: report.controller.as_deref(), outdated: report.outdated, conditions: &conditions };
    let mut findings = finding::of_conditions(&format!("{CLIENT} {}", report.name), &told);
    findings.extend(gather::secret_of(cluster, &report).await);
    findings.extend(gather::consumers_of(cluster, &report).await);
    findings
}

fn told_of_resource(resource: &ProtectedResource) -> Vec<Finding> {
    let status = resource.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let outdated = status.observed_generation != resource.metadata.generation;
    let told = Told { controller: status.controller.as_deref(), outdated, conditions: &conditions };
    finding::of_conditions(&format!("{RESOURCE} {}", name_of(resource).name), &told)
}

/// The views of the installations, by `spec.issuer`.
struct Ledgers<'a> {
    by_issuer: BTreeMap<String, Ledger<'a>>,
    notes: Vec<Finding>,
}

impl Ledgers<'_> {
    fn of(&self, issuer: Option<&str>) -> Option<&Ledger<'_>> {
        self.by_issuer.get(issuer.unwrap_or(crate::api::DEFAULT_ISSUER))
    }

    fn notes(&self, gathered: &Gathered) -> Vec<Finding> {
        gathered.notes.iter().chain(&self.notes).cloned().collect()
    }
}

impl Gathered {
    /// Those that were asked about.
    fn subjects_of<'a, K>(&'a self, all: impl Iterator<Item = (&'a ObjectName, &'a K)>) -> Vec<(&'a ObjectName, &'a K)>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        all.filter(|(name, _)| self.subjects.contains(&(K::kind(&()).into_owned(), (*name).clone()))).collect()
    }

    fn findings_of(&self, kind: &str, name: &ObjectName) -> Vec<Finding> {
        let of = self.findings.iter().filter(|(found, of, _)| *found == kind && of == name);
        of.map(|(_, _, finding)| finding.clone()).collect()
    }

    /// What could not even be read.
    fn unread(&self) -> Vec<Checked> {
        let unread = self.findings.iter().filter(|(kind, name, _)| !self.subjects.contains(&((*kind).to_owned(), name.clone())));
        unread.map(|(kind, name, finding)| Checked::of(kind, name, vec![finding.clone()])).collect()
    }
}
