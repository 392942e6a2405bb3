//! What a display channel hands over: its caches, its dictionary, and the surfaces that the client has.

use super::{Body, HEAD, HandoverError, Writer};
use crate::protocol::geometry::Rect;
use crate::protocol::wire::{Reader, WireWrite};

/// Encoders of one dictionary, as the original has them; nothing depends on it here.
const ENCODERS: u32 = 4;
/// Bytes of an entry of the surfaces, and of one with an area.
const PLAIN: usize = 4;
const WITH_AREA: usize = 4 + 16;
/// Displays whose use of the image cache is told of.
const CACHE_USERS: usize = 4;

/// A surface that the client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandedSurface {
    /// Its number.
    pub id: u32,
    /// What was painted there from data with losses lies inside; empty if nothing was.
    pub lossy: Rect,
}

/// What a display channel hands over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DisplayHandover {
    /// Serial of the last message.
    pub serial: u64,
    /// The client's link is slow.
    pub slow: bool,
    /// Number and size in pixels of the client's image cache; below 1: it has none.
    pub cache_id: u8,
    /// See `cache_id`.
    pub cache_pixels: i64,
    /// The target empties the cache when it has this channel.
    pub empties_cache: bool,
    /// For the displays 0 to 3: 0 if it does not use the cache.
    pub cache_users: [u64; CACHE_USERS],
    /// Number and size in pixels of the client's dictionary; 0: it may have no more images.
    pub dictionary_id: u8,
    /// See `dictionary_id`.
    pub window: u32,
    /// Number of the next image in the dictionary.
    pub next_image: u64,
    /// What the client has.
    pub surfaces: Vec<HandedSurface>,
}

impl DisplayHandover {
    const SIZE: usize = HEAD + 8 + 1 + (1 + 8 + 1 + CACHE_USERS * 8) + (1 + 4 + 4 + 8) + 4;

    /// Reads it. At most `surfaces` surfaces, with numbers below that.
    ///
    /// # Errors
    /// [`HandoverError`]
    pub fn read(body: &[u8], surfaces: u32) -> Result<Self, HandoverError> {
        let mut body = Body::new(body, b"DCMD")?;
        let (serial, slow) = (body.u64()?, body.u8()? != 0);
        let (cache_id, cache_pixels) = (body.u8()?, body.fields.i64()?);
        let empties_cache = body.u8()? != 0;
        let mut cache_users = [0; CACHE_USERS];
        for user in &mut cache_users {
            *user = body.u64()?;
        }
        let (dictionary_id, window) = (body.u8()?, body.u32()?);
        let (_encoders, next_image) = (body.u32()?, body.u64()?);
        let at = body.u32()?;
        let surfaces = read_surfaces(&body, at, surfaces)?;
        // Numbers are only counted up, for as long as a session lasts.
        let limit = |field, value: u64| match value {
            0..=0x7fff_ffff_ffff_ffff => Ok(()),
            value => Err(HandoverError::Field { field, value }),
        };
        limit("serial", serial)?;
        limit("number of the next image", next_image)?;
        Ok(Self {
            serial,
            slow,
            cache_id,
            cache_pixels,
            empties_cache,
            cache_users,
            dictionary_id,
            window,
            next_image,
            surfaces,
        })
    }

    /// Its bytes; surfaces with their lossy areas if `areas`, for which both servers have to be configured alike.
    #[must_use]
    pub fn write(&self, areas: bool) -> Vec<u8> {
        let mut writer = Writer::new(b"DCMD", Self::SIZE);
        let count = u32::try_from(self.surfaces.len()).unwrap_or(0);
        let mut list = Vec::with_capacity(4 + self.surfaces.len() * WITH_AREA);
        list.put_u32(count);
        for HandedSurface { id, lossy } in &self.surfaces {
            list.put_u32(*id);
            if areas {
                // Not in the order of rectangles elsewhere.
                list.put_i32(lossy.left).put_i32(lossy.top);
                list.put_i32(lossy.right).put_i32(lossy.bottom);
            }
        }
        let at = writer.point_to(&list);
        let fields = &mut writer.fields;
        fields.put_u64(self.serial).put_u8(u8::from(self.slow));
        fields.put_u8(self.cache_id).put_i64(self.cache_pixels);
        fields.put_u8(u8::from(self.empties_cache));
        for user in self.cache_users {
            fields.put_u64(user);
        }
        fields.put_u8(self.dictionary_id).put_u32(self.window).put_u32(ENCODERS);
        fields.put_u64(self.next_image).put_u32(at);
        writer.finish()
    }
}

/// The list of surfaces. Whether it has areas is a setting of the server that wrote it, which its length shows.
fn read_surfaces(body: &Body<'_>, at: u32, most: u32) -> Result<Vec<HandedSurface>, HandoverError> {
    let field = |field, value: u32| HandoverError::Field { field, value: value.into() };
    let outside = HandoverError::Outside { at, len: 4, have: body.all.len() };
    let from = usize::try_from(at).map_err(|_| outside)?;
    let mut list = Reader::new(body.all.get(from..).ok_or(outside)?);
    let count = list.u32()?;
    if count > most {
        return Err(field("number of surfaces", count));
    }
    let entries = usize::try_from(count).map_err(|_| outside)?;
    let have = list.rest().len();
    let areas = entries > 0 && have >= entries * WITH_AREA;
    if !areas && have < entries * PLAIN {
        return Err(HandoverError::Outside { at, len: count, have });
    }
    let mut surfaces: Vec<HandedSurface> = Vec::with_capacity(entries);
    for _ in 0..entries {
        let id = list.u32()?;
        let mut lossy = Rect::default();
        if areas {
            (lossy.left, lossy.top) = (list.i32()?, list.i32()?);
            (lossy.right, lossy.bottom) = (list.i32()?, list.i32()?);
        }
        if id >= most || surfaces.iter().any(|known| known.id == id) {
            return Err(field("number of a surface", id));
        }
        surfaces.push(HandedSurface { id, lossy });
    }
    Ok(surfaces)
}
