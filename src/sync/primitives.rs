//! What hand-overs between threads and processes are made of: the standard primitives.
//!
//! `tests/loom.rs` compiles the files that use this module a second time, with primitives of the same names that a
//! model checker schedules in every possible order. So nothing there may name `std::sync` itself.

pub use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence};
pub use std::sync::{Condvar, Mutex, PoisonError};

pub use crossbeam_queue::SegQueue as Queue;

pub use super::event::Event;
