//! Good commands of every kind arrive whole.

use super::*;
use crate::protocol::geometry::{Point, Point16};
use crate::qxl::command::FLAG_COMPAT_16BPP;
use crate::qxl::memslot::testing::HOST;
use crate::qxl::model::{
    Bitmap, BitmapFormat, Brush, DrawOp, GlyphDepth, Image, ImageKind, SurfaceFormat, SurfaceRead,
};

/// 128 bytes that all differ.
fn pixels() -> Vec<u8> {
    (0..128).collect()
}

fn rgb(ram: &mut TestRam) -> u64 {
    let data = ram.put(&pixels());
    TestBitmap { data, ..RGB }.put(ram)
}

fn bitmap(image: &Image) -> &Bitmap {
    match &image.kind {
        ImageKind::Bitmap(bitmap) => bitmap,
        ImageKind::Surface(id) => panic!("surface {id}"),
    }
}

#[test]
fn fill_has_brush_and_rop_and_forgets_a_mask_without_image() {
    let mut ram = TestRam::new(4096);
    let payload = drawable(1, &fill(&brush(1, 0x12_3456), &mask(1, 0)))
        .with_u32(at::SURFACE, 1023)
        .with_u32(at::MM_TIME, 99);
    let drawable = drawn(&mut ram, &payload, 0);
    assert_eq!((drawable.surface_id, drawable.effect, drawable.mm_time), (1023, 1, 99));
    assert_eq!(drawable.bbox, rect(0, 0, 8, 4));
    assert!(drawable.clip.is_none() && drawable.reads.is_empty());
    let DrawOp::Fill { brush: Brush::Solid(0x12_3456), rop: 8, mask } = drawable.op else {
        panic!("{:?}", drawable.op)
    };
    assert!(mask.image.is_none() && !mask.inverse && mask.pos == Point::default());
}

#[test]
fn copies_bring_their_pixels_along_in_one_piece_or_in_chunks() {
    let mut ram = TestRam::new(8192);
    let direct = rgb(&mut ram);
    for size in [1, 5, 128, 500] {
        let data = put_chunks(&mut ram, &pixels(), size);
        let chunked = TestBitmap { flags: 0, data, ..RGB }.put(&mut ram);
        for (image, top_down) in [(direct, true), (chunked, false)] {
            let payload = drawable(3, &copy(image, rect(1, 0, 8, 4))).with_u8(at::SELF_BITMAP, 1);
            let drawable = drawn(&mut ram, &payload, 0);
            assert_eq!(drawable.self_bitmap_area, None);
            let DrawOp::Copy { src, src_area, rop: 8, nearest: true, mask, blend: false } =
                drawable.op
            else {
                panic!("{:?}", drawable.op)
            };
            assert!(mask.image.is_none());
            assert_eq!(src_area, rect(1, 0, 8, 4));
            // The descriptor said 1000×2000.
            assert_eq!((src.id, src.flags, src.width, src.height), (77, 1, 8, 4));
            let bitmap = bitmap(&src);
            assert_eq!(bitmap.format, BitmapFormat::Bit32);
            assert_eq!((bitmap.width, bitmap.height, bitmap.stride), (8, 4, 32));
            assert_eq!(bitmap.top_down, top_down);
            assert_eq!(*bitmap.data, pixels());
        }
    }
}

#[test]
fn later_changes_of_guest_memory_do_not_reach_a_parsed_command() {
    let mut ram = TestRam::new(4096);
    let image = rgb(&mut ram);
    let drawable = drawn(&mut ram, &drawable(3, &copy(image, rect(0, 0, 8, 4))), 0);
    ram.slots.resolve(1 << 56, GUEST, 4096).unwrap().fill(0xff);
    let DrawOp::Copy { src, .. } = drawable.op else { panic!() };
    assert_eq!(*bitmap(&src).data, pixels());
}

#[test]
fn empty_chunks_are_skipped() {
    let mut ram = TestRam::new(4096);
    let all = pixels();
    let tail = ram.put(&chunk(&all[100..], 0));
    let empty = ram.put(&chunk(&[], tail));
    let head = ram.put(&chunk(&all[..100], empty));
    let data = ram.put(&chunk(&[], head));
    let image = TestBitmap { flags: 0, data, ..RGB }.put(&mut ram);
    let drawable = drawn(&mut ram, &drawable(5, &copy(image, rect(0, 0, 8, 4))), 0);
    let DrawOp::Copy { src, blend: true, .. } = drawable.op else { panic!() };
    assert_eq!(*bitmap(&src).data, all);
}

