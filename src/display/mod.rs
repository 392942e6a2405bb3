//! The scene: surfaces, what is drawn on them, and what each client has to be told of it.

pub mod backlog;
pub mod cache;
pub mod canvas;
pub mod deferred;
pub mod encode;
pub mod guest_image;
pub mod pipe;
pub mod region;
pub mod scene;
pub mod surface;
