//! What still has to go out on one socket: small pieces copied together, bulk data by reference.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;

use crate::protocol::message::{Bulk, Descriptors};

/// Pieces that one system call may gather.
const MAX_SLICES: usize = 64;
/// Bulk data up to this size is copied next to its message: cheaper than a piece of its own.
const COPY_LIMIT: usize = 1024;
/// A piece of own bytes takes more small messages until it has this size.
const MERGE_LIMIT: usize = 64 * 1024;

/// The byte that descriptors travel with: a stream socket passes none without one (spec 11, section 11).
const PASSING: &[u8] = b"@";

#[derive(Debug)]
enum Piece {
    Own(Vec<u8>),
    Shared(Bulk),
    /// One byte, sent by itself, and these with it.
    Passing(Descriptors),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bulk) => bulk.as_slice(),
            Self::Passing(_) => PASSING,
        }
    }

    /// The descriptors that go with it.
    fn descriptors(&self) -> Option<&Descriptors> {
        match self {
            Self::Passing(descriptors) => Some(descriptors),
            Self::Own(_) | Self::Shared(_) => None,
        }
    }

    /// Queues some of its bytes elsewhere, shared ones by reference.
    fn copy_to(&self, to: &mut Outbox, range: Range<usize>) {
        match self {
            Self::Own(bytes) => to.push(bytes.get(range).unwrap_or_default()),
            Self::Shared(bulk) => to.push_bulk(bulk.part(range)),
            // Layers make other bytes of these, which carry nothing.
            Self::Passing(_) => to.push(PASSING),
        }
    }
}

/// The bytes of a piece behind `skip`, at most `left`; both are counted down.
fn first_of<'a>(piece: &'a Piece, skip: &mut usize, left: &mut usize) -> &'a [u8] {
    let bytes = piece.bytes().get(std::mem::take(skip)..).unwrap_or_default();
    let bytes = bytes.get(..bytes.len().min(*left)).unwrap_or_default();
    *left -= bytes.len();
    bytes
}

/// Pieces that a send in flight reads. Whatever happens to their outbox, the bytes stay where they are as long as this
/// lives: vectors and shared blocks keep their place in memory when their owner moves.
#[derive(Debug)]
pub struct Lent {
    pieces: Vec<Piece>,
    /// Bytes of the first piece that had gone before.
    skip: usize,
    /// Bytes that are lent; the last piece may have more.
    len: usize,
}

impl Lent {
    /// Bytes of all pieces; never 0.
    #[must_use]
    pub fn total(&self) -> usize {
        self.len
    }

    /// What goes with them; there is one piece then.
    #[must_use]
    pub fn descriptors(&self) -> Option<&Descriptors> {
        self.pieces.first().and_then(Piece::descriptors)
    }

    /// The bytes, a slice for each piece.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let (mut skip, mut left) = (self.skip, self.len);
        self.pieces.iter().map(move |p| first_of(p, &mut skip, &mut left))
    }
}

/// Bytes in sending order. Its owner bounds it: it queues nothing while `len` is above its mark.
#[derive(Debug, Default)]
pub struct Outbox {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are gone already.
    sent: usize,
    len: usize,
    /// Bytes of `len` that are lent, and come before all pieces.
    lent: usize,
    /// A piece that has gone out, to be filled again: growing one costs more than what is copied into it.
    spare: Vec<u8>,
}

impl Outbox {
    /// Bytes that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Queues bytes, copied next to earlier small ones.
    pub fn push(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        if let Some(Piece::Own(last)) = self.pieces.back_mut()
            && last.len() + bytes.len() <= MERGE_LIMIT
        {
            last.extend_from_slice(bytes);
        } else if !bytes.is_empty() {
            let mut piece = std::mem::take(&mut self.spare);
            piece.clear();
            piece.reserve(bytes.len().max(256));
            piece.extend_from_slice(bytes);
            self.pieces.push_back(Piece::Own(piece));
        }
    }

