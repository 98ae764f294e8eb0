//! The steps, from an empty cluster to a token that somebody else's program verified.

use crate::Failure;
use crate::operator::{Operator, Ports};
use crate::place::Place;
use crate::screen::Screen;

/// Waits for a client's condition Ready to have this reason.
fn wait_for(reason: &str) -> String {
    let ready = r#"{.status.conditions[?(@.type=="Ready")].reason}"#;
    format!("kubectl --namespace billing wait oac/billing-worker --timeout=60s --for=jsonpath='{ready}'={reason}")
}

/// Tells the story, and leaves the operator running.
pub(crate) async fn tell(screen: &Screen, place: &Place) -> Result<Operator, Failure> {
    let ports = Ports::choose()?;
    a_cluster(screen, place).await?;
    the_chart(screen, &ports).await?;
    let operator = the_operator(screen, place, &ports).await?;
    a_client_that_may_nothing(screen).await?;
    a_grant(screen).await?;
    let oauth = the_secret(screen, place).await?;
    a_token(screen, &oauth).await?;
    an_accident(screen).await?;
    the_verifier(screen, &oauth, &operator).await?;
    Ok(operator)
}

async fn a_cluster(screen: &Screen, place: &Place) -> Result<(), Failure> {
    let text = match place.is_somebodys() {
        true => "Yours. The operator runs here, as a process, and is gone at the end, with all that the demo makes.",
        false => "etcd, kube-apiserver and kube-controller-manager, built from Kubernetes' own source, as processes on loopback.",
    };
    screen.step("A Kubernetes API", text);
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

async fn a_client_that_may_nothing(screen: &Screen) -> Result<(), Failure> {
    screen.step("A workload team declares a client", "Nobody has granted it anything yet, and it says so.");
    screen.run("cat examples/billing-worker.yaml").await?;
    screen.run("kubectl apply --filename examples/billing-worker.yaml").await?;
    screen.run(&wait_for("AccessDenied")).await?;
    screen.run("kubectl get oac --namespace billing").await?;
    let message = r#"{.status.conditions[?(@.type=="Ready")].message}"#;
    screen.run(&format!("kubectl get oac/billing-worker --namespace billing --output jsonpath='{message}'")).await?;
    Ok(())
}

async fn a_grant(screen: &Screen) -> Result<(), Failure> {
    screen.step("The API team declares its API, and grants", "What a token claims is theirs to say, too.");
    screen.run("cat examples/invoices.yaml").await?;
    screen.run("kubectl apply --filename examples/invoices.yaml").await?;
    screen.run(&wait_for("Issued")).await?;
    screen.run("kubectl get oac,oapr --all-namespaces").await?;
    screen.run("kubectl get events --namespace billing").await?;
    Ok(())
}

/// The keys of the Secret as files, as a pod would see them.
async fn the_secret(screen: &Screen, place: &Place) -> Result<String, Failure> {
    screen.step("The Secret", "A pod would mount it. Here its keys become files in a folder.");
    screen.run("kubectl describe secret billing-worker --namespace billing").await?;
    let folder = place.folder().join("oauth").display().to_string();
    let template = "{{range $key, $value := .data}}{{$key}} {{$value}}{{\"\\n\"}}{{end}}";
    let get = format!("kubectl get secret billing-worker --namespace billing --output go-template='{template}'");
    let write = format!("while read key value; do echo $value | base64 --decode > {folder}/$key; done");
    screen.run(&format!("mkdir -p {folder} && {get} | {write}")).await?;
    screen.run(&format!("ls {folder}")).await?;
    Ok(folder)
}

async fn a_token(screen: &Screen, oauth: &str) -> Result<(), Failure> {
    screen.step("A token", "Client credentials (RFC 6749 §4.4), with nothing but curl and the files of the Secret.");
    let request = token_request(oauth);
    screen.run(&request).await?;
    screen.say("\nA scope that was not granted:");
    screen.run(&format!("{request} --data scope=invoices.write")).await?;
    Ok(())
}

fn token_request(oauth: &str) -> String {
    let credentials = "--user \"$(cat client-id):$(cat client-secret)\"";
    let request = "--data grant_type=client_credentials \"$(cat token-uri)\"";
    format!("cd {oauth} && curl --silent --show-error --cacert ca.crt {credentials} {request}")
}

async fn an_accident(screen: &Screen) -> Result<(), Failure> {
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

async fn the_verifier(screen: &Screen, oauth: &str, operator: &Operator) -> Result<(), Failure> {
    screen.step(
        "Somebody else's program verifies a token",
        "Fetched with the old secret. The verifier is Go's go-oidc, the library of kube-apiserver: it finds the keys by the issuer's URL.",
    );
    screen.run(&format!("cd tests/cluster && go build -o {oauth}/../verify ./verify")).await?;
    let access_token = r#"sed 's/.*"access_token":"\([^"]*\)".*/\1/'"#;
    screen.run(&format!("{} | {access_token} > {oauth}/../access-token", token_request(oauth))).await?;
    let verify = format!("{oauth}/../verify {} https://invoices.shop.svc {oauth}/ca.crt", operator.issuer);
    screen.run(&format!("{verify} < {oauth}/../access-token")).await?;
    Ok(())
}
