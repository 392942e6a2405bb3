//! Single rules, and a client that handles its channels in any order.

use super::*;
use std::collections::VecDeque;

fn facts(fingerprint: u64, pixels: u64) -> Facts {
    Facts { fingerprint, pixels, lossy: false }
}

/// Sends an image; what the client is told: found, kept, and what goes before.
fn send(member: &mut Member, id: u64, facts: Facts, serial: u64) -> (Found, bool, Vec<u64>) {
    let found = member.find(id, facts, serial);
    let mut gone = Vec::new();
    let kept = found == Found::Missing && member.add(id, facts, serial, &mut gone);
    (found, kept, gone)
}

#[test]
fn an_image_is_kept_until_the_least_recently_used_has_to_go() {
    let caches = PixmapCaches::default();
    let mut a = caches.join(1, 1, 100, 0);
    for (serial, id) in [(1, 10), (2, 11)] {
        assert_eq!(send(&mut a, id, facts(id, 50), serial), (Found::Missing, true, vec![]));
    }
    assert_eq!(send(&mut a, 10, facts(10, 50), 3), (Found::Here { lossy: false }, false, vec![]));
    assert_eq!(send(&mut a, 12, facts(12, 50), 4), (Found::Missing, true, vec![11]));
    assert_eq!(send(&mut a, 13, facts(13, 100), 5), (Found::Missing, true, vec![10, 12]));
    assert_eq!(send(&mut a, 14, facts(14, 101), 6), (Found::Missing, false, vec![]), "too large");
    assert_eq!(send(&mut a, 15, facts(15, 0), 7), (Found::Missing, false, vec![]), "no pixels");
    assert_eq!(
        send(&mut a, 13, facts(13, 100), 8).0,
        Found::Here { lossy: false },
        "nothing went for those"
    );
}

#[test]
fn what_a_message_uses_does_not_go_with_it() {
    let caches = PixmapCaches::default();
    let mut a = caches.join(1, 1, 100, 0);
    assert!(send(&mut a, 1, facts(1, 60), 1).1);
    assert_eq!(send(&mut a, 1, facts(1, 60), 2).0, Found::Here { lossy: false });
    assert!(send(&mut a, 2, facts(2, 40), 2).1);
    assert_eq!(send(&mut a, 3, facts(3, 10), 2), (Found::Missing, false, vec![]));
    assert_eq!(send(&mut a, 3, facts(3, 10), 3), (Found::Missing, true, vec![1]));
}

#[test]
fn an_id_with_other_pixels_or_better_ones_goes_and_comes_again() {
    let caches = PixmapCaches::default();
    let mut a = caches.join(1, 1, 100, 0);
    assert!(send(&mut a, 1, facts(1, 60), 1).1);
    assert_eq!(send(&mut a, 1, facts(2, 60), 2), (Found::Missing, true, vec![1]));
    assert_eq!(send(&mut a, 1, facts(2, 60), 3).0, Found::Here { lossy: false });
    let lossy = Facts { lossy: true, ..facts(5, 10) };
    assert_eq!(send(&mut a, 5, lossy, 4), (Found::Missing, true, vec![]));
    assert_eq!(send(&mut a, 5, lossy, 5).0, Found::Here { lossy: true }, "losses are good enough");
    assert_eq!(send(&mut a, 5, facts(5, 10), 6), (Found::Missing, true, vec![5]));
    assert_eq!(send(&mut a, 5, lossy, 7).0, Found::Here { lossy: false });
    a.take_back(5);
    assert_eq!(send(&mut a, 5, lossy, 8), (Found::Missing, true, vec![]));
}