    /// Queues bytes that nobody else needs, without copying them.
    pub fn push_owned(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.pieces.push_back(Piece::Own(bytes));
        }
    }

    /// Queues a block by reference, or copied if it is small.
    pub fn push_bulk(&mut self, bulk: Bulk) {
        let n = bulk.as_slice().len();
        if n <= COPY_LIMIT {
            self.push(bulk.as_slice());
        } else {
            self.len += n;
            self.pieces.push_back(Piece::Shared(bulk));
        }
    }

    /// Queues descriptors, with the one byte that they travel with. Only for a stream without layers that can carry them.
    pub fn push_descriptors(&mut self, descriptors: Descriptors) {
        self.len += PASSING.len();
        self.pieces.push_back(Piece::Passing(descriptors));
    }

    /// What has to go with the bytes that are offered next, which are one piece then.
    #[must_use]
    pub fn descriptors(&self) -> Option<&Descriptors> {
        self.pieces.front().and_then(Piece::descriptors)
    }

    /// Pieces that one call may send: descriptors go by themselves, so that the peer gets them with their own byte.
    fn together(&self) -> usize {
        let passing = |p: &Piece| p.descriptors().is_some();
        let first = usize::from(self.pieces.front().is_some_and(passing));
        let before = self.pieces.iter().take(MAX_SLICES).take_while(|p| !passing(p)).count();
        first.max(before)
    }

    /// Offers the waiting bytes to `send` in gathered form; drops what `send` says it took.
    ///
    /// # Errors
    /// What `send` returns.
    pub fn drain<E>(
        &mut self,
        send: impl FnOnce(&[IoSlice<'_>]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        self.drain_at_most(usize::MAX, send)
    }

    /// As [`Outbox::drain`]; of the waiting bytes only so many are offered.
    ///
    /// # Errors
    /// What `send` returns.
    pub fn drain_at_most<E>(
        &mut self,
        most: usize,
        send: impl FnOnce(&[IoSlice<'_>]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let (mut skip, mut left) = (self.sent, most);
        let slices: Vec<IoSlice<'_>> = self
            .pieces
            .iter()
            .take(self.together())
            .map(|p| IoSlice::new(first_of(p, &mut skip, &mut left)))
            .filter(|slice| !slice.is_empty())
            .collect();
        let taken = send(&slices)?;
        drop(slices);
        self.advance(taken);
        Ok(taken)
    }

    /// Takes out what one send may gather, for a send that goes on by itself. The bytes count as waiting until
    /// [`Outbox::settle`]; nothing else can be sent meanwhile. `None` if nothing waits or something is lent already.
    pub fn lend(&mut self) -> Option<Lent> {
        self.lend_at_most(usize::MAX)
    }

    /// As [`Outbox::lend`], of so many bytes at most; `None` also for 0 bytes.
    pub fn lend_at_most(&mut self, most: usize) -> Option<Lent> {
        if self.lent > 0 || self.is_empty() || most == 0 {
            return None;
        }
        let skip = self.sent;
        let (mut count, mut all) = (0, 0usize);
        for piece in self.pieces.iter().take(self.together()) {
            count += 1;
            all += piece.bytes().len();
            if all.saturating_sub(skip) >= most {
                break;
            }
        }
        let pieces: Vec<Piece> = self.pieces.drain(..count).collect();
        self.sent = 0;
        self.lent = all.saturating_sub(skip).min(most);
        Some(Lent { pieces, skip, len: self.lent })
    }

    /// Takes back what was lent, of which `taken` bytes have gone. What an outbox did not lend, it does not take.
    pub fn settle(&mut self, lent: Lent, taken: usize) {
        if self.lent != lent.len {
            return;
        }
        self.lent = 0;
        self.sent = lent.skip;
        lent.pieces.into_iter().rev().for_each(|piece| self.pieces.push_front(piece));
        self.advance(taken.min(lent.len));
    }

    /// Bytes of the foremost pieces that together have at most `limit` bytes; of the first one alone if it is larger.
    ///
    /// What a layer moves at a time: whole pieces need not be split, and go by reference.
    #[must_use]
    pub fn foremost(&self, limit: usize) -> usize {
        let mut skip = self.sent;
        let mut total: usize = 0;
        for piece in &self.pieces {
            let n = piece.bytes().len() - std::mem::take(&mut skip);
            if total > 0 && total + n > limit {
                break;
            }
            total += n;
        }
        total
    }

    /// Moves the first `n` bytes to the end of another outbox. Pieces move as they are: nothing is copied but what
    /// is small or only a part of a piece of own bytes.
    pub fn move_to(&mut self, to: &mut Self, n: usize) {
        let mut left = n.min(self.len);
        self.len -= left;
        while left > 0 {
            let Some(first) = self.pieces.pop_front() else { return };
            let start = std::mem::take(&mut self.sent);
            let end = first.bytes().len().min(start + left);
            left -= end - start;
            if end < first.bytes().len() {
                first.copy_to(to, start..end);
                self.sent = end;
                self.pieces.push_front(first);
            } else if start > 0 || end <= COPY_LIMIT {
                first.copy_to(to, start..end);
                self.keep(first);
            } else {
                to.len += end;
                to.pieces.push_back(first);
                // What `to` has to spare is of no use there as long as it gets filled pieces.
                if self.spare.capacity() == 0 {
                    self.spare = std::mem::take(&mut to.spare);
                }
            }
        }
    }

    /// Keeps the memory of a piece that is gone.
    fn keep(&mut self, gone: Piece) {
        if let Piece::Own(gone) = gone
            && gone.capacity() > self.spare.capacity()
            && gone.capacity() <= 2 * MERGE_LIMIT
        {
            self.spare = gone;
        }
    }

    fn advance(&mut self, taken: usize) {
        let mut left = taken.min(self.len);
        self.len -= left;
        while let Some(first) = self.pieces.front() {
            let rest = first.bytes().len() - self.sent;
            if left < rest {
                self.sent += left;
                return;
            }
            left -= rest;
            self.sent = 0;
            if let Some(gone) = self.pieces.pop_front() {
                self.keep(gone);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::sync::Arc;

    #[test]
    fn bytes_leave_in_order_whatever_the_socket_takes() {
        for step in 1..40 {
            let mut outbox = Outbox::default();
            outbox.push(b"header");
            outbox.push_bulk(Bulk { bytes: Arc::new(vec![b'-'; 2000]), range: 2..1998 });
            outbox.push_bulk(Bulk { bytes: Arc::new(b"xxbulk dataxx".to_vec()), range: 2..11 });
            outbox.push(b"");
            outbox.push_owned(Vec::new());
            outbox.push(b"next");
            outbox.push_owned(b"+more".to_vec());
            let mut got = Vec::new();
            while !outbox.is_empty() {
                outbox
                    .drain(|slices| {
                        let all: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).collect();
                        let n = step.min(all.len());
                        got.extend_from_slice(&all[..n]);
                        Ok::<_, Infallible>(n)
                    })
                    .unwrap();
            }
            let want = [b"header", &[b'-'; 1996][..], b"bulk datanext+more"].concat();
            assert_eq!(got, want, "step {step}");
            assert!(outbox.pieces.is_empty());
        }
    }

    #[test]
    fn what_is_lent_comes_back_in_front_of_what_was_queued_meanwhile() {
        for taken in [0, 1, 6, 7, 1500, 2006, 4000] {
            let mut outbox = Outbox::default();
            outbox.push(b"__header");
            outbox.advance(2);
            let block = Arc::new(vec![b'-'; 2000]);
            outbox.push_bulk(Bulk::whole(Arc::clone(&block)));
            let lent = outbox.lend().unwrap();
            assert_eq!((lent.total(), outbox.len(), lent.slices().count()), (2006, 2006, 2));
            outbox.push(b"later");
            assert!(outbox.lend().is_none(), "one send at a time");
            assert_eq!(lent.slices().next().unwrap(), b"header");
            let all = [b"header", &[b'-'; 2000][..], b"later"].concat();
            outbox.settle(lent, taken);
            let rest = all.get(taken.min(2006)..).unwrap();
            assert_eq!(outbox.len(), rest.len());
            let lent = outbox.lend().unwrap();
            assert_eq!(lent.slices().collect::<Vec<_>>().concat(), rest);
            drop(lent);
            assert_eq!(Arc::strong_count(&block), 1);
        }
    }

    #[test]
    fn no_more_is_offered_or_lent_than_is_asked_for() {
        let block = Arc::new((0..9000u32).map(|i| (i % 251) as u8).collect::<Vec<u8>>());
        let want = bytes(&mut mixed(&block));
        for most in [1, 5, 6, 7, 1000, 9006, 9007, 20_000] {
            let (mut drained, mut lent) = (mixed(&block), mixed(&block));
            let (mut one, mut other) = (Vec::new(), Vec::new());
            while !drained.is_empty() {
                let taken = drained.drain_at_most(most, |slices| {
                    slices.iter().for_each(|s| one.extend_from_slice(s));
                    Ok::<_, Infallible>(slices.iter().map(|s| s.len()).sum())
                });
                assert!((1..=most).contains(&taken.unwrap()));
            }
            assert!(lent.lend_at_most(0).is_none());
            while let Some(some) = lent.lend_at_most(most) {
                assert!((1..=most).contains(&some.total()));
                let there = some.slices().collect::<Vec<_>>().concat();
                assert_eq!(there.len(), some.total());
                // The kernel takes all but the last byte, where there is more than one.
                let taken = there.len().max(2) - 1;
                other.extend_from_slice(&there[..taken]);
                lent.settle(some, taken);
            }
            assert!(one == want && other == want, "{most}");
        }
    }

    #[test]
    fn descriptors_leave_by_themselves_and_in_their_place() {
        let open = || std::fs::File::open("/dev/null").unwrap().into();
        let descriptors = Descriptors::new(vec![open()]).unwrap();
        let queue = || {
            let mut outbox = Outbox::default();
            outbox.push(b"body");
            outbox.push_descriptors(descriptors.clone());
            outbox.push_descriptors(descriptors.clone());
            outbox.push(b"next");
            outbox
        };
        let want: [(&[u8], bool); 4] =
            [(b"body", false), (b"@", true), (b"@", true), (b"next", false)];
        let (mut drained, mut lent) = (queue(), queue());
        assert_eq!(drained.len(), 10);
        for (bytes, passes) in want {
            assert_eq!(drained.descriptors().is_some(), passes);
            let taken = drained.drain(|slices| {
                assert_eq!(
                    slices.iter().flat_map(|s| s.iter().copied()).collect::<Vec<_>>(),
                    bytes
                );
                Ok::<_, Infallible>(bytes.len())
            });
            taken.unwrap();
            let piece = lent.lend().unwrap();
            assert_eq!(piece.descriptors().is_some(), passes);
            assert_eq!(piece.slices().collect::<Vec<_>>().concat(), bytes);
            // Refused once, they wait with their byte.
            lent.settle(piece, 0);
            let piece = lent.lend().unwrap();
            assert_eq!(piece.descriptors().is_some(), passes);
            lent.settle(piece, bytes.len());
        }
        assert!(drained.is_empty() && lent.is_empty());
    }

    #[test]
    fn what_was_lent_by_another_outbox_is_dropped() {
        let mut outbox = Outbox::default();
        outbox.push(b"old");
        let lent = outbox.lend().unwrap();
        outbox = Outbox::default();
        outbox.push(b"new");
        outbox.settle(lent, 0);
        assert_eq!(outbox.lend().unwrap().slices().collect::<Vec<_>>().concat(), b"new");
    }

    #[test]
    fn small_messages_share_a_piece_and_bulk_is_not_copied() {
        let mut outbox = Outbox::default();
        (0..100).for_each(|_| outbox.push(&[0; 32]));
        assert_eq!(outbox.pieces.len(), 1);
        let block = Arc::new(vec![0u8; 10_000]);
        outbox.push_bulk(Bulk::whole(Arc::clone(&block)));
        assert_eq!(Arc::strong_count(&block), 2);
        assert_eq!(outbox.len(), 13_200);
        let icon = Arc::new(vec![0u8; 1000]);
        outbox.push_bulk(Bulk::whole(Arc::clone(&icon)));
        outbox.push_bulk(Bulk::whole(icon));
        assert_eq!(outbox.pieces.len(), 3);
        assert_eq!(outbox.len(), 15_200);
    }

    fn bytes(outbox: &mut Outbox) -> Vec<u8> {
        let mut all = Vec::new();
        while !outbox.is_empty() {
            let taken = outbox.drain(|slices| {
                slices.iter().for_each(|s| all.extend_from_slice(s));
                Ok::<_, Infallible>(slices.iter().map(|s| s.len()).sum())
            });
            taken.unwrap();
        }
        all
    }

    /// A header, a large piece of own bytes, bulk data, and 100 small messages.
    fn mixed(block: &Arc<Vec<u8>>) -> Outbox {
        let mut outbox = Outbox::default();
        outbox.push(b"header");
        outbox.push_bulk(Bulk::whole(Arc::clone(block)));
        outbox.push(&[b'o'; 5000]);
        outbox.push_bulk(Bulk { bytes: Arc::clone(block), range: 100..4000 });
        (0..100).for_each(|i| outbox.push(&[i; 40]));
        outbox
    }

    #[test]
    fn moved_bytes_keep_their_order_wherever_they_are_cut() {
        let block = Arc::new((0..9000u32).map(|i| (i % 251) as u8).collect::<Vec<u8>>());
        let want = bytes(&mut mixed(&block));
        for (gone, step) in [(0, 1), (3, 7), (6, 1000), (2000, 1024), (9500, 3000), (0, 1 << 20)] {
            let (mut from, mut to) = (mixed(&block), Outbox::default());
            from.drain(|_| Ok::<_, Infallible>(gone)).unwrap();
            while !from.is_empty() {
                let before = from.len();
                from.move_to(&mut to, step);
                assert_eq!(before - from.len(), step.min(before));
                assert_eq!(from.len() + to.len() + gone, want.len());
            }
            assert_eq!(bytes(&mut to), want[gone..], "{gone} {step}");
            assert!(from.pieces.is_empty() && from.sent == 0);
        }
    }

    #[test]
    fn whole_pieces_move_without_a_copy() {
        let block = Arc::new(vec![7; 9000]);
        let (mut from, mut to) = (mixed(&block), Outbox::default());
        let places: Vec<_> = from.pieces.iter().map(|p| p.bytes().as_ptr()).collect();
        assert_eq!(from.foremost(100), 6);
        assert_eq!(from.foremost(9006), 9006);
        assert_eq!(from.foremost(14_005), 9006, "the third piece is not split");
        assert_eq!(from.foremost(usize::MAX), from.len());
        from.move_to(&mut to, usize::MAX);
        assert_eq!(Arc::strong_count(&block), 3);
        let moved: Vec<_> = to.pieces.iter().map(|p| p.bytes().as_ptr()).collect();
        assert_eq!(moved[1..], places[1..]);
    }
}
