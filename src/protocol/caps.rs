//! Channel types and capability bits, as both ends announce them in the link stage.
//!
//! Source of the numbers: `spice/enums.h` and `spice/protocol.h` of spice-protocol; what the
//! reference announces was measured on 0.15.1.

/// A channel type as it stands in the link message; any `u8` may come from a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelType(pub u8);

impl ChannelType {
    /// Session, mouse mode, agent.
    pub const MAIN: Self = Self(1);
    /// The picture of one QXL device or stream device.
    pub const DISPLAY: Self = Self(2);
    /// Keyboard and mouse.
    pub const INPUTS: Self = Self(3);
    /// Pointer shape and position of one display.
    pub const CURSOR: Self = Self(4);
    /// Sound to the client.
    pub const PLAYBACK: Self = Self(5);
    /// Sound from the client.
    pub const RECORD: Self = Self(6);
    /// Unused; only its name is known to the security settings.
    pub const TUNNEL: Self = Self(7);
    /// Smartcard readers.
    pub const SMARTCARD: Self = Self(8);
    /// One redirected USB device.
    pub const USBREDIR: Self = Self(9);
    /// A named byte stream.
    pub const PORT: Self = Self(10);
    /// Shared folders.
    pub const WEBDAV: Self = Self(11);

    /// The types that have a name, with the names that hosts use in their security settings.
    pub const NAMED: [(Self, &'static str); 11] = [
        (Self::MAIN, "main"),
        (Self::DISPLAY, "display"),
        (Self::INPUTS, "inputs"),
        (Self::CURSOR, "cursor"),
        (Self::PLAYBACK, "playback"),
        (Self::RECORD, "record"),
        (Self::TUNNEL, "tunnel"),
        (Self::SMARTCARD, "smartcard"),
        (Self::USBREDIR, "usbredir"),
        (Self::PORT, "port"),
        (Self::WEBDAV, "webdav"),
    ];

    /// The name for logs; "unknown" for a type that SPICE does not have.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMED.iter().find(|(ty, _)| *ty == self).map_or("unknown", |(_, name)| name)
    }

    /// The type with this name, as hosts write it in their security settings.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(_, n)| *n == name).map(|(ty, _)| *ty)
    }
}

impl std::fmt::Display for ChannelType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            "unknown" => write!(f, "unknown({})", self.0),
            name => f.write_str(name),
        }
    }
}

/// Capabilities of one end: bit `k` of word `k / 32`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caps {
    words: Vec<u32>,
}

impl Caps {
    /// A set from words as they stand on the wire. The caller bounds their number.
    #[must_use]
    pub fn from_words(words: Vec<u32>) -> Self {
        Self { words }
    }

    /// A set from bit numbers.
    #[must_use]
    pub fn from_bits(bits: &[u32]) -> Self {
        let mut words: Vec<u32> = Vec::new();
        for &bit in bits {
            let at = usize::try_from(bit / 32).unwrap_or(usize::MAX);
            if words.len() <= at {
                words.resize(at + 1, 0);
            }
            if let Some(word) = words.get_mut(at) {
                *word |= 1 << (bit % 32);
            }
        }
        Self { words }
    }

    /// True if the bit is set; bits beyond the last word are not.
    #[must_use]
    pub fn has(&self, bit: u32) -> bool {
        let word = usize::try_from(bit / 32).ok().and_then(|at| self.words.get(at));
        word.is_some_and(|w| w >> (bit % 32) & 1 == 1)
    }

    /// The words for the wire.
    #[must_use]
    pub fn words(&self) -> &[u32] {
        &self.words
    }
}

/// Common capabilities: how the link stage and the message headers work.
pub mod link {
    /// The client names the authentication it wants before it authenticates.
    pub const AUTH_SELECTION: u32 = 0;
    /// The server takes tickets.
    pub const AUTH_SPICE: u32 = 1;
    /// The server takes SASL.
    pub const AUTH_SASL: u32 = 2;
    /// Messages have the 6-byte header.
    pub const MINI_HEADER: u32 = 3;
}

/// Capabilities of the main channel.
pub mod main {
    /// Migration without the data of the channels.
    pub const SEMI_SEAMLESS_MIGRATE: u32 = 0;
    /// The client takes NAME and UUID.
    pub const NAME_AND_UUID: u32 = 1;
    /// The client takes AGENT_CONNECTED_TOKENS.
    pub const AGENT_CONNECTED_TOKENS: u32 = 2;
    /// Migration with the data of the channels.
    pub const SEAMLESS_MIGRATE: u32 = 3;
}