#[test]
fn plain_pointers_of_the_hosts_group_work_up_to_the_last_byte() {
    let mut ram = TestRam::new(4096);
    let data = ram.put(&pixels());
    let data = ram.host(data);
    let image = TestBitmap { data, ..RGB }.put(&mut ram);
    let payload = drawable(3, &copy(ram.host(image), rect(0, 0, 8, 4)));
    let last = ram.put_last(&payload);
    let command = CommandExt { data: ram.host(last), kind: CMD_DRAW, group_id: HOST, flags: 0 };
    let parsed = display(&ram, &command, &Limits::default()).unwrap();
    let DisplayCommand::Draw(drawable, release) = parsed else { panic!("{parsed:?}") };
    assert_eq!(release.group_id(), HOST);
    assert_eq!(release.address().0 as u64, command.data);
    assert!(matches!(drawable.op, DrawOp::Copy { .. }));
}

#[test]
fn opaque_takes_an_image_or_the_destination_itself() {
    let mut ram = TestRam::new(4096);
    let image = rgb(&mut ram);
    let self_area = rect(10, 20, 14, 24);
    let with_image = drawable(2, &opaque(image, rect(0, 0, 8, 4)))
        .with_u8(at::SELF_BITMAP, 1)
        .with_rect(at::SELF_AREA, self_area);
    let with_image = drawn(&mut ram, &with_image, 0);
    assert_eq!(with_image.self_bitmap_area, None);
    let DrawOp::Opaque { src: Some(_), brush: Brush::Solid(0xaabbcc), nearest: false, .. } =
        with_image.op
    else {
        panic!("{:?}", with_image.op)
    };
    let without = drawable(2, &opaque(0, rect(0, 0, 4, 4)))
        .with_u8(at::SELF_BITMAP, 1)
        .with_rect(at::SELF_AREA, self_area);
    let without = drawn(&mut ram, &without, 0);
    assert_eq!(without.self_bitmap_area, Some(self_area));
    assert!(matches!(without.op, DrawOp::Opaque { src: None, .. }));
}

#[test]
fn ternary_transparent_and_blended_draws_have_their_numbers() {
    let mut ram = TestRam::new(8192);
    let image = rgb(&mut ram);
    let area = rect(1, 0, 8, 4);
    let op = drawn(&mut ram, &drawable(9, &rop3(image, area, &brush(1, 7), &mask(0, 0))), 0).op;
    let DrawOp::Rop3 { src: Some(src), src_area, brush, code: 0xe2, nearest: true, mask } = op
    else {
        panic!("{op:?}")
    };
    assert_eq!(*bitmap(&src).data, pixels());
    assert!(matches!(brush, Brush::Solid(7)) && src_area == area && mask.image.is_none());

    let op = drawn(&mut ram, &drawable(12, &transparent(image, area)), 0).op;
    let DrawOp::Transparent { src: Some(_), src_area, src_color: 11, true_color: 22 } = op else {
        panic!("{op:?}")
    };
    assert_eq!(src_area, area);

    let op = drawn(&mut ram, &drawable(13, &alpha_blend(image, area)), 0).op;
    let DrawOp::AlphaBlend { src: Some(_), src_area, flags: 2, alpha: 99 } = op else {
        panic!("{op:?}")
    };
    assert_eq!(src_area, area);

    // The old layout has no flags.
    let op = drawn(&mut ram, &compat_drawable(13, &alpha_blend(image, area)[2..]), FLAG_COMPAT).op;
    let DrawOp::AlphaBlend { src: Some(_), src_area, flags: 0, alpha: 99 } = op else {
        panic!("{op:?}")
    };
    assert_eq!(src_area, area);
}

