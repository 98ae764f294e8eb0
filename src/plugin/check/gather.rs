//! Reads what there is to check: files, the cluster, the platform's policy. What this person may not read is named, and hides nothing else.

use super::{
    CLIENT, Ledgers, RESOURCE,
    consumers::{self, Workload},
    finding::Finding,
    ledger::{Ledger, Objects, name_of},
    manifest::{Manifests, first_line},
    secret,
};
use crate::{
    ambient,
    api::{DEFAULT_ISSUER, OAuthClient, ProtectedResource},
    cli::CheckArgs,
    domain::{names::ObjectName, resource::Algorithm},
    installation::{Installation, Reach},
    plugin::{
        PluginError,
        cluster::{Cluster, ClusterError},
        report::Report,
    },
    policy::Policy,
};
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    core::v1::{ConfigMap, Namespace, PodTemplateSpec, Secret},
};
use kube::api::{ListParams, ObjectMeta};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    path::Path,
};

/// Where an installation is if no object says so.
const USUAL: (&str, &str) = ("keywright-system", "keywright");

/// See above.
pub(super) struct Gathered {
    pub(super) objects: Objects,
    /// What was asked about, by kind and name.
    pub(super) subjects: BTreeSet<(String, ObjectName)>,
    pub(super) findings: Vec<(&'static str, ObjectName, Finding)>,
    pub(super) notes: Vec<Finding>,
    /// Whether they are objects of the cluster, and not of files.
    pub(super) is_applied: bool,
}

/// Of files all that they hold; of the cluster one client, or all clients and APIs of the namespace.
pub(super) async fn gather(arguments: &CheckArgs, cluster: Option<&Cluster>) -> Result<Gathered, PluginError> {
    let (mut objects, mut notes) = (Objects::none(), Vec::new());
    let given = arguments.cluster.namespace.as_deref();
    let namespace = cluster.map(|cluster| cluster.namespace.as_str()).or(given).unwrap_or("default");
    if let Some(cluster) = cluster {
        read_cluster(cluster, &mut objects, &mut notes).await?;
    }
    if arguments.filename.is_empty() {
        let subjects = subjects_of_cluster(arguments, cluster, &objects, namespace).await?;
        return Ok(Gathered { objects, subjects, findings: Vec::new(), notes, is_applied: true });
    }
    let mut manifests = Manifests::default();
    for path in &arguments.filename {
        let unusable = |why: String| PluginError::File { path: path.clone(), why };
        manifests.read(&read_file(path)?, namespace).map_err(unusable)?;
    }
    let mut subjects = BTreeSet::new();
    for client in manifests.clients {
        subjects.insert((CLIENT.to_owned(), name_of(&client)));
        objects.apply_client(client, ambient::now());
    }
    for resource in manifests.resources {
        subjects.insert((RESOURCE.to_owned(), name_of(&resource)));
        objects.apply_resource(resource, ambient::now());
    }
    Ok(Gathered { objects, subjects, findings: manifests.findings, notes, is_applied: false })
}

/// Of all namespaces, or of the one at hand where more is not allowed.
async fn read_cluster(cluster: &Cluster, objects: &mut Objects, notes: &mut Vec<Finding>) -> Result<(), PluginError> {
    let all = ListParams::default();
    let clients = match cluster.list_everywhere::<OAuthClient>(&all).await {
        Err(error @ ClusterError::Forbidden { .. }) => {
            notes.push(Finding::unchecked("OAuthClients elsewhere", error.to_string()));
            cluster.list(&cluster.namespace, &all).await
        }
        listed => listed,
    };
    clients.map_err(PluginError::Cluster)?.into_iter().for_each(|client| objects.put_client(client));
    let resources = match cluster.list_everywhere::<ProtectedResource>(&all).await {
        Err(error @ ClusterError::Forbidden { .. }) => {
            notes.push(Finding::unchecked("ProtectedResources elsewhere", error.to_string()));
            objects.known_namespaces = Some([cluster.namespace.clone()].into());
            cluster.list(&cluster.namespace, &all).await
        }
        listed => {
            objects.known_namespaces = None;
            listed
        }
    };
    resources.map_err(PluginError::Cluster)?.into_iter().for_each(|resource| objects.put_resource(resource));
    match cluster.list_everywhere::<Namespace>(&all).await {
        Ok(namespaces) => namespaces.into_iter().for_each(|namespace| objects.put_namespace(namespace)),
        Err(error) => notes.push(Finding::unchecked("grants by labels of namespaces", error.to_string())),
    }
    Ok(())
}

async fn subjects_of_cluster(
    arguments: &CheckArgs,
    cluster: Option<&Cluster>,
    objects: &Objects,
    namespace: &str,
) -> Result<BTreeSet<(String, ObjectName)>, PluginError> {
    if let (Some(client), Some(cluster)) = (&arguments.client, cluster) {
        // Said as everywhere, if it is not there.
        cluster.read::<OAuthClient>(namespace, client).await.map_err(PluginError::Cluster)?;
        return Ok([(CLIENT.to_owned(), ObjectName::new(namespace, client))].into());
    }
    let clients = objects.clients().map(|(name, _)| (CLIENT, name));
    let resources = objects.resources().map(|(name, _)| (RESOURCE, name));
    let here = clients.chain(resources).filter(|(_, name)| name.namespace == namespace);
    Ok(here.map(|(kind, name)| (kind.to_owned(), name.clone())).collect())
}

fn read_file(path: &Path) -> Result<String, PluginError> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(path).map(|content| text = content)
    };
    read.map(|()| text).map_err(|error| PluginError::File { path: path.to_owned(), why: error.to_string() })
}

