//! The host's requests (`spice_qxl_*`), executed by the worker in the order of the calls.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::channel::Primary;
use crate::channel::clients::Clients;
use crate::channel::cursor::CursorOrder;
use crate::protocol::display as wire;
use crate::protocol::geometry::Rect;
use crate::qxl::parse::{MonitorsError, parse_monitors_config};
use crate::qxl::surface::SurfaceGeometry;

use super::gl::one_monitor;
use super::worker::Display;
use super::{Done, PrimaryCreate, Request};

/// The primary surface.
const PRIMARY: u32 = 0;
/// Flag of a primary creation: the memory's contents stay.
const KEEP_DATA: u32 = 1;
/// A guest that keeps filling its ring may not hold its host in a call for longer than this.
const FLUSH_TIME: Duration = Duration::from_secs(2);
/// Commands that are executed in a flush whatever the clock says: many rings full.
const FLUSH_AT_LEAST: usize = 1024;

impl Display {
    /// Executes one request and tells its end, whatever came of it.
    pub(super) fn serve(&mut self, clients: &mut Clients, request: Request, done: Done) {
        if let Request::GlDraw(area) = request {
            let step = AssertUnwindSafe(|| {
                self.record_request(&request, &done);
                self.gl_draw(&area)
            });
            let waits = catch_unwind(step).unwrap_or_else(|_| {
                tracing::error!("internal error in a GL draw");
                BTreeSet::new()
            });
            return self.gl_wait(waits, done);
        }
        let updated = match &request {
            Request::UpdateArea { surface_id, .. } => Some(*surface_id),
            _ => None,
        };
        // Whatever happens inside, the end is told: a guest or a host may wait for it for ever.
        let step = AssertUnwindSafe(|| {
            self.record_request(&request, &done);
            self.execute_request(clients, request)
        });
        let rects = catch_unwind(step).unwrap_or_else(|_| {
            tracing::error!("internal error in a request of the host");
            Vec::new()
        });
        match (done, updated) {
            (Done::Reply(reply), _) => reply.send(rects),
            (done @ Done::Cookie(_), Some(surface)) => {
                self.device.update_area_complete(surface, &rects);
                self.complete(done);
            }
            (done, _) => self.complete(done),
        }
    }

    /// Tells the end of a request that brings nothing.
    pub(super) fn complete(&mut self, done: Done) {
        match done {
            Done::Nothing => {}
            Done::Reply(reply) => reply.send(Vec::new()),
            Done::Cookie(cookie) => self.device.async_complete(cookie),
        }
    }

    fn execute_request(&mut self, clients: &mut Clients, request: Request) -> Vec<Rect> {
        match request {
            Request::Start => self.start(clients),
            Request::Stop => {
                self.running = false;
                self.execute_taken();
                // Hosts save the guest's memory now.
                self.scene.settle_all();
            }
            Request::UpdateArea { surface_id, area, clear_dirty, max_rects } => {
                return self.update_area(surface_id, area, clear_dirty, max_rects);
            }
            Request::AddMemslot(slot) => {
                if let Err(error) = self.slots.add(slot) {
                    tracing::warn!(%error, "memory slot was not added");
                }
            }
            Request::DelMemslot { group, slot } => {
                self.scene.settle_all();
                if let Err(error) = self.slots.delete(group, slot) {
                    tracing::warn!(%error, "memory slot was not deleted");
                }
            }
            Request::ResetMemslots => {
                self.scene.settle_all();
                self.slots.reset();
            }
            Request::DestroySurfaces => self.destroy_all(),
            Request::CreatePrimary(create) => self.create_primary(&create),
            Request::DestroyPrimary => self.destroy_primary(),
            Request::DestroySurface { surface_id, flush } => {
                if flush {
                    self.flush_rings();
                }
                if surface_id == PRIMARY {
                    self.destroy_primary();
                } else {
                    self.scene.settle(surface_id);
                    self.destroy_surface(surface_id);
                }
            }
            // Nothing is decoded twice so far, so nothing is kept.
            Request::ResetImageCache => {}
            Request::ResetCursor => self.reset_cursor(),
            Request::LoadVm(commands) => {
                commands.iter().for_each(|command| self.execute_loadvm(command));
            }
            Request::FlushSurfaces => {
                self.flush_rings();
                self.scene.settle_all();
            }
            Request::MonitorsConfig { address, group } => self.monitors_config(address, group),
            Request::DriverUnload => self.driver_sends_monitors = false,
            Request::GlScanout(scanout) => self.gl_scanout(scanout.map(|scanout| *scanout)),
            // Not here: its end comes later.
            Request::GlDraw(_) | Request::Nothing => {}
        }
        Vec::new()
    }

