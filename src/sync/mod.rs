//! Hand-over between threads.

pub mod completion;
pub mod event;
pub mod mailbox;
#[cfg(test)]
mod mailbox_tests;
pub mod primitives;
