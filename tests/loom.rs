//! Models of what must not lose a wake-up, in every order that the memory model allows: the ring of a guest in another process, the
//! mailbox into the host's loop, and the bell of a reactor.
//!
//! The sources are those of the library, compiled a second time against primitives that loom schedules. A sleeper is not modelled by
//! waiting but by its outcome: who went to sleep is awake or has been woken once all others are done, or the run fails.
#![expect(dead_code, reason = "whole files of the library, of which the models use what they need")]
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../src/sync"]
mod sync {
    pub mod primitives {
        //! The names of `src/sync/primitives.rs`, under loom.
        pub use loom::sync::atomic::{
            AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence,
        };
        pub use loom::sync::{Condvar, Mutex};
        pub use std::sync::PoisonError;

        pub use super::event::Event;
        pub use super::queue::Queue;
    }

    pub mod event {
        //! An eventfd: a count that writes add to and a read takes. The kernel does both under a lock.
        use loom::sync::atomic::{AtomicUsize, Ordering};
        use std::os::fd::BorrowedFd;

        #[derive(Debug)]
        pub struct Event(AtomicUsize);

        impl Event {
            #[expect(clippy::unnecessary_wraps, reason = "the real one can fail")]
            pub fn new() -> std::io::Result<Self> {
                Ok(Self(AtomicUsize::new(0)))
            }

            pub fn descriptor(&self) -> BorrowedFd<'_> {
                unreachable!("nobody polls in a model")
            }

            pub fn raise(&self) {
                self.0.fetch_add(1, Ordering::AcqRel);
            }

            pub fn lower(&self) {
                self.0.swap(0, Ordering::AcqRel);
            }

            pub fn is_raised(&self) -> bool {
                self.0.load(Ordering::Acquire) > 0
            }
        }
    }

    pub mod queue {
        //! A queue that promises no more than SegQueue: an item that is seen was pushed before, and nothing else.
        use loom::sync::atomic::{AtomicUsize, Ordering};
        use std::sync::Mutex;

        const PLACES: usize = 4;

        #[derive(Debug)]
        pub struct Queue<T> {
            tail: AtomicUsize,
            full: [AtomicUsize; PLACES],
            /// Only the thread that found its place full, or fills it, comes here.
            items: [Mutex<Option<T>>; PLACES],
            head: AtomicUsize,
        }

        impl<T> Queue<T> {
            pub fn new() -> Self {
                Self {
                    tail: AtomicUsize::new(0),
                    full: std::array::from_fn(|_| AtomicUsize::new(0)),
                    items: std::array::from_fn(|_| Mutex::new(None)),
                    head: AtomicUsize::new(0),
                }
            }

            pub fn push(&self, item: T) {
                let at = self.tail.fetch_add(1, Ordering::Relaxed);
                *self.items[at].lock().unwrap() = Some(item);
                self.full[at].store(1, Ordering::Release);
            }

            pub fn pop(&self) -> Option<T> {
                let at = self.head.load(Ordering::Relaxed);
                if self.full.get(at)?.load(Ordering::Acquire) == 0 {
                    return None;
                }
                self.head.store(at + 1, Ordering::Relaxed);
                self.items[at].lock().unwrap().take()
            }
        }
    }

    pub mod mailbox;
}

#[path = "../src/transport"]
mod transport {
    mod wake;

    // What the file shares with its own module only.
    pub struct Bell(wake::Bell);

    impl Bell {
        pub fn new() -> Self {
            Self(wake::Bell::default())
        }

        pub fn ring(&self) -> bool {
            self.0.ring()
        }

        pub fn lie_down(&self) -> bool {
            self.0.lie_down()
        }

        pub fn get_up(&self) -> bool {
            self.0.get_up()
        }
    }
}

#[path = "../src/qxl"]
mod qxl {
    pub mod command {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct CommandExt {
            pub data: u64,
            pub kind: u32,
            pub group_id: u32,
            pub flags: u32,
        }
    }

    pub mod ring {
        pub mod layout;
        pub mod reader;
        pub mod releases;

        pub mod mapping {
            //! Memory of which the words exist that somebody uses; more would be more for loom to follow.
            use loom::sync::atomic::{AtomicU32, Ordering};
            use std::collections::BTreeMap;

            #[derive(Debug)]
            pub struct Mapping(BTreeMap<usize, AtomicU32>);

            impl Mapping {
                pub fn new(words: impl IntoIterator<Item = (usize, u32)>) -> Self {
                    Self(words.into_iter().map(|(at, value)| (at, AtomicU32::new(value))).collect())
                }