#[test]
fn other_channels_see_an_image_when_the_client_surely_has_it() {
    let caches = PixmapCaches::default();
    let mut a = caches.join(1, 1, 100, 0);
    let mut b = caches.join(1, 1, 5, 200);
    assert!(send(&mut a, 1, facts(1, 60), 7).1);
    assert_eq!(send(&mut b, 1, facts(1, 60), 1), (Found::Elsewhere, false, vec![]));
    assert_eq!(send(&mut b, 2, facts(2, 50), 1), (Found::Missing, false, vec![]), "1 cannot go");
    assert!(a.asks() && !a.asks(), "one question");
    assert!(!b.asks(), "it has used nothing");
    a.progress(7);
    assert_eq!(send(&mut b, 1, facts(1, 60), 2).0, Found::Here { lossy: false });
    // Now b needs it: a must not take it away before b's message was handled.
    assert_eq!(send(&mut a, 3, facts(3, 50), 8), (Found::Missing, false, vec![]));
    b.progress(2);
    assert_eq!(send(&mut a, 3, facts(3, 50), 9), (Found::Missing, true, vec![1]));
    let mut other_client = caches.join(2, 1, 100, 0);
    let mut other_cache = caches.join(1, 2, 100, 0);
    for stranger in [&mut other_client, &mut other_cache] {
        assert_eq!(stranger.find(3, facts(3, 50), 1), Found::Missing);
    }
}

#[test]
fn a_channel_that_goes_takes_along_what_it_may_not_have_brought() {
    let caches = PixmapCaches::default();
    let mut a = caches.join(1, 1, 100, 0);
    let mut b = caches.join(1, 1, 100, 1);
    for id in 1..=3 {
        assert!(send(&mut a, id, facts(id, 10), id).1);
    }
    a.progress(2);
    drop(a);
    assert_eq!(b.find(2, facts(2, 10), 1), Found::Here { lossy: false });
    assert_eq!(b.find(3, facts(3, 10), 1), Found::Missing);
    // Its successor counts from the start; its own past holds nothing back.
    let mut again = caches.join(1, 1, 100, 0);
    let mut gone = Vec::new();
    assert!(again.add(9, facts(9, 90), 1, &mut gone));
    assert_eq!(gone, [1]);
    drop((b, again));
    assert_eq!(caches.join(1, 1, 100, 0).find(2, facts(2, 10), 1), Found::Missing);
}

#[test]
fn the_number_of_images_is_bounded() {
    let caches = PixmapCaches::default();
    let mut a = caches.join(1, 1, u64::MAX, 0);
    let mut gone = Vec::new();
    for id in 0..MAX_IMAGES as u64 + 10 {
        assert!(a.add(id, facts(id, u64::from(u32::MAX)), id, &mut gone));
    }
    assert_eq!(gone, Vec::from_iter(0..10));
    let state = a.cache.lock();
    assert_eq!((state.entries.len(), state.order.len()), (MAX_IMAGES, MAX_IMAGES));
}

#[test]
fn a_reset_waits_for_the_other_channels_that_used_images() {
    let caches = PixmapCaches::default();
    let mut a = caches.join(1, 1, 100, 0);
    let mut b = caches.join(1, 1, 100, 1);
    let _idle = caches.join(1, 1, 100, 2);
    assert!(send(&mut a, 1, facts(1, 10), 4).1);
    assert!(send(&mut b, 2, facts(2, 10), 9).1);
    assert_eq!(a.reset(), [(1, 9)]);
    assert_eq!(a.find(2, facts(2, 10), 5), Found::Missing);
    assert_eq!(send(&mut a, 3, facts(3, 100), 5), (Found::Missing, true, vec![]));
}

/// What a message does to the client's images.
#[derive(Debug, Clone)]
enum Act {
    Forget(Vec<u64>),
    Keep { id: u64, pixels: u64 },
    Use { id: u64, pixels: u64 },
}

