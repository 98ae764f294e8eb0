//! What happens to the replicas while they rotate.

use std::time::Duration;

use tokio::sync::watch;

use super::load::Load;
use crate::cluster::eventually;
use crate::cluster::proxy::{Proxy, calls};
use crate::operator::{Operator, SOON};

/// For so long a watch says nothing.
const LATE: Duration = Duration::from_secs(8);

#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// The leader is killed, and starts again.
    Kill,
    /// The leader stands still until another one leads, and goes on.
    Pause,
    /// The leader is asked to end, and starts again.
    Terminate,
    /// Another replica's watch of the clients is late: the gate waits for it.
    Late,
    /// Another replica does not reach the API server until the rotation is through without it.
    CutOff,
    /// The API server is away for a moment.
    ApiServer,
}

impl Fault {
    pub(super) const ALL: [Self; 6] = [Self::Kill, Self::Pause, Self::Terminate, Self::Late, Self::CutOff, Self::ApiServer];

    /// Whether it is there before the rotation begins: that is over within two seconds.
    pub(super) fn comes_first(self) -> bool {
        matches!(self, Self::Late | Self::CutOff)
    }

    pub(super) async fn happen(self, operator: &Operator<'_>, proxies: &[Proxy], load: &Load, mut settled: watch::Receiver<bool>) {
        let leader = operator.leader().await;
        let other = (leader + 1) % proxies.len();
        let process = operator.replicas[leader].process();
        match self {
            Self::Kill | Self::Terminate => {
                load.breaks(leader);
                if matches!(self, Self::Kill) {
                    process.kill().unwrap()
                } else {
                    process.terminate().unwrap()
                }
                process.exit(SOON).await.unwrap();
                load.notices(leader).await;
                operator.start(&operator.replicas[leader], proxies[leader].kubeconfig());
            }
            Self::Pause => {
                load.breaks(leader);
                process.stop().unwrap();
                let led = async || match operator.leader().await {
                    another if another != leader => Ok(()),
                    same => Err(same),
                };
                eventually(SOON, "another one leads", led).await.unwrap();
                process.resume().unwrap();
            }
            Self::Late => {
                let late = proxies[other].when(calls().watch().of("oauthclients")).silence();
                tokio::time::sleep(LATE).await;
                proxies[other].remove(late);
            }
            Self::CutOff => {
                let cut = proxies[other].black_hole();
                settled.wait_for(|settled| *settled).await.unwrap();
                proxies[other].remove(cut);
            }
            Self::ApiServer => {
                operator.cluster.stop_api_server().unwrap();
                operator.cluster.restart_api_server().await.unwrap();
            }
        }
        for replica in &operator.replicas {
            replica.ready().await;
        }
        if matches!(self, Self::Kill | Self::Terminate | Self::Pause) {
            load.breaks(leader);
        }
    }
}
