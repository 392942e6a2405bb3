//! The guest's side of the display: memory slots, commands, releases.

pub mod model;
