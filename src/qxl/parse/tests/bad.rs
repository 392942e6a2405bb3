//! Bad commands: each kind is refused with its reason, and released iff its payload was there.

use super::*;
use crate::qxl::memslot::AddressError;
use crate::qxl::surface::GeometryError;

/// What a bad command must lead to.
enum Want {
    /// This reason, and a release.
    Reason(Reason),
    /// Something is not in guest memory; the command is released.
    NotMapped(&'static str),
}

use Want::{NotMapped, Reason as Exactly};

/// Parses a bad command and checks reason and release.
fn check(ram: &TestRam, name: &str, command: &CommandExt, limits: &Limits, want: &Want) {
    let error = if command.kind == CMD_CURSOR {
        parse_cursor_command(&ram.slots, command, limits).expect_err(name)
    } else {
        display(ram, command, limits).expect_err(name)
    };
    match want {
        Exactly(reason) => assert_eq!(&error.reason, reason, "{name}"),
        NotMapped(part) => assert!(
            matches!(&error.reason, Reason::Address { part: found, .. } if found == part),
            "{name}: {:?}",
            error.reason
        ),
    }
    assert_eq!(error.release, Some(release_of(ram, command)), "{name}");
    assert!(!error.to_string().is_empty());
}

/// Checks drawables that are refused and released.
fn refused_draws(ram: &mut TestRam, table: Vec<(&str, Vec<u8>, Want)>) {
    for (name, payload, want) in table {
        let command = command(ram, CMD_DRAW, &payload);
        check(ram, name, &command, &Limits::default(), &want);
    }
}

fn solid_fill() -> Vec<u8> {
    drawable(1, &fill(&brush(1, 0), &mask(0, 0)))
}

fn copy_of(image: u64) -> Vec<u8> {
    drawable(3, &copy(image, rect(0, 0, 8, 4)))
}

fn rgb(ram: &mut TestRam) -> u64 {
    let data = ram.put(&[0; 128]);
    TestBitmap { data, ..RGB }.put(ram)
}

#[test]
fn payloads_that_are_not_there_are_never_released() {
    let mut ram = TestRam::new(512);
    let whole = ram.put(&solid_fill());
    let cut = ram.put_last(&solid_fill()) + 1;
    let addresses = [
        (NOWHERE, GUEST),
        (cut, GUEST),
        (whole | 1 << 48, GUEST),
        (whole | 0xff << 56, GUEST),
        (whole, 2),
        (0, 0),
        (8, 0),
    ];
    for (data, group_id) in addresses {
        for kind in [CMD_DRAW, CMD_UPDATE, CMD_MESSAGE, CMD_SURFACE, CMD_CURSOR] {
            if data == cut && kind != CMD_DRAW {
                continue;
            }
            let command = CommandExt { data, kind, group_id, flags: 0 };
            let error = if kind == CMD_CURSOR {
                parse_cursor_command(&ram.slots, &command, &Limits::default()).unwrap_err()
            } else {
                display(&ram, &command, &Limits::default()).unwrap_err()
            };
            assert!(matches!(error.reason, Reason::Address { .. }), "{error}");
            assert_eq!(error.release, None);
        }
    }
}

#[test]
fn commands_on_the_wrong_ring_are_dropped() {
    let mut ram = TestRam::new(512);
    let command = command(&mut ram, CMD_DRAW, &solid_fill());
    let refused = |kind| CommandError { reason: Reason::CommandType(kind), release: None };
    for kind in [0, CMD_CURSOR, 6, u32::MAX] {
        let command = CommandExt { kind, ..command };
        let error = display(&ram, &command, &Limits::default()).unwrap_err();
        assert_eq!(error, refused(kind));
    }
    for kind in [0, CMD_DRAW, CMD_SURFACE, 6] {
        let command = CommandExt { kind, ..command };
        let error = parse_cursor_command(&ram.slots, &command, &Limits::default()).unwrap_err();
        assert_eq!(error, refused(kind));
    }
}

#[test]
fn drawables_with_bad_heads_are_released() {
    let mut ram = TestRam::new(65_536);
    let surface = |part, id| Exactly(Reason::SurfaceId { part, id, surfaces: 1024 });
    let area = |rect| Exactly(Reason::Area { part: "box", rect });
    let empty = |rect| Exactly(Reason::EmptyArea { part: "box", rect });
    let boxed = |rect| solid_fill().with_rect(at::BBOX, rect);
    let typed = |kind| solid_fill().with_u8(at::EFFECT + 1, kind);
    refused_draws(
        &mut ram,
        vec![
            ("surface", solid_fill().with_u32(at::SURFACE, 1024), surface("drawable", 1024)),
            (
                "negative surface",
                solid_fill().with_u32(at::SURFACE, u32::MAX),
                surface("drawable", u32::MAX),
            ),
            ("dependency", solid_fill().with_u32(at::READS, 1024), surface("dependency", 1024)),
            (
                "negative dependency",
                solid_fill().with_u32(at::READS + 8, u32::MAX - 1),
                surface("dependency", u32::MAX - 1),
            ),
            ("effect", solid_fill().with_u8(at::EFFECT, 8), Exactly(Reason::Effect(8))),
            ("type 15", typed(15), Exactly(Reason::DrawType(15))),
            ("type 255", typed(255), Exactly(Reason::DrawType(255))),
            ("nop", typed(0), Exactly(Reason::UnsupportedDraw(0))),
            ("left of the surface", boxed(rect(-1, 0, 8, 4)), area(rect(-1, 0, 8, 4))),
            ("above the surface", boxed(rect(0, -1, 8, 4)), area(rect(0, -1, 8, 4))),
            ("inverted columns", boxed(rect(9, 0, 8, 4)), area(rect(9, 0, 8, 4))),
            ("inverted rows", boxed(rect(0, 5, 8, i32::MIN)), area(rect(0, 5, 8, i32::MIN))),
            ("no column", boxed(rect(8, 0, 8, 4)), empty(rect(8, 0, 8, 4))),
            ("no row", boxed(rect(0, 4, 8, 4)), empty(rect(0, 4, 8, 4))),
        ],
    );
}

#[test]
fn bad_sources_of_ternary_transparent_and_blended_draws_are_released() {
    let mut ram = TestRam::new(65_536);
    let image = rgb(&mut ram);
    let whole = rect(0, 0, 8, 4);
    let bodies: [(u8, usize, Vec<u8>); 3] = [
        (9, 0, rop3(image, whole, &brush(1, 7), &mask(0, 0))),
        (12, 0, transparent(image, whole)),
        (13, 3, alpha_blend(image, whole)),
    ];
    for (kind, source, body) in bodies {
        let with = |addr: u64, area: Rect| {
            let payload = drawable(kind, &body).with_u64(at::BODY + source, addr);
            payload.with_rect(at::BODY + source + 8, area)
        };
        let itself = |self_area: Rect, area: Rect| {
            with(0, area).with_u8(at::SELF_BITMAP, 1).with_rect(at::SELF_AREA, self_area)
        };
        let area = |part, rect| Exactly(Reason::Area { part, rect });
        let outside = |rect| Exactly(Reason::OutsideImage { rect, width: 8, height: 4 });
        let empty = rect(3, 0, 3, 4);
        refused_draws(
            &mut ram,
            vec![
                ("no source", with(0, whole), Exactly(Reason::NoImage("source"))),
                ("source nowhere", with(NOWHERE, whole), NotMapped("source")),
                ("left", with(image, rect(-1, 0, 8, 4)), area("source area", rect(-1, 0, 8, 4))),
                ("above", with(image, rect(0, -1, 8, 4)), area("source area", rect(0, -1, 8, 4))),
                ("inverted", with(image, rect(0, 3, 8, 2)), area("source area", rect(0, 3, 8, 2))),
                ("too wide", with(image, rect(0, 0, 9, 4)), outside(rect(0, 0, 9, 4))),
                ("too high", with(image, rect(0, 0, 8, 5)), outside(rect(0, 0, 8, 5))),
                (
                    "empty",
                    with(image, empty),
                    Exactly(Reason::EmptyArea { part: "source area", rect: empty }),
                ),
                (
                    "negative self bitmap",
                    itself(rect(-8, 0, 0, 4), whole),
                    area("self bitmap", rect(-8, 0, 0, 4)),
                ),
                (
                    "more than the self bitmap",
                    itself(rect(10, 10, 18, 14), rect(0, 0, 9, 4)),
                    outside(rect(0, 0, 9, 4)),
                ),
            ],
        );
    }
    let ternary = |brush: &[u8], mask: &[u8]| drawable(9, &rop3(image, whole, brush, mask));
    refused_draws(
        &mut ram,
        vec![
            (
                "scale mode of rop3",
                ternary(&brush(1, 0), &mask(0, 0)).with_u8(at::BODY + 45, 2),
                Exactly(Reason::ScaleMode(2)),
            ),
            (
                "brush type of rop3",
                ternary(&brush(9, 0), &mask(0, 0)),
                Exactly(Reason::BrushType(9)),
            ),
            ("pattern of rop3", ternary(&brush(2, NOWHERE), &mask(0, 0)), NotMapped("pattern")),
            ("mask of rop3", ternary(&brush(1, 0), &mask(0, NOWHERE)), NotMapped("mask")),
        ],
    );
}

#[test]
fn bad_strokes_are_released() {
    let mut ram = TestRam::new(65_536);
    let line = &[(1, vec![(0, 0), (160, 160)])][..];
    let good = path(&mut ram, line);
    let lengths = ram.put(&[0i32, 256 << 4, 8, 16 << 8].map(i32::to_le_bytes).concat());
    let styled = |nseg, style| drawable(10, &stroke(good, 8, nseg, style));
    let no_dashes = |n| Exactly(Reason::NoDashes(n));
    let far = 1 << 27;
    let mut of = |segments: &[(u32, Vec<(i32, i32)>)]| {
        drawable(10, &stroke(path(&mut ram, segments), 0, 0, 0))
    };
    let bad = |why| Exactly(Reason::Path(why));
    let before = "goes on before it began";
    let curve = "has a curve of other than three points";
    let p = (16, 16);
    let mut table = vec![
        ("styled without lengths", styled(0, lengths), no_dashes(0)),
        ("lengths of no pixel", styled(4, lengths), no_dashes(4)),
        ("lengths nowhere", styled(4, NOWHERE), NotMapped("style")),
        ("lengths at null", styled(4, 0), NotMapped("style")),
        ("path nowhere", drawable(10, &stroke(NOWHERE, 0, 0, 0)), NotMapped("path")),
        ("line before a point", of(&[(0, vec![p])]), bad(before)),
        ("curve before a point", of(&[(16, vec![p; 3])]), bad(before)),
        ("close before a point", of(&[(10, vec![]), (1, vec![p])]), bad(before)),
        ("line after the end", of(&[(3, vec![p, p]), (0, vec![p])]), bad(before)),
        ("begin without a point", of(&[(1, vec![]), (0, vec![p])]), bad("begins without a point")),
        ("curve of two points", of(&[(1, vec![p]), (16, vec![p; 2])]), bad(curve)),
        ("beginning curve of three points", of(&[(17, vec![p; 3])]), bad(curve)),
        (
            "far right",
            of(&[(1, vec![p, (far + 1, 0)])]),
            Exactly(Reason::PathPoint { x: far + 1, y: 0 }),
        ),
        (
            "far up",
            of(&[(1, vec![p, (0, i32::MIN)])]),
            Exactly(Reason::PathPoint { x: 0, y: i32::MIN }),
        ),
    ];
    let mut cut = Vec::new();
    cut.put_u32(1).put_u32(0x2000_0001).put_bytes(&[0; 8]);
    let cut = path_of(&mut ram, &cut);
    let want = Reason::DataSize { part: "path", have: 8, need: 0x1_0000_0008 };
    table.push(("more points than bytes", drawable(10, &stroke(cut, 0, 0, 0)), Exactly(want)));
    let mut long = Vec::new();
    long.put_u32(0).put_u32(2 << 20).put_u64(0).put_u64(0);
    let long = ram.put(&long);
    let want = Reason::TooMuchData { part: "path", bytes: 2 << 20, left: 1 << 20 };
    let long = drawable(10, &stroke(long, 0, 0, 0));
    refused_draws(&mut ram, table);
    let command = command(&mut ram, CMD_DRAW, &long);
    let error = display(&ram, &command, &Limits::default()).unwrap_err();
    assert!(error.reason == want || matches!(error.reason, Reason::Address { part: "path", .. }));
}

#[test]
fn bad_strings_are_released() {
    let mut ram = TestRam::new(65_536);
    let glyph = glyph(9, 3, &[0; 6]);
    let mut of = |size: usize, length, flags, data: &[u8]| {
        let mut out = Vec::new();
        out.put_u32(u32::try_from(size).unwrap()).put_u16(length).put_u16(flags);
        out.put_bytes(&chunk(data, 0));
        drawable(11, &text(ram.put(&out)))
    };
    let wrong = |length| Exactly(Reason::Glyphs { length, have: 26 });
    let mut table = vec![
        ("no depth", of(26, 1, 8, &glyph), Exactly(Reason::GlyphDepth(8))),
        ("unknown depth", of(26, 1, 0xfff8, &glyph), Exactly(Reason::GlyphDepth(0xfff8))),
        ("one glyph too many", of(26, 2, 1, &glyph), wrong(2)),
        ("none announced", of(26, 0, 1, &glyph), wrong(0)),
        ("rows cut off", of(26, 1, 2, &glyph), wrong(1)),
        (
            "head cut off",
            of(19, 1, 1, &glyph[..19]),
            Exactly(Reason::Glyphs { length: 1, have: 19 }),
        ),
        (
            "size of another string",
            of(25, 1, 1, &glyph),
            Exactly(Reason::DataSize { part: "string", have: 26, need: 25 }),
        ),
        (
            "huge size",
            of(17 << 20, 1, 1, &glyph),
            Exactly(Reason::TooMuchData { part: "string", bytes: 17 << 20, left: 16 << 20 }),
        ),
    ];
    table.push(("string nowhere", drawable(11, &text(NOWHERE)), NotMapped("string")));
    table.push((
        "brush of text",
        drawable(11, &text(0)).with_u32(at::BODY + 24, 3),
        Exactly(Reason::BrushType(3)),
    ));
    table.push((
        "background of text",
        drawable(11, &text(0)).with_u32(at::BODY + 44, 4),
        Exactly(Reason::BrushType(4)),
    ));
    refused_draws(&mut ram, table);
}

#[test]
fn bad_compositions_are_released() {
    let mut ram = TestRam::new(65_536);
    let image = rgb(&mut ram);
    let surface = surface_image(&mut ram, 12);
    let with = |flags, src, turn, mask, mask_turn| {
        drawable(14, &composite(flags, src, turn, mask, mask_turn))
    };
    let operator = |op| Exactly(Reason::CompositeOperator(op));
    let filter = |part, filter| Exactly(Reason::CompositeFilter { part, filter });
    let mut table = vec![
        ("source filter 5", with(0x503, image, 0, 0, 0), filter("source", 5)),
        ("source filter 7", with(0x703, image, 0, 0, 0), filter("source", 7)),
        ("mask filter 6", with(0x3003, image, 0, image, 0), filter("mask", 6)),
        ("no source", with(3, 0, 0, 0, 0), Exactly(Reason::NoImage("source"))),
        ("source nowhere", with(3, NOWHERE, 0, 0, 0), NotMapped("source")),
        ("mask nowhere", with(3, image, 0, NOWHERE, 0), NotMapped("mask")),
        ("transform nowhere", with(3, image, NOWHERE, 0, 0), NotMapped("transform")),
        ("mask transform nowhere", with(3, image, 0, image, NOWHERE), NotMapped("transform")),
        (
            "undeclared source",
            with(3, surface, 0, 0, 0),
            Exactly(Reason::UndeclaredSurface { part: "source", id: 12 }),
        ),
        (
            "undeclared mask",
            with(3, image, 0, surface, 0),
            Exactly(Reason::UndeclaredSurface { part: "mask", id: 12 }),
        ),
        (
            "negative self bitmap",
            with(3, 0, 0, 0, 0)
                .with_u8(at::SELF_BITMAP, 1)
                .with_rect(at::SELF_AREA, rect(-8, 0, 0, 4)),
            Exactly(Reason::Area { part: "self bitmap", rect: rect(-8, 0, 0, 4) }),
        ),
    ];
    for op in [0x0e, 0x0f, 0x1c, 0x1f, 0x2c, 0x2f, 0x3f, 0x40, 0x80, 0xff] {
        table.push(("operator", with(u32::from(op), image, 0, 0, 0), operator(op)));
    }
    refused_draws(&mut ram, table);
}

#[test]
fn compatibility_mode_has_no_composite() {
    let mut ram = TestRam::new(512);
    let command = command(&mut ram, CMD_DRAW, &compat_drawable(14, &[]));
    let command = CommandExt { flags: FLAG_COMPAT, ..command };
    let want = Exactly(Reason::DrawType(14));
    check(&ram, "compatible composite", &command, &Limits::default(), &want);
}

#[test]
fn bad_clips_are_released() {
    let mut ram = TestRam::new(65_536);
    let mut put = |count: u32, chunk: Vec<u8>| {
        let addr = ram.put(&[count.to_le_bytes().to_vec(), chunk].concat());
        solid_fill().with_u32(at::CLIP, 1).with_u64(at::CLIP + 4, addr)
    };
    let size = |count, bytes| Exactly(Reason::ClipSize { count, bytes });
    let table = vec![
        ("too few", put(2, chunk(&[0; 16], 0)), size(2, 16)),
        ("half a rectangle", put(1, chunk(&[0; 24], 0)), size(1, 24)),
        ("count that wraps", put(0x1000_0001, chunk(&[0; 16], 0)), size(0x1000_0001, 16)),
        ("next chunk nowhere", put(2, chunk(&[0; 16], NOWHERE)), NotMapped("clip")),
        ("huge chunk", put(1, chunk(&[0; 16], 0).with_u32(0, 1 << 20)), NotMapped("clip")),
        ("many rectangles", put(70_000, chunk(&[0; 16], 0).with_u32(0, 0)), size(70_000, 0)),
        ("unknown type", solid_fill().with_u32(at::CLIP, 2), Exactly(Reason::ClipType(2))),
        (
            "nowhere",
            solid_fill().with_u32(at::CLIP, 1).with_u64(at::CLIP + 4, NOWHERE),
            NotMapped("clip"),
        ),
    ];
    refused_draws(&mut ram, table);

    let clip = ram.put(&[2u32.to_le_bytes().to_vec(), chunk(&[0; 32], 0)].concat());
    let payload = solid_fill().with_u32(at::CLIP, 1).with_u64(at::CLIP + 4, clip);
    let command = command(&mut ram, CMD_DRAW, &payload);
    let limits = Limits { clip_rects: 1, ..Limits::default() };
    let want = Exactly(Reason::TooManyClips { count: 2, limit: 1 });
    check(&ram, "more than the limit", &command, &limits, &want);
}

#[test]
fn bad_operations_are_released() {
    let mut ram = TestRam::new(65_536);
    let image = rgb(&mut ram);
    let copied = |area| drawable(3, &copy(image, area));
    let area = |part, rect| Exactly(Reason::Area { part, rect });
    let outside = |rect| Exactly(Reason::OutsideImage { rect, width: 8, height: 4 });
    let scaled = |kind, body: &[u8], scale| drawable(kind, body).with_u8(at::BODY + scale, 2);
    let itself = |self_area, src_area| {
        drawable(2, &opaque(0, src_area))
            .with_u8(at::SELF_BITMAP, 1)
            .with_rect(at::SELF_AREA, self_area)
    };
    let whole = rect(0, 0, 8, 4);
    let point = |x: i32, y: i32| drawable(4, &[x, y].map(i32::to_le_bytes).concat());
    refused_draws(
        &mut ram,
        vec![
            (
                "brush type",
                drawable(1, &fill(&brush(3, 0), &mask(0, 0))),
                Exactly(Reason::BrushType(3)),
            ),
            (
                "pattern without image",
                drawable(1, &fill(&brush(2, 0), &mask(0, 0))),
                Exactly(Reason::NoImage("pattern")),
            ),
            (
                "pattern nowhere",
                drawable(1, &fill(&brush(2, NOWHERE), &mask(0, 0))),
                NotMapped("pattern"),
            ),
            ("mask nowhere", drawable(6, &mask(0, NOWHERE)), NotMapped("mask")),
            ("no source", copy_of(0), Exactly(Reason::NoImage("source"))),
            (
                "no source, self bitmap",
                copy_of(0).with_u8(at::SELF_BITMAP, 1),
                Exactly(Reason::NoImage("source")),
            ),
            ("source nowhere", copy_of(NOWHERE), NotMapped("source")),
            (
                "scale mode of copy",
                scaled(3, &copy(image, whole), 26),
                Exactly(Reason::ScaleMode(2)),
            ),
            (
                "scale mode of opaque",
                scaled(2, &opaque(image, whole), 46),
                Exactly(Reason::ScaleMode(2)),
            ),
            ("source left", copied(rect(-1, 0, 8, 4)), area("source area", rect(-1, 0, 8, 4))),
            ("source inverted", copied(rect(0, 3, 8, 2)), area("source area", rect(0, 3, 8, 2))),
            ("source too wide", copied(rect(0, 0, 9, 4)), outside(rect(0, 0, 9, 4))),
            ("source too high", copied(rect(0, 0, 8, 5)), outside(rect(0, 0, 8, 5))),
            (
                "empty source",
                copied(rect(3, 0, 3, 4)),
                Exactly(Reason::EmptyArea { part: "source area", rect: rect(3, 0, 3, 4) }),
            ),
            (
                "opaque too wide",
                drawable(2, &opaque(image, rect(0, 0, i32::MAX, 4))),
                outside(rect(0, 0, i32::MAX, 4)),
            ),
            (
                "opaque without source",
                drawable(2, &opaque(0, whole)),
                Exactly(Reason::NoImage("source")),
            ),
            (
                "negative self bitmap",
                itself(rect(-8, 0, 0, 4), whole),
                area("self bitmap", rect(-8, 0, 0, 4)),
            ),
            (
                "more than the self bitmap",
                itself(rect(10, 10, 18, 14), rect(0, 0, 9, 4)),
                outside(rect(0, 0, 9, 4)),
            ),
            ("copy from the left", point(-1, 0), area("copy source", rect(-1, 0, 7, 4))),
            (
                "copy from the end of numbers",
                point(0, i32::MAX - 3),
                area("copy source", rect(0, i32::MAX - 3, 8, i32::MAX)),
            ),
        ],
    );
}

#[test]
fn bad_images_are_released() {
    let mut ram = TestRam::new(65_536);
    let data = ram.put(&[0; 128]);
    let chunks = put_chunks(&mut ram, &[0; 128], 50);
    let good = TestBitmap { data, ..RGB };
    let mut put = |bitmap: TestBitmap| copy_of(bitmap.put(&mut ram));
    let part = "source";
    let format = |format| Exactly(Reason::BitmapFormat { part, format });
    let size = |width, height| Exactly(Reason::BitmapSize { part, width, height });
    let stride = |stride, row| Exactly(Reason::BitmapStride { part, stride, row });
    let bytes = |have, need| Exactly(Reason::DataSize { part, have, need });
    let wide = 0x8000_0000;
    let table = vec![
        ("format 0", put(TestBitmap { format: 0, ..good }), format(0)),
        ("format 11", put(TestBitmap { format: 11, ..good }), format(11)),
        ("1 bit, lowest first, as colours", put(TestBitmap { format: 1, ..good }), format(1)),
        ("4 bits, lowest first, as colours", put(TestBitmap { format: 3, ..good }), format(3)),
        ("no column", put(TestBitmap { width: 0, ..good }), size(0, 4)),
        ("no row", put(TestBitmap { height: 0, ..good }), size(8, 0)),
        (
            "columns beyond rectangles",
            put(TestBitmap { format: 10, width: wide, stride: wide, ..good }),
            size(wide, 4),
        ),
        ("stride short by one", put(TestBitmap { stride: 31, ..good }), stride(31, 32)),
        ("no stride", put(TestBitmap { stride: 0, ..good }), stride(0, 32)),
        (
            "row that wraps 32 bits",
            put(TestBitmap { width: 0x4000_0001, stride: 4, ..good }),
            stride(4, 0x1_0000_0004),
        ),
        (
            "2 GiB",
            put(TestBitmap { stride: 0x2000_0000, ..good }),
            Exactly(Reason::TooMuchData { part, bytes: 0x8000_0000, left: 0x7fff_ffff }),
        ),
        ("data nowhere", put(TestBitmap { data: NOWHERE, ..good }), NotMapped(part)),
        ("data at null", put(TestBitmap { data: 0, ..good }), NotMapped(part)),
        ("data over the end", put(TestBitmap { stride: 60_000, ..good }), NotMapped(part)),
        ("chunks nowhere", put(TestBitmap { flags: 0, data: NOWHERE, ..good }), NotMapped(part)),
        (
            "chunks too short",
            put(TestBitmap { flags: 0, stride: 33, data: chunks, ..good }),
            bytes(128, 132),
        ),
        (
            "chunks too long",
            put(TestBitmap { flags: 0, height: 3, data: chunks, ..good }),
            bytes(128, 96),
        ),
        (
            "no palette",
            put(TestBitmap { data: chunks, ..NIBBLES }),
            Exactly(Reason::NoPalette(part)),
        ),
        (
            "palette nowhere",
            put(TestBitmap { palette: NOWHERE, data: chunks, ..NIBBLES }),
            NotMapped(part),
        ),
    ];
    refused_draws(&mut ram, table);
}

#[test]
fn images_of_other_types_are_released() {
    let mut ram = TestRam::new(65_536);
    let part = "source";
    let mut of_type = |kind| copy_of(ram.put(&[descriptor(kind, 0), vec![0; 30]].concat()));
    let kind = |kind| Exactly(Reason::ImageType { part, kind });
    let table = vec![
        ("quic", of_type(1), Exactly(Reason::NotYet("a QUIC image"))),
        ("lz", of_type(100), kind(100)),
        ("from cache", of_type(103), kind(103)),
        ("type 255", of_type(255), kind(255)),
    ];
    refused_draws(&mut ram, table);

    let surface = surface_image(&mut ram, 12);
    let undeclared = Exactly(Reason::UndeclaredSurface { part, id: 12 });
    let data = ram.put(&[0; 128]);
    let grey = TestBitmap { format: 10, stride: 8, data, ..RGB }.put(&mut ram);
    let bits = TestBitmap { format: 2, stride: 1, data, ..RGB }.put(&mut ram);
    let last = ram.put_last(&descriptor(0, 0));
    let table = vec![
        ("undeclared surface", copy_of(surface), undeclared),
        (
            "undeclared among others",
            copy_of(surface).with_u32(at::READS, 11).with_u32(at::READS + 4, 13),
            Exactly(Reason::UndeclaredSurface { part, id: 12 }),
        ),
        (
            "undeclared mask",
            drawable(6, &mask(0, surface)),
            Exactly(Reason::UndeclaredSurface { part: "mask", id: 12 }),
        ),
        (
            "grey mask",
            drawable(6, &mask(0, grey)),
            Exactly(Reason::BitmapFormat { part: "mask", format: 10 }),
        ),
        ("1-bit colours without palette", copy_of(bits), Exactly(Reason::NoPalette(part))),
        ("descriptor without bitmap", copy_of(last), NotMapped(part)),
    ];
    // `put_last` used up the RAM, so all drawables share a place in its middle.
    for (name, payload, want) in table {
        let addr = 1 << 56 | 32_768;
        ram.slots.resolve(addr, GUEST, 191).unwrap().write(0, &payload).unwrap();
        let command = CommandExt { data: addr, kind: CMD_DRAW, group_id: GUEST, flags: 0 };
        check(&ram, name, &command, &Limits::default(), &want);
    }
}

#[test]
fn palettes_that_run_over_the_end_are_released() {
    let mut ram = TestRam::new(1024);
    let chunks = put_chunks(&mut ram, &[0; 16], 16);
    let at_end = 1 << 56 | (1024 - 12);
    let image = TestBitmap { palette: at_end, data: chunks, ..NIBBLES }.put(&mut ram);
    let command = command(&mut ram, CMD_DRAW, &copy_of(image));
    let palette = ram.slots.resolve(at_end, GUEST, 12).unwrap();
    palette.write(8, &1u16.to_le_bytes()).unwrap();
    check(&ram, "one entry", &command, &Limits::default(), &NotMapped("source"));
}

#[test]
fn circles_of_chunks_end_at_the_limit() {
    let mut ram = TestRam::new(4096);
    let chain = ram.put(&chunk(&[0; 16], 0));
    for size in [0u32, 16] {
        let link = ram.slots.resolve(chain, GUEST, 20).unwrap();
        link.write(0, &size.to_le_bytes()).unwrap();
        link.write(12, &chain.to_le_bytes()).unwrap();
        let image = TestBitmap { flags: 0, data: chain, ..RGB }.put(&mut ram);
        let command = command(&mut ram, CMD_DRAW, &copy_of(image));
        let want = Exactly(Reason::TooManyChunks { part: "source", limit: 65_536 });
        check(&ram, "circle", &command, &Limits::default(), &want);
        let limits = Limits { chunks: 0, ..Limits::default() };
        let want = Exactly(Reason::TooManyChunks { part: "source", limit: 0 });
        check(&ram, "no chunk allowed", &command, &limits, &want);
    }
}

#[test]
fn bytes_of_one_command_are_bounded_together() {
    let mut ram = TestRam::new(8192);
    let part = "source";
    let chunks = put_chunks(&mut ram, &[0; 128], 100);
    let chunked = TestBitmap { flags: 0, data: chunks, ..RGB }.put(&mut ram);
    let direct = rgb(&mut ram);
    let limits = Limits { bytes: 127, ..Limits::default() };
    for image in [chunked, direct] {
        let command = command(&mut ram, CMD_DRAW, &copy_of(image));
        let want = Exactly(Reason::TooMuchData { part, bytes: 128, left: 127 });
        check(&ram, "one image", &command, &limits, &want);
    }
    let bits = ram.put(&[0; 4]);
    let bits = TestBitmap { format: 2, stride: 1, data: bits, ..RGB }.put(&mut ram);
    let mut body = copy(direct, rect(0, 0, 8, 4));
    body = body.with(27, &mask(0, bits));
    let command = command(&mut ram, CMD_DRAW, &drawable(3, &body));
    let limits = Limits { bytes: 131, ..Limits::default() };
    let want = Exactly(Reason::TooMuchData { part: "mask", bytes: 4, left: 3 });
    check(&ram, "image and mask", &command, &limits, &want);
}

#[test]
fn bad_updates_messages_and_surfaces_are_released() {
    let mut ram = TestRam::new(65_536);
    let update = |rect| update_command(rect, 0);
    let area = |rect| Exactly(Reason::Area { part: "update", rect });
    let empty = |rect| Exactly(Reason::EmptyArea { part: "update", rect });
    let surface = |part, id| Exactly(Reason::SurfaceId { part, id, surfaces: 1024 });
    let memory = ram.put(&[0; 128]);
    let create = || surface_command(3, 0, 0).with_u64(33, memory);
    let geometry = |error| Exactly(Reason::Geometry(error));
    let table: Vec<(&str, u32, Vec<u8>, Want)> = vec![
        ("update left", CMD_UPDATE, update(rect(-1, 0, 1, 1)), area(rect(-1, 0, 1, 1))),
        ("update inverted", CMD_UPDATE, update(rect(0, 9, 1, 8)), area(rect(0, 9, 1, 8))),
        ("update empty", CMD_UPDATE, update(rect(0, 0, 0, 8)), empty(rect(0, 0, 0, 8))),
        (
            "update surface",
            CMD_UPDATE,
            update_command(rect(0, 0, 1, 1), 1024),
            surface("update", 1024),
        ),
        ("surface id", CMD_SURFACE, create().with_u32(8, 1024), surface("surface command", 1024)),
        (
            "destroyed id",
            CMD_SURFACE,
            surface_command(u32::MAX, 1, 0),
            surface("surface command", u32::MAX),
        ),
        ("primary", CMD_SURFACE, create().with_u32(8, 0), Exactly(Reason::PrimarySurface)),
        (
            "destroyed primary",
            CMD_SURFACE,
            surface_command(0, 1, 0),
            Exactly(Reason::PrimarySurface),
        ),
        (
            "surface command",
            CMD_SURFACE,
            create().with_u8(12, 2),
            Exactly(Reason::SurfaceCommand(2)),
        ),
        (
            "surface format",
            CMD_SURFACE,
            create().with_u32(17, 24),
            geometry(GeometryError::Format(24)),
        ),
        (
            "surface without columns",
            CMD_SURFACE,
            create().with_u32(21, 0),
            geometry(GeometryError::Size { width: 0, height: 4 }),
        ),
        (
            "surface stride",
            CMD_SURFACE,
            create().with_u32(29, 28),
            geometry(GeometryError::Stride { stride: 28, row: 32 }),
        ),
        (
            "smallest stride",
            CMD_SURFACE,
            create().with_u32(29, 0x8000_0000),
            geometry(GeometryError::Stride { stride: i32::MIN, row: 32 }),
        ),
        (
            "surface bytes",
            CMD_SURFACE,
            create().with_u32(25, 0x0400_0000),
            geometry(GeometryError::Bytes(0x8000_0000)),
        ),
        (
            "surface memory nowhere",
            CMD_SURFACE,
            create().with_u64(33, NOWHERE),
            NotMapped("surface memory"),
        ),
        (
            "surface memory over the end",
            CMD_SURFACE,
            create().with_u32(25, 2049),
            NotMapped("surface memory"),
        ),
    ];
    for (name, kind, payload, want) in table {
        let command = command(&mut ram, kind, &payload);
        check(&ram, name, &command, &Limits::default(), &want);
    }
}

#[test]
fn messages_without_text_or_end_are_released() {
    let mut ram = TestRam::new(16);
    let addr = ram.put(b"\0\0\0\0\0\0\0\0no end.");
    ram.put(b"!");
    let message = CommandExt { data: addr, kind: CMD_MESSAGE, group_id: GUEST, flags: 0 };
    let want = Exactly(Reason::EndlessMessage(8));
    check(&ram, "no zero", &message, &Limits::default(), &want);
    let message = CommandExt { data: addr + 8, ..message };
    check(&ram, "no text", &message, &Limits::default(), &NotMapped("message"));

    let mut ram = TestRam::new(200_000);
    let addr = ram.put(&[b'x'; 150_000]);
    let message = CommandExt { data: addr, ..message };
    let want = Exactly(Reason::EndlessMessage(100_000));
    check(&ram, "too long", &message, &Limits::default(), &want);
}

#[test]
fn bad_cursors_are_released() {
    let mut ram = TestRam::new(65_536);
    let mut set = |kind, width, height, data_size, chunk: &[u8]| {
        cursor_set(ram.put(&shape(kind, width, height, data_size, chunk)))
    };
    let size = |width, height| Exactly(Reason::CursorSize { width, height });
    let short = |have, need| Exactly(Reason::DataSize { part: "cursor", have, need });
    let data = chunk(&[0; 64], 0);
    let table = vec![
        ("command", vec![0; 150].with_u8(8, 4), Exactly(Reason::CursorCommand(4))),
        ("no shape", cursor_set(0), NotMapped("cursor")),
        ("shape nowhere", cursor_set(NOWHERE), NotMapped("cursor")),
        ("type 7", set(7, 4, 4, 64, &data), Exactly(Reason::CursorType(7))),
        ("type 256", set(256, 4, 4, 64, &data), Exactly(Reason::CursorType(256))),
        ("no column", set(0, 0, 4, 64, &data), size(0, 4)),
        ("no row", set(0, 4, 0, 64, &data), size(4, 0)),
        ("too wide", set(0, 1025, 1, 64, &data), size(1025, 1)),
        ("too high", set(0, 1, 65_535, 64, &data), size(1, 65_535)),
        ("announced data too short", set(0, 4, 4, 63, &data), short(63, 64)),
        ("chunks too short", set(0, 4, 5, 80, &data), short(64, 80)),
        ("no room for the mask", set(6, 4, 4, 64, &data), short(64, 66)),
        ("chunk nowhere", set(0, 4, 4, 64, &chunk(&[0; 60], NOWHERE)), NotMapped("cursor")),
        (
            "chunk over the end",
            set(0, 4, 4, 64, &chunk(&[0; 64], 0).with_u32(0, 100_000)),
            NotMapped("cursor"),
        ),
    ];
    for (name, payload, want) in table {
        let command = command(&mut ram, CMD_CURSOR, &payload);
        check(&ram, name, &command, &Limits::default(), &want);
    }
}

#[test]
fn bad_monitor_layouts_are_ignored_and_say_whether_the_driver_spoke() {
    let mut ram = TestRam::new(256);
    let put = |ram: &mut TestRam, count: u16, max: u16, heads: usize| {
        let bytes = [&count.to_le_bytes()[..], &max.to_le_bytes(), &vec![0; 28 * heads]].concat();
        ram.put_last(&bytes)
    };
    let parse = |ram: &TestRam, addr| parse_monitors_config(&ram.slots, addr, GUEST, u32::MAX);
    let zero = put(&mut ram, 0, 4, 1);
    assert_eq!(parse(&ram, zero), Err(MonitorsError::None));
    let many = put(&mut ram, 2, 1, 2);
    let error = parse(&ram, many).unwrap_err();
    assert_eq!(error, MonitorsError::TooMany { count: 2, max_allowed: 1 });
    assert!(error.driver_spoke());
    let cut = put(&mut ram, 3, 3, 2);
    let error = parse(&ram, cut).unwrap_err();
    let outside = AddressError::Outside { addr: cut, len: 84, slot: 1 };
    assert_eq!(error, MonitorsError::Heads(outside));
    assert!(error.driver_spoke());
    let error = parse(&ram, cut + 40).unwrap_err();
    assert!(matches!(error, MonitorsError::NotMapped(_)) && !error.driver_spoke());
}

#[test]
fn compressed_images_must_be_what_they_are_announced_as() {
    let part = "source";
    let size = |width, height, data_size: u32, stream: &[u8]| {
        let mut image = descriptor(1, 0).with_u32(10, width).with_u32(14, height);
        image.put_u32(data_size).put_bytes(&chunk(stream, 0));
        image
    };
    let limits = Limits { bytes: 3 + 32, quic: Some(fake_quic), ..Limits::default() };
    for (name, image, reason) in [
        (
            "another size",
            size(4, 8, 3, &[8, 4, 0]),
            Reason::CompressedSize { part, stream: (8, 4), descriptor: (4, 8) },
        ),
        ("fewer bytes", size(8, 4, 4, &[8, 4, 0]), Reason::DataSize { part, have: 3, need: 4 }),
        ("more bytes", size(8, 4, 2, &[8, 4, 0]), Reason::DataSize { part, have: 3, need: 2 }),
        (
            "more pixels than allowed",
            size(11, 3, 3, &[11, 3, 0]),
            Reason::Compressed { part, why: "33 bytes, limit 32".into() },
        ),
        ("no stream", size(8, 4, 1, &[8]), Reason::Compressed { part, why: "short".into() }),
    ] {
        let mut ram = TestRam::new(4096);
        let payload = drawable(3, &copy(ram.put(&image), rect(0, 0, 4, 4)));
        let command = command(&mut ram, CMD_DRAW, &payload);
        check(&ram, name, &command, &limits, &Exactly(reason));
    }
    let mut ram = TestRam::new(4096);
    let image = ram.put(&size(8, 4, 3, &[8, 4, 0]));
    let payload = drawable(1, &fill(&brush(1, 0), &mask(0, image)));
    let command = command(&mut ram, CMD_DRAW, &payload);
    let as_mask = Reason::ImageType { part: "mask", kind: 1 };
    check(&ram, "as mask", &command, &limits, &Exactly(as_mask));
}
