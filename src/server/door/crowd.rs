//! Who stands at the door, and who has to go for somebody new.

use std::collections::{HashMap, VecDeque};

use super::origin::Origin;

/// Visitors at once.
pub(super) const MAX_VISITORS: usize = 256;
/// Visitors at once of one address, or of one IPv6 network of 64 bits. More than the channels of several clients.
pub(super) const MAX_PER_ORIGIN: usize = 64;

/// Visitors by where they come from, each line in the order in which they came or last got further.
///
/// So who does what it came for is behind those who only stand there, and a flood has to be as fast as a single step
/// of a handshake to push it out.
#[derive(Debug)]
pub(super) struct Crowd<K> {
    lines: HashMap<Origin, VecDeque<(u64, K)>>,
    count: usize,
    /// Orders visitors of different lines.
    turn: u64,
}

/// Who has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaver<K> {
    /// Who it is.
    pub(super) key: K,
    /// True if only its own address has too many.
    pub(super) crowded_origin: bool,
}

impl<K: Copy + PartialEq> Crowd<K> {
    pub(super) fn new() -> Self {
        Self { lines: HashMap::new(), count: 0, turn: 0 }
    }

    /// Enters a visitor.
    pub(super) fn enter(&mut self, key: K, origin: Origin) {
        self.turn += 1;
        self.lines.entry(origin).or_default().push_back((self.turn, key));
        self.count += 1;
    }

    /// A visitor has got further.
    pub(super) fn advance(&mut self, key: K, origin: Origin) {
        let Some(line) = self.lines.get_mut(&origin) else { return };
        if let Some(at) = line.iter().position(|(_, k)| *k == key) {
            self.turn += 1;
            line.remove(at);
            line.push_back((self.turn, key));
        }
    }

    /// Takes a visitor out.
    pub(super) fn leave(&mut self, key: K, origin: Origin) {
        let Some(line) = self.lines.get_mut(&origin) else { return };
        if let Some(at) = line.iter().position(|(_, k)| *k == key) {
            line.remove(at);
            self.count -= 1;
        }
        if line.is_empty() {
            self.lines.remove(&origin);
        }
    }

    /// Who has to go before one more from there may come in.
    pub(super) fn to_make_room(&self, origin: Origin) -> Option<Leaver<K>> {
        let line = self.lines.get(&origin).filter(|_| origin != Origin::Local);
        if let Some(line) = line.filter(|line| line.len() >= MAX_PER_ORIGIN) {
            return line.front().map(|(_, key)| Leaver { key: *key, crowded_origin: true });
        }
        if self.count < MAX_VISITORS { None } else { self.first_to_go() }
    }

    /// The first of the line that is longest; of several such the one that has stood still for longest.
    pub(super) fn first_to_go(&self) -> Option<Leaver<K>> {
        let fronts = self.lines.values().filter_map(|line| Some((line.len(), *line.front()?)));
        let (_, (_, key)) =
            fronts.max_by_key(|(len, (turn, _))| (*len, std::cmp::Reverse(*turn)))?;
        Some(Leaver { key, crowded_origin: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn v4(n: u8) -> Origin {
        Origin::V4([192, 0, 2, n])
    }

    /// Visitors in the order of their keys; 0 is a local socket.
    fn crowd(origins: impl IntoIterator<Item = u8>) -> Crowd<usize> {
        let mut crowd = Crowd::new();
        for (key, n) in origins.into_iter().enumerate() {
            crowd.enter(key, if n == 0 { Origin::Local } else { v4(n) });
        }
        crowd
    }

    #[test]
    fn the_oldest_of_an_address_goes_for_a_65th_of_it() {
        let crowd = crowd([9, 9].into_iter().chain([1; 64]));
        let oldest = Some(Leaver { key: 2, crowded_origin: true });
        assert_eq!(crowd.to_make_room(v4(1)), oldest);
        assert_eq!(crowd.to_make_room(v4(9)), None);
        assert_eq!(crowd.to_make_room(v4(2)), None);
    }

    #[test]
    fn who_gets_further_goes_behind_those_who_stand_still() {
        let mut crowd = crowd([1; 64]);
        crowd.advance(0, v4(1));
        crowd.advance(1, v4(1));
        crowd.advance(99, v4(1));
        assert_eq!(crowd.to_make_room(v4(1)).map(|l| l.key), Some(2));
        (2..64).for_each(|key| crowd.leave(key, v4(1)));
        assert_eq!((crowd.count, crowd.first_to_go().map(|l| l.key)), (2, Some(0)));
    }

    #[test]
    fn of_256_an_address_with_most_visitors_gives_way() {
        // 3 of one address first, then 253 addresses with one each.
        let mut full = crowd([7, 7, 7].into_iter().chain((0..253u8).map(|n| n.max(1) + 1)));
        full.leave(3, v4(2));
        full.enter(1000, v4(254));
        assert_eq!(full.first_to_go().unwrap().key, 0);
        let mut single: Crowd<usize> = Crowd::new();
        for last in 0..=255 {
            single.enter(usize::from(last), Origin::V6([0, 0, 0, 0, 0, 0, 1, last]));
        }
        assert_eq!(single.to_make_room(v4(1)), Some(Leaver { key: 0, crowded_origin: false }));
        single.leave(0, Origin::V6([0, 0, 0, 0, 0, 0, 1, 0]));
        assert_eq!(single.to_make_room(v4(1)), None);
    }

    #[test]
    fn local_sockets_share_the_whole_cap_and_nothing_is_kept_of_who_left() {
        let mut local = crowd([0; 256]);
        assert_eq!(local.to_make_room(v4(1)).map(|l| l.key), Some(0));
        local.leave(255, Origin::Local);
        assert_eq!(local.to_make_room(Origin::Local), None);
        (0..255).for_each(|key| local.leave(key, Origin::Local));
        local.leave(7, Origin::Local);
        assert_eq!((local.count, local.lines.len(), local.first_to_go()), (0, 0, None));
    }
}