/// One channel: what is on its way to the client, and what the client says of it.
struct Wire {
    member: Member,
    sent: u64,
    way: VecDeque<Vec<Act>>,
    handled: u64,
    acks: VecDeque<u64>,
    asked: bool,
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Random images on several channels against a client that handles them in any order.
///
/// Every reference must resolve at once and to the right pixels, whatever has been handled of the
/// other channels; what is to be forgotten must be there. Returns uses, evictions and refusals.
fn play(seed: u64, channels: usize, steps: usize) -> [usize; 3] {
    const WINDOW: u64 = 20;
    let mut dice = Dice(seed * 0x9e37_79b9 + 1);
    let caches = PixmapCaches::default();
    let capacity = 40 + dice.roll(200);
    let mut wires: Vec<Wire> = (0..channels)
        .map(|n| Wire {
            member: caches.join(1, 1, capacity, u8::try_from(n * 85).unwrap()),
            sent: 1,
            way: VecDeque::new(),
            handled: 1,
            acks: VecDeque::new(),
            asked: false,
        })
        .collect();
    // What the client has: fingerprint by id, with the count of stock clients.
    let mut has: HashMap<u64, (u64, u32)> = HashMap::new();
    let [mut uses, mut evictions, mut refusals] = [0; 3];
    for _ in 0..steps {
        let at = usize::try_from(dice.roll(channels as u64)).unwrap();
        let wire = &mut wires[at];
        match dice.roll(10) {
            // The server sends a message with up to three images.
            0..5 if wire.way.len() < 60 => {
                let serial = wire.sent + 2;
                let (mut gone, mut acts) = (Vec::new(), Vec::new());
                for _ in 0..=dice.roll(3) {
                    let id = dice.roll(12);
                    // Sometimes the guest uses an id again for something else.
                    let fingerprint = id * 10 + u64::from(dice.roll(8) == 0);
                    let size = 5 + id * 5;
                    let (found, kept, more) =
                        send(&mut wire.member, id, facts(fingerprint, size), serial);
                    gone.extend(more);
                    match (found, kept) {
                        (Found::Here { .. }, _) => acts.push(Act::Use { id, pixels: fingerprint }),
                        (_, true) => acts.push(Act::Keep { id, pixels: fingerprint }),
                        _ => refusals += 1,
                    }
                }
                if dice.roll(20) == 0 {
                    // The message came to nothing after all.
                    for act in &acts {
                        if let Act::Keep { id, .. } = act {
                            wire.member.take_back(*id);
                        }
                    }
                    acts.clear();
                }
                if !gone.is_empty() {
                    evictions += gone.len();
                    wire.way.push_back(vec![Act::Forget(gone)]);
                    wire.sent += 1;
                }
                if !acts.is_empty() {
                    wire.way.push_back(acts);
                    wire.sent += 1;
                }
            }
            // The client handles the next message of a channel.
            5..8 => {
                let Some(acts) = wire.way.pop_front() else {
                    if wire.member.asks() {
                        wire.asked = true;
                    } else if std::mem::take(&mut wire.asked) {
                        wire.member.progress(wire.sent);
                    }
                    continue;
                };
                wire.handled += 1;
                if (wire.handled - 1).is_multiple_of(WINDOW) {
                    // Sent before the message is handled.
                    wire.acks.push_back(wire.handled - 1);
                }
                for act in acts {
                    match act {
                        Act::Forget(ids) => {
                            for id in ids {
                                let item = has.get_mut(&id).expect("only what is there goes");
                                item.1 -= 1;
                                if item.1 == 0 {
                                    has.remove(&id);
                                }
                            }
                        }
                        Act::Keep { id, pixels } => {
                            let count = has.get(&id).map_or(0, |item| item.1);
                            assert_eq!(count, 0, "an image is given once until it goes");
                            has.insert(id, (pixels, count + 1));
                        }
                        Act::Use { id, pixels } => {
                            uses += 1;
                            let here = has.get(&id).map(|item| item.0);
                            assert_eq!(here, Some(pixels), "seed {seed}: the client would wait");
                        }
                    }
                }
            }
            // An acknowledgement arrives.
            _ => {
                if let Some(serial) = wire.acks.pop_front() {
                    wire.member.progress(serial);
                }
            }
        }
    }
    [uses, evictions, refusals]
}

#[test]
fn no_order_of_channels_makes_a_client_wait_or_forget_what_it_needs() {
    let mut total = [0; 3];
    for seed in 1..=200 {
        let result = play(seed, 1 + usize::try_from(seed % 4).unwrap(), 4000);
        total.iter_mut().zip(result).for_each(|(sum, n)| *sum += n);
    }
    // The test is worth something only if all three happen often.
    assert!(total.iter().all(|n| *n > 10_000), "{total:?}");
}