impl Gathered {
    /// A view for each installation that one of the subjects names.
    pub(super) async fn ledgers(&self, arguments: &CheckArgs, cluster: Option<&Cluster>) -> Result<Ledgers<'_>, PluginError> {
        let clients = self.objects.clients().map(|(name, object)| (CLIENT, name, &object.spec.issuer));
        let resources = self.objects.resources().map(|(name, object)| (RESOURCE, name, &object.spec.issuer));
        let asked = clients.chain(resources).filter(|(kind, name, _)| self.subjects.contains(&((*kind).to_owned(), (*name).clone())));
        let issuers: BTreeSet<String> = asked.map(|(_, _, issuer)| issuer.clone().unwrap_or_else(|| DEFAULT_ISSUER.to_owned())).collect();
        let mut ledgers = Ledgers { by_issuer: BTreeMap::new(), notes: Vec::new() };
        for issuer in issuers {
            let installation = self.installation(&issuer);
            let policy = match (&arguments.policy, cluster) {
                (Some(path), _) => policy_of(&read_file(path)?).map_err(|why| PluginError::File { path: path.clone(), why })?,
                (None, Some(cluster)) => stored_policy(cluster, &installation).await.unwrap_or_else(|note| {
                    ledgers.notes.push(note);
                    Policy::default()
                }),
                (None, None) => {
                    ledgers
                        .notes
                        .push(Finding::unchecked("the platform's policy", "name the file by --policy; the built-in one was taken"));
                    Policy::default()
                }
            };
            ledgers.by_issuer.insert(issuer, Ledger::new(&self.objects, policy, installation));
        }
        Ok(ledgers)
    }

    /// As the objects tell that it works on.
    fn installation(&self, issuer: &str) -> Installation {
        let is_its = |given: &Option<String>| given.as_deref().unwrap_or(DEFAULT_ISSUER) == issuer;
        let clients = self.objects.clients().filter(|(_, object)| is_its(&object.spec.issuer));
        let clients = clients.filter_map(|(_, object)| object.status.as_ref()?.controller.as_deref());
        let resources = self.objects.resources().filter(|(_, object)| is_its(&object.spec.issuer));
        let mut told = clients.chain(resources.filter_map(|(_, object)| object.status.as_ref()?.controller.as_deref()));
        let (namespace, release) = told.find_map(|controller| controller.split_once('/')).unwrap_or(USUAL);
        Installation {
            name: issuer.to_owned(),
            release: release.to_owned(),
            namespace: namespace.to_owned(),
            issuer: Installation::default_issuer(release, namespace),
            cluster_domain: "cluster.local".to_owned(),
            algorithm: Algorithm::Rs256,
            reach: Reach::Cluster,
        }
    }
}

