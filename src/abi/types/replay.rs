//! Playing a recorded command stream (`spice-replay.h` of the original).

/// A recording that is being played.
#[derive(Debug)]
pub struct SpiceReplay {
    _opaque: [u8; 0],
}
