//! Hand-over between threads.

pub mod completion;
pub mod mailbox;
