//! Migration of a session to another server (`spice-migration.h` of the original).

use super::core::{SpiceBaseInstance, SpiceBaseInterface};

/// Kind of a migration interface.
pub const SPICE_INTERFACE_MIGRATION: &str = "migration";
/// Major version of the migration interface.
pub const SPICE_INTERFACE_MIGRATION_MAJOR: u32 = 1;
/// Minor version of the migration interface.
pub const SPICE_INTERFACE_MIGRATION_MINOR: u32 = 1;

/// The server's side of a migration instance.
#[derive(Debug)]
pub struct SpiceMigrateState {
    _opaque: [u8; 0],
}

/// How the server answers the migration calls.
#[repr(C)]
#[derive(Debug)]
pub struct SpiceMigrateInterface {
    /// Kind "migration".
    pub base: SpiceBaseInterface,
    /// Answers `spice_server_migrate_connect`, exactly once.
    pub migrate_connect_complete: Option<unsafe extern "C" fn(sin: *mut SpiceMigrateInstance)>,
    /// Answers `spice_server_migrate_end`, exactly once; may be NULL.
    pub migrate_end_complete: Option<unsafe extern "C" fn(sin: *mut SpiceMigrateInstance)>,
}
layout!(SpiceMigrateInterface, 40, {
    base: 0, migrate_connect_complete: 24, migrate_end_complete: 32,
});

/// The migration instance of a server.
#[repr(C)]
#[derive(Debug)]
pub struct SpiceMigrateInstance {
    /// Points to the interface.
    pub base: SpiceBaseInstance,
    /// Belongs to the server; unspecified before the instance is added.
    pub st: *mut SpiceMigrateState,
}
layout!(SpiceMigrateInstance, 16, { base: 0, st: 8 });
