//! What joins the nodes: a bridge of our own, and a veth pair to each. All else (addresses, routes and rules of the nodes, links of pods) is
//! in the nodes' network namespaces, and ends with them.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::requirements;
use crate::cluster::error::Error;
use crate::cluster::process::{Output, run};
use crate::cluster::watchdog;

/// The second octets of the networks 10.x.0.0/16 that are tried.
const NETWORKS: std::ops::Range<u8> = 160..192;

/// A bridge of this machine. Removed when it is dropped, and when the test process ends in any other way.
pub struct Network {
    number: u8,
    /// Our ends of the pairs. The kernel may keep a pair for minutes after the namespace of its other end.
    links: Mutex<Vec<String>>,
}

impl Network {
    /// Makes the bridge, in a network that this machine has no other use for.
    pub async fn create() -> Result<Self, Error> {
        for number in NETWORKS {
            let free = ip(&["route", "show", "root", &format!("10.{number}.0.0/16")]).await?.succeeded()?.is_empty();
            // Fails where another test process is faster.
            if free && ip(&["link", "add", &bridge(number), "type", "bridge"]).await?.status.success() {
                watchdog::remove_link(&bridge(number))?;
                let network = Self { number, links: Mutex::default() };
                network.configure().await?;
                return Ok(network);
            }
        }
        Err(Error::io("find a free network 10.160.0.0/16 to 10.191.0.0/16")(std::io::ErrorKind::AddrInUse.into()))
    }

    async fn configure(&self) -> Result<(), Error> {
        let bridge = bridge(self.number);
        ip(&["address", "add", &format!("{}/24", self.address()), "dev", &bridge]).await?.succeeded()?;
        ip(&["link", "set", &bridge, "up"]).await?.succeeded()?;
        Ok(())
    }

    /// Of the bridge: where nodes and pods reach this machine.
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, 0, 1)
    }

    /// Of a node.
    pub fn node(&self, index: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, 0, 10 + index)
    }

    /// The addresses of a node's pods.
    pub(super) fn pods(&self, index: u8) -> String {
        format!("10.{}.{}.0/24", self.number, 128 + index)
    }

    /// The addresses of all pods.
    pub fn all_pods(&self) -> String {
        format!("10.{}.128.0/17", self.number)
    }

    /// A name that no other cluster on this machine has.
    pub fn unique(&self, name: &str) -> String {
        format!("keywright-{}-{name}", self.number)
    }

    /// Plugs the node with this first process into the bridge, and lets this machine reach its pods.
    pub async fn attach(&self, index: u8, pid: u32) -> Result<(), Error> {
        let (link, pid) = (self.link(index), pid.to_string());
        ip(&["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &pid]).await?.succeeded()?;
        watchdog::remove_link(&link)?;
        self.links.lock().unwrap_or_else(PoisonError::into_inner).push(link.clone());
        ip(&["link", "set", &link, "master", &bridge(self.number), "up"]).await?.succeeded()?;
        let via = self.node(index).to_string();
        ip(&["route", "replace", &self.pods(index), "via", &via, "dev", &bridge(self.number)]).await?.succeeded()?;
        Ok(())
    }

    /// Cuts the cable of a node: nothing that is sent to it or by it arrives, and nobody is told.
    pub async fn cut(&self, index: u8) -> Result<(), Error> {
        ip(&["link", "set", &self.link(index), "down"]).await?.succeeded().map(|_| ())
    }

    /// Mends the cable.
    pub async fn mend(&self, index: u8) -> Result<(), Error> {
        ip(&["link", "set", &self.link(index), "up"]).await?.succeeded().map(|_| ())
    }

    fn link(&self, index: u8) -> String {
        format!("kw-{}-{index}", self.number)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let mut links = std::mem::take(self.links.get_mut().unwrap_or_else(PoisonError::into_inner));
        links.push(bridge(self.number));
        for link in links {
            let mut delete = Command::new("ip");
            delete.args(["link", "delete", &link]).env("PATH", requirements::path());
            let _ = delete.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

/// At most 15 characters.
fn bridge(number: u8) -> String {
    format!("keywright-{number}")
}

async fn ip(arguments: &[&str]) -> Result<Output, Error> {
    let mut command = Command::new("ip");
    command.args(arguments).env("PATH", requirements::path());
    run(command, String::new()).await
}
