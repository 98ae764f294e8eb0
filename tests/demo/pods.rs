//! The steps on a cluster with nodes: the operator and its workloads in pods.

use crate::Failure;
use crate::screen::Screen;
use crate::story;

const WORKER_LOG: &str = "kubectl logs deployment/billing-worker --namespace billing";

/// From the chart to a worker that has called through a rotation and an accident.
pub(crate) async fn tell(screen: &Screen) -> Result<(), Failure> {
    the_chart(screen).await?;
    story::a_client_that_may_nothing(screen).await?;
    story::a_grant(screen).await?;
    the_pods(screen).await?;
    calls(screen).await?;
    a_rotation(screen).await?;
    story::an_accident(screen).await?;
    // Not earlier: the garbage collector, which it waits for, takes half a minute to hear of a new kind.
    the_self_test(screen).await?;
    no_call_failed(screen).await
}

async fn the_chart(screen: &Screen) -> Result<(), Failure> {
    screen.run("kubectl get nodes --output=wide").await?;
    screen.step("The platform engineer installs the chart", "The image is on the nodes already; it need not be pulled.");
    let install = "helm install keywright charts/keywright --namespace keywright-system --create-namespace";
    screen.run(&format!("{install} \\\n    --set image.pullPolicy=Never --wait --timeout=180s")).await?;
    screen.run("kubectl get pods --namespace keywright-system --output=wide").await?;
    Ok(())
}

async fn the_pods(screen: &Screen) -> Result<(), Failure> {
    screen.step(
        "Pods",
        "An API that mounts its verification ConfigMap, and a worker that mounts its Secret and calls the API, each time with a new token.",
    );
    screen.run("kubectl apply --filename tests/demo/api.yaml").await?;
    screen.run("kubectl rollout status deployment/invoices --namespace shop --timeout=120s").await?;
    screen.run("cat tests/demo/worker.yaml").await?;
    screen.run("kubectl apply --filename tests/demo/worker.yaml").await?;
    screen.run("kubectl rollout status deployment/billing-worker --namespace billing --timeout=120s").await?;
    screen.run("kubectl get oac,oapr,secret,pods --all-namespaces").await?;
    Ok(())
}

async fn calls(screen: &Screen) -> Result<(), Failure> {
    screen.step(
        "Tokens, issued and verified",
        "The API verifies each of them with Go's go-oidc, the library of kube-apiserver: by the mounted keys, and by those of the JWKS URL.\n\
         (Where nobody answers, as while the Service is new, the worker tries again: a call fails when the last try does, or is refused.)",
    );
    screen.run(&format!("timeout 60 {WORKER_LOG} --follow | sed '/calls/q'")).await?;
    Ok(())
}

/// Waits until the kubelet has brought the worker the next secret.
async fn a_rotation(screen: &Screen) -> Result<(), Failure> {
    screen.step(
        "The workload team rotates",
        "Nobody restarts the pod. It calls with the former secret until the kubelet has brought it the next one.",
    );
    screen.run("kubectl keywright rotate billing-worker --namespace billing --wait").await?;
    screen.run("kubectl get oac --namespace billing").await?;
    screen.run(&format!("timeout 120 {WORKER_LOG} --follow | grep --max-count=1 'secret 2'")).await?;
    Ok(())
}

async fn the_self_test(screen: &Screen) -> Result<(), Failure> {
    screen.step("The installation tests itself", "A client of its own, a token, its verification, and all of it deleted.");
    // Helm says it once more in a line of its own log.
    screen.run("helm test keywright --namespace keywright-system --logs 2> /dev/null").await?;
    Ok(())
}

async fn no_call_failed(screen: &Screen) -> Result<(), Failure> {
    screen.step("And the worker", "It has called all the time.");
    let seen = screen.run(&format!("{WORKER_LOG} | grep calls | tail -n 1")).await?;
    if seen.trim_end().ends_with(", 0 failed") { Ok(()) } else { Err(screen.quietly(WORKER_LOG).await?.into()) }
}
