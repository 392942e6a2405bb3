//! Where a visitor comes from, as far as caps and delays look at it.

use std::net::{IpAddr, SocketAddr};

use crate::transport::connection::Connection;

/// One place that visitors come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Origin {
    /// A unix socket, or a descriptor that the host handed over: the host knows whom it lets near.
    Local,
    /// An IPv4 address, also one that came to an IPv6 socket.
    V4([u8; 4]),
    /// The first 64 bits of an IPv6 address: whoever has one address there has them all.
    V6([u8; 8]),
}

impl Origin {
    /// Where an accepted connection comes from.
    pub(super) fn of(connection: &Connection) -> Self {
        match connection.peer.clone().map(SocketAddr::try_from) {
            Some(Ok(address)) => Self::of_address(address.ip()),
            _ => Self::Local,
        }
    }

    fn of_address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_origin_and_mapped_addresses_are_ipv4() {
        let of = |text: &str| Origin::of_address(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
    }
}
