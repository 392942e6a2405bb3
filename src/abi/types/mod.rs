//! The C types of the public header, field by field.
//!
//! The host compiles its own view of these structures, so every size and offset is asserted at
//! compile time (numbers measured on the original, x86-64). Values that a host may set freely are
//! integers or transparent newtypes, never Rust enums: a value outside an enum would be undefined
//! behaviour. Opaque types are only ever handled by pointer; without `repr(C)` cbindgen declares
//! them and leaves the definition out.
//!
//! The documentation of these items goes into `include/spice-server/spice.h`.

pub mod audio;
pub mod char_device;
pub mod core;
pub mod foreign;
pub mod input;
pub mod migration;
pub mod qxl;
pub mod replay;
pub mod server;
