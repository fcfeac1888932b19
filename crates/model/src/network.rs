//! Which addresses this program may connect to when somebody else named the host: those of webhooks and of
//! upstream registries. Decided on the address that is connected to, after names were resolved, so that no
//! name, number or redirect leads around it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::{ErrorCode, Problem};

/// A network as `10.0.0.0/8` or `fd12::/16`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    first: u128,
    prefix: u32,
    is_v4: bool,
}

/// A text that is no network which may be allowed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NetworkError {
    /// Not an address with the length of its network.
    #[error("`{text}` is not a network like `10.0.0.0/8`, or one address")]
    Form {
        /// What was given, shortened.
        text: String,
    },
    /// So large that it would allow what nobody thought of.
    #[error("network `{text}` is larger than any private network: name the one that is meant")]
    TooLarge {
        /// What was given.
        text: String,
    },
}

impl From<NetworkError> for Problem {
    fn from(error: NetworkError) -> Self {
        Self::new(ErrorCode::Invalid, error.to_string())
    }
}

/// Largest network that may be allowed: `10.0.0.0/8`, `fc00::/7`.
const SHORTEST_V4: u32 = 8;
const SHORTEST_V6: u32 = 7;

/// IPv4 addresses that are not of the internet (IANA IPv4 Special-Purpose Address Registry), with
/// multicast and what is reserved.
const SPECIAL_V4: &[([u8; 4], u32)] = &[
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 31, 196, 0], 24),
    ([192, 52, 193, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([192, 175, 48, 0], 24),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 3),
];

