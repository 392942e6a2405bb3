//! Opus by libopus, the codec that stock clients have. Opened at run time: a server without it plays and records raw.
//!
//! The functions used here are of version 1.0 and have not changed since. Coders belong to one thread at a time and are
//! freed with their value.

use std::ffi::{CStr, c_int};
use std::ptr::NonNull;
use std::sync::OnceLock;

use super::dynamic;

/// `OPUS_APPLICATION_AUDIO`: music and mixed sound, not speech alone.
const APPLICATION_AUDIO: c_int = 2049;
/// Both ends of SPICE are stereo.
const CHANNELS: c_int = 2;
/// Name of the library; the number is that of every release since 2012.
const NAME: &CStr = c"libopus.so.0";

/// The library's coders, only ever seen by address.
#[derive(Debug)]
#[repr(C)]
struct Coder {
    _opaque: [u8; 0],
}

/// The functions, as `opus/opus.h` declares them.
#[derive(Debug)]
struct Functions {
    encoder_create:
        unsafe extern "C" fn(rate: i32, c_int, application: c_int, *mut c_int) -> *mut Coder,
    encode: unsafe extern "C" fn(*mut Coder, *const i16, frames: c_int, *mut u8, room: i32) -> i32,
    encoder_destroy: unsafe extern "C" fn(*mut Coder),
    decoder_create: unsafe extern "C" fn(rate: i32, c_int, *mut c_int) -> *mut Coder,
    decode: unsafe extern "C" fn(
        *mut Coder,
        *const u8,
        len: i32,
        *mut i16,
        frames: c_int,
        fec: c_int,
    ) -> c_int,
    decoder_destroy: unsafe extern "C" fn(*mut Coder),
}

/// Why something of Opus failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpusError {
    /// The library cannot be used; what the dynamic linker says.
    #[error("libopus cannot be used: {0}")]
    Missing(String),
    /// A code of the library (`OPUS_*`, negative).
    #[error("libopus says {0}")]
    Code(i32),
    /// A buffer whose size no call of the library takes.
    #[error("a buffer of {0} bytes or samples")]
    Size(usize),
}

/// The library, opened by the first call and never closed.
///
/// # Errors
/// [`OpusError::Missing`], the same one for the life of the process.
pub fn available() -> Result<(), OpusError> {
    functions().map(|_| ())
}

fn functions() -> Result<&'static Functions, OpusError> {
    static FUNCTIONS: OnceLock<Result<Functions, OpusError>> = OnceLock::new();
    FUNCTIONS.get_or_init(|| find().map_err(OpusError::Missing)).as_ref().map_err(Clone::clone)
}

fn find() -> Result<Functions, String> {
    let library = dynamic::open(NAME)?;
    macro_rules! function {
        ($name:literal) => {{
            // SAFETY: the library's function of that name has the type of the field.
            unsafe { library.function($name) }?
        }};
    }
    Ok(Functions {
        encoder_create: function!(c"opus_encoder_create"),
        encode: function!(c"opus_encode"),
        encoder_destroy: function!(c"opus_encoder_destroy"),
        decoder_create: function!(c"opus_decoder_create"),
        decode: function!(c"opus_decode"),
        decoder_destroy: function!(c"opus_decoder_destroy"),
    })
}

/// Encodes stereo sound.
#[derive(Debug)]
pub struct Encoder {
    /// Made by the library, never moved, freed in `drop`.
    coder: NonNull<Coder>,
    functions: &'static Functions,
}

// SAFETY: the library keeps all state of a coder in it and binds it to no thread; `Encoder` is not Sync.
unsafe impl Send for Encoder {}

impl Encoder {
    /// An encoder for this sample rate in Hz.
    ///
    /// # Errors
    /// Without the library, or for a rate that Opus does not have (8, 12, 16, 24 and 48 kHz).
    pub fn new(rate: u32) -> Result<Self, OpusError> {
        let functions = functions()?;
        let hz = i32::try_from(rate).map_err(|_| OpusError::Code(-1))?;
        let mut error = 0;
        // SAFETY: takes numbers, and writes one number to `error`; NULL on failure.
        let coder =
            unsafe { (functions.encoder_create)(hz, CHANNELS, APPLICATION_AUDIO, &raw mut error) };
        let coder = NonNull::new(coder).ok_or(OpusError::Code(error))?;
        Ok(Self { coder, functions })
    }