#[test]
fn compositions_have_the_flags_of_what_follows() {
    let mut ram = TestRam::new(8192);
    let image = rgb(&mut ram);
    let data = ram.put(&[7; 32]);
    let alpha = TestBitmap { format: 10, stride: 8, data, ..RGB }.put(&mut ram);
    let turn = ram.put(&[1i32, -2, 3, -4, 5, i32::MIN].map(i32::to_le_bytes).concat());
    let all = 0xffff_ff03 & !(0x24 << 8);
    let cases = [
        ((turn, alpha, turn), 0x01ff_db03),
        ((0, alpha, 0), 0x01cf_db03),
        // Whatever was said of the mask goes with it, its transform too.
        ((turn, 0, turn), 0x0150_c303),
    ];
    for ((src_turn, mask, mask_turn), flags) in cases {
        let payload = drawable(14, &composite(all, image, src_turn, mask, mask_turn));
        let DrawOp::Composite(op) = drawn(&mut ram, &payload, 0).op else { panic!() };
        assert_eq!(op.flags, flags, "{:#x}", op.flags);
        assert_eq!(op.operator(), 3);
        assert_eq!((op.src_filter(), op.src_repeat()), (3, 3));
        assert!(op.src.is_some() && op.mask.is_some() == (mask != 0));
        assert_eq!(op.src_transform, (src_turn != 0).then_some([1, -2, 3, -4, 5, i32::MIN]));
        assert_eq!(op.mask_transform.is_some(), mask != 0 && mask_turn != 0);
        assert_eq!(
            (op.src_origin, op.mask_origin),
            (Point16 { x: -1, y: 2 }, Point16 { x: 3, y: -4 })
        );
    }
}

#[test]
fn strokes_have_their_path_and_dashes() {
    let mut ram = TestRam::new(8192);
    let path = path(
        &mut ram,
        &[
            (1, vec![(0, 0), (1 << 27, -(1 << 27))]),
            (0xff10, vec![(1, 2), (3, 4), (5, 6)]),
            (10, vec![]),
            (17, vec![(7, 8); 7]),
        ],
    );
    let lengths = ram.put(&[0i32, 16].map(i32::to_le_bytes).concat());
    let DrawOp::Stroke(op) = drawn(&mut ram, &drawable(10, &stroke(path, 0xff, 2, lengths)), 0).op
    else {
        panic!()
    };
    let shape: Vec<_> = op.path.iter().map(|s| (s.flags, s.points.len())).collect();
    assert_eq!(shape, [(1, 2), (16, 3), (10, 0), (17, 7)]);
    assert_eq!((op.path[1].points[2].x, op.path[1].points[2].y), (5, 6));
    assert_eq!((op.flags, op.style.as_deref()), (12, Some(&[0, 16][..])));
    assert_eq!((op.fore_mode, op.back_mode), (64, 7));
    assert!(matches!(op.brush, Brush::Solid(0xaabbcc)));
    // Without dashes neither their number nor their address nor the gap means anything.
    let DrawOp::Stroke(op) = drawn(&mut ram, &drawable(10, &stroke(path, 4, 9, NOWHERE)), 0).op
    else {
        panic!()
    };
    assert_eq!((op.flags, op.style.as_deref()), (0, None));
}

#[test]
fn text_has_its_glyphs_and_the_first_depth_of_its_flags() {
    let mut ram = TestRam::new(8192);
    for (flags, depth, rows) in [
        (0xf9, GlyphDepth::A1, 6),
        (7, GlyphDepth::A1, 6),
        (6, GlyphDepth::A4, 15),
        (12, GlyphDepth::A8, 27),
    ] {
        let data = [glyph(9, 3, &vec![0x5a; rows]), glyph(0, 9, &[]), glyph(9, 3, &vec![1; rows])];
        let data = data.concat();
        let mut string = Vec::new();
        string.put_u32(u32::try_from(data.len()).unwrap()).put_u16(3).put_u16(flags);
        string.put_bytes(&chunk(&data[..30], put_chunks(&mut ram, &data[30..], 11)));
        let string = ram.put(&string);
        let DrawOp::Text(op) = drawn(&mut ram, &drawable(11, &text(string)), 0).op else {
            panic!()
        };
        assert_eq!((op.depth, op.top_down, &*op.data), (depth, flags & 8 != 0, &data));
        assert_eq!(op.glyphs.len(), 3);
        let last = &op.glyphs[2];
        assert_eq!((last.corner(), last.width, last.height), ((4, 6), 9, 3));
        assert_eq!(op.data[last.data.clone()], vec![1; rows]);
        assert_eq!(op.back_area, rect(1, 2, 3, 4));
        assert!(matches!((&op.fore_brush, &op.back_brush), (Brush::Solid(5), Brush::Solid(6))));
        assert_eq!((op.fore_mode, op.back_mode), (8, 9));
    }
}