                pub fn word(&self, offset: usize) -> Option<&AtomicU32> {
                    self.0.get(&offset)
                }

                /// Plain memory in the library; here the weakest accesses that loom has.
                pub fn read_u64(&self, offset: usize) -> u64 {
                    let word = |at| self.word(at).map_or(0, |word| word.load(Ordering::Relaxed));
                    u64::from(word(offset)) | u64::from(word(offset + 4)) << 32
                }

                pub fn write_u64(&self, offset: usize, value: u64) {
                    for (at, half) in [(offset, value & 0xffff_ffff), (offset + 4, value >> 32)] {
                        if let Some(word) = self.word(at) {
                            word.store(u32::try_from(half).unwrap(), Ordering::Relaxed);
                        }
                    }
                }
            }
        }
    }
}

use loom::sync::Arc;
use loom::thread;

use qxl::ring::layout::{
    COMMAND_BYTES, COMMANDS, CONS, ITEMS, NOTIFY_ON_CONS, NOTIFY_ON_PROD, PROD, RELEASE_BYTES,
    RELEASES,
};
use qxl::ring::mapping::Mapping;
use qxl::ring::reader::{Reader, Taken};
use qxl::ring::releases::{Published, Releases};
use sync::mailbox::Mailbox;
use sync::primitives::{Ordering, fence};
use transport::Bell;

const ITEM_KIND: usize = 8;

fn get(memory: &Mapping, offset: usize) -> u32 {
    memory.word(offset).unwrap().load(Ordering::Acquire)
}

fn put(memory: &Mapping, offset: usize, value: u32) {
    memory.word(offset).unwrap().store(value, Ordering::Release);
}

/// The control words of a ring that lies at 0, and the items with these numbers.
fn ring(prod: u32, cons: u32, items: impl IntoIterator<Item = u32>) -> Arc<Mapping> {
    let control = [(PROD, prod), (CONS, cons), (NOTIFY_ON_PROD, cons), (NOTIFY_ON_CONS, cons)];
    let item = |n: u32| ITEMS + (n % COMMANDS) as usize * COMMAND_BYTES;
    let items =
        items.into_iter().flat_map(|n| [(item(n), 0), (item(n) + 4, 0), (item(n) + ITEM_KIND, 0)]);
    Arc::new(Mapping::new(control.into_iter().chain(items)))
}

/// As a driver does: item, index, barrier, and the question whether the other side sleeps.
fn push(memory: &Mapping, value: u32) -> bool {
    let prod = get(memory, PROD);
    let item = ITEMS + (prod % COMMANDS) as usize * COMMAND_BYTES;
    memory.write_u64(item, u64::from(value));
    memory.word(item + ITEM_KIND).unwrap().store(value, Ordering::Relaxed);
    put(memory, PROD, prod.wrapping_add(1));
    fence(Ordering::SeqCst);
    get(memory, NOTIFY_ON_PROD) == prod.wrapping_add(1)
}

/// Hands on what was taken; the values count from `next`.
fn drain(reader: &mut Reader, next: &mut u32) {
    while let Some(command) = reader.pop() {
        assert_eq!((command.data, command.kind), (u64::from(*next), *next), "a command came half");
        *next += 1;
    }
}

#[test]
fn a_command_is_taken_or_its_guest_kicks() {
    loom::model(|| {
        let memory = ring(7, 7, [7, 8]);
        let guest = thread::spawn({
            let memory = Arc::clone(&memory);
            move || [1, 2].map(|value| push(&memory, value)).contains(&true)
        });
        let (mut reader, mut next) = (Reader::new(0, 7), 1);
        // Two looks, and each time it goes to sleep only if nothing came in between.
        let mut asleep = false;
        for _ in 0..2 {
            if reader.take(&memory, 0) != Taken::Nothing {
                drain(&mut reader, &mut next);
            }
            asleep = reader.arm(&memory);
            if asleep {
                break;
            }
        }
        let kicked = guest.join().unwrap();
        if asleep && !kicked {
            assert_eq!(next, 3, "asleep, not kicked, and a command waits");
        }
        while reader.take(&memory, 0) != Taken::Nothing {
            drain(&mut reader, &mut next);
        }
        assert_eq!(next, 3, "a command was lost");
    });
}

