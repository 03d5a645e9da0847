//! Whose request it is, as an address: the connection's other end, or what a proxy that the
//! configuration names says of it.

use std::{
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use axum::http::{HeaderMap, HeaderName};
use serde::Deserialize;

/// What proxies add: whom they were asked by, after what they were told.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client of a connection from `peer`. Of a proxy's `X-Forwarded-For` only the end counts, up to the
/// first address that is not a trusted proxy's: what stands before it anybody can write. Good for
/// limits, not for trust: addresses are shared and change hands.
pub(crate) fn client(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> IpAddr {
    let trusted = |address| proxies.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let mut hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    while trusted(client)
        && let Some(Ok(address)) = hops.next().map(|hop| hop.trim().parse::<IpAddr>())
    {
        client = address.to_canonical();
    }
    client
}

/// What one subscriber of a network has at the least: an IPv4 address, or the 2^64 of IPv6 that share
/// the first half.
pub(crate) fn subscriber(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// Addresses that share their first bits, written `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    address: IpAddr,
    /// How many bits are shared, counted as for IPv6.
    prefix: u32,
}

/// A text that is no network.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is neither an address nor a network like 10.0.0.0/8")]
pub struct NetworkError(String);

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        let shifted = |address| bits(address).checked_shr(128 - self.prefix).unwrap_or(0);
        shifted(self.address) == shifted(address)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let malformed = || NetworkError(text.to_owned());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(width), str::parse).map_err(|_| malformed())?;
        let network = Self { address, prefix: 128 - width + prefix };
        if prefix <= width { Ok(network) } else { Err(malformed()) }
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

/// An address as a number, IPv4 as its mapping into IPv6.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&'static str], proxies: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, axum::http::HeaderValue::from_static(line));
        }
        let proxies: Vec<_> = proxies.iter().map(|text| text.parse().unwrap()).collect();
        super::client(peer.parse().unwrap(), &headers, &proxies).to_string()
    }

    #[test]
    fn who_counts_as_the_client() {
        let proxies = ["10.0.0.0/8", "fd00::/16"];
        for (peer, forwarded, expected) in [
            ("192.0.2.1", &[][..], "192.0.2.1"),
            ("::ffff:192.0.2.1", &[], "192.0.2.1"),
            // Not a proxy of ours: it may say what it likes.
            ("192.0.2.1", &["198.51.100.7"], "192.0.2.1"),
            ("10.1.2.3", &[], "10.1.2.3"),
            ("10.1.2.3", &["198.51.100.7"], "198.51.100.7"),
            ("::ffff:10.1.2.3", &["198.51.100.7"], "198.51.100.7"),
            ("fd00::1", &["2001:db8::7"], "2001:db8::7"),
            // Through two proxies, and with something that the client made up.
            ("10.1.2.3", &["1.1.1.1, 198.51.100.7,10.9.9.9"], "198.51.100.7"),
            ("10.1.2.3", &["1.1.1.1, 198.51.100.7", "10.9.9.9"], "198.51.100.7"),
            ("10.1.2.3", &["198.51.100.7, nonsense"], "10.1.2.3"),
            ("10.1.2.3", &["198.51.100.7, unknown, 10.9.9.9"], "10.9.9.9"),
        ] {
            assert_eq!(client(peer, forwarded, &proxies), expected, "{peer} {forwarded:?}");
        }
        assert_eq!(client("10.1.2.3", &["198.51.100.7"], &[]), "10.1.2.3");
    }

    #[test]
    fn networks() {
        let contains = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse().unwrap())
        };
        assert!(contains("192.0.2.1", "192.0.2.1") && !contains("192.0.2.1", "192.0.2.2"));
        assert!(contains("192.0.2.0/31", "192.0.2.1") && !contains("192.0.2.0/31", "192.0.2.2"));
        assert!(contains("0.0.0.0/0", "192.0.2.1") && !contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("::/0", "2001:db8::1"));
        for text in ["", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0/8", "::/129", "host"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_subscriber_of_ipv6_has_many_addresses() {
        let of = |address: &str| subscriber(address.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
