//! What a client is told, decoded again.

use super::*;
use crate::display::encode::decode::{flatten, rect};
use crate::display::encode::encode_drawable;
use crate::display::encode::image::AlphaUse;
use crate::protocol::geometry::Point;
use crate::protocol::wire::Reader;
use crate::qxl::model::{Brush, DrawOp, Drawable, ImageKind, Mask, Palette};

fn bitmap(format: BitmapFormat, width: u32, height: u32, byte: u8) -> Bitmap {
    let stride = (width * format.bits()).div_ceil(8);
    let data = vec![byte; (stride * height) as usize];
    Bitmap { format, top_down: true, width, height, stride, palette: None, data: data.into() }
}

fn indexed(unique: u64, color: u32) -> Bitmap {
    let palette = Some(Arc::new(Palette { unique, entries: vec![color; 256] }));
    Bitmap { palette, ..bitmap(BitmapFormat::Bit8, 10, 10, 3) }
}

fn image(id: u64, flags: u8, bitmap: Bitmap) -> Image {
    let (width, height) = (bitmap.width, bitmap.height);
    Image { id, flags, width, height, kind: ImageKind::Bitmap(bitmap) }
}

/// Whose images travel as they are, until somebody wishes something else.
fn client(share: &Arc<ImageShare>, channel: u8, pixels: u64) -> ClientImages {
    share.compression.set(Compression::Off);
    let skills = Skills { lz4: true, ..Skills::default() };
    let mut images =
        ClientImages::new(ImageAbilities { skills, only_xrgb: false }, Arc::clone(share));
    images.keep_pixmaps(share.pixmaps.join(1, 1, pixels, channel));
    images
}

/// Type and flags of an image that is asked for in message `last + 1`.
fn ask(images: &mut ClientImages, last: u64, image: &Image, purpose: Purpose) -> (u8, u8) {
    images.begin(last);
    let ImageKind::Bitmap(bitmap) = &image.kind else { panic!("no bitmap") };
    let payload = images.image(image, bitmap, purpose).unwrap().here().unwrap();
    (payload.image_type, payload.flags)
}

#[test]
fn an_image_is_kept_when_guest_and_purpose_allow_it() {
    let share = Arc::default();
    let mut images = client(&share, 0, 1000);
    let pixels = || bitmap(BitmapFormat::Bit32, 10, 10, 1);
    let id = |group: u64| 7 << 32 | group;
    let mut never = |image: &Image, purpose| {
        for last in [1, 2] {
            assert_eq!(ask(&mut images, last, image, purpose), (0, 0), "{image:?}");
        }
    };
    never(&image(id(0), 0, pixels()), Purpose::EXACT);
    never(&image(id(0), 1, pixels()), Purpose::COMPOSED);
    never(&image(id(0), 1, pixels()), Purpose::SURFACE);
    never(&image(0, 1, pixels()), Purpose::EXACT);
    never(&image(id(2), 1, pixels()), Purpose::EXACT);
    never(&image(id(3), 1, pixels()), Purpose::EXACT);
    never(&image(id(0), 1, bitmap(BitmapFormat::Bit32, 101, 10, 1)), Purpose::EXACT);
    for group in [0, 1] {
        let kept = image(id(group), 1, pixels());
        assert_eq!(ask(&mut images, 5, &kept, Purpose::EXACT), (0, CACHE_ME));
        assert_eq!(ask(&mut images, 6, &kept, Purpose::SEEN), (TYPE_FROM_CACHE, 0));
        // Another purpose sends it in full and leaves the record alone.
        assert_eq!(ask(&mut images, 7, &kept, Purpose::COMPOSED), (0, 0));
    }
    assert!(images.before().is_none() && images.behind().is_none());
    // Other pixels under the same id.
    let other = image(id(0), 1, bitmap(BitmapFormat::Bit32, 10, 10, 2));
    assert_eq!(ask(&mut images, 8, &other, Purpose::EXACT), (0, CACHE_ME));
    let told = images.before().unwrap();
    assert_eq!((told.kind, &told.body[..3]), (wire::server::INVAL_LIST, &[1, 0, 1][..]));
    assert_eq!(told.body[3..], id(0).to_le_bytes());
    assert!(images.before().is_none());
    assert_eq!(ask(&mut images, 10, &other, Purpose::EXACT), (TYPE_FROM_CACHE, 0));
}

