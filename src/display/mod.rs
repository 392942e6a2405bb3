//! (room under construction)

pub mod encode;
pub mod region;
