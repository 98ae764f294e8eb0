//! Three namespaces, three users who may edit one each, and no administrator: what one team can do to another (S22).

use keywright::api::{OAuthClient, ProtectedResource};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::cluster::eventually;
use crate::objects::{self, refusal};
use crate::operator::{Operator, SOON, Setup};
use crate::teams::{INVOICES, Teams, WORKER};
use crate::workload::{Credentials, condition};

/// An API team, a workload team, and a third that is up to no good; each with its own kubeconfig alone.
struct Tenants {
    teams: Teams<'static>,
    shop: Client,
    billing: Client,
    mallory: Client,
    /// The third one's namespace.
    elsewhere: String,
}

impl Tenants {
    async fn new() -> Self {
        let teams = Teams::new().await;
        let elsewhere = teams.operator.cluster.namespace().await.unwrap();
        let shop = editor(teams.operator, &teams.shop).await;
        let billing = editor(teams.operator, &teams.billing).await;
        let mallory = editor(teams.operator, &elsewhere).await;
        Self { teams, shop, billing, mallory, elsewhere }
    }

    fn filled(&self, yaml: &str) -> String {
        self.teams.filled(yaml).replace("$elsewhere", &self.elsewhere)
    }

    async fn apply(&self, user: &Client, yaml: &str) -> kube::Result<()> {
        objects::apply(user, "default", &self.filled(yaml)).await.map(|_| ())
    }

    /// The API and its client, each made by its own team.
    async fn worker(&self) -> Credentials {
        self.apply(&self.shop, INVOICES).await.unwrap();
        self.apply(&self.billing, WORKER).await.unwrap();
        self.teams.operator.client_is(&self.teams.billing, "worker", "Issued").await;
        // Read with the team's own rights.
        Credentials::read(&self.billing, &self.teams.billing, "worker").await
    }

    async fn client_message(&self, name: &str, reason: &str) -> String {
        let client = self.teams.operator.client_is(&self.elsewhere, name, reason).await;
        condition(client.status.unwrap().conditions.as_ref(), "Ready").unwrap().message.clone()
    }
}

/// A user who has the ClusterRole `edit` in this namespace and nothing else: what the chart aggregates there included.
async fn editor(operator: &Operator<'_>, namespace: &str) -> Client {
    let admin = operator.cluster.client().await.unwrap();
    let user = format!("editor-of-{namespace}");
    let binding = format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: editor}}, \
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}}, \
         subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {user}}}]}}"
    );
    objects::apply(&admin, namespace, &binding).await.unwrap();
    let kube = operator.cluster.kubeconfig_for_user(&user, None).unwrap().client().await.unwrap();
    let clients: Api<OAuthClient> = Api::namespaced(kube.clone(), namespace);
    eventually(SOON, "the editor may", async || clients.list(&Default::default()).await).await.unwrap();
    kube
}

/// S18, S22: RBAC keeps tenants apart, and everybody away from status.
#[tokio::test(flavor = "multi_thread")]
async fn a_team_writes_in_its_own_namespace_and_no_status_there_either() {
    let tenants = Tenants::new().await;
    tenants.worker().await;
    for (user, manifest) in
        [(&tenants.mallory, INVOICES), (&tenants.mallory, WORKER), (&tenants.billing, INVOICES), (&tenants.shop, WORKER)]
    {
        assert_eq!(refusal(tenants.apply(user, manifest).await).0, 403);
    }
    let patch = Patch::Merge(json!({"status": {"credentials": []}}));
    let own: Api<OAuthClient> = Api::namespaced(tenants.billing.clone(), &tenants.teams.billing);
    assert_eq!(refusal(own.patch_status("worker", &PatchParams::default(), &patch).await).0, 403);
    let own: Api<ProtectedResource> = Api::namespaced(tenants.shop.clone(), &tenants.teams.shop);
    assert_eq!(refusal(own.patch_status("invoices", &PatchParams::default(), &patch).await).0, 403);
}

