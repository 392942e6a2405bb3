//! The guest's side of the display: memory slots, commands, releases.

pub mod command;
pub mod guest;
pub mod memslot;
pub mod model;
pub mod parse;
pub mod record;
pub mod replay;
pub mod ring;
pub mod surface;
