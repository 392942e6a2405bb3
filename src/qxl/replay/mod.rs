//! Recordings of QXL traffic ("SPICE_REPLAY 1"): what they contain, and reading them.
//!
//! Runs on whatever thread plays a recording; [`super::record`] writes on the worker's.
//! The order of fields in the file is that of nobody's memory, so [`grammar`] says it once for both
//! directions: [`reader`] walks it from text into structures laid out as the device has them,
//! the recorder walks it from guest memory into text.
//! What is read comes out as [`payload::Payload`]: blocks of bytes and the places in them where
//! addresses go, so that no room but the C edge has to deal in pointers.
#![forbid(unsafe_code)]

pub mod grammar;
pub mod payload;
pub mod reader;
pub mod surfaces;
#[cfg(test)]
mod tests;
mod text;

/// First line of every recording.
pub const HEADER: &str = "SPICE_REPLAY 1";

/// Numbers of the requests in a recording, frozen because files contain them (spec 10 §11).
pub mod request {
    /// `spice_qxl_update_area`.
    pub const UPDATE: u32 = 1;
    /// `spice_qxl_wakeup`.
    pub const WAKEUP: u32 = 2;
    /// `spice_qxl_oom`.
    pub const OOM: u32 = 3;
    /// The machine runs.
    pub const START: u32 = 8;
    /// The machine stands still.
    pub const STOP: u32 = 9;
    /// `spice_qxl_add_memslot`.
    pub const ADD_MEMSLOT: u32 = 16;
    /// `spice_qxl_del_memslot`.
    pub const DEL_MEMSLOT: u32 = 17;
    /// `spice_qxl_reset_memslots`.
    pub const RESET_MEMSLOTS: u32 = 18;
    /// `spice_qxl_destroy_surfaces`.
    pub const DESTROY_SURFACES: u32 = 19;
    /// `spice_qxl_create_primary_surface`; has a body.
    pub const CREATE_PRIMARY: u32 = 20;
    /// `spice_qxl_destroy_primary_surface`.
    pub const DESTROY_PRIMARY: u32 = 21;
    /// `spice_qxl_reset_cursor`.
    pub const RESET_CURSOR: u32 = 22;
    /// `spice_qxl_reset_image_cache`.
    pub const RESET_IMAGE_CACHE: u32 = 23;
    /// `spice_qxl_destroy_surface_wait`.
    pub const DESTROY_SURFACE_WAIT: u32 = 24;
    /// `spice_qxl_loadvm_commands`.
    pub const LOADVM_COMMANDS: u32 = 25;
    /// `spice_qxl_update_area_async`.
    pub const UPDATE_ASYNC: u32 = 26;
    /// `spice_qxl_add_memslot_async`.
    pub const ADD_MEMSLOT_ASYNC: u32 = 27;
    /// `spice_qxl_destroy_surfaces_async`.
    pub const DESTROY_SURFACES_ASYNC: u32 = 28;
    /// `spice_qxl_create_primary_surface_async`; has a body.
    pub const CREATE_PRIMARY_ASYNC: u32 = 29;
    /// `spice_qxl_destroy_primary_surface_async`.
    pub const DESTROY_PRIMARY_ASYNC: u32 = 30;
    /// `spice_qxl_destroy_surface_async`.
    pub const DESTROY_SURFACE_ASYNC: u32 = 31;
    /// `spice_qxl_flush_surfaces_async`.
    pub const FLUSH_SURFACES_ASYNC: u32 = 32;
    /// `spice_qxl_monitors_config_async`.
    pub const MONITORS_CONFIG_ASYNC: u32 = 35;
    /// `spice_qxl_driver_unload`.
    pub const DRIVER_UNLOAD: u32 = 36;
    /// The device was taken away; the last event of its worker.
    pub const CLOSE_WORKER: u32 = 40;
}
