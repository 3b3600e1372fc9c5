//! Networks of addresses, as `trusted_proxies` lists them.

use std::net::IpAddr;

use ipnet::IpNet;

/// An address prefix: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Parses CIDR notation (RFC 4632 §3.1, RFC 4291 §2.3). The bits after the prefix must be zero: a network that is
    /// written as one of its hosts is more often a mistake than intended. The error is the rest of a sentence.
    pub fn parse(text: &str) -> Result<Network, String> {
        let not_a_network = || {
            format!(
                "must be an address or a network, such as 192.0.2.1 or 10.0.0.0/8, not {text:?}"
            )
        };
        let (address, prefix) = match text.split_once('/') {
            None => (text, None),
            Some((address, prefix)) => (address, Some(prefix)),
        };
        // ipnet itself accepts leading zeros, which other programs read as octal.
        let address: IpAddr = address.parse().map_err(|_| not_a_network())?;
        let network = match prefix {
            None => IpNet::from(address),
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits
                .parse()
                .ok()
                .and_then(|prefix| IpNet::new(address, prefix).ok())
                .ok_or_else(not_a_network)?,
            Some(_) => return Err(not_a_network()),
        };
        if network != network.trunc() {
            return Err(format!("{text} has bits set after its prefix"));
        }
        Ok(Network(network))
    }

    /// Whether the address is in the network. An IPv4-mapped IPv6 address counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        Network::parse(network).unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_contains_the_addresses_of_its_prefix_only() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("192.0.2.128/25", "192.0.2.255", "192.0.2.127"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "2001:db8::1", "203.0.113.9"),
            ("::1", "::1", "::2"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.1.2.3"),
        ] {
            assert!(contains(network, inside), "{network} {inside}");
            assert!(!contains(network, outside), "{network} {outside}");
        }
    }

    #[test]
    fn an_invalid_network_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/-8",
            "10.0.0.0/ 8",
            "10.0.0.0/255.0.0.0",
            "::/129",
            "10.0.0/8",
            "010.0.0.0/8",
            "host",
            "10.0.0.0/8/8",
        ] {
            assert!(Network::parse(text).is_err(), "{text}");
        }
        for text in ["10.0.0.1/8", "2001:db8::1/32", "::1/0"] {
            assert_eq!(Network::parse(text), Err(format!("{text} has bits set after its prefix")));
        }
    }
}