/// S9: a reference across namespaces is worth what the owner of the target grants, and tells nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_reference_across_namespaces_needs_the_grant_of_the_owner() {
    let tenants = Tenants::new().await;
    tenants.worker().await;
    let thief = WORKER.replace("$billing", "$elsewhere");
    tenants.apply(&tenants.mallory, &thief).await.unwrap();
    let nothing = thief.replace("name: worker", "name: blind").replace("/invoices", "/secret-api");
    tenants.apply(&tenants.mallory, &nothing).await.unwrap();
    let denied = tenants.client_message("worker", "AccessDenied").await;
    let unknown = tenants.client_message("blind", "AccessDenied").await;
    assert_eq!(denied, unknown.replace("secret-api", "invoices").replace("blind", "worker"));
    assert!(!denied.contains("invoices.write"), "{denied}");

    let credentials = Credentials::read(&tenants.mallory, &tenants.elsewhere, "worker").await;
    let (http, url) = (credentials.http(), credentials.get("token-uri"));
    let audience = tenants.teams.audience();
    for parameters in
        [vec![], vec![("resource", audience.as_str())], vec![("scope", "invoices.read")], vec![("audience", audience.as_str())]]
    {
        let answer = credentials.token_at(&http, url, &parameters).await;
        assert_eq!(answer.status, 400, "{parameters:?}: {answer:?}");
        assert!(matches!(answer.body["error"].as_str(), Some("invalid_scope" | "invalid_target")), "{answer:?}");
    }
}

/// S11: a claim on what is another's denies the claimant alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_on_the_audience_or_client_id_of_another_denies_the_claimant_alone() {
    let tenants = Tenants::new().await;
    let credentials = tenants.worker().await;
    let before = credentials.verify(credentials.token().await.token(), &tenants.teams.audience()).await;
    let own = "namespaces: [$elsewhere], clients: [worker]";
    let squatter = INVOICES.replace("$shop", "$elsewhere").replace("namespaces: [$billing], clients: [worker]", own);
    let squatter = squatter.replace("  scopes: [{", "  audience: https://invoices.$shop.svc\n  scopes: [{");
    tenants.apply(&tenants.mallory, &squatter).await.unwrap();
    let double =
        WORKER.replace("namespace: $billing", "namespace: $elsewhere").replace("  access", "  clientId: $billing.worker\n  access");
    tenants.apply(&tenants.mallory, &double.replace("$shop/", "$elsewhere/")).await.unwrap();

    let resource = tenants.teams.operator.resource_is(&tenants.elsewhere, "invoices", "PolicyViolation").await;
    let message = condition(resource.status.unwrap().conditions.as_ref(), "Ready").unwrap().message.clone();
    assert!(message.contains(&tenants.teams.audience()) && message.contains("policy.audiences"), "{message}");
    let message = tenants.client_message("worker", "PolicyViolation").await;
    assert!(message.contains("clientId") && message.contains("policy.clientIds"), "{message}");

    tenants.teams.operator.resource_is(&tenants.teams.shop, "invoices", "Accepted").await;
    tenants.teams.operator.client_is(&tenants.teams.billing, "worker", "Issued").await;
    let after = credentials.verify(credentials.token().await.token(), &tenants.teams.audience()).await;
    for claim in ["sub", "client_id", "aud", "scope", "keywright.dev"] {
        assert_eq!(after[claim], before[claim]);
    }
}

/// S11: what an API grants concerns its own tokens.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_elsewhere_changes_nothing_in_the_tokens_of_a_client() {
    let tenants = Tenants::new().await;
    let credentials = tenants.worker().await;
    let before = credentials.token().await;
    let claims = "scopes: [invoices.read, invoices.write], claims: {tier: gold, groups: [admins]}";
    let generous = INVOICES.replace("$shop", "$elsewhere").replace("scopes: [invoices.read]}]", &format!("{claims}}}]"));
    tenants.apply(&tenants.mallory, &generous).await.unwrap();
    tenants.teams.operator.resource_is(&tenants.elsewhere, "invoices", "Accepted").await;
    let answer = credentials.token().await;
    assert_eq!((&answer.body["scope"], answer.status), (&before.body["scope"], 200));
    let claims = credentials.verify(answer.token(), &tenants.teams.audience()).await;
    assert_eq!((&claims["tier"], &claims["groups"]), (&Value::Null, &Value::Null));
    let asked = [("resource", format!("https://invoices.{}.svc", tenants.elsewhere))];
    let asked: Vec<_> = asked.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let refused = credentials.token_at(&credentials.http(), credentials.get("token-uri"), &asked).await;
    assert_eq!((refused.status, &refused.body["error"]), (400, &json!("invalid_target")));
}

