//! The steps, from an empty cluster to a token that somebody else's program verified.

use crate::Failure;
use crate::operator::{Operator, Ports};
use crate::place::Place;
use crate::pods;
use crate::screen::Screen;

/// What a workload does with the files of its Secret.
const TOKEN_REQUEST: &str = "cd $DEMO/oauth && curl --silent --show-error --cacert ca.crt \\
    --user \"$(cat client-id):$(cat client-secret)\" --data grant_type=client_credentials \"$(cat token-uri)\"";

/// Waits for a client's condition Ready to have this reason.
fn wait_for(reason: &str) -> String {
    let ready = r#"{.status.conditions[?(@.type=="Ready")].reason}"#;
    format!("kubectl --namespace billing wait oac/billing-worker --timeout=60s --for=jsonpath='{ready}'={reason}")
}

/// Tells the story, and leaves the operator running: in pods, or as a process.
pub(crate) async fn tell(screen: &Screen, place: &Place) -> Result<Option<Operator>, Failure> {
    a_cluster(screen, place).await?;
    if place.has_nodes() {
        pods::tell(screen).await?;
        return Ok(None);
    }
    let ports = Ports::choose()?;
    the_chart(screen, &ports).await?;
    let operator = the_operator(screen, place, &ports).await?;
    a_client_that_may_nothing(screen).await?;
    a_grant(screen).await?;
    the_secret(screen).await?;
    a_token(screen).await?;
    an_accident(screen).await?;
    the_verifier(screen).await?;
    Ok(Some(operator))
}

async fn a_cluster(screen: &Screen, place: &Place) -> Result<(), Failure> {
    screen.step(if place.has_nodes() { "A Kubernetes cluster" } else { "A Kubernetes API" }, &place.description());
    screen.exports();
    screen.run("kubectl version").await?;
    Ok(())
}

async fn the_chart(screen: &Screen, ports: &Ports) -> Result<(), Failure> {
    screen.step(
        "The platform engineer installs the chart",
        "There is no node to run pods on, so the Deployment gets no replicas; the next step starts one by hand.",
    );
    let issuer = ports.issuer();
    let install = "helm install keywright charts/keywright --namespace keywright-system --create-namespace";
    screen.run(&format!("{install} --set replicas=0,issuer.url={issuer}")).await?;
    screen.run("kubectl wait crd/oauthclients.keywright.dev crd/protectedresources.keywright.dev --for=condition=Established").await?;
    Ok(())
}

async fn the_operator(screen: &Screen, place: &Place, ports: &Ports) -> Result<Operator, Failure> {
    screen.step(
        "A replica starts",
        "With the Deployment's own arguments (but for addresses), and a token of the chart's ServiceAccount: its rights, and no others.",
    );
    let operator = Operator::start(screen, place, ports).await?;
    screen.run(&format!("curl --silent --show-error {}/readyz", operator.health)).await?;
    screen.run("kubectl --namespace keywright-system get leases").await?;
    Ok(operator)
}

pub(crate) async fn a_client_that_may_nothing(screen: &Screen) -> Result<(), Failure> {
    screen.step("A workload team declares a client", "Nobody has granted it anything yet, and it says so.");
    screen.run("cat examples/billing-worker.yaml").await?;
    screen.run("kubectl apply --filename examples/billing-worker.yaml").await?;
    screen.run(&wait_for("AccessDenied")).await?;
    screen.run("kubectl get oac --namespace billing").await?;
    let message = r#"{.status.conditions[?(@.type=="Ready")].message}"#;
    screen.run(&format!("kubectl get oac/billing-worker --namespace billing --output jsonpath='{message}'")).await?;
    Ok(())
}

pub(crate) async fn a_grant(screen: &Screen) -> Result<(), Failure> {
    screen.step("The API team declares its API, and grants", "What a token claims is theirs to say, too.");
    screen.run("cat examples/invoices.yaml").await?;
    screen.run("kubectl apply --filename examples/invoices.yaml").await?;
    screen.run(&wait_for("Issued")).await?;
    screen.run("kubectl get oac,oapr --all-namespaces").await?;
    screen.run("kubectl get events --namespace billing").await?;
    Ok(())
}

/// Keys of an object as files, as a pod would see them. `decode` follows the value in the template.
async fn mounted(screen: &Screen, object: &str, keys: &str, decode: &str, folder: &str) -> Result<(), Failure> {
    let get = format!("kubectl get {object} --output go-template=\"{{{{index .data \\\"$key\\\"{decode}}}}}\"");
    let each = format!("for key in {keys}; do\n    {get} > {folder}/$key\n  done");
    screen.run(&format!("mkdir -p {folder}; {each}")).await?;
    Ok(())
}

async fn the_secret(screen: &Screen) -> Result<(), Failure> {
    screen.step("The Secret", "A pod would mount it. Here the folder $DEMO/oauth stands for the mounted one.");
    screen.run("kubectl describe secret billing-worker --namespace billing").await?;
    let keys = "client-id client-secret token-uri ca.crt";
    mounted(screen, "secret billing-worker --namespace billing", keys, " | base64decode", "$DEMO/oauth").await
}

async fn a_token(screen: &Screen) -> Result<(), Failure> {
    screen.step("A token", "Client credentials (RFC 6749 §4.4), with nothing but curl and the files of the Secret.");
    screen.run(TOKEN_REQUEST).await?;
    screen.say("A scope that was not granted:");
    screen.run(&format!("{TOKEN_REQUEST} --data scope=invoices.write")).await?;
    Ok(())
}

pub(crate) async fn an_accident(screen: &Screen) -> Result<(), Failure> {
    screen.step(
        "Somebody deletes the Secret",
        "It comes back with a new value; the old one, which a workload may still hold, is accepted for a day.",
    );
    screen.run("kubectl delete secret billing-worker --namespace billing").await?;
    screen.run("kubectl wait secret/billing-worker --namespace billing --for=create --timeout=30s").await?;
    screen.run(&wait_for("Overlapping")).await?;
    screen.run("kubectl get oac --namespace billing").await?;
    Ok(())
}

async fn the_verifier(screen: &Screen) -> Result<(), Failure> {
    screen.step(
        "Somebody else's program verifies a token",
        "The API's side knows the ConfigMap that it asked for; the folder $DEMO/api stands for the mounted one.\n\
         The verifier is made of Go's go-oidc, the library of kube-apiserver: from the issuer's URL it finds the keys.",
    );
    mounted(screen, "configmap invoices-oauth --namespace shop", "issuer audience ca.crt", "", "$DEMO/api").await?;
    screen.run("(cd tests/cluster && go build -o $DEMO/verify ./verify)").await?;
    screen.say("A token, fetched with the secret from before the accident:");
    let access_token = r#"sed 's/.*"access_token":"\([^"]*\)".*/\1/'"#;
    screen.run(&format!("{TOKEN_REQUEST} | {access_token} > $DEMO/access-token")).await?;
    screen.run("cd $DEMO/api && ../verify $(cat issuer) $(cat audience) ca.crt < ../access-token").await?;
    Ok(())
}
