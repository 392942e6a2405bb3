//! (room under construction)

pub mod encode;
pub mod pipe;
pub mod region;