fn copy(source: Image) -> Drawable {
    let (width, height) = (source.width, source.height);
    let size = rect(0, 0, i32::try_from(width).unwrap(), i32::try_from(height).unwrap());
    let op = DrawOp::Opaque {
        src: Some(source),
        src_area: size,
        brush: Brush::None,
        rop: 8,
        nearest: false,
        mask: Mask::default(),
    };
    Drawable {
        surface_id: 0,
        effect: 1,
        bbox: size,
        clip: None,
        mm_time: 0,
        self_bitmap_area: None,
        reads: Vec::new(),
        op,
    }
}

#[test]
fn a_message_that_fails_leaves_no_trace_in_the_records() {
    let share = Arc::default();
    let mut images = client(&share, 0, 1000);
    let good = image(7 << 32, 1, bitmap(BitmapFormat::Bit32, 10, 10, 1));
    let mut short = bitmap(BitmapFormat::Bit32, 10, 10, 1);
    short.data = vec![0; 399].into();
    let mut bad = copy(good.clone());
    if let DrawOp::Opaque { brush, .. } = &mut bad.op {
        *brush = Brush::Pattern { image: image(5, 0, short.clone()), pos: Point::default() };
    }
    images.begin(1);
    assert!(encode_drawable(&bad, &|_| None, &mut images).is_err());
    assert_eq!(ask(&mut images, 1, &good, Purpose::EXACT), (0, CACHE_ME), "it was not sent");

    let mut bad = copy(image(1, 0, indexed(9, 1)));
    if let DrawOp::Opaque { brush, .. } = &mut bad.op {
        *brush = Brush::Pattern { image: image(5, 0, short), pos: Point::default() };
    }
    images.begin(2);
    assert!(encode_drawable(&bad, &|_| None, &mut images).is_err());
    let again = images
        .image(&image(1, 0, indexed(9, 1)), &indexed(9, 1), Purpose::EXACT)
        .unwrap()
        .here()
        .unwrap();
    assert_eq!(again.fields[1] & 3, PAL_CACHE_ME);
}

/// Bitmap flags, palette pointer or id, and all that follows the descriptor, of a copy's source.
fn sent_palette(images: &mut ClientImages, unique: u64, color: u32) -> (u8, u64, Vec<u8>) {
    images.begin(1);
    let message = encode_drawable(&copy(image(1, 0, indexed(unique, color))), &|_| None, images)
        .unwrap()
        .finish()
        .unwrap();
    let all = flatten(&message);
    let at = u32::from_le_bytes(all[21..25].try_into().unwrap()) as usize;
    let mut r = Reader::new(&all[at + 18..]);
    let _format = r.u8().unwrap();
    let flags = r.u8().unwrap();
    assert_eq!((r.u32().unwrap(), r.u32().unwrap(), r.u32().unwrap()), (10, 10, 10));
    let field =
        if flags & PAL_FROM_CACHE != 0 { r.u64().unwrap() } else { r.u32().unwrap().into() };
    assert_eq!(r.bytes(100).unwrap(), [3; 100], "the pixels follow at once");
    let start = usize::try_from(field).unwrap();
    let palette = if flags & PAL_FROM_CACHE != 0 { &[][..] } else { &all[start..start + 1034] };
    (flags & 3, field, palette.to_vec())
}

#[test]
fn palettes_go_once_and_then_by_their_id() {
    let share = Arc::default();
    let mut images = client(&share, 0, 1000);
    let (flags, _, block) = sent_palette(&mut images, 0, 5);
    assert_eq!((flags, &block[..14]), (0, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 5, 0, 0, 0][..]));
    for id in 1..=128 {
        assert_eq!(sent_palette(&mut images, id, 5).0, PAL_CACHE_ME);
        assert!(images.behind().is_none());
    }
    assert_eq!(sent_palette(&mut images, 1, 5), (PAL_FROM_CACHE, 1, vec![]));
    assert_eq!(sent_palette(&mut images, 129, 5).0, PAL_CACHE_ME);
    assert!(images.before().is_none());
    let behind = images.behind().unwrap();
    assert_eq!((behind.kind, &behind.body[..]), (107, &2u64.to_le_bytes()[..]));
    assert!(images.behind().is_none());
    // Other colours under a known id: the old ones go before.
    assert_eq!(sent_palette(&mut images, 1, 6).0, PAL_CACHE_ME);
    let before = images.before().unwrap();
    assert_eq!((before.kind, &before.body[..]), (107, &1u64.to_le_bytes()[..]));
    assert!(images.before().is_none() && images.behind().is_none());
    images.forget_palettes();
    assert_eq!(sent_palette(&mut images, 1, 6).0, PAL_CACHE_ME);
}

