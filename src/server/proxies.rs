//! Whom a request comes from: from whoever has the connection or, where that is a proxy that the platform trusts, from whomever it names.
//!
//! Each proxy appends the address that its own connection has to `X-Forwarded-For`, so that the field is true from its end as far as the
//! trusted ones go: the last address that is none of theirs is that of the caller, and what stands before it anybody may have written.
//! RFC 7239's `Forwarded` is not read: proxies in front of Kubernetes write the other one.

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Neither a network nor an address.
    #[error("write a network as 10.0.0.0/24 or 2001:db8::/32, or an address")]
    Form,
    /// An address with the length of a network.
    #[error("the network of this address is {0}: write that, or the address alone")]
    HostBits(IpNet),
    /// Nobody would be left to be named.
    #[error("every address is in this network, so that all callers could say who they are: write the networks of the proxies alone")]
    Everybody,
    /// Addresses are compared as those of IPv4, which no such network has.
    #[error("an IPv4-mapped network holds no address of IPv4: write it as 10.0.0.0/24")]
    Mapped,
}

/// The proxies that may say whom a request comes from.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

/// Reads a network (RFC 4632 §3.1, RFC 4291 §2.3); an address is the network of itself.
///
/// # Errors
/// What is wrong with it.
pub fn network(text: &str) -> Result<IpNet, NetworkError> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    let network = address.or_else(|_| text.parse::<IpNet>()).map_err(|_| NetworkError::Form)?;
    match network {
        network if network != network.trunc() => Err(NetworkError::HostBits(network.trunc())),
        network if network.prefix_len() == 0 => Err(NetworkError::Everybody),
        IpNet::V6(network) if network.addr().to_ipv4_mapped().is_some() => Err(NetworkError::Mapped),
        network => Ok(network),
    }
}

impl TrustedProxies {
    /// Those in these networks.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whom a request comes from that came over a connection of `peer`: where a trusted proxy names nobody, the proxy itself.
    #[must_use]
    pub fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut caller = peer.to_canonical();
        let mut named = headers.get_all(FORWARDED_FOR).iter().rev().flat_map(|field| field.as_bytes().rsplit(|octet| *octet == b','));
        while self.trusts(caller)
            && let Some(next) = named.next().and_then(address)
        {
            caller = next;
        }
        caller
    }

    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// As proxies write it: with a port or without. What is none ends what is believed.
fn address(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?.trim_matches([' ', '\t']);
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip())).ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn proxies() -> TrustedProxies {
        TrustedProxies::new(["10.0.0.0/24", "192.0.2.1", "2001:db8::/32"].map(|text| network(text).unwrap()).into())
    }

    fn caller(peer: &str, fields: &[&[u8]]) -> String {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(field).unwrap());
        }
        proxies().caller(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn a_network_is_written_without_the_bits_of_a_host() {
        let text = |text: &str| network(text).map(|network| network.to_string());
        assert_eq!(text("10.0.0.0/8").unwrap(), "10.0.0.0/8");
        assert_eq!((text("10.0.0.1").unwrap(), text("::1").unwrap()), ("10.0.0.1/32".to_owned(), "::1/128".to_owned()));
        for everybody in ["0.0.0.0/0", "::/0"] {
            assert_eq!(text(everybody), Err(NetworkError::Everybody), "{everybody}");
        }
        for mapped in ["::ffff:10.0.0.0/120", "::ffff:10.0.0.1", "::ffff:0:0/96"] {
            assert_eq!(text(mapped), Err(NetworkError::Mapped), "{mapped}");
        }
        for wrong in ["", "x", "10.0.0.0/33", "10.0.0/24", "10.0.0.0/", " 10.0.0.0/8", "::/129", "10.0.0.0/8,::1", "localhost"] {
            assert_eq!(text(wrong), Err(NetworkError::Form), "{wrong}");
        }
        assert!(text("10.0.0.1/8").unwrap_err().to_string().contains("10.0.0.0/8"));
    }

    /// H06: whoever is not trusted says nothing about himself.
    #[test]
    fn nobody_else_is_believed() {
        for peer in ["10.0.1.1", "192.0.2.2", "2001:db9::1", "::1"] {
            assert_eq!(caller(peer, &[b"198.51.100.7"]), peer);
        }
        let nobody = TrustedProxies::default();
        let headers = [(FORWARDED_FOR, HeaderValue::from_static("198.51.100.7"))].into_iter().collect();
        assert_eq!(nobody.caller("10.0.0.1".parse().unwrap(), &headers).to_string(), "10.0.0.1");
    }

    #[test]
    fn the_last_address_that_is_not_trusted_counts() {
        let cases: [(&[&[u8]], &str); 12] = [
            (&[], "10.0.0.1"),
            (&[b"198.51.100.7"], "198.51.100.7"),
            (&[b"203.0.113.9, 198.51.100.7"], "198.51.100.7"),
            (&[b"203.0.113.9", b"198.51.100.7"], "198.51.100.7"),
            (&[b"203.0.113.9 ,\t198.51.100.7 , 192.0.2.1", b"10.0.0.2,2001:db8::5"], "198.51.100.7"),
            (&[b"10.0.0.9, 10.0.0.2"], "10.0.0.9"),
            (&[b"198.51.100.7:49152"], "198.51.100.7"),
            (&[b"[2001:db9::7]:443"], "2001:db9::7"),
            (&[b"[2001:db9::7]"], "2001:db9::7"),
            (&[b"2001:db9::7"], "2001:db9::7"),
            (&[b"::ffff:198.51.100.7"], "198.51.100.7"),
            (&[b"198.51.100.7, ::ffff:10.0.0.3"], "198.51.100.7"),
        ];
        for (fields, expected) in cases {
            assert_eq!(caller("10.0.0.1", fields), expected, "{fields:?}");
            assert_eq!(caller("::ffff:10.0.0.1", fields), expected, "{fields:?}");
        }
    }

    /// What follows the garbage on the right is true all the same.
    #[test]
    fn garbage_ends_what_is_believed() {
        let garbage: [&[u8]; 12] = [
            b"",
            b" ",
            b"unknown",
            b"_hidden",
            b"198.51.100",
            b"198.51.100.7 203.0.113.9",
            b"198.51.100.7;203.0.113.9",
            b"for=198.51.100.7",
            b"\"198.51.100.7\"",
            b"198.51.100.7:x",
            b"\xff\xfe",
            b"fe80::1%eth0",
        ];
        for field in garbage {
            assert_eq!(caller("10.0.0.1", &[b"198.51.100.7", field]), "10.0.0.1", "{field:?}");
            assert_eq!(caller("10.0.0.1", &[b"198.51.100.7", field, b"10.0.0.2"]), "10.0.0.2", "{field:?}");
        }
    }
}
