//! Video codecs: the host's list of encoders, and which of them a client gets.
//!
//! The syntax of the list is spice-server's: `encoder:codec` parts joined by `;`, or "auto".
#![forbid(unsafe_code)]

use super::gstreamer::{self, Look};

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

    /// True if a frame builds on those before.
    #[must_use]
    pub fn is_chained(self) -> bool {
        self != Self::Mjpeg
    }

    /// True if it encodes pictures of this width and height.
    #[must_use]
    pub fn takes(self, (width, height): (u32, u32)) -> bool {
        let sides = CHAINED_SIDES;
        !self.is_chained() || (sides.contains(&width) && sides.contains(&height))
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
    /// GStreamer, from a library of its own that may be there or not.
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

/// Width and height of what is encoded by others than JPEG, for which every encoder has a place.
const CHAINED_SIDES: std::ops::RangeInclusive<u32> = 32..=4096;
/// Parts of a list that are looked at; there are six encoders.
const MAX_PARTS: usize = 32;

impl Choice {
    /// What is known of it without waiting.
    #[must_use]
    pub fn look(self) -> Look {
        match self.maker {
            Maker::Spice => Look::There,
            Maker::Gstreamer => gstreamer::look(self.codec),
        }
    }

    /// True unless it is known that it cannot be made. May open the library: for calls of the host.
    fn is_possible(self) -> bool {
        match self.maker {
            Maker::Spice => true,
            Maker::Gstreamer => !gstreamer::is_missing(self.codec) && gstreamer::is_installed(),
        }
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
            "gstreamer" => Some(choice(Maker::Gstreamer, codec)),
            _ => None,
        }
    }
}

/// Reads a host's list. Parts that do not exist or cannot be made are skipped with a warning. Whether GStreamer has an
/// element for its part is found out afterwards.
///
/// # Errors
/// `None` if no part of it can be made: the old list holds then.
#[must_use]
pub fn parse(list: &str) -> Option<Vec<Choice>> {
    let parsed = parse_with(list, Choice::is_possible)?;
    if list != "auto" && parsed.iter().any(|choice| choice.maker == Maker::Gstreamer) {
        gstreamer::begin();
    }
    Some(parsed)
}

fn parse_with(list: &str, is_possible: impl Fn(Choice) -> bool) -> Option<Vec<Choice>> {
    if list == "auto" {
        // It is asked for only when a client wants it: nothing is opened for a default.
        return Some(DEFAULT_CODECS.to_vec());
    }
    let mut out: Vec<Choice> = Vec::new();
    for part in list.split(';').filter(|part| !part.is_empty()).take(MAX_PARTS) {
        match Choice::parse(part) {
            Some(known) if out.contains(&known) => {}
            Some(known) if is_possible(known) => out.push(known),
            Some(_) => tracing::warn!("video encoder {part} is not installed and is skipped"),
            None => tracing::warn!("video encoder {part:?} does not exist and is skipped"),
        }
    }
    (!out.is_empty()).then_some(out)
}

/// What a host is told of a list: what of it is possible.
#[must_use]
pub fn join(list: &[Choice]) -> String {
    join_with(list, Choice::is_possible)
}

