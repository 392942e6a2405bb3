//! A number that stands for the pixels of an image.
//!
//! Guests use an id again for other pixels; a client would show the old ones. Comparing 64 bits
//! per image finds that out. A guest that makes two images with the same number harms only its own picture.

/// Bytes taken in one step: four lanes of two words.
const STEP: usize = 4 * 16;
/// Odd numbers without a pattern (digits of the square roots of 2, 3, 5 and 7).
const LANES: [u64; 4] =
    [0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b, 0xa54f_f53a_5f1d_36f1];

/// Both halves of the product, folded together.
#[expect(clippy::cast_possible_truncation, reason = "the halves are wanted")]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The number of some bytes; `seed` is a number that stands for all else that matters.
#[must_use]
pub fn of(seed: u64, bytes: &[u8]) -> u64 {
    let mut lanes = LANES.map(|lane| lane ^ seed);
    let (steps, rest) = bytes.as_chunks::<STEP>();
    let mut last = [0; STEP];
    if let Some(part) = last.get_mut(..rest.len()) {
        part.copy_from_slice(rest);
    }
    for step in steps.iter().chain([&last]) {
        let (words, _) = step.as_chunks::<8>();
        for (lane, pair) in lanes.iter_mut().zip(words.as_chunks::<2>().0) {
            let [low, high] = pair.map(u64::from_le_bytes);
            *lane = fold(low ^ *lane, high ^ LANES[0]);
        }
    }
    // The length tells padding from zeros.
    let ends = lanes.iter().zip(LANES).map(|(lane, key)| fold(lane ^ key, key));
    ends.fold(bytes.len() as u64 ^ seed, |all, lane| fold(all ^ lane, LANES[1]))
}

/// Mixes further values into a seed.
#[must_use]
pub fn seed(values: &[u64]) -> u64 {
    values.iter().fold(LANES[2], |all, value| fold(all ^ value, LANES[3]).rotate_left(29) ^ value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn one_changed_bit_anywhere_changes_the_number() {
        for len in [0, 1, 15, 16, 63, 64, 65, 200] {
            let mut bytes: Vec<u8> = (0..len).map(|n: u8| n.wrapping_mul(37)).collect();
            let mut seen = HashSet::from([of(1, &bytes)]);
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(seen.insert(of(1, &bytes)), "length {len}, bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn length_and_seed_count() {
        let zeros = [0; 300];
        let numbers: HashSet<u64> = (0..300).map(|len| of(7, &zeros[..len])).collect();
        assert_eq!(numbers.len(), 300);
        assert_ne!(of(1, b"x"), of(2, b"x"));
        assert_ne!(seed(&[1, 2]), seed(&[2, 1]));
        assert_ne!(seed(&[0]), seed(&[0, 0]));
    }
}