/// Capabilities of the display channel.
pub mod display {
    /// The client takes STREAM_DATA_SIZED.
    pub const SIZED_STREAM: u32 = 0;
    /// MONITORS_CONFIG.
    pub const MONITORS_CONFIG: u32 = 1;
    /// The client draws COMPOSITE; told to the guest.
    pub const COMPOSITE: u32 = 2;
    /// The client has 8-bit alpha surfaces; told to the guest.
    pub const A8_SURFACE: u32 = 3;
    /// Stream reports.
    pub const STREAM_REPORT: u32 = 4;
    /// The client decodes LZ4 images.
    pub const LZ4_COMPRESSION: u32 = 5;
    /// The server takes PREFERRED_COMPRESSION.
    pub const PREF_COMPRESSION: u32 = 6;
    /// The client takes GL scanouts over a unix socket.
    pub const GL_SCANOUT: u32 = 7;
    /// The codec bits are meaningful; without it only MJPEG.
    pub const MULTI_CODEC: u32 = 8;
    /// The client decodes MJPEG.
    pub const CODEC_MJPEG: u32 = 9;
    /// The client decodes VP8.
    pub const CODEC_VP8: u32 = 10;
    /// The client decodes H.264.
    pub const CODEC_H264: u32 = 11;
    /// The server takes PREFERRED_VIDEO_CODEC_TYPE.
    pub const PREF_VIDEO_CODEC_TYPE: u32 = 12;
    /// The client decodes VP9.
    pub const CODEC_VP9: u32 = 13;
    /// The client decodes H.265.
    pub const CODEC_H265: u32 = 14;
    /// The client takes GL scanouts with several planes.
    pub const GL_SCANOUT2: u32 = 15;
}

/// Capabilities of the inputs channel.
pub mod inputs {
    /// The server takes KEY_SCANCODE.
    pub const KEY_SCANCODE: u32 = 0;
}

/// Capabilities of the playback channel.
pub mod playback {
    /// CELT 0.5.1; never offered.
    pub const CELT_0_5_1: u32 = 0;
    /// VOLUME and MUTE.
    pub const VOLUME: u32 = 1;
    /// LATENCY.
    pub const LATENCY: u32 = 2;
    /// Opus.
    pub const OPUS: u32 = 3;
}

/// Capabilities of the record channel.
pub mod record {
    /// CELT 0.5.1; never offered.
    pub const CELT_0_5_1: u32 = 0;
    /// VOLUME and MUTE.
    pub const VOLUME: u32 = 1;
    /// Opus.
    pub const OPUS: u32 = 2;
}

/// Capabilities of usbredir, port and webdav channels.
pub mod vmc {
    /// Data may come as LZ4 blocks.
    pub const DATA_COMPRESS_LZ4: u32 = 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_the_reference_announces() {
        let common = [link::AUTH_SELECTION, link::AUTH_SPICE, link::MINI_HEADER];
        assert_eq!(Caps::from_bits(&common).words(), [0xb]);
        let bits = [
            display::MONITORS_CONFIG,
            display::STREAM_REPORT,
            display::PREF_COMPRESSION,
            display::PREF_VIDEO_CODEC_TYPE,
        ];
        assert_eq!(Caps::from_bits(&bits).words(), [0x1052]);
        assert_eq!(Caps::from_bits(&[]).words(), [0u32; 0]);
    }

    #[test]
    fn bits_beyond_the_last_word_are_clear() {
        let caps = Caps::from_words(vec![0x8000_0000, 1]);
        assert!(caps.has(31) && caps.has(32));
        assert!(!caps.has(0) && !caps.has(33) && !caps.has(64) && !caps.has(u32::MAX));
        assert_eq!(Caps::from_bits(&[31, 32]), caps);
    }

    #[test]
    fn names_lead_there_and_back() {
        for (ty, name) in ChannelType::NAMED {
            assert_eq!((ty.name(), ChannelType::from_name(name)), (name, Some(ty)));
        }
        assert_eq!(ChannelType(99).to_string(), "unknown(99)");
        assert_eq!(ChannelType::from_name("unknown"), None);
    }
}
