//! The display channel and QXL worker (thread `spice-disp-N`): rings, requests, clients' pictures.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::observe::probes;
use crate::protocol::geometry::Rect;
use crate::protocol::gl::GlScanout;
use crate::qxl::command::CommandExt;
use crate::qxl::memslot::MemSlot;
use crate::qxl::ring::{AttachError, RingSetup, RingState};
use crate::sync::completion::{Reply, pair};
use crate::sys::clock::monotonic_ns;

use super::{Handle, Order};

mod device;
mod films;
mod gl;
mod handover;
mod lane;
mod mirror;
mod pace;
mod peers;
mod recording;
mod requests;
mod rings;
mod snapshots;
mod spin;
pub mod worker;

pub(in crate::channel) use films::decodes;

/// What a host gives to create the primary surface (`QXLDevSurfaceCreate`); nothing is checked.
#[derive(Debug, Clone, Copy)]
pub struct PrimaryCreate {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Bytes from row to row; negative: bottom row first.
    pub stride: i32,
    /// `SPICE_SURFACE_FMT_*`.
    pub format: u32,
    /// Unused; kept for recordings.
    pub position: u32,
    /// Not 0: the guest has a hardware pointer.
    pub mouse_mode: u32,
    /// Bit 0: keep the memory's contents.
    pub flags: u32,
    /// `QXL_SURF_TYPE_*`; unused, kept for recordings.
    pub kind: u32,
    /// Where the pixels are, as a guest address.
    pub mem: u64,
    /// Memory slot group of `mem`.
    pub group_id: u32,
}

/// A request of the host (`spice_qxl_*`), in the order of the calls.
#[derive(Debug)]
pub enum Request {
    /// The machine runs.
    Start,
    /// The machine stops: nothing of ours touches the guest afterwards.
    Stop,
    /// Bring an area up to date and report what changed.
    UpdateArea {
        /// The surface.
        surface_id: u32,
        /// The area.
        area: Rect,
        /// Forget what changed afterwards.
        clear_dirty: bool,
        /// How many rectangles the caller takes (asynchronous callers take all).
        max_rects: usize,
    },
    /// Register a memory slot.
    AddMemslot(MemSlot),
    /// Forget a memory slot.
    DelMemslot {
        /// Its group.
        group: u32,
        /// Its number.
        slot: u32,
    },
    /// Forget all memory slots.
    ResetMemslots,
    /// Destroy every surface.
    DestroySurfaces,
    /// Make surface 0.
    CreatePrimary(PrimaryCreate),
    /// Destroy surface 0.
    DestroyPrimary,
    /// Destroy an off-screen surface.
    DestroySurface {
        /// Which.
        surface_id: u32,
        /// Execute what is in the rings before.
        flush: bool,
    },
    /// Forget decoded images.
    ResetImageCache,
    /// Pointer back to the start.
    ResetCursor,
    /// Commands of before a migration: surfaces and the pointer.
    LoadVm(Vec<CommandExt>),
    /// Execute what is in the rings.
    FlushSurfaces,
    /// The guest says how its monitors lie.
    MonitorsConfig {
        /// Guest address.
        address: u64,
        /// Memory slot group.
        group: u32,
    },
    /// The guest's driver is gone.
    DriverUnload,
    /// Show a picture that is rendered with GL instead of the primary surface, or (`None`) no longer.
    GlScanout(Option<Box<GlScanout>>),
    /// A part of that picture has changed; done when clients have shown it.
    GlDraw(Rect),
    /// Only to be completed: what was asked for makes no sense, or nobody has to be waited for.
    Nothing,
}

/// How the end of a request is told.
#[derive(Debug)]
pub enum Done {
    /// Nobody waits.
    Nothing,
    /// A caller waits; gets the dirty rectangles, if the request has any.
    Reply(Reply<Vec<Rect>>),
    /// `async_complete` with this cookie, on the worker's thread.
    Cookie(u64),
}

/// What the display thread is told.
#[derive(Debug)]
pub enum DisplayOrder {
    /// A request of the host.
    Qxl(Request, Done),
    /// Most monitors that the guest may have (`spice_qxl_set_max_monitors`).
    MaxMonitors(u32),
    /// Rings in shared memory and the descriptor through which the guest kicks.
    AttachRing(Box<RingSetup>, OwnedFd, Reply<Result<(), AttachError>>),
    /// Back to the host's callbacks.
    DetachRing(RingRoom, Reply<Result<RingState, DetachError>>),
}

