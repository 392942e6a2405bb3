//! The elements that encode, best first for each codec, and how they are set for a film that is watched while it is made:
//! no look ahead, no frames out of order, key frames only when they are asked for, a rate that is kept frame by frame.
//!
//! Names and values of properties are those of GStreamer 1.22; one that an element does not have is left alone.

use std::ffi::{CStr, CString};

use gst::glib::translate::ToGlibPtr;
use gst::prelude::*;
use gstreamer as gst;

use crate::table::Setup;

/// `SPICE_VIDEO_CODEC_TYPE_*`.
const MJPEG: u32 = 1;
const VP8: u32 = 2;
const H264: u32 = 3;
const VP9: u32 = 4;
const H265: u32 = 5;

/// Rates that are asked for, bits per second.
const RATES: (u64, u64) = (32_000, 400_000_000);

/// In what an element counts its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bits per second.
    Bits,
    /// Thousands of them.
    Kilobits,
    /// It has none but a quality, of 100.
    Quality,
}

/// An element that encodes.
#[derive(Debug)]
pub struct Kind {
    /// Its codec, as the protocol numbers it.
    pub codec: u32,
    /// The name of its factory.
    pub name: &'static CStr,
    /// Made of hardware: it may be installed and not work.
    pub hardware: bool,
    /// The format of pixels that it is given.
    pub raw: &'static str,
    /// What it is to give.
    pub coded: &'static str,
    /// An element that puts parameters before key frames, if the encoder may not.
    pub parser: Option<&'static str>,
    /// The property that holds its rate.
    pub rate: (&'static str, Unit),
    /// Properties, as text.
    pub fixed: &'static [(&'static str, &'static str)],
    /// The property that takes a number of threads.
    pub threads: Option<&'static str>,
}

const AVC: &str = "video/x-h264,stream-format=byte-stream,alignment=au";
const HEVC: &str = "video/x-h265,stream-format=byte-stream,alignment=au";

/// What elements of VA-API have in common.
const VA: &[(&str, &str)] = &[
    ("rate-control", "cbr"),
    ("b-frames", "0"),
    ("ref-frames", "1"),
    ("key-int-max", "1024"),
    ("target-usage", "7"),
];
/// Those of NVIDIA.
const NV: &[(&str, &str)] = &[
    ("preset", "low-latency-hq"),
    ("zerolatency", "true"),
    ("rc-mode", "cbr"),
    ("gop-size", "-1"),
    ("bframes", "0"),
];
/// Those of Intel's Media SDK.
const QSV: &[(&str, &str)] = &[
    ("low-latency", "true"),
    ("rate-control", "cbr"),
    ("gop-size", "0"),
    ("b-frames", "0"),
    ("target-usage", "7"),
];
/// Those of libvpx.
const VPX: &[(&str, &str)] = &[
    ("deadline", "1"),
    ("lag-in-frames", "0"),
    ("end-usage", "cbr"),
    ("error-resilient", "default"),
    ("keyframe-max-dist", "10000"),
    ("timebase", "1/90000"),
    ("dropframe-threshold", "0"),
    ("buffer-size", "600"),
    ("buffer-initial-size", "300"),
    ("buffer-optimal-size", "400"),
    ("undershoot", "95"),
    ("overshoot", "15"),
    ("min-quantizer", "4"),
    ("max-quantizer", "56"),
    ("static-threshold", "1"),
];

/// Best first for each codec.
pub const KINDS: &[Kind] = &[
    hardware(H264, c"vah264lpenc", AVC, "h264parse", VA),
    hardware(H264, c"vah264enc", AVC, "h264parse", VA),
    hardware(H264, c"nvh264enc", AVC, "h264parse", NV),
    hardware(H264, c"qsvh264enc", AVC, "h264parse", QSV),
    Kind {
        codec: H264,
        name: c"x264enc",
        hardware: false,
        raw: "I420",
        coded: AVC,
        parser: None,
        rate: ("bitrate", Unit::Kilobits),
        fixed: &[
            ("speed-preset", "superfast"),
            ("tune", "zerolatency"),
            ("byte-stream", "true"),
            ("bframes", "0"),
            ("key-int-max", "10000"),
            ("rc-lookahead", "0"),
            ("vbv-buf-capacity", "300"),
        ],
        threads: Some("threads"),
    },
    Kind {
        codec: H264,
        name: c"openh264enc",
        hardware: false,
        raw: "I420",
        coded: AVC,
        parser: None,
        rate: ("bitrate", Unit::Bits),
        fixed: &[
            ("complexity", "low"),
            ("rate-control", "bitrate"),
            ("usage-type", "camera"),
            ("gop-size", "10000"),
            ("enable-frame-skip", "false"),
        ],
        threads: Some("multi-thread"),
    },
    hardware(H265, c"vah265lpenc", HEVC, "h265parse", VA),
    hardware(H265, c"vah265enc", HEVC, "h265parse", VA),
    hardware(H265, c"nvh265enc", HEVC, "h265parse", NV),
    hardware(H265, c"qsvh265enc", HEVC, "h265parse", QSV),
    Kind {
        codec: H265,
        name: c"x265enc",
        hardware: false,
        raw: "I420",
        coded: HEVC,
        parser: None,
        rate: ("bitrate", Unit::Kilobits),
        fixed: &[
            ("speed-preset", "ultrafast"),
            ("tune", "zerolatency"),
            ("key-int-max", "10000"),
            ("log-level", "error"),
        ],
        threads: None,
    },
    Kind {
        codec: VP8,
        name: c"vp8enc",
        hardware: false,
        raw: "I420",
        coded: "video/x-vp8",
        parser: None,
        rate: ("target-bitrate", Unit::Bits),
        fixed: VPX,
        threads: Some("threads"),
    },
    Kind {
        codec: VP9,
        name: c"vp9enc",
        hardware: false,
        raw: "I420",
        coded: "video/x-vp9",
        parser: None,
        rate: ("target-bitrate", Unit::Bits),
        fixed: VPX,
        threads: Some("threads"),
    },
    Kind {
        codec: MJPEG,
        name: c"jpegenc",
        hardware: false,
        raw: "I420",
        coded: "image/jpeg",
        parser: None,
        rate: ("quality", Unit::Quality),
        fixed: &[],
        threads: None,
    },
];

const fn hardware(
    codec: u32,
    name: &'static CStr,
    coded: &'static str,
    parser: &'static str,
    fixed: &'static [(&'static str, &'static str)],
) -> Kind {
    let rate = ("bitrate", Unit::Kilobits);
    let (raw, parser) = ("NV12", Some(parser));
    Kind { codec, name, hardware: true, raw, coded, parser, rate, fixed, threads: None }
}

/// The elements for a codec that are installed, best first.
pub fn installed(codec: u32) -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(move |kind| kind.codec == codec && kind.is_installed())
}

