//! One `ProtectedResource`: its status, and the verification ConfigMap that its API mounts.

use super::{
    CONTESTED, Controller, Fault, Holding, apply, probed,
    queue::Outcome,
    verdict::{self, Finding},
    verification::{self, Verification},
};
use crate::{
    ambient,
    api::{Condition, ProtectedResource, ProtectedResourceStatus, Reason},
    domain::{names::ObjectName, resource::Resource},
    keys::KeySet,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};
use std::{sync::Arc, time::Duration};

/// How soon a foreign ConfigMap is looked at again: no watch of ours shows when it goes.
const CONFLICT: Duration = Duration::from_secs(15);

impl Controller {
    /// Looks at one API.
    pub(super) async fn reconcile_resource(&self, name: &ObjectName) -> Result<Outcome, Fault> {
        let known = self.registry.with_index(|index| index.resource(name).zip(index.resource_standing(name)));
        let Some((object, standing)) = known else { return Ok(Outcome::Settled) };
        if object.metadata.deletion_timestamp.is_some() || self.registry.with_index(|index| index.is_terminating(&name.namespace)) {
            return Ok(Outcome::Settled);
        }
        match self.holding(object.as_ref(), object.status.as_ref().and_then(|status| status.controller.as_deref())) {
            Holding::Ours => {}
            Holding::Theirs => return Ok(Outcome::Settled),
            Holding::Contested(message) => return self.leave_resource_to_another(&object, message).await,
        }
        let finding = match (&standing, self.keys().filter(|_| self.endpoints_are_known())) {
            // They wake everything when they are there.
            (Ok(_), None) => Finding::no(Reason::SigningKeyUnavailable, "the leader has not made the keys and the certificate yet"),
            (Ok(resource), Some(keys)) => match self.publish_verification(&object, resource, &keys).await {
                Ok(finding) => finding,
                Err(fault) => {
                    if !fault.is_contended() && !matches!(fault, Fault::Terminating { .. }) {
                        self.write_resource_status(&object, &Finding::no(Reason::Pending, fault.to_string()), None).await?;
                    }
                    return Err(fault);
                }
            },
            (Err(refusal), _) => Finding::no(refusal.reason, &refusal.message),
        };
        let audience = standing.ok().map(|resource| resource.audience.to_string());
        self.write_resource_status(&object, &finding, audience).await?;
        Ok(if finding.reason == Reason::ConfigMapConflict { Outcome::Again(CONFLICT) } else { Outcome::Settled })
    }

    /// As for a client.
    async fn leave_resource_to_another(&self, object: &ProtectedResource, message: String) -> Result<Outcome, Fault> {
        let uid = object.uid().unwrap_or_default();
        if self.said.is_new(&uid, &message) {
            let stored = object.status.clone().unwrap_or_default();
            let earlier = stored.conditions.clone().unwrap_or_default();
            let finding = Finding::no(Reason::ControllerConflict, message.clone());
            let conditions = conditions_of(object, &finding, &earlier);
            let status = ProtectedResourceStatus { conditions: Some(conditions), ..stored };
            self.patch_resource_status(object, &status).await?;
            self.said.note(uid, message);
        }
        Ok(Outcome::Again(CONTESTED))
    }

    async fn publish_verification(&self, object: &ProtectedResource, resource: &Arc<Resource>, keys: &KeySet) -> Result<Finding, Fault> {
        let wanted = object.spec.verification.as_ref().map(|verification| verification.config_map.clone());
        self.withdraw_former_config_maps(object, &resource.object, wanted.as_deref()).await?;
        if let Some(name) = wanted
            && let Some(conflict) = self.write_config_map(object, resource, &name, keys).await?
        {
            return Ok(conflict);
        }
        if !keys.active.contains_key(&resource.algorithm) {
            let message = format!("no {} signing key is active yet: the leader makes it", resource.algorithm.as_str());
            return Ok(Finding::no(Reason::SigningKeyUnavailable, message));
        }
        Ok(Finding::yes(Reason::Accepted, format!("tokens for {} are issued to the clients that spec.grants names", resource.audience)))
    }

