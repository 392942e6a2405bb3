//! Which pages of a memory were written.

/// Bytes of a page in the log, whatever the system's are.
pub const PAGE: usize = 4096;

/// A bit for each page.
#[derive(Debug)]
pub struct Pages {
    words: Vec<u64>,
}

impl Pages {
    /// Nothing was written to `len` bytes.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(PAGE).div_ceil(64)] }
    }

    /// 64 pages each.
    #[must_use]
    pub fn words(&self) -> usize {
        self.words.len()
    }

    /// Bytes were written.
    pub fn mark(&mut self, offset: usize, len: usize) {
        let Some(last) = len.checked_sub(1).and_then(|n| offset.checked_add(n)) else { return };
        for page in offset / PAGE..=last / PAGE {
            if let Some(word) = self.words.get_mut(page / 64) {
                *word |= 1 << (page % 64);
            }
        }
    }

    /// What was marked; nothing is marked afterwards.
    pub fn take(&mut self) -> Vec<u64> {
        let empty = vec![0; self.words.len()];
        std::mem::replace(&mut self.words, empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_that_is_touched_has_its_bit() {
        let mut pages = Pages::new(65 * PAGE);
        pages.mark(PAGE - 1, 2);
        pages.mark(64 * PAGE, PAGE);
        pages.mark(10 * PAGE, 0);
        pages.mark(usize::MAX, 8);
        pages.mark(1 << 40, 8);
        assert_eq!(pages.take(), [3, 1]);
        assert_eq!(pages.take(), [0, 0]);
    }
}