#[test]
fn copy_bits_and_the_plain_operations_are_known() {
    let mut ram = TestRam::new(8192);
    let point = [7i32, 9].map(i32::to_le_bytes).concat();
    let op = drawn(&mut ram, &drawable(4, &point), 0).op;
    assert!(matches!(op, DrawOp::CopyBits { src: Point { x: 7, y: 9 } }));
    let bits = ram.put(&[0b1010_0101; 4]);
    let image = TestBitmap { format: 1, stride: 1, data: bits, ..RGB }.put(&mut ram);
    for kind in [6, 7, 8] {
        let op = drawn(&mut ram, &drawable(kind, &mask(1, image)), 0).op;
        let (DrawOp::Blackness { mask } | DrawOp::Whiteness { mask } | DrawOp::Invers { mask }) =
            op
        else {
            panic!("{op:?}")
        };
        assert!(mask.inverse);
        assert_eq!(mask.pos, Point { x: 5, y: 6 });
        let image = mask.image.unwrap();
        let bitmap = bitmap(&image);
        assert_eq!((bitmap.format, bitmap.palette.as_ref()), (BitmapFormat::Bit1Le, None));
        assert_eq!(*bitmap.data, [0b1010_0101; 4]);
    }
}

#[test]
fn surfaces_are_images_if_the_command_says_it_reads_them() {
    let mut ram = TestRam::new(4096);
    let image = surface_image(&mut ram, 12);
    let area = rect(-5, 0, 3, -9);
    let payload = drawable(3, &copy(image, rect(0, 0, 5000, 6000)))
        .with_u32(at::READS + 4, 12)
        .with_rect(at::READS + 12 + 16, area);
    let drawable = drawn(&mut ram, &payload, 0);
    assert_eq!(drawable.reads, [SurfaceRead { surface_id: 12, area }]);
    let DrawOp::Copy { src, .. } = drawable.op else { panic!() };
    assert!(matches!(src.kind, ImageKind::Surface(12)));
    assert_eq!((src.flags, src.width, src.height), (0, 1000, 2000));
}

#[test]
fn palettes_are_filled_up_with_black() {
    let mut ram = TestRam::new(8192);
    let data = put_chunks(&mut ram, &[0x21; 16], 7);
    for (entries, len) in [(vec![], 16), (vec![1, 2, 3], 16), ((0..300).collect(), 256)] {
        let palette = palette(&mut ram, &entries);
        let image = TestBitmap { palette, data, ..NIBBLES }.put(&mut ram);
        let op = drawn(&mut ram, &drawable(1, &fill(&brush(2, image), &mask(0, 0))), 0).op;
        let DrawOp::Fill { brush: Brush::Pattern { image, pos }, .. } = op else { panic!() };
        assert_eq!(pos, Point { x: 3, y: -4 });
        let palette = bitmap(&image).palette.clone().unwrap();
        assert_eq!((palette.unique, palette.entries.len()), (5, len));
        let mut expected = entries;
        expected.resize(len, 0);
        assert_eq!(palette.entries, expected);
    }
}

#[test]
fn clips_keep_the_rectangles_that_have_pixels() {
    let mut ram = TestRam::new(4096);
    let rects = [rect(1, 2, 3, 4), rect(5, 5, 5, 9), rect(9, 0, 2, 1), rect(-2, -2, 90, 90)];
    let bytes = rects.map(rect_bytes).concat();
    let rest = ram.put(&chunk(&bytes[21..], 0));
    let mut clip = 4u32.to_le_bytes().to_vec();
    clip.put_bytes(&chunk(&bytes[..21], rest));
    let clip = ram.put(&clip);
    let payload = drawable(8, &mask(0, 0)).with_u32(at::CLIP, 1).with_u64(at::CLIP + 4, clip);
    let clip = drawn(&mut ram, &payload, 0).clip.unwrap();
    assert_eq!(*clip, [rects[0], rects[3]]);
}