    async fn write_config_map(
        &self,
        object: &ProtectedResource,
        resource: &Arc<Resource>,
        name: &str,
        keys: &KeySet,
    ) -> Result<Option<Finding>, Fault> {
        let endpoints = self.endpoints();
        let jwks = std::str::from_utf8(&keys.jwks).unwrap_or_default();
        let verification = Verification { name, resource, endpoints: &endpoints, jwks };
        let at = ObjectName::new(&resource.object.namespace, name);
        if self.config_maps.get(&at).is_some_and(|known| verification::is_ours(&known, object) && verification.patch(&known).is_none()) {
            return Ok(None);
        }
        let api: Api<ConfigMap> = Api::namespaced(self.kube.clone(), &at.namespace);
        let found = api.get_opt(name).await.map_err(|error| Fault::reading("ConfigMap", &resource.object, error))?;
        if found.as_ref().is_none_or(|found| !verification.trusts_alike(found)) {
            self.confirm_trust(&endpoints, &resource.object).await?;
        }
        match found {
            None => {
                apply::create(&self.kube, "ConfigMap", &resource.object, &verification.created()).await?;
            }
            Some(found) if verification::is_ours(&found, object) => {
                if let Some(patch) = verification.patch(&found) {
                    let _: ConfigMap = apply::patch(&self.kube, "ConfigMap", &resource.object, name, &patch).await?;
                }
            }
            Some(_) => {
                let message = format!(
                    "the ConfigMap {name} was not made for this ProtectedResource, so it is left alone: delete or rename it, or set spec.verification.configMap to a name that is free"
                );
                return Ok(Some(Finding::no(Reason::ConfigMapConflict, message)));
            }
        }
        Ok(None)
    }

    /// After a change of `spec.verification.configMap`: what nobody keeps current any more goes.
    async fn withdraw_former_config_maps(
        &self,
        object: &ProtectedResource,
        resource: &ObjectName,
        wanted: Option<&str>,
    ) -> Result<(), Fault> {
        for former in self.config_maps.made_for(resource).into_iter().filter(|former| verification::is_ours(former, object)) {
            let name = former.name_any();
            if Some(name.as_str()) != wanted {
                let patch = verification::withdrawal_patch(&former);
                let _: ConfigMap = apply::patch(&self.kube, "ConfigMap", resource, &name, &patch).await?;
            }
        }
        Ok(())
    }

    async fn write_resource_status(&self, object: &ProtectedResource, finding: &Finding, audience: Option<String>) -> Result<(), Fault> {
        let stored = object.status.clone().unwrap_or_default();
        let earlier = stored.conditions.clone().unwrap_or_default();
        let status = ProtectedResourceStatus {
            observed_generation: object.metadata.generation,
            conditions: Some(conditions_of(object, finding, &earlier)),
            audience,
            issuer: Some(self.installation.issuer.clone()),
            controller: Some(self.installation.controller()),
        };
        self.patch_resource_status(object, &status).await
    }

    async fn patch_resource_status(&self, object: &ProtectedResource, status: &ProtectedResourceStatus) -> Result<(), Fault> {
        let name = ObjectName::new(object.namespace().unwrap_or_default(), object.name_any());
        let Some(patch) = verdict::status_patch(object, &object.status, status) else { return Ok(()) };
        apply::patch_status::<ProtectedResource>(&self.kube, &name, &patch).await.map(drop)
    }
}

fn conditions_of(object: &ProtectedResource, finding: &Finding, earlier: &[Condition]) -> Vec<Condition> {
    let now = ambient::now();
    let own = verdict::conditions_of(finding, object.metadata.generation, earlier, now);
    own.into_iter().chain(probed::condition(object, earlier, now)).collect()
}
