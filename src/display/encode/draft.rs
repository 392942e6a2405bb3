//! A message whose place in the order is fixed, while its images may still be in work.
//!
//! Made on display-N in the order of sending: caches, serials and dictionaries are settled by then. A draft is sent
//! whatever happens, unless its client goes.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::pool::Scratch;
use crate::pool::workers::Progress;
use crate::protocol::common::server::PING;
use crate::protocol::display as wire;
use crate::protocol::geometry::Rect;
use crate::protocol::message::{Bulk, Message};
use crate::protocol::wire::WireWrite;
use crate::video::detect::StreamKey;
use crate::video::encode::Encoding;

use super::EncodeError;
use super::image::{Block, ImageBlock};

/// How long a frame waits for a worker.
const PATIENCE: Duration = Duration::from_millis(200);

/// A message, or what will be one.
#[derive(Debug)]
pub enum Draft {
    /// All of it is there.
    Ready(Message),
    /// Some images are in work.
    Waiting(Box<Unfinished>),
    /// A frame of a stream is in work.
    Frame(Box<FrameDraft>),
    /// A place for a ping that measures the link, if one is due then. It stands in the order like the others, so that the
    /// serials of what follows are known.
    Probe,
}

/// A frame on its way to one client. It may turn out not to exist: then it is left out.
#[derive(Debug)]
pub struct FrameDraft {
    /// Its stream.
    pub stream: StreamKey,
    /// Media time at which the client is to show it.
    pub time: u32,
    /// Size and place, if they are not those of the stream.
    pub sized: Option<((u32, u32), Rect)>,
    /// Its quality, of 100.
    pub quality: u8,
    /// The work, and since when it is waited for.
    pub encoding: Encoding,
    /// When it was begun.
    pub begun: Instant,
}

impl FrameDraft {
    /// Its message; `None` if there is no frame.
    #[must_use]
    pub fn message(&self) -> Option<Message> {
        match self.encoding.look() {
            Progress::Done(data) => {
                Some(wire::stream_data(self.stream.id, self.time, self.sized, data))
            }
            Progress::Working | Progress::Failed => None,
        }
    }
}

/// A message with images in work.
#[derive(Debug)]
pub struct Unfinished {
    pub(super) kind: u16,
    /// The body up to the blocks that pointers name.
    pub(super) bytes: Vec<u8>,
    /// What the pointers written so far will point at, with the pointer's place in `bytes`.
    pub(super) blocks: Vec<(usize, Block)>,
    /// The same for what is no image.
    pub(super) plain: Vec<(usize, Vec<u8>)>,
}

impl Draft {
    /// Message type as the protocol numbers it.
    #[must_use]
    pub fn kind(&self) -> u16 {
        match self {
            Self::Ready(message) => message.kind,
            Self::Waiting(draft) => draft.kind,
            Self::Frame(_) => wire::server::STREAM_DATA,
            Self::Probe => PING,
        }
    }

    /// True if [`Draft::finish`] gives the message.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Ready(_) | Self::Probe => true,
            Self::Waiting(draft) => !draft.blocks.iter().any(|(_, block)| is_working(block)),
            Self::Frame(draft) => !matches!(draft.encoding.look(), Progress::Working),
        }
    }

    /// Bytes of the pixels that are in work, or of the message.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Ready(message) => message.len(),
            Self::Waiting(draft) => draft.blocks.iter().map(|(_, block)| weight(block)).sum(),
            Self::Frame(draft) => draft.encoding.weight(),
            Self::Probe => 0,
        }
    }

    /// Makes an image that no worker has begun here, if it has no more than so many bytes; false if there is none.
    pub fn help(&self, scratch: &mut Scratch, most: usize) -> bool {
        let draft = match self {
            Self::Ready(_) | Self::Probe => return false,
            // Frames are the workers', unless there are none that come to them.
            Self::Frame(draft) => {
                return draft.begun.elapsed() > PATIENCE && draft.encoding.help(scratch);
            }
            Self::Waiting(draft) => draft,
        };
        draft.blocks.iter().any(|(_, block)| match block {
            Block::Coming(block) => block.coming.pixels <= most && block.coming.help(scratch),
            Block::Ready(_) => false,
        })
    }

    /// The message.
    ///
    /// # Errors
    /// [`EncodeError::NotMade`] if an image is in work, or failed for a mistake of ours.
    pub fn finish(self) -> Result<Message, EncodeError> {
        match self {
            Self::Ready(message) => Ok(message),
            Self::Waiting(draft) => draft.finish(),
            Self::Frame(draft) => draft.message().ok_or(EncodeError::NotMade),
            Self::Probe => Err(EncodeError::NotMade),
        }
    }
}

