//! The C edge: everything a host program sees of the library.
//!
//! One file per public header of the original holds its exported functions, three to ten lines
//! each: check, convert, call the safe side, convert back. [`types`] has the structures, [`guard`]
//! keeps panics and bad pointers out, [`handle`] says who owns what a pointer stands for, [`matrix`]
//! says how far each function is.
//!
//! All functions share one thread contract. The host calls under its one big lock, from its main
//! thread or from a thread of a virtual processor; calls never overlap, thread identity means
//! nothing. Pointers other than instances and the core interface are only valid during the call.

/// Gives an exported function its default symbol version.
///
/// Stands in the same module as the function, so that both end up in the same object file. The
/// number is the part of the node's name behind `SPICE_SERVER_`; `node` takes a whole name. Left out
/// of unit tests: a program exports nothing, so the compiler drops functions that no test calls, and
/// the directive then names nothing.
macro_rules! symver {
    ($name:ident, node $node:literal) => {
        #[cfg(not(test))]
        ::core::arch::global_asm!(::core::concat!(
            ".symver ",
            ::core::stringify!($name),
            ", ",
            ::core::stringify!($name),
            "@@",
            $node
        ));
    };
    ($name:ident, $version:literal) => {
        #[cfg(not(test))]
        ::core::arch::global_asm!(::core::concat!(
            ".symver ",
            ::core::stringify!($name),
            ", ",
            ::core::stringify!($name),
            "@@SPICE_SERVER_",
            $version
        ));
    };
}

/// Asserts the size of a C structure and the offsets of its fields at compile time.
macro_rules! layout {
    ($type:ty, $size:literal, { $($field:ident : $offset:literal),* $(,)? }) => {
        const _: () = {
            assert!(::core::mem::size_of::<$type>() == $size);
            $(assert!(::core::mem::offset_of!($type, $field) == $offset);)*
        };
    };
}

pub mod types;

pub mod char_host;
pub mod device;
pub mod guard;
pub mod handles;
pub mod host;
pub mod interfaces;
pub mod matrix;

pub mod server;
pub mod settings;

pub mod qxl;
pub mod qxl_async;

pub mod input;

pub mod audio;
mod buffers;

pub mod char_device;

pub mod migration;

pub mod replay;

pub mod cayenne;
