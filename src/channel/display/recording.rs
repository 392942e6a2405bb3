//! What a recording gets of the worker's requests.

use crate::qxl::record::{PrimaryShape, Recorder};
use crate::qxl::replay::request;
use crate::qxl::surface::SurfaceGeometry;

use super::worker::Display;
use super::{Done, PrimaryCreate, Request};

impl Display {
    /// Records a request, before it is executed.
    pub(super) fn record_request(&self, what: &Request, done: &Done) {
        let Some(recorder) = &self.recorder else { return };
        let Some(number) = number(what, done) else { return };
        match what {
            Request::CreatePrimary(create) => self.record_primary(recorder, number, create),
            _ => recorder.request(number),
        }
    }

    /// Records a notification.
    pub(super) fn record_number(&self, number: u32) {
        if let Some(recorder) = &self.recorder {
            recorder.request(number);
        }
    }

    /// With its pixels if it is a surface that can be.
    fn record_primary(&self, recorder: &Recorder, number: u32, create: &PrimaryCreate) {
        let PrimaryCreate {
            width, height, stride, format, position, mouse_mode, flags, kind, ..
        } = *create;
        let shape =
            PrimaryShape { width, height, stride, format, position, mouse_mode, flags, kind };
        let memory = SurfaceGeometry::check(format, width, height, stride).ok().and_then(|shape| {
            self.slots.resolve(create.mem, create.group_id, u64::from(shape.bytes())).ok()
        });
        match memory {
            Some(memory) => recorder.create_primary(number, &shape, &memory),
            None => recorder.request(number),
        }
    }
}

/// The number of a request in recordings; `None` for those that they do not have.
fn number(what: &Request, done: &Done) -> Option<u32> {
    let either = |sync, asynchronous| {
        Some(if matches!(done, Done::Cookie(_)) { asynchronous } else { sync })
    };
    match what {
        Request::Start => Some(request::START),
        Request::Stop => Some(request::STOP),
        Request::UpdateArea { .. } => either(request::UPDATE, request::UPDATE_ASYNC),
        Request::AddMemslot(_) => either(request::ADD_MEMSLOT, request::ADD_MEMSLOT_ASYNC),
        Request::DelMemslot { .. } => Some(request::DEL_MEMSLOT),
        Request::ResetMemslots => Some(request::RESET_MEMSLOTS),
        Request::DestroySurfaces => {
            either(request::DESTROY_SURFACES, request::DESTROY_SURFACES_ASYNC)
        }
        Request::CreatePrimary(_) => either(request::CREATE_PRIMARY, request::CREATE_PRIMARY_ASYNC),
        Request::DestroyPrimary => either(request::DESTROY_PRIMARY, request::DESTROY_PRIMARY_ASYNC),
        Request::DestroySurface { .. } => {
            either(request::DESTROY_SURFACE_WAIT, request::DESTROY_SURFACE_ASYNC)
        }
        Request::ResetImageCache => Some(request::RESET_IMAGE_CACHE),
        Request::ResetCursor => Some(request::RESET_CURSOR),
        Request::LoadVm(_) => Some(request::LOADVM_COMMANDS),
        Request::FlushSurfaces => Some(request::FLUSH_SURFACES_ASYNC),
        Request::MonitorsConfig { .. } => Some(request::MONITORS_CONFIG_ASYNC),
        Request::DriverUnload => Some(request::DRIVER_UNLOAD),
        // Nobody replays a picture that is not in the recording.
        Request::GlScanout(_) | Request::GlDraw(_) | Request::Nothing => None,
    }
}