/// The IPv6 addresses of the internet are in `2000::/3`; in it these are not (IANA IPv6
/// Special-Purpose Address Registry): protocol assignments with Teredo and ORCHID, documentation,
/// 6to4, AS112.
const SPECIAL_V6: &[([u16; 8], u32)] = &[
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    ([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];
const GLOBAL_V6: ([u16; 8], u32) = ([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// Where clouds answer questions about the machine that asks, its credentials among them. One of
/// them looks like an address of the internet.
const METADATA: &[&str] = &[
    "169.254.169.254",
    "169.254.169.253",
    "169.254.170.2",
    "169.254.170.23",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
];

impl Network {
    /// True when the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (bits, is_v4) = number(address);
        is_v4 == self.is_v4 && under(bits, self.prefix, is_v4) == self.first
    }

    const fn is_one_address(&self) -> bool {
        self.prefix == if self.is_v4 { 32 } else { 128 }
    }
}

fn number(address: IpAddr) -> (u128, bool) {
    match address {
        IpAddr::V4(it) => (u128::from(u32::from(it)), true),
        IpAddr::V6(it) => (u128::from(it), false),
    }
}

/// The first address of the network of `prefix` that has this one.
fn under(bits: u128, prefix: u32, is_v4: bool) -> u128 {
    let width = if is_v4 { 32 } else { 128 };
    let host = width - prefix.min(width);
    bits.checked_shr(host).map_or(0, |it| it.checked_shl(host).unwrap_or(0))
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let form = || NetworkError::Form { text: text.chars().take(60).collect() };
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let (first, is_v4) = number(address);
        let width = if is_v4 { 32 } else { 128 };
        let prefix = match prefix {
            None => width,
            Some(it) if it.len() <= 3 && it.bytes().all(|byte| byte.is_ascii_digit()) => {
                it.parse().map_err(|_| form())?
            }
            Some(_) => return Err(form()),
        };
        if prefix > width || under(first, prefix, is_v4) != first {
            return Err(form());
        }
        if prefix < if is_v4 { SHORTEST_V4 } else { SHORTEST_V6 } {
            return Err(NetworkError::TooLarge { text: text.to_owned() });
        }
        Ok(Self { first, prefix, is_v4 })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = if self.is_v4 {
            IpAddr::V4(Ipv4Addr::from(u32::try_from(self.first).unwrap_or(u32::MAX)))
        } else {
            IpAddr::V6(Ipv6Addr::from(self.first))
        };
        if self.is_one_address() { write!(f, "{address}") } else { write!(f, "{address}/{}", self.prefix) }
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

/// True when a connection to `address` may be opened: it is of the internet, or in a network that
/// was allowed. A metadata address has to be allowed by itself.
pub fn is_permitted(address: IpAddr, allowed: &[Network]) -> bool {
    let address = meant(address);
    let by = |network: &&Network| network.contains(address);
    if METADATA.iter().any(|it| it.parse() == Ok(address)) {
        return allowed.iter().filter(by).any(Network::is_one_address);
    }
    is_of_the_internet(address) || allowed.iter().any(|network| by(&network))
}

/// The IPv4 address that an IPv6 address stands for on the wire: mapped (RFC 4291), or translated by
/// the well-known prefix (RFC 6052).
pub fn meant(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return IpAddr::V4(v4);
    }
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            IpAddr::V4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
        }
        _ => address,
    }
}

fn is_of_the_internet(address: IpAddr) -> bool {
    let within = |first: IpAddr, prefix: u32| {
        let ((first, is_v4), (bits, _)) = (number(first), number(address));
        under(bits, prefix, is_v4) == first
    };
    match address {
        IpAddr::V4(_) => !SPECIAL_V4.iter().any(|(first, prefix)| within(IpAddr::from(*first), *prefix)),
        IpAddr::V6(_) => {
            within(IpAddr::from(GLOBAL_V6.0), GLOBAL_V6.1)
                && !SPECIAL_V6.iter().any(|(first, prefix)| within(IpAddr::from(*first), *prefix))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    }

    #[test]
    fn only_the_internet_is_permitted_unless_a_network_is_allowed() {
        for (address, permitted) in [
            ("93.184.216.34", true),
            ("8.8.8.8", true),
            ("172.15.255.255", true),
            ("172.32.0.0", true),
            ("100.63.255.255", true),
            ("100.128.0.0", true),
            ("223.255.255.255", true),
            ("2606:4700::1111", true),
            ("64:ff9b::8.8.8.8", true),
            ("::ffff:8.8.8.8", true),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("10.1.2.3", false),
            ("100.64.0.1", false),
            ("127.0.0.1", false),
            ("127.255.255.255", false),
            ("169.254.0.1", false),
            ("169.254.169.254", false),
            ("168.63.129.16", false),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("192.0.0.192", false),
            ("192.0.2.1", false),
            ("192.168.0.1", false),
            ("198.19.255.255", false),
            ("203.0.113.9", false),
            ("224.0.0.1", false),
            ("240.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::127.0.0.1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b::10.0.0.1", false),
            ("64:ff9b:1::a00:1", false),
            ("100::1", false),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("2002:7f00:1::1", false),
            ("2002:0808:0808::1", false),
            ("3fff::1", false),
            ("fc00::1", false),
            ("fd00:ec2::254", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_permitted(address.parse().expect(address), &[]), permitted, "{address}");
        }
    }

    #[test]
    fn an_allowed_network_allows_itself_alone() {
        for (address, allowed, permitted) in [
            ("10.1.2.3", "10.0.0.0/8", true),
            ("::ffff:10.1.2.3", "10.0.0.0/8", true),
            ("64:ff9b::a01:203", "10.0.0.0/8", true),
            ("11.0.0.0", "10.0.0.0/8", true),
            ("192.168.0.1", "10.0.0.0/8", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.2", "127.0.0.1", false),
            ("127.0.0.2", "127.0.0.0/8", true),
            ("::1", "127.0.0.0/8", false),
            ("::1", "::1", true),
            ("fd00::5", "fd00::/8", true),
            ("169.254.1.1", "169.254.0.0/16", true),
            ("169.254.169.254", "169.254.0.0/16", false),
            ("169.254.169.254", "169.254.169.254", true),
            ("fd00:ec2::254", "fd00::/8", false),
            ("168.63.129.16", "168.63.129.16/32", true),
        ] {
            let permits = is_permitted(address.parse().expect(address), &networks(&[allowed]));
            assert_eq!(permits, permitted, "{address} by {allowed}");
        }
    }

    #[test]
    fn networks_are_exact_and_not_the_whole_world() {
        for text in ["10.0.0.0/8", "127.0.0.1", "192.168.7.0/24", "fc00::/7", "::1", "fd00:1::/32"] {
            assert_eq!(networks(&[text])[0].to_string(), text);
        }
        for bad in [
            "",
            "10",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "localhost",
            "fd00::/129",
            "10.0.0.0/8/8",
            " 10.0.0.0/8",
            "fd00::1/64",
        ] {
            assert!(matches!(bad.parse::<Network>(), Err(NetworkError::Form { .. })), "{bad}");
        }
        for large in ["0.0.0.0/0", "8.0.0.0/7", "::/0", "fc00::/6"] {
            assert!(matches!(large.parse::<Network>(), Err(NetworkError::TooLarge { .. })), "{large}");
        }
    }
}
