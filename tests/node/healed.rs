//! F17, with pods that hold what was edited or deleted.

use serde_json::json;

use crate::cluster::eventually;
use crate::installation::SOON;
use crate::site::disturbing;
use crate::teams::kubeconfig;

/// The file pod goes on with the next secret, the other one with that which it started with; neither sees a failed call.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_edited_and_deleted_while_pods_use_it() {
    let Some((site, _alone)) = disturbing().await else { return };
    let (bob, rita) = (kubeconfig(site.cluster, "bob"), kubeconfig(site.cluster, "rita"));
    let secrets = async || u64::try_from(site.load.of_files().await.secrets.len()).unwrap();
    let another = async |before: u64| match secrets().await {
        now if now > before => Ok(()),
        now => Err(format!("{now} secrets seen")),
    };

    let before = secrets().await;
    let edited = json!({"stringData": {"client-secret": "edited"}}).to_string();
    let edit = ["patch", "secret", "worker", "--namespace=billing", "--patch", &edited];
    let healed = site.load.during("the Secret is edited", async {
        bob.kubectl(&edit).await.unwrap().succeeded().unwrap();
        eventually(SOON, "the file pod has the next secret", async || another(before).await).await.unwrap();
    });
    healed.await.nobody_noticed();

    let before = secrets().await;
    let deleted = site.load.during("both Secrets are deleted", async {
        bob.kubectl(&["delete", "secret", "worker", "--namespace=billing"]).await.unwrap().succeeded().unwrap();
        rita.kubectl(&["delete", "secret", "report-oauth", "--namespace=reports"]).await.unwrap().succeeded().unwrap();
        eventually(SOON, "the file pod has the next secret", async || another(before).await).await.unwrap();
    });
    deleted.await.nobody_noticed();
    assert_eq!(site.load.of_environment().await.secrets.len(), 1);
}