#[test]
fn the_host_sets_the_compression_and_the_client_has_the_last_word() {
    let share: Arc<ImageShare> = Arc::default();
    let mut images = client(&share, 0, 0);
    let picture = image(1, 0, bitmap(BitmapFormat::Bit32, 50, 50, 0));
    let kind = |images: &mut ClientImages| ask(images, 1, &picture, Purpose::SEEN).0;
    assert_eq!(kind(&mut images), 0);
    share.compression.set(Compression::AutoGlz);
    assert_eq!(kind(&mut images), 101);
    share.compression.set(Compression::Quic);
    assert_eq!(kind(&mut images), 1);
    share.compression.set(Compression::Lz4);
    assert_eq!(kind(&mut images), 109);
    images.prefer(1);
    assert_eq!(kind(&mut images), 0);
    images.prefer(99);
    assert_eq!(kind(&mut images), 0, "no such wish");
    images.prefer(7);
    share.compression.set(Compression::Off);
    assert_eq!(kind(&mut images), 109);
}

#[test]
fn a_simple_client_gets_32_bits_of_everything() {
    let share: Arc<ImageShare> = Arc::default();
    let mut images = client(&share, 0, 1000);
    share.compression.set(Compression::AutoGlz);
    images.show_only_xrgb();
    let mut pixels = bitmap(BitmapFormat::Bit16, 3, 2, 0);
    (pixels.stride, pixels.data) =
        (8, vec![0x1f, 0, 0xe0, 3, 0, 0x7c, 9, 9, 0xff, 0x7f, 0, 0, 0x10, 0, 9, 9].into());
    images.begin(1);
    let got = images
        .image(&image(1, 1, pixels.clone()), &pixels, Purpose::SURFACE)
        .unwrap()
        .here()
        .unwrap();
    assert_eq!((got.image_type, got.flags, got.fields[0]), (0, 0, 8));
    let want: [u32; 6] = [0x0000_00ff, 0x0000_ff00, 0x00ff_0000, 0x00ff_ffff, 0, 0x0000_0084];
    let want: Vec<u8> = want.iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(got.data.unwrap().as_slice(), want);
    let rgba = bitmap(BitmapFormat::Rgba, 3, 2, 7);
    let got =
        images.image(&image(1, 1, rgba.clone()), &rgba, Purpose::EXACT).unwrap().here().unwrap();
    assert_eq!((got.flags, got.fields[0]), (0, 8), "alpha means nothing to it");
}

#[test]
fn a_compressed_palette_goes_once_and_then_by_its_id() {
    let share: Arc<ImageShare> = Arc::default();
    let mut images = client(&share, 0, 1000);
    share.compression.set(Compression::Lz);
    let pixels = indexed(77, 5);
    let mut fields = || {
        images.begin(1);
        let got = images
            .image(&image(1, 0, pixels.clone()), &pixels, Purpose::EXACT)
            .unwrap()
            .here()
            .unwrap();
        assert_eq!(got.image_type, 100);
        (got.fields, got.palette.is_some(), got.data.unwrap().as_slice().len())
    };
    let (first, inline, size) = fields();
    assert_eq!((first[0], &first[5..], inline), (4 | PAL_CACHE_ME, &[0; 4][..], true));
    assert_eq!(first[1..5], u32::try_from(size).unwrap().to_le_bytes());
    let (second, inline, _) = fields();
    assert_eq!((second[0], inline), (4 | PAL_FROM_CACHE, false));
    assert_eq!((&second[1..5], &second[5..]), (&first[1..5], &77u64.to_le_bytes()[..]));
}

#[test]
fn sixteen_bits_whose_high_bits_are_to_be_set_go_as_they_are() {
    let share: Arc<ImageShare> = Arc::default();
    let mut images = client(&share, 0, 0);
    share.compression.set(Compression::Lz);
    let pixels = bitmap(BitmapFormat::Bit16, 50, 50, 1);
    let mut kind = |flags| ask(&mut images, 1, &image(1, flags, pixels.clone()), Purpose::EXACT).0;
    assert_eq!((kind(0), kind(HIGH_BITS_SET)), (101, 0));
}

