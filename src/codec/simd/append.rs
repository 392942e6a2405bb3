//! Appending to a vector, no byte of which is written twice: what is reserved need not be cleared
//! first.

use std::mem::MaybeUninit;

/// Appends the lowest `size` bytes, at most eight, of a number, the lowest one first.
#[inline(always)]
pub fn word(out: &mut Vec<u8>, word: u64, size: usize) {
    let bytes = word.to_le_bytes();
    // Always eight of them, as that needs no loop; those that do not count are overwritten.
    let room = room(out, bytes.len());
    room.as_chunks_mut().0[0] = bytes.map(MaybeUninit::new);
    let end = out.len() + size.min(bytes.len());
    // SAFETY: eight bytes behind the last one were written just now.
    unsafe { out.set_len(end) }
}

/// What may be written behind the last byte: at least `size` bytes.
#[inline(always)]
pub(super) fn room(out: &mut Vec<u8>, size: usize) -> &mut [MaybeUninit<u8>] {
    if out.capacity() - out.len() < size {
        grow(out, size);
    }
    out.spare_capacity_mut()
}

#[cold]
#[inline(never)]
fn grow(out: &mut Vec<u8>, size: usize) {
    out.reserve(size.max(16 << 10));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_counts_is_appended() {
        let mut out = vec![9];
        for size in 0..=9 {
            word(&mut out, 0x0807_0605_0403_0201, size);
        }
        let counted = (0..=9u8).flat_map(|size| 1..=size.min(8));
        assert_eq!(out[1..], counted.collect::<Vec<_>>());
        assert_eq!(out[0], 9);
    }
}
