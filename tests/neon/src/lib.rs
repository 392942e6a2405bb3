//! The room `codec` and nothing else, under the name that its tests know.

#[path = "../../../src/codec/mod.rs"]
pub mod codec;