impl From<Message> for Draft {
    fn from(message: Message) -> Self {
        Self::Ready(message)
    }
}

fn is_working(block: &Block) -> bool {
    matches!(block, Block::Coming(block) if block.coming.is_working())
}

fn weight(block: &Block) -> usize {
    match block {
        Block::Ready(block) => block.len(),
        Block::Coming(block) => block.coming.pixels,
    }
}

impl Unfinished {
    /// The message if nothing is in work.
    pub(super) fn into_draft(self) -> Result<Draft, EncodeError> {
        let mut at_most = self.bytes.len() as u64;
        let mut coming = false;
        for (_, block) in &self.blocks {
            if let Block::Coming(block) = block {
                coming = true;
                at_most = at_most.saturating_add(block.coming.at_most);
            }
        }
        if !coming {
            return self.finish().map(Draft::Ready);
        }
        // Whoever is promised a message gets one: what might not fit is refused now.
        at_most += self.plain.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        at_most += self.blocks.iter().map(|(_, block)| 4096 + weight(block) as u64).sum::<u64>();
        u32::try_from(at_most).map_err(|_| EncodeError::TooLong(at_most))?;
        Ok(Draft::Waiting(Box::new(self)))
    }

    /// Appends the blocks, sets the pointers and closes the message.
    fn finish(self) -> Result<Message, EncodeError> {
        let Self { kind, mut bytes, blocks, plain } = self;
        let mut bulk: Vec<Bulk> = Vec::new();
        for (pointer, block) in plain {
            let end = bytes.len();
            let start = u32::try_from(end).map_err(|_| EncodeError::TooLong(end as u64))?;
            patch(&mut bytes, pointer, start);
            bytes.put_bytes(&block);
        }
        let mut ready: Vec<(usize, ImageBlock)> = Vec::with_capacity(blocks.len());
        for (pointer, block) in blocks {
            let mut block = match block {
                Block::Ready(block) => block,
                Block::Coming(block) => block.settle()?,
            };
            block.place_palette(&mut bytes)?;
            ready.push((pointer, block));
        }
        // Stable: images without pixels first, because what follows bulk data is bulk itself.
        ready.sort_by_key(|(_, block)| block.pixels.is_some());
        let mut end = bytes.len();
        for (pointer, block) in ready {
            let start = u32::try_from(end).map_err(|_| EncodeError::TooLong(end as u64))?;
            patch(&mut bytes, pointer, start);
            end = end.saturating_add(block.len());
            if bulk.is_empty() {
                bytes.put_bytes(&block.header);
            } else {
                bulk.push(Bulk::whole(block.header.into()));
            }
            bulk.extend(block.pixels);
        }
        u32::try_from(end).map_err(|_| EncodeError::TooLong(end as u64))?;
        Ok(Message { kind, body: bytes, bulk, ..Message::default() })
    }
}

/// Sets a pointer that was written as 0.
pub(super) fn patch(bytes: &mut [u8], pointer: usize, value: u32) {
    if let Some(field) = bytes.get_mut(pointer..).and_then(|b| b.first_chunk_mut::<4>()) {
        *field = value.to_le_bytes();
    }
}
