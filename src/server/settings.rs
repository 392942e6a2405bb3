//! What the host may set, with the reference's defaults (spec 01 §9).

use crate::protocol::caps::ChannelType;
use crate::transport::listener::Family;
use crate::transport::tls::files::TlsFiles;
use crate::video::codecs::Choice;

/// Values of `spice_server_set_image_compression`; the numbers are the ABI's.
pub const IMAGE_COMPRESSION_AUTO_GLZ: i32 = 2;
/// `SPICE_IMAGE_COMPRESSION_QUIC`.
pub const IMAGE_COMPRESSION_QUIC: i32 = 4;
/// `SPICE_STREAM_VIDEO_OFF`.
pub const STREAMING_OFF: i32 = 1;

/// Streams that a channel accepts; bits as in the ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Security {
    /// Plain streams are let in.
    pub plain: bool,
    /// TLS streams are let in.
    pub tls: bool,
}

impl Security {
    /// From the ABI's mask: 1 plain, 2 TLS.
    #[must_use]
    pub fn from_bits(bits: i32) -> Self {
        Self { plain: bits & 1 != 0, tls: bits & 2 != 0 }
    }
}

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// TCP; empty = any address.
    Tcp(String, Family),
    /// Unix path, or abstract with a leading `@`.
    Unix(String),
}

/// All settings. Guarded by the session's lock; read at link time, never on a hot path.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Plain port; `None` = no plain TCP listener, 0 = the kernel picks.
    pub port: Option<u16>,
    /// Port and files for TLS; `None` = no TLS.
    pub tls: Option<(u16, TlsFiles)>,
    /// Where to listen.
    pub address: Address,
    /// Security of channels without an entry of their own.
    pub default_security: Security,
    /// Security by channel type.
    pub security: Vec<(ChannelType, Security)>,
    /// Name of the machine.
    pub name: Option<String>,
    /// UUID of the machine.
    pub uuid: Option<[u8; 16]>,
    /// `SPICE_IMAGE_COMPRESSION_*`.
    pub image_compression: i32,
    /// Streaming mode.
    pub streaming_video: i32,
    /// Opus for playback.
    pub playback_compression: bool,
    /// The agent may carry the mouse.
    pub agent_mouse: bool,
    /// Clients authenticate with SASL and not with a ticket.
    pub sasl: bool,
    /// Name under which SASL is configured; `None` = "spice". Read by init, or by turning SASL on after it.
    pub sasl_app_name: Option<String>,
    /// Video encoders in order of preference; empty before init.
    pub video_codecs: Vec<Choice>,
    /// Copy and paste through the agent.
    pub agent_copypaste: bool,
    /// File transfer through the agent.
    pub agent_file_xfer: bool,
    /// End the process when a client leaves.
    pub exit_on_disconnect: bool,
    /// Seamless migration.
    pub seamless_migration: bool,
    /// Several clients at once.
    pub multi_client: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            port: None,
            tls: None,
            address: Address::Tcp(String::new(), Family::Any),
            default_security: Security { plain: true, tls: true },
            security: Vec::new(),
            name: None,
            uuid: None,
            image_compression: IMAGE_COMPRESSION_AUTO_GLZ,
            streaming_video: 3,
            playback_compression: true,
            agent_mouse: true,
            sasl: false,
            sasl_app_name: None,
            video_codecs: Vec::new(),
            agent_copypaste: true,
            agent_file_xfer: true,
            exit_on_disconnect: false,
            seamless_migration: false,
            multi_client: false,
        }
    }
}

impl Settings {
    /// True if channels may hand over what they know to another server: of one client only.
    #[must_use]
    pub fn seamless(&self) -> bool {
        self.seamless_migration && !self.multi_client
    }

    /// Which streams a channel accepts.
    #[must_use]
    pub fn security_of(&self, channel: ChannelType) -> Security {
        self.security.iter().find(|(t, _)| *t == channel).map_or(self.default_security, |(_, s)| *s)
    }

    /// Sets the security of one channel type, or of all (`None`).
    pub fn set_security(&mut self, channel: Option<ChannelType>, security: Security) {
        match channel {
            None => {
                self.default_security = security;
                self.security.clear();
            }
            Some(channel) => {
                self.security.retain(|(t, _)| *t != channel);
                self.security.push((channel, security));
            }
        }
    }

    /// What `set_compression_level` tells a QXL device: 1 for QUIC without streaming, else 0.
    #[must_use]
    pub fn compression_level(&self) -> i32 {
        i32::from(
            self.streaming_video == STREAMING_OFF
                && self.image_compression == IMAGE_COMPRESSION_QUIC,
        )
    }
}