#[test]
fn alpha_that_makes_no_difference_is_left_out() {
    let share: Arc<ImageShare> = Arc::default();
    let mut images = client(&share, 0, 1 << 20);
    share.compression.set(Compression::Quic);
    let with_alpha = |alpha: [u8; 2]| {
        let mut bitmap = bitmap(BitmapFormat::Rgba, 16, 16, 0);
        let pixels = (0..256u32).map(|n| [n.to_le_bytes()[0], 3, 5, alpha[usize::from(n == 255)]]);
        bitmap.data = pixels.flatten().collect::<Vec<u8>>().into();
        bitmap
    };
    let purpose = |alpha| Purpose { alpha, ..Purpose::SEEN };
    // Type of the stream: RGB32 is 4, RGBA is 5.
    let mut got = |bitmap: Bitmap, alpha| {
        images.begin(1);
        let got = images.image(&image(1 << 32, 0, bitmap.clone()), &bitmap, purpose(alpha));
        let got = got.unwrap().here().unwrap();
        (got.data.unwrap()[8], got.flags)
    };
    let (rgb, rgba) = (4, 5);
    for alpha in [AlphaUse::Used, AlphaUse::Copied, AlphaUse::Dropped] {
        let opaque = if alpha == AlphaUse::Used { (rgba, 0) } else { (rgb, HIGH_BITS_SET) };
        assert_eq!(got(with_alpha([255, 255]), alpha), opaque);
        let empty = if alpha == AlphaUse::Dropped { (rgb, 0) } else { (rgba, 0) };
        assert_eq!(got(with_alpha([0, 0]), alpha), empty);
        assert_eq!(got(with_alpha([255, 254]), alpha), (rgba, 0));
        assert_eq!(got(with_alpha([0, 1]), alpha), (rgba, 0));
    }
    // What the client keeps has one form: for the other one it is sent once more.
    let kept = image(1 << 32, CACHE_ME, with_alpha([255, 255]));
    let mut ask = |last, alpha| ask(&mut images, last, &kept, purpose(alpha)).0;
    assert_eq!(ask(1, AlphaUse::Copied), 1);
    assert_eq!(ask(2, AlphaUse::Copied), TYPE_FROM_CACHE);
    assert_eq!(ask(3, AlphaUse::Used), 1);
    assert_eq!(ask(4, AlphaUse::Used), TYPE_FROM_CACHE);
    // An image that has only one form is sent once.
    let icon = image(2 << 32, CACHE_ME, with_alpha([255, 0]));
    let mut ask = |last, alpha| self::ask(&mut images, last, &icon, purpose(alpha)).0;
    assert_eq!(ask(5, AlphaUse::Dropped), 1);
    assert_eq!(ask(6, AlphaUse::Used), TYPE_FROM_CACHE);
}

/// The number that an image of the next message has; `None` if it goes as LZ.
fn number(images: &mut ClientImages, last: u64) -> Option<u64> {
    images.begin(last);
    let pixels = bitmap(BitmapFormat::Bit24, 50, 50, 1);
    let got = images.image(&image(1, 0, pixels.clone()), &pixels, Purpose::SEEN);
    let got = got.unwrap().here().unwrap();
    match got.image_type {
        101 => None,
        102 => Some(u64::from_be_bytes(got.data.unwrap().as_slice()[21..29].try_into().unwrap())),
        other => panic!("image type {other}"),
    }
}

#[test]
fn glz_goes_to_one_client_with_a_dictionary() {
    let share: Arc<ImageShare> = Arc::default();
    let mut images = client(&share, 0, 0);
    share.compression.set(Compression::AutoGlz);
    assert_eq!(number(&mut images, 1), None);
    images.keep_dictionary(share.dictionaries.join(1, 1, 1 << 20));
    assert_eq!(number(&mut images, 2), Some(0));
    images.set_shared(true);
    assert_eq!(number(&mut images, 3), None);
    images.set_shared(false);
    assert_eq!(number(&mut images, 4), Some(1), "nothing was lost");
    images.prefer(Compression::Lz as u8);
    assert_eq!(number(&mut images, 5), None);
    // A pattern among others of one message; clients decode some first and some never.
    images.prefer(Compression::Glz as u8);
    let pixels = bitmap(BitmapFormat::Bit24, 50, 50, 1);
    assert_eq!(ask(&mut images, 6, &image(1, 0, pixels), Purpose::PATTERN).0, 101);
    assert_eq!(number(&mut images, 7), Some(2));
}

