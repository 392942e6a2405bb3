//! The exclusive-or that every frame of a client is under (RFC 6455 §5.3).

/// The mask of one frame, turned as far as its payload has come.
#[derive(Debug)]
pub(super) struct Mask {
    key: [u8; 4],
}

impl Mask {
    /// The mask of a frame's header; zeros change nothing.
    pub(super) fn new(key: [u8; 4]) -> Self {
        Self { key }
    }

    /// Appends the next bytes of the payload, unmasked.
    pub(super) fn append(&mut self, payload: &[u8], to: &mut Vec<u8>) {
        let start = to.len();
        to.extend_from_slice(payload);
        let Some(new) = to.get_mut(start..).filter(|_| self.key != [0; 4]) else { return };
        let key = u32::from_ne_bytes(self.key);
        let wide = u64::from(key) << 32 | u64::from(key);
        // Eight bytes at a time in the source; compilers make whole vector registers of it.
        let (blocks, rest) = new.as_chunks_mut::<8>();
        for block in blocks {
            *block = (u64::from_ne_bytes(*block) ^ wide).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(self.key.iter().cycle()) {
            *byte ^= key;
        }
        self.key.rotate_left(payload.len() % 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_split_gives_what_single_bytes_give() {
        let payload: Vec<u8> = (0..200u8).map(|i| i.wrapping_mul(7)).collect();
        let key = [0x12, 0xab, 0, 0xff];
        let want: Vec<u8> = payload.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k).collect();
        for first in 0..40 {
            for second in 0..40 {
                let (mut mask, mut got) = (Mask::new(key), b"before".to_vec());
                let (a, rest) = payload.split_at(first);
                let (b, c) = rest.split_at(second);
                [a, b, c].iter().for_each(|part| mask.append(part, &mut got));
                assert_eq!(got[6..], want, "{first} {second}");
            }
        }
    }

    #[test]
    fn what_is_not_masked_stays_as_it_is() {
        let (mut mask, mut got) = (Mask::new([0; 4]), Vec::new());
        mask.append(b"plain bytes", &mut got);
        assert_eq!(got, b"plain bytes");
    }
}
