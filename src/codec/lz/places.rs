//! Where pixels or bytes were seen last.

/// Logarithm of the number of hash values: the table stays in the first caches, at
/// the price of a few matches.
const HASH_BITS: u32 = 13;

/// The last place of each hash value.
#[derive(Debug, Default)]
pub(in crate::codec) struct Places {
    /// Places plus `base`; what is below `base` is of earlier pictures. So nothing is cleared
    /// between them.
    table: Vec<u32>,
    base: u32,
    /// Units of the picture at work.
    units: u32,
}

impl Places {
    /// Forgets all places of earlier pictures.
    pub fn begin(&mut self, units: usize) {
        // Pictures are smaller than 1 GiB.
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let base = self.base.max(1).checked_add(self.units);
        match base.filter(|base| base.checked_add(units).is_some() && !self.table.is_empty()) {
            Some(base) => self.base = base,
            None => {
                self.table.clear();
                self.table.resize(1 << HASH_BITS, 0);
                self.base = 1;
            }
        }
        self.units = units;
    }

    /// How far before `at`, at most `most`, this hash was last; 1 if it was not. Now it is at `at`.
    ///
    /// Most answers cannot be predicted, so there is nothing to branch on.
    #[inline(always)]
    pub fn distance(&mut self, hash: u64, at: usize, most: usize) -> usize {
        // The highest bits are the best ones.
        let Some(slot) = self.table.get_mut((hash >> (64 - HASH_BITS)) as usize) else { return 1 };
        // `begin` checked that a place plus the base is no overflow.
        let own = self.base + u32::try_from(at).unwrap_or(0);
        let distance = own.wrapping_sub(*slot) as usize;
        *slot = own;
        // What is of an earlier picture is farther away than the beginning of this one.
        if distance.wrapping_sub(1) < most.min(at) { distance } else { 1 }
    }

    /// Remembers that this hash is at `at`.
    #[inline(always)]
    pub fn put(&mut self, hash: u64, at: usize) {
        if let Some(slot) = self.table.get_mut((hash >> (64 - HASH_BITS)) as usize) {
            *slot = self.base + u32::try_from(at).unwrap_or(0);
        }
    }
}
