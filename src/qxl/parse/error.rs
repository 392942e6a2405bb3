//! Why a guest's command was refused.

use crate::protocol::geometry::Rect;
use crate::protocol::wire::TooShort;
use crate::qxl::command::ReleaseInfo;
use crate::qxl::guest::GuestError;
use crate::qxl::memslot::AddressError;
use crate::qxl::surface::GeometryError;

/// A command that is skipped.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct CommandError {
    /// What is wrong with it.
    pub reason: Reason,
    /// Present as soon as the payload could be read: the caller must release the command then.
    /// Without a payload there is nothing that could be given back.
    pub release: Option<ReleaseInfo>,
}

/// What is wrong with a command. `part` names the structure that was being read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A structure does not lie in guest memory.
    #[error("{part}: {cause}")]
    Address {
        /// The structure.
        part: &'static str,
        /// Why.
        cause: AddressError,
    },
    /// A structure could not be copied.
    #[error("{part}: {cause}")]
    Copy {
        /// The structure.
        part: &'static str,
        /// Why.
        cause: GuestError,
    },
    /// A structure ends before its last field.
    #[error("structure too short: {0}")]
    Short(#[from] TooShort),
    /// Not a command of this ring.
    #[error("command type {0} does not belong on this ring")]
    CommandType(u32),
    /// Not a draw type.
    #[error("draw type {0}")]
    DrawType(u8),
    /// A draw type that is not implemented yet, or that compatibility mode does not have.
    #[error("draw type {0} is not supported")]
    UnsupportedDraw(u8),
    /// Not one of `QXL_EFFECT_*`.
    #[error("effect {0}")]
    Effect(u8),
    /// A surface id beyond the device's number of surfaces.
    #[error("{part}: surface {id}, have {surfaces}")]
    SurfaceId {
        /// Where the id stands.
        part: &'static str,
        /// The id.
        id: u32,
        /// Number of surfaces.
        surfaces: u32,
    },
    /// A rectangle with a negative or an inverted side.
    #[error(
        "{part}: rectangle {},{} to {},{}",
        .rect.left, .rect.top, .rect.right, .rect.bottom
    )]
    Area {
        /// What the rectangle is for.
        part: &'static str,
        /// The rectangle.
        rect: Rect,
    },
    /// A rectangle without a pixel. For the box of a drawable that is no fault, only nothing to do.
    #[error("{part}: empty rectangle at {},{}", .rect.left, .rect.top)]
    EmptyArea {
        /// What the rectangle is for.
        part: &'static str,
        /// The rectangle.
        rect: Rect,
    },
    /// The source rectangle leaves the image.
    #[error("source area to {},{} in an image of {width}x{height}", .rect.right, .rect.bottom)]
    OutsideImage {
        /// The source rectangle.
        rect: Rect,
        /// Width of the image in pixels.
        width: u32,
        /// Height of the image in pixels.
        height: u32,
    },
    /// Not one of `SPICE_CLIP_TYPE_*`.
    #[error("clip type {0}")]
    ClipType(u32),
    /// The number of clip rectangles does not fit their bytes.
    #[error("{count} clip rectangles in {bytes} bytes")]
    ClipSize {
        /// Number of rectangles.
        count: u32,
        /// Bytes that are there.
        bytes: u64,
    },
    /// More clip rectangles than a region can be made of in reasonable time.
    #[error("{count} clip rectangles, at most {limit}")]
    TooManyClips {
        /// Number of rectangles.
        count: u32,
        /// Most that are taken.
        limit: u32,
    },
    /// Not one of `SPICE_BRUSH_TYPE_*`.
    #[error("brush type {0}")]
    BrushType(u32),
    /// Clients hand this number to pixman, which has no such operator.
    #[error("composite operator {0:#x}")]
    CompositeOperator(u8),
    /// Clients hand this number to pixman, which has no such filter or needs parameters for it.
    #[error("{part}: filter {filter}")]
    CompositeFilter {
        /// Source or mask.
        part: &'static str,
        /// The filter.
        filter: u8,
    },
    /// Neither of the two scale modes.
    #[error("scale mode {0}")]
    ScaleMode(u8),
    /// An image is needed and its address is 0.
    #[error("{0}: no image")]
    NoImage(&'static str),
    /// A guest must not send this image type.
    #[error("{part}: image type {kind}")]
    ImageType {
        /// What the image is for.
        part: &'static str,
        /// `SPICE_IMAGE_TYPE_*`.
        kind: u8,
    },
    /// A path that no client could draw.
    #[error("path {0}")]
    Path(&'static str),
    /// A point of a path so far out that sums overflow.
    #[error("path leads to {x},{y} (28.4)")]
    PathPoint {
        /// Column, 28.4.
        x: i32,
        /// Row, 28.4.
        y: i32,
    },
    /// A dashed line without the length of a pixel; clients would look for its end for ever.
    #[error("dashed line of {0} lengths without a pixel")]
    NoDashes(usize),
    /// Not one of `SPICE_STRING_FLAGS_RASTER_*`.
    #[error("string flags {0:#x}")]
    GlyphDepth(u16),
    /// Another number of glyphs than announced.
    #[error("{have} bytes do not hold {length} glyphs")]
    Glyphs {
        /// Glyphs that were announced.
        length: u16,
        /// Bytes that are there.
        have: usize,
    },
    /// Legal, and not implemented yet.
    #[error("{0} is not implemented yet")]
    NotYet(&'static str),
    /// A compressed image that cannot be decoded.
    #[error("{part}: {why}")]
    Compressed {
        /// What the image is for.
        part: &'static str,
        /// What the decoder says.
        why: String,
    },
    /// A compressed image that has another size than its descriptor says.
    #[error("{part}: stream of {}x{}, descriptor of {}x{}", .stream.0, .stream.1, .descriptor.0, .descriptor.1)]
    CompressedSize {
        /// What the image is for.
        part: &'static str,
        /// Width and height of the stream.
        stream: (u32, u32),
        /// Width and height that were announced.
        descriptor: (u32, u32),
    },
    /// The image is a surface that the command does not say it reads.
    #[error("{part}: surface {id} is not among the command's dependencies")]
    UndeclaredSurface {
        /// What the image is for.
        part: &'static str,
        /// The surface.
        id: u32,
    },
    /// Not a bitmap format, or one that cannot be used here.
    #[error("{part}: bitmap format {format}")]
    BitmapFormat {
        /// What the image is for.
        part: &'static str,
        /// `SPICE_BITMAP_FMT_*`.
        format: u8,
    },
    /// A bitmap without a pixel, or with a side that no rectangle can name.
    #[error("{part}: bitmap of {width}x{height}")]
    BitmapSize {
        /// What the image is for.
        part: &'static str,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Rows overlap.
    #[error("{part}: bitmap stride {stride}, rows of {row} bytes")]
    BitmapStride {
        /// What the image is for.
        part: &'static str,
        /// Bytes from row to row.
        stride: u32,
        /// Bytes that a row needs.
        row: u64,
    },
    /// An indexed bitmap without colours.
    #[error("{0}: indexed bitmap without a palette")]
    NoPalette(&'static str),
    /// Bytes and what was announced differ.
    #[error("{part}: {have} bytes, need {need}")]
    DataSize {
        /// What the bytes are for.
        part: &'static str,
        /// Bytes that are there.
        have: u64,
        /// Bytes that are needed.
        need: u64,
    },
    /// More bytes than one command may bring.
    #[error("{part}: {bytes} bytes, {left} left of the command's limit")]
    TooMuchData {
        /// What the bytes are for.
        part: &'static str,
        /// Bytes it has, so far as they were counted.
        bytes: u64,
        /// Bytes that the command may still bring.
        left: u64,
    },
    /// More chunks than one command may bring, perhaps a circle.
    #[error("{part}: more than {limit} chunks")]
    TooManyChunks {
        /// What the chunks are for.
        part: &'static str,
        /// Chunks that a command may have.
        limit: u32,
    },
    /// A message without a terminating zero.
    #[error("message of {0} bytes does not end")]
    EndlessMessage(usize),
    /// Neither create nor destroy.
    #[error("surface command {0}")]
    SurfaceCommand(u8),
    /// The primary surface is not made or destroyed by commands.
    #[error("surface command for the primary surface")]
    PrimarySurface,
    /// A surface that cannot be.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// Not a cursor command.
    #[error("cursor command {0}")]
    CursorCommand(u8),
    /// Not one of `SPICE_CURSOR_TYPE_*`.
    #[error("cursor type {0}")]
    CursorType(u16),
    /// A pointer without a pixel, or a huge one.
    #[error("cursor of {width}x{height}")]
    CursorSize {
        /// Width in pixels.
        width: u16,
        /// Height in pixels.
        height: u16,
    },
}
