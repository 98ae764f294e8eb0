//! `ca.crt`, wherever the operator has written it: kept the same everywhere, and never taken back by the write of a leader that was
//! frozen. The object to be written is read first, the serving certificate's Secret live after it (rotation.md, read order).

use crate::{
    api::{OAuthClient, verification},
    controller::{
        Controller, Fault, apply,
        build::{self, Endpoints},
        cache::owner_of,
        holding::Holding,
        observe::{self, Holder, Seen},
    },
    domain::names::ObjectName,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use std::sync::Arc;

impl Controller {
    /// Whether `endpoints`, which is about to be written for `object`, says what clients have to trust now.
    pub(in crate::controller) async fn confirm_trust(&self, endpoints: &Endpoints, object: &ObjectName) -> Result<(), Fault> {
        let Some(name) = &self.settings.certificate else { return Ok(()) };
        let serving = ObjectName::new(&self.installation.namespace, name);
        match observe::trusted(&self.kube, &serving).await? {
            Some(live) if live != endpoints.ca => {
                self.trusted.store(live.map(Arc::new));
                Err(Fault::Contended { kind: "ca.crt", object: object.clone() })
            }
            // The leader is about to make it.
            None if self.settings.self_signed.is_some() => Err(Fault::Contended { kind: "serving certificate", object: object.clone() }),
            // What is in use stays in use.
            _ => Ok(()),
        }
    }

    /// Brings `ca.crt` up to date in all Secrets that were made for a client, whatever its rotation waits for: also in that of a former
    /// name, for as long as it holds our keys.
    pub(in crate::controller) async fn spread_trust(&self, client: &OAuthClient) -> Result<(), Fault> {
        let endpoints = self.endpoints();
        let owner = ObjectName::new(client.namespace().unwrap_or_default(), client.name_any());
        let mut spread = Ok(());
        for known in self.secrets.made_for(&owner) {
            if build::trust_patch(&known, endpoints.ca.as_deref()).is_some() {
                // One that cannot be written to keeps no other from it.
                spread = spread.and(self.spread_trust_to(&known.name_any(), client, &endpoints, &owner).await);
            }
        }
        spread
    }

    async fn spread_trust_to(&self, name: &str, client: &OAuthClient, endpoints: &Endpoints, owner: &ObjectName) -> Result<(), Fault> {
        let Some(secret) = observe::secret(&self.kube, owner, name).await? else { return Ok(()) };
        let Some(patch) = build::trust_patch(&secret, endpoints.ca.as_deref()) else { return Ok(()) };
        let seen = Seen { object: client.clone(), secret: Some(secret) };
        if seen.holder() == Holder::Us {
            self.confirm_trust(endpoints, owner).await?;
            let _: Secret = apply::patch(&self.kube, "Secret", owner, name, &patch).await?;
        }
        Ok(())
    }

    /// The objects with a `ca.crt` that is not `bundle`, in words: of clients and APIs that get tokens.
    pub(super) fn places_without(&self, bundle: &str) -> Vec<String> {
        let secrets = self.secrets.all().into_iter().filter(|secret| build::trust_patch(secret, Some(bundle)).is_some());
        let secrets = secrets.filter_map(|secret| self.is_written_for_client(&secret).then(|| place("Secret", secret.as_ref())));
        let config_maps = self.config_maps.all().into_iter().filter(|known| {
            let text = known.data.as_ref().and_then(|data| data.get(verification::CA));
            text.is_some_and(|text| text != bundle) && self.is_written_for_api(known)
        });
        secrets.chain(config_maps.map(|known| place("ConfigMap", known.as_ref()))).collect()
    }

    fn is_written_for_client(&self, secret: &Secret) -> bool {
        let Some(owner) = owner_of(secret) else { return false };
        let known = self.registry.with_index(|index| index.client(&owner).zip(index.client_standing(&owner)));
        known.is_some_and(|(object, standing)| {
            let seen = Seen { object: (*object).clone(), secret: Some(secret.clone()) };
            standing.is_ok() && !self.is_going(&object) && self.holding_of(&object) == Holding::Ours && seen.holder() == Holder::Us
        })
    }

    fn is_written_for_api(&self, config_map: &ConfigMap) -> bool {
        let Some(owner) = owner_of(config_map) else { return false };
        let known = self.registry.with_index(|index| index.resource(&owner).zip(index.resource_standing(&owner)));
        known.is_some_and(|(object, standing)| {
            let wanted = object.spec.verification.as_ref().map(|verification| verification.config_map.as_str());
            let holding = self.holding(object.as_ref(), object.status.as_ref().and_then(|status| status.controller.as_deref()));
            let is_going = object.metadata.deletion_timestamp.is_some();
            standing.is_ok() && !is_going && holding == Holding::Ours && wanted == Some(config_map.name_any().as_str())
        })
    }
}

fn place(kind: &str, object: &impl ResourceExt) -> String {
    format!("the {kind} {}/{}", object.namespace().unwrap_or_default(), object.name_any())
}
