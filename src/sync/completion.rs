//! One answer that a waiting caller gets from another thread.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// The side that answers. Dropping it without an answer wakes the waiter with `None`.
#[derive(Debug)]
pub struct Reply<T> {
    slot: Arc<Slot<T>>,
    answered: bool,
}

/// The side that waits.
#[derive(Debug)]
pub struct Answer<T> {
    slot: Arc<Slot<T>>,
}

#[derive(Debug)]
struct Slot<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
enum State<T> {
    Open,
    Done(Option<T>),
}

/// A connected pair.
#[must_use]
pub fn pair<T>() -> (Reply<T>, Answer<T>) {
    let slot = Arc::new(Slot { state: Mutex::new(State::Open), changed: Condvar::new() });
    (Reply { slot: Arc::clone(&slot), answered: false }, Answer { slot })
}

impl<T> Reply<T> {
    /// Answers.
    pub fn send(mut self, value: T) {
        self.answered = true;
        self.slot.finish(Some(value));
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if !self.answered {
            self.slot.finish(None);
        }
    }
}

impl<T> Slot<T> {
    fn finish(&self, value: Option<T>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Done(value);
        self.changed.notify_all();
    }
}

impl<T> Answer<T> {
    /// Waits; `None` if the other side went away without an answer.
    ///
    /// There is no deadline here on purpose: the caller (a host thread in a synchronous call) may
    /// only go on when the work is done, and the answering thread never waits for anybody.
    #[must_use]
    pub fn wait(self) -> Option<T> {
        let mut state = self.slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let State::Done(value) = &mut *state {
                return value.take();
            }
            state = self.slot.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// True once the other side answered or went away.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let state = self.slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*state, State::Done(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_arrives_and_a_dropped_reply_wakes_the_waiter() {
        let (reply, answer) = pair();
        let waiter = std::thread::spawn(move || answer.wait());
        reply.send(5);
        assert_eq!(waiter.join().unwrap(), Some(5));

        let (reply, answer) = pair::<u32>();
        assert!(!answer.is_done());
        let waiter = std::thread::spawn(move || answer.wait());
        drop(reply);
        assert_eq!(waiter.join().unwrap(), None);
    }
}