impl Kind {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name.to_str().unwrap_or_default()
    }

    fn is_installed(&self) -> bool {
        gst::ElementFactory::find(self.name()).is_some()
    }

    /// True if width and height have to be even.
    #[must_use]
    pub fn is_even(&self) -> bool {
        matches!(self.codec, H264 | H265)
    }

    /// True if it goes by the times of pictures, and not by the number of them in a second that it was told first.
    #[must_use]
    pub fn reads_times(&self) -> bool {
        matches!(self.codec, VP8 | VP9 | MJPEG)
    }

    /// Sets an element of this kind.
    pub fn prepare(&self, element: &gst::Element, setup: &Setup) {
        for (name, value) in self.fixed {
            set(element, name, value);
        }
        // The faster ones of the speeds for live pictures. The negative numbers of VP8 are fixed speeds; the others follow the
        // processor's load as the library guesses it.
        match self.codec {
            VP8 => set(element, "cpu-used", "-8"),
            VP9 => {
                set(element, "cpu-used", "8");
                set(element, "row-mt", "true");
                set(element, "tile-columns", "2");
            }
            H265 if !self.hardware => {
                // Its threads wait for each other more than they do, unless pictures are large.
                let pools = match threads(setup) {
                    1 => "pools=none:wpp=0".to_owned(),
                    many => format!("pools={many}"),
                };
                let options =
                    "bframes=0:rc-lookahead=0:repeat-headers=1:frame-threads=1:scenecut=0";
                set(element, "option-string", &format!("{options}:{pools}"));
            }
            _ => {}
        }
        if let Some(name) = self.threads {
            set(element, name, &threads(setup).to_string());
        }
        self.set_rate(element, setup.rate, setup.quality);
    }

    /// Bits per second and quality from the next picture on.
    pub fn set_rate(&self, element: &gst::Element, rate: u64, quality: u32) {
        let rate = rate.clamp(RATES.0, RATES.1);
        let (name, unit) = self.rate;
        let value = match unit {
            Unit::Bits => rate,
            Unit::Kilobits => rate / 1000,
            Unit::Quality => quality.clamp(1, 100).into(),
        };
        set(element, name, &value.to_string());
    }
}

/// As many threads as there are processors, for large pictures only: each has its price.
fn threads(setup: &Setup) -> u64 {
    let pixels = u64::from(setup.width) * u64::from(setup.height);
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    (pixels / (400 * 1000)).clamp(1, processors.min(8))
}

/// Sets a property to what a text says; nothing happens if there is none or the text says nothing to it.
pub fn set(element: &gst::Element, name: &str, value: &str) {
    if element.find_property(name).is_none() {
        return;
    }
    let (Ok(name), Ok(value)) = (CString::new(name), CString::new(value)) else { return };
    let element: *mut gst::ffi::GstElement = element.to_glib_none().0;
    // SAFETY: a live object and two texts; the function reads the texts, and takes what does not fit for nothing.
    unsafe { gst::ffi::gst_util_set_object_arg(element.cast(), name.as_ptr(), value.as_ptr()) };
}