    /// Encodes interleaved stereo samples into `packet`; bytes of the packet. The number of samples per channel must be
    /// one that Opus knows for the rate: 480 is for all but 16 kHz.
    ///
    /// # Errors
    /// What the library says.
    pub fn encode(&mut self, samples: &[i16], packet: &mut [u8]) -> Result<usize, OpusError> {
        let frames =
            c_int::try_from(samples.len() / 2).map_err(|_| OpusError::Size(samples.len()))?;
        let room = i32::try_from(packet.len()).map_err(|_| OpusError::Size(packet.len()))?;
        // SAFETY: the coder is ours alone; the library reads 2 * `frames` samples, which `samples` has, and writes at most
        // `room` bytes, which `packet` has.
        let written = unsafe {
            (self.functions.encode)(
                self.coder.as_ptr(),
                samples.as_ptr(),
                frames,
                packet.as_mut_ptr(),
                room,
            )
        };
        usize::try_from(written).map_err(|_| OpusError::Code(written))
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: made by the library and freed once.
        unsafe { (self.functions.encoder_destroy)(self.coder.as_ptr()) };
    }
}

/// Decodes stereo sound, also from peers that lie.
#[derive(Debug)]
pub struct Decoder {
    /// Made by the library, never moved, freed in `drop`.
    coder: NonNull<Coder>,
    functions: &'static Functions,
}

// SAFETY: as for `Encoder`.
unsafe impl Send for Decoder {}

impl Decoder {
    /// A decoder to this sample rate in Hz.
    ///
    /// # Errors
    /// As [`Encoder::new`].
    pub fn new(rate: u32) -> Result<Self, OpusError> {
        let functions = functions()?;
        let hz = i32::try_from(rate).map_err(|_| OpusError::Code(-1))?;
        let mut error = 0;
        // SAFETY: takes numbers, and writes one number to `error`; NULL on failure.
        let coder = unsafe { (functions.decoder_create)(hz, CHANNELS, &raw mut error) };
        let coder = NonNull::new(coder).ok_or(OpusError::Code(error))?;
        Ok(Self { coder, functions })
    }

    /// Decodes one packet to interleaved stereo samples; samples per channel.
    ///
    /// # Errors
    /// An empty packet (which to the library means a lost one), one that is none, or one that holds more than `samples`
    /// has room for.
    pub fn decode(&mut self, packet: &[u8], samples: &mut [i16]) -> Result<usize, OpusError> {
        if packet.is_empty() {
            return Err(OpusError::Size(0));
        }
        let len = i32::try_from(packet.len()).map_err(|_| OpusError::Size(packet.len()))?;
        let room =
            c_int::try_from(samples.len() / 2).map_err(|_| OpusError::Size(samples.len()))?;
        // SAFETY: the coder is ours alone; the library reads `len` bytes, which `packet` has, and writes at most
        // 2 * `room` samples, which `samples` has.
        let frames = unsafe {
            (self.functions.decode)(
                self.coder.as_ptr(),
                packet.as_ptr(),
                len,
                samples.as_mut_ptr(),
                room,
                0,
            )
        };
        usize::try_from(frames).map_err(|_| OpusError::Code(frames))
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: made by the library and freed once.
        unsafe { (self.functions.decoder_destroy)(self.coder.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_survives_and_wrong_packets_are_errors() {
        if let Err(error) = available() {
            eprintln!("SKIPPED 1: {error}");
            return;
        }
        let mut encoder = Encoder::new(48_000).unwrap();
        let mut decoder = Decoder::new(48_000).unwrap();
        let mut packet = [0; 480];
        let mut heard = [0; 960];
        let mut loudest = 0;
        for block in 0..20 {
            let tone: Vec<i16> = (0..480)
                .flat_map(|i| {
                    let s = ((f64::from(block * 480 + i) * 0.05).sin() * 8000.0).round();
                    #[expect(clippy::cast_possible_truncation, reason = "within ±8000")]
                    let s = s as i16;
                    [s, s]
                })
                .collect();
            let len = encoder.encode(&tone, &mut packet).unwrap();
            assert!((1..=480).contains(&len));
            assert_eq!(decoder.decode(&packet[..len], &mut heard), Ok(480));
            loudest = heard.iter().copied().max().unwrap();
        }
        assert!((7000..9000).contains(&loudest), "{loudest}");
        assert_eq!(decoder.decode(&[], &mut heard), Err(OpusError::Size(0)));
        // Two frames of 20 ms do not fit.
        assert!(matches!(decoder.decode(&[0xfd, 0, 0], &mut heard), Err(OpusError::Code(_))));
        assert!(matches!(Encoder::new(44_100), Err(OpusError::Code(_))));
        assert!(matches!(Decoder::new(u32::MAX), Err(OpusError::Code(_))));
    }
}
