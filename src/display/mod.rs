//! (room under construction)

pub mod region;