async fn stored_policy(cluster: &Cluster, installation: &Installation) -> Result<Policy, Finding> {
    let unchecked = |why: String| {
        let message = format!("{why}; the built-in one was taken: name a file by --policy");
        Finding::unchecked("the platform's policy", message)
    };
    let name = format!("{}-policy", installation.release);
    let stored = cluster.read::<ConfigMap>(&installation.namespace, &name).await.map_err(|error| unchecked(error.to_string()))?;
    let text = stored.data.and_then(|mut data| data.remove("policy.yaml")).unwrap_or_default();
    policy_of(&text).map_err(unchecked)
}

fn policy_of(text: &str) -> Result<Policy, String> {
    serde_saphyr::from_str(text).map_err(|error| first_line(&error.to_string()))
}

/// What is wrong with a client's Secret. Its metadata alone is read.
pub(super) async fn secret_of(cluster: &Cluster, report: &Report) -> Vec<Finding> {
    let Some(name) = &report.secret else { return Vec::new() };
    match cluster.metadata::<Secret>(&report.namespace, name).await {
        Ok(found) => secret::of_secret(report, &found),
        Err(ClusterError::Missing { .. }) => vec![secret::absent(name)],
        Err(error) => vec![Finding::unchecked(format!("Secret {name}"), error.to_string())],
    }
}

/// Whether somebody else's Secret is where that of a client is to be.
pub(super) async fn foreign_secret(cluster: &Cluster, client: &OAuthClient, report: &Report) -> Option<Finding> {
    let name = client.spec.secret.as_ref().and_then(|secret| secret.name.clone()).unwrap_or_else(|| report.name.clone());
    match cluster.metadata::<Secret>(&report.namespace, &name).await {
        Ok(found) => secret::of_foreign(&report.name, &found),
        Err(ClusterError::Missing { .. }) => None,
        Err(error) => Some(Finding::unchecked(format!("Secret {name}"), error.to_string())),
    }
}

/// Who reads the Secret in a way that no rotation reaches. Kind by kind: a person may have the right to see one and not the other.
pub(super) async fn consumers_of(cluster: &Cluster, report: &Report) -> Vec<Finding> {
    let Some(secret) = &report.secret else { return Vec::new() };
    let all = ListParams::default();
    let workload = |kind, metadata: ObjectMeta, template: PodTemplateSpec| {
        let (name, annotations) = (metadata.name.unwrap_or_default(), metadata.annotations.unwrap_or_default());
        Workload { kind, name, annotations, pod: template.spec.unwrap_or_default() }
    };
    let (deployments, stateful_sets, daemon_sets) = tokio::join!(
        cluster.list::<Deployment>(&report.namespace, &all),
        cluster.list::<StatefulSet>(&report.namespace, &all),
        cluster.list::<DaemonSet>(&report.namespace, &all),
    );
    let listed = [
        deployments.map(|all| all.into_iter().map(|one| workload("Deployment", one.metadata, one.spec.template)).collect()),
        stateful_sets.map(|all| all.into_iter().map(|one| workload("StatefulSet", one.metadata, one.spec.template)).collect()),
        daemon_sets.map(|all| all.into_iter().map(|one| workload("DaemonSet", one.metadata, one.spec.template)).collect()),
    ];
    let findings = |listed: Result<Vec<Workload>, ClusterError>| match listed {
        Ok(workloads) => consumers::of_workloads(report, secret, &workloads),
        Err(error) => vec![Finding::unchecked("workloads", error.to_string())],
    };
    listed.into_iter().flat_map(findings).collect()
}