fn join_with(list: &[Choice], is_possible: impl Fn(Choice) -> bool) -> String {
    let possible = list.iter().copied().filter(|choice| is_possible(*choice));
    possible.map(Choice::name).collect::<Vec<_>>().join(";")
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
/// `decodes` says what the client can, `look` what can be made: [`Choice::look`]. One of which nothing is known yet is
/// passed over; when it is, [`gstreamer::changes`] says so. MJPEG is the last resort whatever the host's list is.
#[must_use]
pub fn choose(
    list: &[Choice],
    wishes: &[Codec],
    decodes: impl Fn(Codec) -> bool,
    look: impl Fn(Choice) -> Look,
) -> Option<Choice> {
    let rank = |choice: &Choice| {
        wishes.iter().position(|wish| *wish == choice.codec).unwrap_or(usize::MAX)
    };
    let mut order = list.to_vec();
    order.sort_by_key(rank);
    order.push(choice(Maker::Spice, Codec::Mjpeg));
    order.into_iter().find(|choice| decodes(choice.codec) && look(*choice) == Look::There)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_spice_server_reads_them() {
        let all = |_| true;
        let parse = |list: &str| parse_with(list, all);
        assert_eq!(
            join_with(&parse("auto").unwrap(), all),
            "spice:mjpeg;gstreamer:mjpeg;gstreamer:h264;gstreamer:vp8;gstreamer:vp9"
        );
        assert_eq!(join_with(&parse("spice:mjpeg").unwrap(), all), "spice:mjpeg");
        assert_eq!(
            join_with(&parse(";gstreamer:vp8;no:such;spice:mjpeg;gstreamer:vp8;").unwrap(), all),
            "gstreamer:vp8;spice:mjpeg"
        );
        for wrong in ["", ";", "spice:vp8", "spice", "mjpeg", "SPICE:MJPEG", " auto"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
        assert!(parse(&"spice:mjpeg;".repeat(100_000)).is_some_and(|list| list.len() == 1));
    }

    #[test]
    fn what_cannot_be_made_is_neither_taken_nor_told() {
        let own = |choice: Choice| choice.maker == Maker::Spice;
        // It fails instead of being taken for something else.
        assert_eq!(parse_with("gstreamer:vp8;gstreamer:h264", own), None);
        let list = parse_with("gstreamer:vp8;spice:mjpeg;gstreamer:h264", own).unwrap();
        assert_eq!(list, [choice(Maker::Spice, Codec::Mjpeg)]);
        assert_eq!(join_with(&DEFAULT_CODECS, own), "spice:mjpeg");
        // Tests have no library beside them.
        assert_eq!(
            (parse("gstreamer:vp8"), join(&DEFAULT_CODECS)),
            (None, "spice:mjpeg".to_owned())
        );
    }

    #[test]
    fn a_client_gets_what_both_can() {
        let list = parse("auto").unwrap();
        let there = |_| Look::There;
        let mjpeg = Some(choice(Maker::Spice, Codec::Mjpeg));
        let gst = |codec| Some(choice(Maker::Gstreamer, codec));
        assert_eq!(choose(&list, &[], |_| true, there), mjpeg);
        assert_eq!(choose(&list, &[Codec::Vp8], |_| true, there), gst(Codec::Vp8));
        assert_eq!(choose(&list, &[Codec::Vp8], |codec| codec == Codec::Mjpeg, there), mjpeg);
        assert_eq!(choose(&list, &[], |codec| codec == Codec::Vp8, there), gst(Codec::Vp8));
        assert_eq!(choose(&list, &[], |codec| codec == Codec::H265, there), None);
        assert_eq!(choose(&[], &[], |_| true, there), mjpeg, "the last resort");
        let host = parse_with("gstreamer:h265;gstreamer:h264;gstreamer:vp9", |_| true).unwrap();
        assert_eq!(choose(&host, &[], |_| true, there), gst(Codec::H265));
        assert_eq!(choose(&host, &[Codec::Vp9, Codec::H264], |_| true, there), gst(Codec::Vp9));
        assert_eq!(preferred(&[9, 3, 1, 3, 0]), [Codec::H264, Codec::Mjpeg]);
    }

    #[test]
    fn what_is_missing_or_not_known_yet_is_passed_over() {
        let host = parse_with("gstreamer:vp9;gstreamer:h264;spice:mjpeg", |_| true).unwrap();
        for (vp9, h264, want) in [
            (Look::There, Look::There, Codec::Vp9),
            (Look::Missing, Look::There, Codec::H264),
            (Look::NotYet, Look::There, Codec::H264),
            (Look::NotYet, Look::Missing, Codec::Mjpeg),
        ] {
            let look = |choice: Choice| match choice.codec {
                Codec::Vp9 => vp9,
                Codec::H264 => h264,
                _ => Look::There,
            };
            assert_eq!(choose(&host, &[], |_| true, look).map(|choice| choice.codec), Some(want));
        }
    }

    #[test]
    fn others_than_jpeg_want_pictures_of_some_size() {
        assert!(Codec::Mjpeg.takes((1, 1)) && Codec::Mjpeg.takes((60_000, 9)));
        let takes = |width, height| Codec::H264.takes((width, height));
        assert!(takes(32, 4096) && !takes(31, 100) && !takes(100, 4097));
    }
}