    fn start(&mut self, clients: &Clients) {
        if !std::mem::replace(&mut self.running, true) {
            self.look_again();
            self.tell_capabilities(clients, None);
            self.tell_cursor(CursorOrder::Runs);
            self.peers.machine_runs();
            self.peers.settle(self.monitors.as_ref());
        }
    }

    /// Executes everything that the rings hold, also what arrives meanwhile.
    pub(super) fn flush_rings(&mut self) {
        if !self.running {
            return;
        }
        let end = Instant::now() + FLUSH_TIME;
        let mut taken = 0;
        loop {
            let cursor = self.take_cursor();
            if !self.take_command() && !cursor {
                return;
            }
            taken += 1;
            if taken >= FLUSH_AT_LEAST && Instant::now() >= end {
                self.look_again();
                tracing::warn!(display = self.id, "guest fills its rings faster than they empty");
                return;
            }
        }
    }

    pub(super) fn out_of_memory(&mut self) {
        // Every command is released as soon as it was executed: after this nothing is held back
        // but surfaces and the pointer.
        self.flush_rings();
        self.device.flush_resources();
    }

    fn update_area(&mut self, id: u32, area: Rect, clear: bool, max: usize) -> Vec<Rect> {
        self.flush_rings();
        self.scene.settle(id);
        if !self.scene.exists(id) || area.is_empty() {
            tracing::debug!(display = self.id, surface = id, "update of nothing");
            return Vec::new();
        }
        self.scene.dirty(id, max, clear)
    }

    fn create_primary(&mut self, create: &PrimaryCreate) {
        let geometry =
            SurfaceGeometry::check(create.format, create.width, create.height, create.stride);
        let geometry = match geometry {
            Ok(geometry) => geometry,
            Err(error) => return self.bad(&error),
        };
        let memory = self.slots.resolve(create.mem, create.group_id, u64::from(geometry.bytes()));
        let memory = match memory {
            Ok(memory) => memory,
            Err(error) => return self.bad(&error),
        };
        if self.scene.exists(PRIMARY) {
            self.scene.settle(PRIMARY);
            self.destroy_surface(PRIMARY);
        }
        let keep = create.flags & KEEP_DATA != 0;
        if let Err(error) = self.scene.create(PRIMARY, &geometry, &memory, keep) {
            return self.bad(&error);
        }
        let max_allowed = self.monitors.as_ref().map_or(1, |m| m.max_allowed);
        let config = one_monitor(create.width, create.height, max_allowed);
        if let Some(info) = self.scene.info(PRIMARY) {
            self.peers.surface_created(info, keep);
        }
        if !self.driver_sends_monitors {
            self.peers.monitors(&config);
        }
        self.monitors = Some(config);
        self.peers.latest(&wire::mark());
        self.tell_cursor(CursorOrder::Init);
        let hardware_cursor = create.mouse_mode != 0;
        let primary = Primary { width: create.width, height: create.height, hardware_cursor };
        self.primary = Some(primary);
        self.tell_primary();
    }

    fn destroy_primary(&mut self) {
        if !self.scene.exists(PRIMARY) {
            tracing::debug!(display = self.id, "the primary surface was destroyed twice");
            return;
        }
        self.flush_rings();
        self.scene.settle(PRIMARY);
        self.destroy_surface(PRIMARY);
        self.reset_cursor();
        self.primary = None;
        self.tell_primary();
    }

    fn destroy_all(&mut self) {
        self.flush_rings();
        self.scene.settle_all();
        let had_primary = self.scene.exists(PRIMARY);
        for id in self.scene.ids() {
            self.destroy_surface(id);
        }
        self.peers.latest(&wire::inval_all_palettes());
        self.peers.latest(&wire::stream_destroy_all());
        self.reset_cursor();
        if had_primary {
            self.primary = None;
            self.tell_primary();
        }
    }

    fn reset_cursor(&mut self) {
        if let Some(shape) = self.shape_command.take() {
            self.device.release_resource(shape);
        }
        self.tell_cursor(CursorOrder::Reset);
    }

    fn monitors_config(&mut self, address: u64, group: u32) {
        let parsed = parse_monitors_config(&self.slots, address, group, self.max_monitors);
        if !matches!(parsed, Err(MonitorsError::NotMapped(_))) {
            self.driver_sends_monitors = true;
        }
        match parsed {
            Ok(config) => {
                self.peers.monitors(&config);
                self.monitors = Some(config);
            }
            Err(error) => self.bad(&error),
        }
    }
}