#[test]
fn a_command_that_cannot_be_sent_takes_no_number() {
    let share: Arc<ImageShare> = Arc::default();
    let mut images = client(&share, 0, 0);
    share.compression.set(Compression::Glz);
    images.keep_dictionary(share.dictionaries.join(1, 1, 1 << 20));
    assert_eq!(number(&mut images, 1), Some(0));
    let good = image(1, 0, bitmap(BitmapFormat::Bit24, 50, 50, 1));
    let gone = Image { kind: ImageKind::Surface(9), ..good.clone() };
    let pattern = Brush::Pattern { image: gone.clone(), pos: Point::default() };
    let mask = Mask { image: Some(gone), ..Mask::default() };
    let mut copies = [copy(good.clone()), copy(good.clone()), copy(good)];
    if let DrawOp::Opaque { brush, .. } = &mut copies[0].op {
        *brush = pattern.clone();
    }
    let DrawOp::Opaque { src: Some(src), src_area, .. } = copies[1].op.clone() else {
        panic!("not opaque")
    };
    copies[1].op = DrawOp::Copy {
        src: src.clone(),
        src_area,
        rop: 8,
        nearest: false,
        mask: mask.clone(),
        blend: false,
    };
    copies[2].op = DrawOp::Rop3 {
        src: Some(src),
        src_area,
        brush: pattern,
        code: 0xe2,
        nearest: false,
        mask: Mask::default(),
    };
    for bad in &copies {
        images.begin(2);
        assert!(encode_drawable(bad, &|_| None, &mut images).is_err());
    }
    assert_eq!(number(&mut images, 3), Some(1));
    // If one is lost all the same, there are no more.
    images.discard();
    assert_eq!(number(&mut images, 4), None);
}

#[test]
fn photographs_that_come_again_go_through_the_dictionary() {
    let share: Arc<ImageShare> = Arc::default();
    let mut images = client(&share, 0, 0);
    share.compression.set(Compression::AutoGlz);
    let photo = |left: u32| {
        let spots = (0..200u32).flat_map(|y| (left..left + 300).map(move |x| (x, y)));
        let pixels = spots.flat_map(|(x, y)| {
            let rough = ((x * 31) ^ (y * 17)).wrapping_mul(0x9e37_79b1) >> 30;
            let low = |v: u32| v.to_le_bytes()[0];
            [low(x / 3 + rough), low(y + rough), low((x + y) / 4), 0]
        });
        let data = pixels.collect::<Vec<u8>>().into();
        let bitmap = Bitmap { data, ..bitmap(BitmapFormat::Bit32, 300, 200, 0) };
        image(1, 0, bitmap)
    };
    let kind = |images: &mut ClientImages, left| ask(images, 1, &photo(left), Purpose::SEEN).0;
    for _ in 0..3 {
        assert_eq!(kind(&mut images, 0), 1, "there is no dictionary");
    }
    images.keep_dictionary(share.dictionaries.join(1, 1, 60_000));
    for _ in 0..3 {
        assert_eq!(kind(&mut images, 0), 1, "the window cannot hold it");
    }
    images.keep_dictionary(share.dictionaries.join(2, 1, 1 << 20));
    assert_eq!([0, 0, 21, 300, 300].map(|left| kind(&mut images, left)), [1, 102, 102, 1, 102]);
    images.prefer(Compression::Quic as u8);
    assert_eq!(kind(&mut images, 0), 1);
    images.prefer(Compression::AutoGlz as u8);
    assert_eq!(ask(&mut images, 1, &photo(0), Purpose::PATTERN).0, 1);
    images.set_shared(true);
    assert_eq!(kind(&mut images, 0), 1);
}

/// Something like a photograph.
fn photo(step: u8) -> Bitmap {
    let mut pixels = bitmap(BitmapFormat::Bit32, 40, 40, 0);
    let byte = |n: u8, x: u8| n.wrapping_mul(step).wrapping_add(x / 4);
    let rows = (0..40u8).flat_map(|y| (0..160u8).map(move |x| (y, x)));
    let rows = rows.map(|(y, x)| if x % 4 == 3 { 0 } else { byte(y, x) });
    pixels.data = rows.collect::<Vec<u8>>().into();
    pixels
}

