//! What touches io_uring's memory: the only part of this room with `unsafe`. The interface of [`Ring`](ring::Ring) is safe:
//! it owns whatever the kernel may read or write at any moment, and gives it back when the kernel is done with it.
#![expect(unsafe_code, reason = "the kernel is given addresses")]

mod buffers;
mod flight;
pub(super) mod ring;
