//! Video codecs: the host's list of encoders, and which of them a client gets.
//!
//! The syntax of the list is spice-server's: `encoder:codec` parts joined by `;`, or "auto".
#![forbid(unsafe_code)]

/// A codec, as the protocol numbers it (`SPICE_VIDEO_CODEC_TYPE_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// Every frame a JPEG.
    Mjpeg = 1,
    /// VP8.
    Vp8 = 2,
    /// H.264.
    H264 = 3,
    /// VP9.
    Vp9 = 4,
    /// H.265.
    H265 = 5,
}

impl Codec {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Mjpeg, Self::Vp8, Self::H264, Self::Vp9, Self::H265];

    /// From the number in the protocol.
    #[must_use]
    pub fn from_u8(n: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| *codec as u8 == n)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Mjpeg => "mjpeg",
            Self::Vp8 => "vp8",
            Self::H264 => "h264",
            Self::Vp9 => "vp9",
            Self::H265 => "h265",
        }
    }
}

/// Who encodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// This library.
    Spice,
    /// GStreamer, from a library of its own that is not built yet.
    Gstreamer,
}

/// An encoder that a host can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Who encodes.
    pub maker: Maker,
    /// What comes out.
    pub codec: Codec,
}

const fn choice(maker: Maker, codec: Codec) -> Choice {
    Choice { maker, codec }
}

/// What "auto" stands for, and what holds until a host says something (measured on spice-server 0.15.1).
pub const DEFAULT_CODECS: [Choice; 5] = [
    choice(Maker::Spice, Codec::Mjpeg),
    choice(Maker::Gstreamer, Codec::Mjpeg),
    choice(Maker::Gstreamer, Codec::H264),
    choice(Maker::Gstreamer, Codec::Vp8),
    choice(Maker::Gstreamer, Codec::Vp9),
];

/// Parts of a list that are looked at; there are six encoders.
const MAX_PARTS: usize = 32;

impl Choice {
    /// True if it can be made here and now.
    #[must_use]
    pub fn is_built(self) -> bool {
        self == choice(Maker::Spice, Codec::Mjpeg)
    }

    /// `encoder:codec`.
    #[must_use]
    pub fn name(self) -> String {
        let maker = match self.maker {
            Maker::Spice => "spice",
            Maker::Gstreamer => "gstreamer",
        };
        format!("{maker}:{}", self.codec.name())
    }

    fn parse(text: &str) -> Option<Self> {
        let (maker, codec) = text.split_once(':')?;
        let codec = Codec::ALL.into_iter().find(|known| known.name() == codec)?;
        match maker {
            "spice" if codec == Codec::Mjpeg => Some(choice(Maker::Spice, codec)),
            // As spice-server: H.265 has a number in the protocol and no encoder.
            "gstreamer" if codec != Codec::H265 => Some(choice(Maker::Gstreamer, codec)),
            _ => None,
        }
    }
}

/// Reads a host's list. Parts that do not exist are skipped with a warning.
///
/// # Errors
/// `None` if no part of it can be made: the old list holds then.
#[must_use]
pub fn parse(list: &str) -> Option<Vec<Choice>> {
    if list == "auto" {
        return Some(DEFAULT_CODECS.to_vec());
    }
    let mut out: Vec<Choice> = Vec::new();
    for part in list.split(';').filter(|part| !part.is_empty()).take(MAX_PARTS) {
        match Choice::parse(part) {
            Some(known) if out.contains(&known) => {}
            Some(known) => {
                if !known.is_built() {
                    tracing::warn!("video encoder {part} is not built yet and will not be used");
                }
                out.push(known);
            }
            None => tracing::warn!("video encoder {part:?} does not exist and is skipped"),
        }
    }
    out.iter().any(|choice| choice.is_built()).then_some(out)
}

/// What a host is told of a list.
#[must_use]
pub fn join(list: &[Choice]) -> String {
    list.iter().map(|choice| choice.name()).collect::<Vec<_>>().join(";")
}

/// A client's list (PREFERRED_VIDEO_CODEC_TYPE): unknown numbers are skipped, of doubles the first counts.
#[must_use]
pub fn preferred(numbers: &[u8]) -> Vec<Codec> {
    let mut out = Vec::new();
    for codec in numbers.iter().filter_map(|n| Codec::from_u8(*n)) {
        if !out.contains(&codec) {
            out.push(codec);
        }
    }
    out
}

/// The encoder for a client: the host's order, below the client's own wishes, as far as both can.
///
/// `decodes` says what the client can. MJPEG is the last resort whatever the host's list is.
#[must_use]
pub fn choose(
    list: &[Choice],
    wishes: &[Codec],
    decodes: impl Fn(Codec) -> bool,
) -> Option<Choice> {
    let rank = |choice: &Choice| {
        wishes.iter().position(|wish| *wish == choice.codec).unwrap_or(usize::MAX)
    };
    let mut order = list.to_vec();
    order.sort_by_key(rank);
    order.push(choice(Maker::Spice, Codec::Mjpeg));
    order.into_iter().find(|choice| choice.is_built() && decodes(choice.codec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_spice_server_reads_them() {
        assert_eq!(
            join(&parse("auto").unwrap()),
            "spice:mjpeg;gstreamer:mjpeg;gstreamer:h264;gstreamer:vp8;gstreamer:vp9"
        );
        assert_eq!(join(&parse("spice:mjpeg").unwrap()), "spice:mjpeg");
        assert_eq!(
            join(&parse(";gstreamer:vp8;no:such;spice:mjpeg;gstreamer:vp8;").unwrap()),
            "gstreamer:vp8;spice:mjpeg"
        );
        for wrong in
            ["", ";", "spice:vp8", "spice", "mjpeg", "gstreamer:h265", "SPICE:MJPEG", " auto"]
        {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
        // What cannot be made fails instead of being taken for something else.
        assert_eq!(parse("gstreamer:vp8;gstreamer:h264"), None);
        assert!(parse(&"spice:mjpeg;".repeat(100_000)).is_some_and(|list| list.len() == 1));
    }

    #[test]
    fn a_client_gets_what_both_can() {
        let list = parse("auto").unwrap();
        let mjpeg = Some(choice(Maker::Spice, Codec::Mjpeg));
        assert_eq!(choose(&list, &[], |_| true), mjpeg);
        assert_eq!(choose(&list, &[Codec::Vp8], |codec| codec == Codec::Mjpeg), mjpeg);
        assert_eq!(choose(&list, &[], |codec| codec == Codec::Vp8), None);
        assert_eq!(choose(&[], &[], |_| true), mjpeg, "the last resort");
        assert_eq!(preferred(&[9, 3, 1, 3, 0]), [Codec::H264, Codec::Mjpeg]);
    }
}
