//! The palettes that one client of one display channel keeps (display channel spec, section 4.1).
//!
//! Owned by thread display-N. The client does what it is told, so the record here is what it has.

use std::sync::Arc;

use crate::qxl::model::Palette;

/// Palettes that a client keeps; it holds one more until it is told which one goes.
pub const CAPACITY: usize = 128;

/// How a palette is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// In full; the client does not keep it.
    Plain,
    /// In full; the client keeps it.
    Kept {
        /// The client has another palette under this id, which has to go before.
        replaces: bool,
        /// The palette that goes for it, right after the message.
        evicted: Option<u64>,
    },
    /// As an id: the client has it.
    FromCache,
}

/// The record of one client's palettes, least recently used first.
#[derive(Debug, Default)]
pub struct PaletteCache {
    list: Vec<Arc<Palette>>,
}

impl PaletteCache {
    /// How to send a palette now; the record is kept as if it were sent so.
    pub fn send(&mut self, palette: &Arc<Palette>) -> Sent {
        let id = palette.unique;
        if id == 0 {
            return Sent::Plain;
        }
        let found = self.list.iter().rposition(|p| p.unique == id).map(|at| self.list.remove(at));
        self.list.push(Arc::clone(palette));
        match found {
            Some(old) if Arc::ptr_eq(&old, palette) || old.entries == palette.entries => {
                Sent::FromCache
            }
            Some(_) => Sent::Kept { replaces: true, evicted: None },
            None => {
                let full = self.list.len() > CAPACITY;
                let evicted = full.then(|| self.list.remove(0).unique);
                Sent::Kept { replaces: false, evicted }
            }
        }
    }

    /// A palette did not reach the client after all.
    pub fn forget(&mut self, id: u64) {
        self.list.retain(|p| p.unique != id);
    }

    /// The client is told to forget everything.
    pub fn clear(&mut self) {
        self.list.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn palette(unique: u64, color: u32) -> Arc<Palette> {
        Arc::new(Palette { unique, entries: vec![color; 4] })
    }

    const NEW: Sent = Sent::Kept { replaces: false, evicted: None };

    #[test]
    fn the_129th_palette_takes_the_place_of_the_least_recently_used() {
        let mut cache = PaletteCache::default();
        for id in 1..=128 {
            assert_eq!(cache.send(&palette(id, 0)), NEW);
        }
        assert_eq!(cache.send(&palette(1, 0)), Sent::FromCache);
        let evicts = |id| Sent::Kept { replaces: false, evicted: Some(id) };
        assert_eq!(cache.send(&palette(129, 0)), evicts(2), "1 was used since");
        assert_eq!(cache.send(&palette(130, 0)), evicts(3));
        assert_eq!(cache.send(&palette(1, 0)), Sent::FromCache);
        assert_eq!(cache.send(&palette(2, 0)), evicts(4), "2 is gone");
        cache.clear();
        assert_eq!(cache.send(&palette(1, 0)), NEW);
    }

    #[test]
    fn id_0_is_never_kept_and_an_id_does_not_stand_for_other_colours() {
        let mut cache = PaletteCache::default();
        assert_eq!(cache.send(&palette(0, 1)), Sent::Plain);
        assert_eq!(cache.send(&palette(0, 1)), Sent::Plain);
        assert_eq!(cache.send(&palette(5, 1)), NEW);
        assert_eq!(cache.send(&palette(5, 2)), Sent::Kept { replaces: true, evicted: None });
        assert_eq!(cache.send(&palette(5, 2)), Sent::FromCache);
        cache.forget(5);
        assert_eq!(cache.send(&palette(5, 2)), NEW);
    }
}
