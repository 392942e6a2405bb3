//! The C types of the public header, field by field.
//!
//! The host compiles its own view of these structures, so every size and offset is asserted at
//! compile time (numbers measured on the original, x86-64). Values that a host may set freely are
//! integers or transparent newtypes, never Rust enums: a value outside an enum would be undefined
//! behaviour. Opaque types are only ever handled by pointer; without `repr(C)` cbindgen declares
//! them and leaves the definition out.
//!
//! The documentation of these items goes into `include/spice-server/spice.h`.

/// Asserts the size of a C structure and the offsets of its fields at compile time.
macro_rules! layout {
    ($type:ty, $size:literal, { $($field:ident : $offset:literal),* $(,)? }) => {
        const _: () = {
            assert!(::core::mem::size_of::<$type>() == $size);
            $(assert!(::core::mem::offset_of!($type, $field) == $offset);)*
        };
    };
}

pub mod audio;
pub mod char_device;
pub mod core;
pub mod foreign;
pub mod input;
pub mod migration;
pub mod qxl;
pub mod replay;
pub mod server;