#[test]
fn compatibility_mode_has_its_own_layout_and_colors() {
    let mut ram = TestRam::new(4096);
    let payload = compat_drawable(1, &fill(&brush(1, 0x7fff), &mask(0, 0)));
    for (flags, color) in [(1, 0x7fff), (3, 0xff_ffff)] {
        let drawable = drawn(&mut ram, &payload, flags);
        assert_eq!((drawable.surface_id, drawable.bbox), (0, rect(0, 0, 8, 4)));
        let DrawOp::Fill { brush: Brush::Solid(found), .. } = drawable.op else { panic!() };
        assert_eq!(found, color);
    }
    let data = put_chunks(&mut ram, &[0x21; 16], 16);
    let palette = palette(&mut ram, &[0x7c00, 0x001f]);
    let image = TestBitmap { palette, data, ..NIBBLES }.put(&mut ram);
    let payload = compat_drawable(3, &copy(image, rect(0, 0, 8, 4)));
    let DrawOp::Copy { src, .. } = drawn(&mut ram, &payload, FLAG_COMPAT | FLAG_COMPAT_16BPP).op
    else {
        panic!()
    };
    let entries = &bitmap(&src).palette.as_ref().unwrap().entries;
    assert_eq!(entries[..3], [0xff_0000, 0xff, 0]);
}

#[test]
fn compatible_copy_bits_reads_the_primary_surface() {
    let mut ram = TestRam::new(4096);
    let point = [7i32, 9].map(i32::to_le_bytes).concat();
    let drawable = drawn(&mut ram, &compat_drawable(4, &point), FLAG_COMPAT);
    assert_eq!(drawable.reads, [SurfaceRead { surface_id: 0, area: rect(7, 9, 15, 13) }]);
}

#[test]
fn updates_name_their_surface_except_in_compatibility_mode() {
    let mut ram = TestRam::new(4096);
    let mut command = command(&mut ram, CMD_UPDATE, &update_command(rect(1, 2, 3, 4), 6));
    for (flags, surface) in [(0, 6), (FLAG_COMPAT, 0)] {
        command.flags = flags;
        let parsed = display(&ram, &command, &Limits::default()).unwrap();
        let DisplayCommand::Update { surface_id, area, update_id, release } = parsed else {
            panic!("{parsed:?}")
        };
        assert_eq!((surface_id, area, update_id), (surface, rect(1, 2, 3, 4), 42));
        assert_eq!(release, release_of(&ram, &command));
    }
}

#[test]
fn messages_end_at_their_zero() {
    let mut ram = TestRam::new(64);
    let addr = ram.put_last(b"\0\0\0\0\0\0\0\0hello \xff\0");
    let command = CommandExt { data: addr, kind: CMD_MESSAGE, group_id: GUEST, flags: 0 };
    let parsed = display(&ram, &command, &Limits::default()).unwrap();
    let DisplayCommand::Message { text, release } = parsed else { panic!("{parsed:?}") };
    assert_eq!(text, "hello \u{fffd}");
    assert_eq!(release, release_of(&ram, &command));
}

#[test]
fn surfaces_are_created_over_their_memory_and_destroyed_by_id() {
    let mut ram = TestRam::new(4096);
    let memory = ram.put(&[1; 128]);
    for flags in [0, 1] {
        let payload = surface_command(3, 0, flags).with_u64(33, memory);
        let command = command(&mut ram, CMD_SURFACE, &payload);
        let parsed = display(&ram, &command, &Limits::default()).unwrap();
        let DisplayCommand::SurfaceCreate { surface_id: 3, geometry, keep_data, memory, release } =
            parsed
        else {
            panic!("{parsed:?}")
        };
        assert_eq!((geometry.format(), geometry.stride()), (SurfaceFormat::Xrgb, -32));
        assert_eq!((geometry.width(), geometry.height(), keep_data), (8, 4, flags == 1));
        assert_eq!(memory.to_vec(128).unwrap(), [1; 128]);
        assert_eq!(release, release_of(&ram, &command));
    }
    let command = command(&mut ram, CMD_SURFACE, &surface_command(3, 1, 0).with_u32(17, 999));
    let parsed = display(&ram, &command, &Limits::default()).unwrap();
    assert!(matches!(parsed, DisplayCommand::SurfaceDestroy { surface_id: 3, .. }));
}