/// What a caller can take of a [`RingState`].
#[derive(Debug, Clone, Copy)]
pub struct RingRoom {
    /// Surfaces.
    pub surfaces: usize,
    /// Words of the log of pages.
    pub dirty: usize,
}

/// Why rings were not detached. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DetachError {
    /// There are none.
    #[error("no ring is attached")]
    NotAttached,
    /// The caller has too little room.
    #[error("room for {surfaces} surfaces and {dirty} words of pages is needed")]
    Room {
        /// Surfaces that there may be.
        surfaces: usize,
        /// Words of the log.
        dirty: usize,
    },
    /// The thread of the display is gone.
    #[error("the display's thread has ended")]
    Gone,
}

/// Notifications that coalesce while one is pending.
#[derive(Debug, Default)]
pub struct Pending {
    wakeup: AtomicBool,
    /// When the host called for the first of the wakeups that were not taken yet, monotonic nanoseconds.
    woken_at: AtomicU64,
    oom: AtomicBool,
}

impl Pending {
    /// Takes the wakeup, if there is one, with the time of the call ([`monotonic_ns`]). Before polling the rings.
    #[must_use]
    pub fn take_wakeup(&self) -> Option<u64> {
        // The time first: one of a call in between is only too late.
        let at = self.woken_at.load(Ordering::Relaxed);
        self.wakeup.swap(false, Ordering::SeqCst).then_some(at)
    }

    /// Takes the out-of-memory notice.
    #[must_use]
    pub fn take_oom(&self) -> bool {
        self.oom.swap(false, Ordering::SeqCst)
    }
}

/// The host's way to one QXL worker. Used by any host thread, under the host's lock.
#[derive(Debug, Clone)]
pub struct QxlHandle {
    id: u8,
    orders: Handle<DisplayOrder>,
    pending: Arc<Pending>,
}

impl QxlHandle {
    /// Joins the two ways to the worker of this QXL id.
    #[must_use]
    pub fn new(id: u8, orders: Handle<DisplayOrder>, pending: Arc<Pending>) -> Self {
        Self { id, orders, pending }
    }

    /// The rings may have commands.
    pub fn wakeup(&self) {
        probes::wakeup(self.id);
        if !self.pending.wakeup.load(Ordering::SeqCst) {
            // Relaxed: calls do not overlap, and the store below orders it.
            self.pending.woken_at.store(monotonic_ns(), Ordering::Relaxed);
        }
        self.pending.wakeup.store(true, Ordering::SeqCst);
        self.orders.poke();
    }

    /// The guest is out of memory.
    pub fn oom(&self) {
        self.pending.oom.store(true, Ordering::SeqCst);
        self.orders.poke();
    }

    /// Queues a request; nobody waits.
    pub fn post(&self, request: Request) {
        self.orders.send(Order::Do(DisplayOrder::Qxl(request, Done::Nothing)));
    }

    /// Queues a request that ends with `async_complete(cookie)`.
    pub fn post_async(&self, request: Request, cookie: u64) {
        self.orders.send(Order::Do(DisplayOrder::Qxl(request, Done::Cookie(cookie))));
    }

    /// Waits until the worker has done it. The worker never waits for a client or a socket.
    pub fn call(&self, request: Request) -> Vec<Rect> {
        let (reply, answer) = pair();
        self.orders.send(Order::Do(DisplayOrder::Qxl(request, Done::Reply(reply))));
        answer.wait().unwrap_or_default()
    }

    /// True if both lead to the same worker.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pending, &other.pending)
    }

    /// Takes commands from rings in shared memory; waits for the worker.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach_ring(&self, setup: RingSetup, kick: OwnedFd) -> Result<(), AttachError> {
        let (reply, answer) = pair();
        let order = DisplayOrder::AttachRing(Box::new(setup), kick, reply);
        self.orders.send(Order::Do(order));
        answer
            .wait()
            .unwrap_or_else(|| Err(AttachError::Display("its thread has ended".to_owned())))
    }

    /// Gives the rings up; waits for the worker.
    ///
    /// # Errors
    /// [`DetachError`].
    pub fn detach_ring(&self, room: RingRoom) -> Result<RingState, DetachError> {
        let (reply, answer) = pair();
        self.orders.send(Order::Do(DisplayOrder::DetachRing(room, reply)));
        answer.wait().unwrap_or(Err(DetachError::Gone))
    }

    /// Limits the guest's monitors.
    pub fn set_max_monitors(&self, count: u32) {
        self.orders.send(Order::Do(DisplayOrder::MaxMonitors(count.max(1))));
    }
}
