//! `topology: Split`: what callers reach has no right on the Secrets of others, and the whole works all the same.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use keywright::replica::announcement::RELEASE_LABEL;
use keywright::replica::use_report::report_name;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};

use crate::chart::rights::assert_matrix;
use crate::cluster::{ControlPlane, eventually};
use crate::operator::{Operator, RELEASE, SOON, Setup};
use crate::teams::Teams;
use crate::workload::Credentials;

async fn split(replicas: usize, further: &[&str]) -> Operator<'static> {
    let values = [&["topology=\"Split\""], further].concat().into_iter().map(str::to_owned).collect();
    Operator::install(ControlPlane::shared().await.unwrap(), Setup { replicas, values, ..Setup::default() }).await
}

/// S18: a pod that callers reach is the first that an attacker gets into.
const SERVER: &str = "
    yes watch oauthclients.keywright.dev -A
    yes list protectedresources.keywright.dev -A
    yes list namespaces
    yes get secrets/keywright-keys -n $own
    yes watch secrets/keywright-tls -n $own
    yes create leases.coordination.k8s.io -n $own
    yes patch leases.coordination.k8s.io -n $own
    yes list leases.coordination.k8s.io -n $own
    yes get pods/keywright-0 -n $own
    yes create configmaps -n $own
    yes watch configmaps -n $own
    yes patch configmaps/keywright-use-keywright-0 -n $own
    no get secrets -n default
    no list secrets -A
    no list secrets -n default
    no watch secrets -n default
    no create secrets -n default
    no patch secrets -n default
    no update secrets -n default
    no delete secrets -n default
    no deletecollection secrets -n default
    no get secrets/keywright-ca -n $own
    no list secrets -n $own
    no create secrets -n $own
    no patch secrets/keywright-keys -n $own
    no create configmaps -n default
    no patch oauthclients.keywright.dev --subresource=status -n default
    no patch protectedresources.keywright.dev --subresource=status -n default
    no create events.events.k8s.io -n default
    no list pods -n $own
    no get leases.coordination.k8s.io -n default
    no create serviceaccounts --subresource=token -n $own
";

const CONTROLLER: &str = "
    yes watch oauthclients.keywright.dev -A
    yes patch oauthclients.keywright.dev --subresource=status -n default
    yes create secrets -n default
    yes patch secrets -n default
    yes create configmaps -n default
    yes watch configmaps -n $own
    yes delete leases.coordination.k8s.io -n $own
    yes list pods -n $own
    no delete secrets -n default
    no update secrets -n default
    no create serviceaccounts --subresource=token -n $own
    no patch oauthclients.keywright.dev -n default
";

/// S18: `kubectl auth can-i`, under each account.
#[tokio::test(flavor = "multi_thread")]
async fn token_servers_have_no_verb_on_secrets_outside_of_their_own_namespace() {
    let operator = split(1, &[]).await;
    assert_matrix(&operator.kubeconfig, &operator.namespace, SERVER).await;
    assert_matrix(&operator.controllers(1).await.kubeconfig, &operator.namespace, CONTROLLER).await;
}

/// What the Secret `worker` holds once it is another value.
async fn another(teams: &Teams<'_>, former: &Credentials) -> Credentials {
    let is_another = |secret: &Secret| match secret.data.as_ref().and_then(|data| data.get("client-secret")) {
        Some(value) if value.0 != former.get("client-secret").as_bytes() => Ok(()),
        _ => Err("none, or the former".to_owned()),
    };
    Credentials::of(teams.secret_that("worker", "has another value", SOON, is_another).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_client_secret_and_token_come_about_under_the_rights_of_two_accounts() {
    let operator = split(2, &[]).await;
    let controllers = operator.controllers(2).await;
    // No order between the Deployments: token servers are ready once the keys are there.
    for replica in &operator.replicas {
        operator.start(replica, &operator.kubeconfig);
    }
    controllers.start_all().await;
    for replica in &operator.replicas {
        replica.ready().await;
    }
    let teams = Teams::served_by(&operator).await;
    let former = teams.worker().await;
    let answer = former.token().await;
    former.verify(answer.token(), &teams.audience()).await;

    // A rotation waits for those that serve tokens, and for nobody else.
    let leases: Api<Lease> = Api::namespaced(teams.kube.clone(), &operator.namespace);
    let counted = leases.list(&ListParams::default().labels(&format!("{RELEASE_LABEL}={RELEASE}"))).await.unwrap();
    let names: Vec<String> = counted.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["keywright-replica-keywright-0", "keywright-replica-keywright-1"]);
    controllers.replicas[1].process().stop().unwrap();
    teams.secrets().delete("worker", &DeleteParams::default()).await.unwrap();
    let healed = another(&teams, &former).await;
    teams.every_replica_answers(&healed, 200).await;
    teams.every_replica_answers(&former, 200).await;
    controllers.replicas[1].process().resume().unwrap();
    // The former one is in an overlap, of which the token servers report uses.
    let reports: Api<ConfigMap> = Api::namespaced(teams.kube.clone(), &operator.namespace);
    for replica in &operator.replicas {
        let reported = async || match reports.get_opt(&report_name(RELEASE, &replica.pod)).await {
            Ok(Some(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        };
        eventually(SOON * 2, "uses are reported", reported).await.unwrap();
    }

    for log in operator.replicas.iter().chain(&controllers.replicas).map(|replica| replica.log()) {
        assert!(!log.contains("forbidden"), "{log}");
    }
}
