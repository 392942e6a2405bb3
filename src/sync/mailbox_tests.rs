//! The mailbox with the system's primitives; `tests/loom.rs` has the model.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::mailbox::{HIGH_WATER, Mailbox};

fn readable(mailbox: &Mailbox<u32>) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut fds = [PollFd::from_borrowed_fd(mailbox.descriptor(), PollFlags::IN)];
    poll(&mut fds, Some(&rustix::time::Timespec::default())).unwrap() == 1
}

#[test]
fn a_push_after_the_acknowledge_signals_again() {
    let mailbox = Mailbox::new().unwrap();
    assert!(!readable(&mailbox));
    mailbox.push(1);
    mailbox.push(2);
    assert!(readable(&mailbox));
    mailbox.acknowledge();
    assert!(!readable(&mailbox));
    mailbox.push(3);
    assert!(readable(&mailbox));
    assert_eq!([mailbox.pop(), mailbox.pop(), mailbox.pop()], [Some(1), Some(2), Some(3)]);
    assert_eq!(mailbox.pop(), None);
}

#[test]
fn producers_that_can_hold_back_are_refused_at_high_water() {
    let mailbox = Mailbox::new().unwrap();
    for i in 0..u32::try_from(HIGH_WATER).unwrap() {
        assert_eq!(mailbox.try_push(i), Ok(()));
    }
    assert_eq!(mailbox.try_push(7), Err(7));
    mailbox.push(8);
    mailbox.pop();
    mailbox.pop();
    assert_eq!(mailbox.try_push(9), Ok(()));
}

/// As a host's loop: sleeps until the eventfd is readable, takes what waits then, and signals what came since.
#[test]
fn a_loop_that_only_watches_the_descriptor_misses_no_push() {
    use rustix::event::{PollFd, PollFlags, poll};
    const EACH: u32 = 1_000_000;
    let mailbox = Arc::new(Mailbox::new().unwrap());
    let producers = [0, 1].map(|_| {
        let mailbox = Arc::clone(&mailbox);
        std::thread::spawn(move || {
            for i in 0..EACH {
                mailbox.push(i);
            }
        })
    });
    let patience = rustix::time::Timespec { tv_sec: 20, tv_nsec: 0 };
    let mut got = 0;
    while got < 2 * EACH {
        let mut fds = [PollFd::from_borrowed_fd(mailbox.descriptor(), PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&patience)).unwrap(), 1, "{got} came, then silence");
        mailbox.acknowledge();
        for _ in 0..mailbox.len() {
            got += u32::from(mailbox.pop().is_some());
        }
        if !mailbox.is_empty() {
            mailbox.signal();
        }
    }
    producers.into_iter().for_each(|p| p.join().unwrap());
}

#[test]
fn no_item_of_many_producers_is_lost_and_the_last_one_is_signalled() {
    let mailbox = Arc::new(Mailbox::new().unwrap());
    let producers: Vec<_> = (0..4)
        .map(|p| {
            let mailbox = Arc::clone(&mailbox);
            std::thread::spawn(move || {
                for i in 0..1000 {
                    mailbox.push(p * 1000 + i);
                }
            })
        })
        .collect();
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut got = 0;
    while got < 4000 {
        let seen = mailbox.turn();
        mailbox.acknowledge();
        let mut any = false;
        while mailbox.pop().is_some() {
            got += 1;
            any = true;
        }
        assert!(any || mailbox.wait(seen, deadline), "a push was not announced ({got} so far)");
    }
    producers.into_iter().for_each(|p| p.join().unwrap());
}
