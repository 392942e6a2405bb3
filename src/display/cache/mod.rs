//! What a client keeps: images and palettes, as the server knows it (display channel spec, sections 4.1 and 7).
//!
//! Pure data; the image cache of a client is shared by all its display channels, each on its own
//! thread. Decisions fall at the moment a message is made for the socket, never earlier: what
//! waits in a pipe may still be dropped.
//!
//! The id that a guest gives an image is not believed to stand for its pixels: [`fingerprint`]
//! notices when it does not.
#![forbid(unsafe_code)]

pub mod fingerprint;
pub mod palette;
pub mod pixmap;