#[test]
fn a_slow_link_gets_jpeg_while_the_host_wants_it() {
    use crate::display::encode::wan::Wan;
    let share: Arc<ImageShare> = Arc::default();
    let mut images = client(&share, 0, 0);
    share.compression.set(Compression::Quic);
    let link: Arc<LinkSpeed> = Arc::default();
    images.comes_by(Arc::clone(&link));
    let picture = image(1, 0, photo(2));
    let mut kind = |purpose| {
        let kind = ask(&mut images, 1, &picture, purpose).0;
        (kind, images.take_lossy())
    };
    assert_eq!(kind(Purpose::SEEN), (1, false), "no result of the net test yet");
    link.measured(1_000_000);
    assert_eq!(kind(Purpose::SEEN), (105, true));
    assert_eq!(kind(Purpose::EXACT), (1, false));
    assert_eq!(kind(Purpose::SURFACE), (1, false));
    share.wan.set_jpeg(Wan::Never);
    assert_eq!(kind(Purpose::SEEN), (1, false));
    link.measured(100_000_000);
    share.wan.set_jpeg(Wan::Always);
    assert_eq!(kind(Purpose::SEEN), (105, true));
    // spice-html5 draws JPEG late.
    images.show_only_xrgb();
    assert_eq!(ask(&mut images, 1, &picture, Purpose::SEEN).0, 0);
    assert!(!images.take_lossy());
}

#[test]
fn a_link_with_a_small_bound_on_its_bytes_is_slow() {
    let share: Arc<ImageShare> = Arc::default();
    let mut images = client(&share, 0, 0);
    share.compression.set(Compression::Quic);
    let picture = image(1, 0, photo(2));
    for (rate, kind) in [(0, 1), (1_000_000, 105), (2_000_000, 1), (65_536, 105), (0, 1)] {
        images.is_sent_at_most(NonZeroU64::new(rate));
        assert_eq!(ask(&mut images, 1, &picture, Purpose::SEEN).0, kind, "{rate} bytes a second");
    }
}

#[test]
fn an_image_that_is_kept_with_losses_comes_again_when_it_has_to_be_exact() {
    use crate::display::encode::wan::Wan;
    let share: Arc<ImageShare> = Arc::default();
    let mut images = client(&share, 0, 100_000);
    share.compression.set(Compression::Quic);
    share.wan.set_jpeg(Wan::Always);
    let picture = image(7 << 32, 1, photo(2));
    let mut sent = |last, purpose| {
        let (kind, flags) = ask(&mut images, last, &picture, purpose);
        let gone = std::iter::from_fn(|| images.before()).count();
        (kind, flags, images.take_lossy(), gone)
    };
    assert_eq!(sent(1, Purpose::SEEN), (105, CACHE_ME, true, 0));
    assert_eq!(sent(2, Purpose::SEEN), (TYPE_FROM_CACHE, 0, true, 0), "what it shows is lossy");
    // Exact: the lossy one goes first.
    assert_eq!(sent(3, Purpose::EXACT), (1, CACHE_ME, false, 1));
    assert_eq!(sent(5, Purpose::EXACT), (TYPE_FROM_CACHE_LOSSLESS, 0, false, 0));
    assert_eq!(sent(6, Purpose::SEEN), (TYPE_FROM_CACHE_LOSSLESS, 0, false, 0), "exact is as good");
    share.wan.set_jpeg(Wan::Never);
    assert_eq!(sent(7, Purpose::SEEN), (TYPE_FROM_CACHE, 0, false, 0));
}

#[test]
fn a_message_that_fails_has_no_losses() {
    use crate::display::encode::wan::Wan;
    let share: Arc<ImageShare> = Arc::default();
    let mut images = client(&share, 0, 1000);
    share.compression.set(Compression::Quic);
    share.wan.set_jpeg(Wan::Always);
    let mut bad = copy(image(1, 0, photo(3)));
    let mut short = bitmap(BitmapFormat::Bit32, 10, 10, 1);
    short.data = vec![0; 399].into();
    if let DrawOp::Opaque { brush, .. } = &mut bad.op {
        *brush = Brush::Pattern { image: image(5, 0, short), pos: Point::default() };
    }
    images.begin(1);
    assert!(encode_drawable(&bad, &|_| None, &mut images).is_err());
    assert!(!images.take_lossy());
    images.begin(1);
    encode_drawable(&copy(image(1, 0, photo(3))), &|_| None, &mut images).unwrap();
    assert!(images.take_lossy());
}