#[test]
fn a_guest_that_waits_for_room_is_told_of_it() {
    loom::model(|| {
        // The ring is full; what lies in it besides the last command does not matter.
        let memory = ring(COMMANDS, 0, [COMMANDS - 1]);
        let guest = thread::spawn({
            let memory = Arc::clone(&memory);
            move || {
                let cons = get(&memory, CONS);
                if cons != 0 {
                    return false;
                }
                put(&memory, NOTIFY_ON_CONS, cons + 1);
                fence(Ordering::SeqCst);
                get(&memory, CONS) == 0
            }
        });
        let mut reader = Reader::new(0, 0);
        let told = match reader.take(&memory, 0) {
            Taken::Wanted => true,
            Taken::Some => false,
            other => panic!("{other:?}"),
        };
        let asleep = guest.join().unwrap();
        assert!(told || !asleep, "the guest sleeps, there is room, and nobody told it");
    });
}

#[test]
fn a_guest_that_waits_for_its_memory_is_told_of_it() {
    const RELEASE_AT: usize = 4096;
    loom::model(|| {
        let control = [(PROD, 3), (CONS, 3), (NOTIFY_ON_PROD, 3)];
        let item = |n: u32| ITEMS + (n % RELEASES) as usize * RELEASE_BYTES;
        let items = [3, 4].into_iter().flat_map(|n| [(item(n), 0), (item(n) + 4, 0)]);
        let info = [(RELEASE_AT, 77), (RELEASE_AT + 4, 0)];
        let memory = Arc::new(Mapping::new(control.into_iter().chain(items).chain(info)));
        let guest = thread::spawn({
            let memory = Arc::clone(&memory);
            move || {
                // Empty: it asks to be told, and looks again.
                if get(&memory, PROD) == 3 {
                    put(&memory, NOTIFY_ON_PROD, 4);
                    fence(Ordering::SeqCst);
                    if get(&memory, PROD) == 3 {
                        return true;
                    }
                }
                assert_eq!(memory.read_u64(item(3)), 77, "the item is not what was released");
                assert_eq!(memory.read_u64(RELEASE_AT), 0, "the chain has no end");
                false
            }
        });
        let mut releases = Releases::new(&memory, 0, None, 0);
        releases.add(&memory, RELEASE_AT);
        let published = releases.publish(&memory);
        assert_ne!(published, Published::Not);
        let asleep = guest.join().unwrap();
        assert!(
            published == Published::Tell || !asleep,
            "the guest sleeps, its memory is there, and nobody told it"
        );
    });
}

/// Producers push one item after the other; the host's loop takes a turn at any moment, and more when its descriptor says so.
fn mailbox_model(producers: &'static [&'static [u32]], preemptions: Option<usize>) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        let mailbox = Arc::new(Mailbox::new().unwrap());
        let producers = Vec::from_iter(producers.iter().map(|items| {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || {
                for item in *items {
                    mailbox.push(*item);
                }
            })
        }));
        // As `server::host` does it.
        let mut got = 0;
        let mut turn = || {
            mailbox.acknowledge();
            for _ in 0..mailbox.len() {
                got += mailbox.pop().unwrap_or(0);
            }
            if !mailbox.is_empty() {
                mailbox.signal();
            }
        };
        turn();
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        if mailbox.event().is_raised() {
            turn();
        }
        assert_eq!(got, 3, "an item waits, and the host's loop sleeps");
    });
}

#[test]
fn an_item_of_the_mailbox_is_taken_or_its_descriptor_is_readable() {
    mailbox_model(&[&[3]], None);
    mailbox_model(&[&[1, 2]], Some(3));
    mailbox_model(&[&[1], &[2]], Some(2));
}

#[test]
fn a_call_is_seen_or_wakes_the_sleeper() {
    loom::model(|| {
        let bell = Arc::new(Bell::new());
        let work = Arc::new(sync::primitives::AtomicU32::new(0));
        let caller = thread::spawn({
            let (bell, work) = (Arc::clone(&bell), Arc::clone(&work));
            move || {
                work.store(1, Ordering::Relaxed);
                bell.ring()
            }
        });
        // A turn that may have looked too early, then the way to sleep.
        let mut seen = bell.get_up() && work.load(Ordering::Relaxed) == 1;
        let asleep = bell.lie_down();
        if !asleep {
            assert!(bell.get_up(), "awake for no reason");
            seen |= work.load(Ordering::Relaxed) == 1;
            assert!(seen, "called before its work can be seen");
        }
        let woken = caller.join().unwrap();
        assert!(seen || (asleep && woken), "asleep with work, and nobody wrote the eventfd");
    });
}
