//! Whose address a request came from.
//!
//! `X-Forwarded-For` is believed only from configured proxies: anyone else could write anything there.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// Networks of proxies whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Takes the networks.
    #[must_use]
    pub const fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Returns the address of the client behind `peer`: the last one of `X-Forwarded-For` that is not a trusted
    /// proxy itself. That of `peer` if it is none.
    #[must_use]
    pub fn client_address(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.ip().to_canonical();
        if !self.trusts(peer) {
            return peer;
        }
        let mut nearest = peer;
        for value in headers.get_all("x-forwarded-for").iter().rev() {
            for hop in value.to_str().unwrap_or("").rsplit(',') {
                // Beyond something unreadable nothing can be believed.
                let Ok(address) = hop.trim().parse::<IpAddr>() else { return nearest };
                nearest = address.to_canonical();
                if !self.trusts(nearest) {
                    return nearest;
                }
            }
        }
        nearest
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// What an address counts as for rate limits: itself, or its /64 of IPv6, which one subscriber has whole.
#[must_use]
pub fn rate_key(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(proxies: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let proxies = TrustedProxies::new(proxies.iter().map(|network| network.parse().unwrap()).collect());
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        proxies.client_address(SocketAddr::new(peer.parse().unwrap(), 1), &headers).to_string()
    }

    #[test]
    fn a_stranger_is_not_believed() {
        assert_eq!(client(&[], "203.0.113.9", &["192.0.2.1"]), "203.0.113.9");
        assert_eq!(client(&["10.0.0.0/8"], "203.0.113.9", &["192.0.2.1"]), "203.0.113.9");
    }

    #[test]
    fn the_last_untrusted_hop_is_the_client() {
        let proxies = ["10.0.0.0/8", "fd00::/8"];
        assert_eq!(client(&proxies, "10.1.2.3", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(client(&proxies, "10.1.2.3", &["6.6.6.6, 192.0.2.1, 10.9.9.9"]), "192.0.2.1");
        assert_eq!(client(&proxies, "10.1.2.3", &["6.6.6.6", "192.0.2.1", "10.9.9.9"]), "192.0.2.1");
        assert_eq!(client(&proxies, "::ffff:10.1.2.3", &["2001:db8::7"]), "2001:db8::7");
    }

    #[test]
    fn nothing_beyond_garbage_is_believed() {
        assert_eq!(client(&["10.0.0.0/8"], "10.1.2.3", &["192.0.2.1, unknown, 10.9.9.9"]), "10.9.9.9");
        assert_eq!(client(&["10.0.0.0/8"], "10.1.2.3", &[]), "10.1.2.3");
    }

    #[test]
    fn one_ipv6_subscriber_counts_once() {
        assert_eq!(rate_key("2001:db8:1:2:3:4:5:6".parse().unwrap()).to_string(), "2001:db8:1:2::");
    }
}
