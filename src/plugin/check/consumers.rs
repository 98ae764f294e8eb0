//! Workloads that read a client's Secret in a way that does not follow a rotation. Pure.

use super::finding::Finding;
use crate::{api, plugin::report::Report};
use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};
use std::collections::BTreeMap;

/// A Deployment, StatefulSet or DaemonSet.
#[derive(Debug, Clone)]
pub(super) struct Workload {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) pod: PodSpec,
}

/// What is wrong with how they read the Secret.
pub(super) fn of_workloads(report: &Report, secret: &str, workloads: &[Workload]) -> Vec<Finding> {
    workloads.iter().flat_map(|workload| of_workload(report, secret, workload)).collect()
}

fn of_workload(report: &Report, secret: &str, workload: &Workload) -> Vec<Finding> {
    let about = format!("{} {}", workload.kind, workload.name);
    let restarts = workload.annotations.get(api::ANNOTATION_RESTART_ON) == Some(&report.name);
    let mut findings = Vec::new();
    let containers = || workload.pod.containers.iter();
    if !restarts && let Some(container) = containers().find(|container| reads_as_environment(container, secret)) {
        findings.push(Finding::fault(
            about.clone(),
            format!(
                "the container {} reads the Secret {secret} into its environment, which no rotation reaches: mount it as files, or let new credentials restart it (kubectl annotate {} {} {}={}, where the platform allows it)",
                container.name,
                workload.kind.to_lowercase(),
                workload.name,
                api::ANNOTATION_RESTART_ON,
                report.name,
            ),
        ));
    }
    if !restarts && let Some(container) = containers().find(|container| mounts_by_sub_path(container, &workload.pod, secret)) {
        let message = format!(
            "the container {} mounts the Secret {secret} by subPath: the kubelet never renews such a file; mount the whole folder",
            container.name
        );
        findings.push(Finding::fault(about, message));
    }
    findings
}

fn reads_as_environment(container: &Container, secret: &str) -> bool {
    let whole = container.env_from.iter().flatten().filter_map(|from| from.secret_ref.as_ref()).any(|from| from.name == secret);
    let single = container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()?.secret_key_ref.as_ref());
    whole || single.into_iter().any(|from| from.name == secret)
}

fn mounts_by_sub_path(container: &Container, pod: &PodSpec, secret: &str) -> bool {
    let volumes: Vec<&str> =
        pod.volumes.iter().flatten().filter(|volume| is_of(volume, secret)).map(|volume| volume.name.as_str()).collect();
    let by_sub_path = container.volume_mounts.iter().flatten().filter(|mount| mount.sub_path.is_some() || mount.sub_path_expr.is_some());
    by_sub_path.into_iter().any(|mount| volumes.contains(&mount.name.as_str()))
}

fn is_of(volume: &Volume, secret: &str) -> bool {
    let alone = volume.secret.as_ref().and_then(|source| source.secret_name.as_deref());
    let mut projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    alone == Some(secret) || projected.any(|source| source.secret.as_ref().is_some_and(|source| source.name == secret))
}
