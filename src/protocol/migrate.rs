//! Messages of the main channel that send a client to another server.
//!
//! Layouts: `SpiceMigrationDstInfo` and the messages around it in spice.proto of spice-protocol; offsets and the values
//! for "none" were measured on spice-server 0.15.1.

use super::main::server;
use super::message::Message;
use super::wire::WireWrite;

/// Version of the format in which servers hand channels over.
pub const MIGRATION_VERSION: u32 = 1;
/// Longest name of a host and longest certificate subject, bytes.
pub const NAME_MAX: usize = 1024;
/// A port that there is not. spice-server sends 65535, which spice-gtk takes for a port and tries first: the channels of a
/// target that has a secure port alone then fail.
const NO_PORT: u16 = 0;

/// Where a client is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    host: Vec<u8>,
    port: Option<u16>,
    secure_port: Option<u16>,
    subject: Option<Vec<u8>>,
}

/// Why that is no place to go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// There is no name.
    #[error("no name or address of a host")]
    NoHost,
    /// A path, which no client on another machine could open.
    #[error("a unix socket is no destination: clients need a host and a port")]
    UnixSocket,
    /// Neither port.
    #[error("neither a plain nor a secure port")]
    NoPort,
    /// A name or subject of more than [`NAME_MAX`] bytes.
    #[error("a name of {0} bytes, at most {NAME_MAX} are allowed")]
    TooLong(usize),
}

impl Destination {
    /// A host by name or address, with its ports; `subject` is that of its certificate.
    ///
    /// # Errors
    /// See [`DestinationError`].
    pub fn new(
        host: &[u8],
        port: Option<u16>,
        secure_port: Option<u16>,
        subject: Option<&[u8]>,
    ) -> Result<Self, DestinationError> {
        let longest = host.len().max(subject.map_or(0, <[u8]>::len));
        match host {
            [] => Err(DestinationError::NoHost),
            [b'/' | b'@', ..] => Err(DestinationError::UnixSocket),
            _ if host.starts_with(b"unix:") => Err(DestinationError::UnixSocket),
            _ if longest > NAME_MAX => Err(DestinationError::TooLong(longest)),
            _ if port.is_none() && secure_port.is_none() => Err(DestinationError::NoPort),
            _ => {
                let subject = subject.map(<[u8]>::to_vec);
                Ok(Self { host: host.to_vec(), port, secure_port, subject })
            }
        }
    }

    /// The fields, with offsets that skip `extra` bytes behind them, and what they point to.
    fn write(&self, extra: &[u8]) -> Vec<u8> {
        // Short by construction.
        let counted = |bytes: &[u8]| u32::try_from(bytes.len() + 1).unwrap_or(u32::MAX);
        let (host_size, subject_size) =
            (counted(&self.host), self.subject.as_deref().map_or(0, counted));
        let host_at = 20 + u32::try_from(extra.len()).unwrap_or(0);
        let subject_at = if subject_size == 0 { 0 } else { host_at + host_size };
        let mut body = Vec::with_capacity(64 + self.host.len());
        body.put_u16(self.port.unwrap_or(NO_PORT))
            .put_u16(self.secure_port.unwrap_or(NO_PORT))
            .put_u32(host_size)
            .put_u32(host_at)
            .put_u32(subject_size)
            .put_u32(subject_at)
            .put_bytes(extra)
            .put_bytes(&self.host)
            .put_u8(0);
        if let Some(subject) = &self.subject {
            body.put_bytes(subject).put_u8(0);
        }
        body
    }
}

/// MIGRATE_BEGIN: connect there, and stay here meanwhile.
#[must_use]
pub fn begin(to: &Destination) -> Message {
    Message::new(server::MIGRATE_BEGIN, to.write(&[]))
}

/// MIGRATE_BEGIN_SEAMLESS: as [`begin`], and ask the target whether it takes over what the channels know.
#[must_use]
pub fn begin_seamless(to: &Destination) -> Message {
    Message::new(server::MIGRATE_BEGIN_SEAMLESS, to.write(&MIGRATION_VERSION.to_le_bytes()))
}

/// MIGRATE_SWITCH_HOST: leave, and begin anew there.
#[must_use]
pub fn switch_host(to: &Destination) -> Message {
    Message::new(server::MIGRATE_SWITCH_HOST, to.write(&[]))
}

/// MIGRATE_END: go on with the connections to the target.
#[must_use]
pub fn end() -> Message {
    Message::new(server::MIGRATE_END, Vec::new())
}

/// MIGRATE_CANCEL: stay; also the answer to a client that reports a migration that nobody waits for.
#[must_use]
pub fn cancel() -> Message {
    Message::new(server::MIGRATE_CANCEL, Vec::new())
}

/// MIGRATE_DST_SEAMLESS_ACK: this target takes over what the channels of the source know.
#[must_use]
pub fn seamless_ack() -> Message {
    Message::new(server::MIGRATE_DST_SEAMLESS_ACK, Vec::new())
}

/// MIGRATE_DST_SEAMLESS_NACK: this target does not; the client goes on without.
#[must_use]
pub fn seamless_nack() -> Message {
    Message::new(server::MIGRATE_DST_SEAMLESS_NACK, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begin_has_the_bytes_of_the_reference() {
        let to = Destination::new(b"10.0.0.1", Some(5900), Some(5901), Some(b"CN=x")).unwrap();
        let mut bytes =
            vec![0x0c, 0x17, 0x0d, 0x17, 9, 0, 0, 0, 20, 0, 0, 0, 5, 0, 0, 0, 29, 0, 0, 0];
        bytes.extend(b"10.0.0.1\0CN=x\0");
        assert_eq!((begin(&to).kind, begin(&to).body), (101, bytes.clone()));
        assert_eq!((switch_host(&to).kind, switch_host(&to).body), (111, bytes.clone()));
        // The version stands in between and moves what comes behind.
        bytes[8] += 4;
        bytes[16] += 4;
        bytes.splice(20..20, [1, 0, 0, 0]);
        assert_eq!((begin_seamless(&to).kind, begin_seamless(&to).body), (116, bytes));
    }

    #[test]
    fn what_is_missing_is_said_so_on_the_wire() {
        let to = Destination::new(b"vm2", None, Some(1), None).unwrap();
        assert_eq!(
            begin(&to).body,
            b"\x00\x00\x01\x00\x04\x00\x00\x00\x14\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00vm2\0"
        );
        assert_eq!((end().kind, cancel().kind), (112, 102));
        assert_eq!((seamless_ack().kind, seamless_nack().kind), (117, 118));
    }

    #[test]
    fn places_nobody_can_go_to_are_refused() {
        use DestinationError::{NoHost, NoPort, TooLong, UnixSocket};
        let new = |host: &[u8], port| Destination::new(host, port, None, None).map(|_| ());
        assert_eq!(new(b"", Some(1)), Err(NoHost));
        assert_eq!(new(b"/run/vm.sock", Some(1)), Err(UnixSocket));
        assert_eq!(new(b"unix:/run/vm.sock", Some(1)), Err(UnixSocket));
        assert_eq!(new(b"host", None), Err(NoPort));
        assert_eq!(new(&[b'a'; 1025], Some(1)), Err(TooLong(1025)));
        assert_eq!(new(&[b'a'; 1024], Some(1)), Ok(()));
    }
}
