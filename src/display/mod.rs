//! The scene: surfaces and what is drawn on them.

pub mod canvas;
pub mod surface;