#[test]
fn cursor_commands_arrive_whole_and_surplus_data_is_cut() {
    let mut ram = TestRam::new(8192);
    let data = (0..40).collect::<Vec<u8>>();
    let rest = put_chunks(&mut ram, &data[10..], 9);
    let shape = ram.put(&shape(0, 3, 3, 39, &chunk(&data[..10], rest)));
    let set = cursor_set(shape);
    let commands = [
        set.clone(),
        vec![0; 150].with(8, &[1, 0xff, 0xff, 2, 0]),
        vec![0; 150].with(8, &[2]),
        vec![0; 150].with(8, &[3, 5, 0, 6, 0]),
    ];
    let parsed = commands.map(|payload| {
        let command = command(&mut ram, CMD_CURSOR, &payload);
        let (parsed, release) =
            parse_cursor_command(&ram.slots, &command, &Limits::default()).unwrap();
        assert_eq!(release, release_of(&ram, &command));
        parsed
    });
    let [CursorCommand::Set { position, visible: true, shape }, moved, hidden, trail] = parsed
    else {
        panic!("{parsed:?}")
    };
    assert_eq!(position, Point16 { x: -3, y: 7 });
    assert_eq!((shape.unique, shape.kind, shape.width, shape.height), (9, 0, 3, 3));
    assert_eq!((shape.hot_x, shape.hot_y), (1, 2));
    assert_eq!(shape.data, data[..36]);
    assert!(matches!(moved, CursorCommand::Move(Point16 { x: -1, y: 2 })));
    assert!(matches!(hidden, CursorCommand::Hide));
    assert!(matches!(trail, CursorCommand::Trail { length: 5, frequency: 6 }));
}

#[test]
fn a_command_may_bring_exactly_its_limits() {
    let mut ram = TestRam::new(4096);
    let data = put_chunks(&mut ram, &pixels(), 32);
    let image = TestBitmap { flags: 0, data, ..RGB }.put(&mut ram);
    let payload = drawable(3, &copy(image, rect(0, 0, 8, 4)));
    let command = command(&mut ram, CMD_DRAW, &payload);
    let limits = Limits { bytes: 128, chunks: 4, clip_rects: 0, surfaces: 1, quic: None };
    assert!(display(&ram, &command, &limits).is_ok());
}

#[test]
fn a_compressed_image_is_a_bitmap_from_here_on() {
    let mut ram = TestRam::new(4096);
    let stream = [8, 4, 9, 9, 9];
    let rest = ram.put(&chunk(&stream[2..], 0));
    let mut image = descriptor(1, 5).with_u32(10, 8).with_u32(14, 4);
    image.put_u32(5).put_bytes(&chunk(&stream[..2], rest));
    let payload = drawable(3, &copy(ram.put(&image), rect(0, 0, 8, 4)));
    let command = command(&mut ram, CMD_DRAW, &payload);
    // The stream and what it stands for are counted.
    let limits = Limits { bytes: 5 + 32, quic: Some(fake_quic), ..Limits::default() };
    let parsed = display(&ram, &command, &limits).unwrap();
    let DisplayCommand::Draw(Drawable { op: DrawOp::Copy { src, .. }, .. }, _) = parsed else {
        panic!("{parsed:?}")
    };
    assert_eq!((src.id, src.flags, src.width, src.height), (77, 1, 8, 4));
    assert_eq!(*bitmap(&src).data, [9; 32]);
}

#[test]
fn monitors_are_read_up_to_the_cap() {
    let mut ram = TestRam::new(4096);
    let mut config = Vec::new();
    config.put_u16(3).put_u16(4);
    (0..21).for_each(|n| {
        config.put_u32(n);
    });
    let addr = ram.put_last(&config);
    let parse = |cap| parse_monitors_config(&ram.slots, addr, GUEST, cap).unwrap();
    let all = parse(u32::MAX);
    assert_eq!((all.max_allowed, all.heads.len()), (4, 3));
    let last = Head { id: 14, surface_id: 15, width: 16, height: 17, x: 18, y: 19, flags: 20 };
    assert_eq!(all.heads[2], last);
    let two = parse(2);
    assert_eq!((two.max_allowed, &two.heads[..]), (2, &all.heads[..2]));
    assert_eq!(parse(0).heads.len(), 1);
}