/// S11: the platform allows two namespaces one audience, and both claim it: neither has it.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_may_claim_one_audience_neither_has_it_while_both_do() {
    let shared = Operator::shared().await;
    let (first, second) = (shared.cluster.namespace().await.unwrap(), shared.cluster.namespace().await.unwrap());
    let policy = json!({"audiences": [{"audience": "https://api.example.com", "namespaces": [first, second]}]});
    let setup = Setup { values: vec![format!("policy={policy}")], ..Setup::default() };
    let operator = Operator::install(shared.cluster, setup).await;
    operator.start_all().await;
    let kube = shared.cluster.client().await.unwrap();
    let teams = Teams { operator: &operator, kube, shop: first, billing: second };
    let public = INVOICES.replace("  scopes: [{", "  audience: https://api.example.com\n  scopes: [{");
    teams.apply(&public).await;
    teams.apply(WORKER).await;
    let credentials = teams.operator.credentials(&teams.billing, "worker").await;
    let token = credentials.token().await;
    credentials.verify(token.token(), "https://api.example.com").await;

    teams.apply(&public.replace("namespace: $shop", "namespace: $billing")).await;
    for namespace in [&teams.shop, &teams.billing] {
        operator.resource_is(namespace, "invoices", "AudienceConflict").await;
    }
    teams.every_replica_answers(&credentials, 400).await;
    let resources: Api<ProtectedResource> = Api::namespaced(teams.kube.clone(), &teams.billing);
    resources.delete("invoices", &Default::default()).await.unwrap();
    operator.resource_is(&teams.shop, "invoices", "Accepted").await;
    teams.every_replica_answers(&credentials, 200).await;
}

/// S21: who may write a status plants digests there: one of a credential of his own, and one that he computed without our key.
#[tokio::test(flavor = "multi_thread")]
async fn a_digest_planted_in_status_opens_nothing() {
    let tenants = Tenants::new().await;
    let victim = tenants.worker().await;
    tenants.apply(&tenants.mallory, &WORKER.replace("$billing", "$elsewhere")).await.unwrap();
    tenants.client_message("worker", "AccessDenied").await;
    let own = Credentials::read(&tenants.mallory, &tenants.elsewhere, "worker").await;
    let status_of = async |namespace: &str| {
        let clients: Api<OAuthClient> = Api::namespaced(tenants.teams.kube.clone(), namespace);
        serde_json::to_value(clients.get("worker").await.unwrap().status.unwrap()).unwrap()
    };
    // Somebody with more rights than he should have.
    let clients: Api<OAuthClient> = Api::namespaced(tenants.teams.kube.clone(), &tenants.teams.billing);
    let genuine = status_of(&tenants.teams.billing).await["credentials"][0].clone();
    let mut copied = status_of(&tenants.elsewhere).await["credentials"][0].clone();
    copied["state"] = json!("Previous");
    let key = genuine["digest"].as_str().unwrap().split_once(':').unwrap().0;
    let mut computed = copied.clone();
    computed["id"] = json!("a".repeat(26));
    computed["digest"] = json!(format!("{key}:{}", sha256(own.get("client-secret"))));
    let patch = Patch::Merge(json!({"status": {"credentials": [genuine, copied, computed]}}));
    let planted = clients.patch_status("worker", &PatchParams::default(), &patch).await.unwrap();

    let mut forged = victim.clone();
    forged.0.insert("client-secret".to_owned(), own.get("client-secret").to_owned());
    // The replicas have seen the status: what was written after it is served.
    tenants.apply(&tenants.billing, &WORKER.replace("name: worker", "name: later")).await.unwrap();
    tenants.teams.operator.client_is(&tenants.teams.billing, "later", "AccessDenied").await;
    assert_eq!(planted.status.unwrap().credentials.unwrap().len(), 3);
    tenants.teams.every_replica_answers(&forged, 401).await;
    for _ in 0..10 {
        assert_eq!(forged.token().await.status, 401);
    }
    tenants.teams.every_replica_answers(&victim, 200).await;
}

fn sha256(text: &str) -> String {
    use base64::Engine;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest)
}
