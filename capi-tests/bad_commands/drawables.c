/* What all drawables have: type, effect, surfaces, box, clip; copy_bits, masks and brushes. */
#include "bad.h"

static struct qxl_item *of_type(uint8_t type)
{
    struct qxl_item *item = bad_copy();

    bad_drawable(item)->type = type;
    return item;
}

BAD(draw_type_unknown) { return of_type(200); }
BAD(draw_type_just_unknown) { return of_type(QXL_DRAW_COMPOSITE + 1); }
BAD(draw_type_nop) { return of_type(QXL_DRAW_NOP); }

BAD(effect_unknown)
{
    struct qxl_item *item = bad_copy();

    bad_drawable(item)->effect = 200;
    return item;
}

BAD(effect_lies)
{
    struct qxl_item *item = qxl_draw_plain(0, QXL_DRAW_INVERS, qxl_rect(0, 0, BAD_WIDTH, BAD_HEIGHT));

    bad_drawable(item)->effect = QXL_EFFECT_NOP_ON_DUP;
    return item;
}

/* ---- surfaces ---- */

static struct qxl_item *on_surface(uint32_t id)
{
    struct qxl_item *item = bad_copy();

    bad_drawable(item)->surface_id = id;
    return item;
}

BAD(surface_out_of_range) { return on_surface(UINT_MAX); }
BAD(surface_just_out_of_range) { return on_surface(QXL_MAX_SURFACES); }
BAD(surface_not_created) { return on_surface(77); }

BAD(surface_destroyed)
{
    qxl_host_push(bad_device, qxl_surface_create(bad_device, 12, 64, 64));
    qxl_host_push(bad_device, qxl_surface_destroy(bad_device, 12));
    return on_surface(12);
}

static struct qxl_item *depending(int index, int32_t id)
{
    struct qxl_item *item = bad_copy();

    bad_drawable(item)->surfaces_dest[index] = id;
    return item;
}

BAD(dependency_out_of_range) { return depending(1, 5000); }
BAD(dependency_just_out_of_range) { return depending(0, QXL_MAX_SURFACES); }
BAD(dependency_negative) { return depending(2, -77); }
BAD(dependency_smallest) { return depending(0, INT_MIN); }
BAD(dependency_not_created) { return depending(0, 78); }

BAD(dependency_area_extreme)
{
    struct qxl_item *item = depending(0, 0);

    bad_drawable(item)->surfaces_rects[0] = qxl_rect(INT_MAX, INT_MAX, INT_MIN, INT_MIN);
    return item;
}

/* ---- box ---- */

static struct qxl_item *in_box(QXLRect bbox)
{
    return qxl_draw_fill(0, bbox, 0xff00ff, SPICE_ROPD_OP_PUT);
}

BAD(box_outside) { return in_box(qxl_rect(0, 0, BAD_WIDTH + 1, BAD_HEIGHT)); }
BAD(box_below) { return in_box(qxl_rect(0, 0, BAD_WIDTH, BAD_HEIGHT + 1)); }
BAD(box_far_outside) { return in_box(qxl_rect(INT_MAX - 1, INT_MAX - 1, INT_MAX, INT_MAX)); }
BAD(box_negative) { return in_box(qxl_rect(-5, -5, 10, 10)); }
BAD(box_inverted) { return in_box(qxl_rect(50, 50, 10, 10)); }
BAD(box_inverted_across) { return in_box(qxl_rect(50, 10, 10, 50)); }
BAD(box_inverted_down) { return in_box(qxl_rect(10, 50, 50, 10)); }
BAD(box_extreme) { return in_box(qxl_rect(INT_MIN, INT_MIN, INT_MAX, INT_MAX)); }
BAD(box_inverted_extreme) { return in_box(qxl_rect(INT_MAX, INT_MAX, INT_MIN, INT_MIN)); }
BAD(box_empty) { return in_box(qxl_rect(10, 10, 10, 10)); }

/* ---- clip ---- */

static struct qxl_item *clipped(uint32_t type, QXLPHYSICAL data)
{
    struct qxl_item *item = bad_copy();

    bad_drawable(item)->clip.type = type;
    bad_drawable(item)->clip.data = data;
    return item;
}

BAD(clip_type_unknown) { return clipped(55, 0); }
BAD(clip_type_path) { return clipped(2, qxl_address(bad_noise)); }
BAD(clip_null) { return clipped(SPICE_CLIP_TYPE_RECTS, 0); }
BAD(clip_unmapped) { return clipped(SPICE_CLIP_TYPE_RECTS, UNMAPPED); }

BAD(clip_past_its_slot)
{
    return clipped(SPICE_CLIP_TYPE_RECTS, bad_arena_end(sizeof(QXLClipRects) - 1));
}

static struct qxl_item *clip_of(const QXLRect *rects, uint32_t rects_there, uint32_t count, uint32_t bytes)
{
    struct qxl_item *item = bad_copy();
    QXLClipRects *clip;

    qxl_draw_clip(item, rects, rects_there);
    clip = (QXLClipRects *)(uintptr_t)bad_drawable(item)->clip.data;
    clip->num_rects = count;
    clip->chunk.data_size = bytes;
    return item;
}

static const QXLRect small_rect = { .right = 5, .bottom = 5 };

BAD(clip_count_lies) { return clip_of(&small_rect, 1, 0x10000001, 16); }
/* 2^28 rectangles of 16 bytes are 0 bytes in 32 bits. */
BAD(clip_count_wraps) { return clip_of(&small_rect, 1, 0x10000000, 0); }
BAD(clip_count_zero) { return clip_of(&small_rect, 1, 0, 16); }
BAD(clip_bytes_zero) { return clip_of(&small_rect, 1, 1, 0); }
BAD(clip_bytes_odd) { return clip_of(&small_rect, 1, 1, 15); }
BAD(clip_bytes_huge) { return clip_of(&small_rect, 1, 0x0fffffff, 0xfffffff0); }

BAD(clip_rects_strange)
{
    const QXLRect rects[] = {
        qxl_rect(INT_MIN, INT_MIN, INT_MAX, INT_MAX), qxl_rect(9, 9, 3, 3), qxl_rect(INT_MAX, 0, INT_MIN, 5),
        qxl_rect(4, 4, 4, 4),
    };

    return clip_of(rects, 4, 4, sizeof(rects));
}

BAD(clip_of_very_many)
{
    enum { COUNT = 100000 };
    static QXLRect rects[COUNT];

    for (int i = 0; i < COUNT; i++)
        rects[i] = qxl_rect(i % 60, i / 60 % 60, i % 60 + 1 + i % 3, i / 60 % 60 + 1);
    return clip_of(rects, COUNT, COUNT, sizeof(rects));
}

BAD(clip_chunks_circular)
{
    struct qxl_item *item = clip_of(&small_rect, 1, 1, 0);
    QXLClipRects *clip = (QXLClipRects *)(uintptr_t)bad_drawable(item)->clip.data;

    clip->chunk.next_chunk = qxl_address(clip) + sizeof(clip->num_rects);
    return item;
}

/* ---- copy_bits ---- */

static struct qxl_item *moved_from(int x, int y)
{
    return qxl_draw_copy_bits(0, qxl_rect(0, 0, 50, 50), x, y);
}

BAD(copy_bits_from_outside) { return moved_from(BAD_WIDTH - 10, BAD_HEIGHT - 10); }
BAD(copy_bits_from_far_outside) { return moved_from(INT_MAX, INT_MAX); }
BAD(copy_bits_from_just_no_overflow) { return moved_from(INT_MAX - 50, INT_MAX - 50); }
BAD(copy_bits_from_negative) { return moved_from(INT_MIN, -7); }
BAD(copy_bits_in_place) { return moved_from(0, 0); }

/* ---- masks ---- */

static struct qxl_item *masked(QXLPHYSICAL bitmap, int x, int y)
{
    struct qxl_item *item = bad_copy();

    bad_drawable(item)->u.copy.mask.bitmap = bitmap;
    bad_drawable(item)->u.copy.mask.pos.x = x;
    bad_drawable(item)->u.copy.mask.pos.y = y;
    return item;
}

/* A good mask of one bit per pixel, to be made bad. */
static QXLImage *good_mask(struct qxl_item *item)
{
    QXLImage *image = qxl_draw_image(item, bad_source());

    image->bitmap.format = SPICE_BITMAP_FMT_1BIT_BE;
    image->bitmap.stride = BAD_NOISE / 8;
    bad_drawable(item)->u.copy.mask.bitmap = qxl_address(image);
    return image;
}

BAD(mask_unmapped) { return masked(UNMAPPED, 0, 0); }
BAD(mask_past_its_slot) { return masked(bad_arena_end(30), 0, 0); }

BAD(mask_far_away)
{
    struct qxl_item *item = masked(0, INT_MAX, INT_MIN);

    good_mask(item);
    return item;
}

BAD(mask_flags_unknown)
{
    struct qxl_item *item = masked(0, 0, 0);

    good_mask(item);
    bad_drawable(item)->u.copy.mask.flags = 0xff;
    return item;
}

BAD(mask_of_32_bits)
{
    struct qxl_item *item = masked(0, 0, 0);
    QXLImage *image = good_mask(item);

    image->bitmap.format = SPICE_BITMAP_FMT_32BIT;
    image->bitmap.stride = BAD_NOISE * 4;
    return item;
}

BAD(mask_stride_short)
{
    struct qxl_item *item = masked(0, 0, 0);

    good_mask(item)->bitmap.stride = BAD_NOISE / 8 - 1;
    return item;
}

BAD(mask_without_pixels)
{
    struct qxl_item *item = masked(0, 0, 0);
    QXLImage *image = good_mask(item);

    image->bitmap.x = image->bitmap.y = image->bitmap.stride = 0;
    return item;
}

BAD(mask_smaller_than_box)
{
    struct qxl_item *item = masked(0, 0, 0);
    QXLImage *image = good_mask(item);

    image->bitmap.x = image->bitmap.y = image->descriptor.width = image->descriptor.height = 3;
    return item;
}

BAD(mask_is_missing_surface)
{
    struct qxl_item *item = masked(0, 0, 0);
    QXLImage *image = good_mask(item);

    image->descriptor.type = SPICE_IMAGE_TYPE_SURFACE;
    image->surface_image.surface_id = 33;
    return item;
}

/* ---- brushes ---- */

static struct qxl_item *brushed(uint32_t type, QXLPHYSICAL pattern)
{
    struct qxl_item *item = qxl_draw_fill(0, qxl_rect(0, 0, 9, 9), 0, SPICE_ROPD_OP_PUT);

    bad_drawable(item)->u.fill.brush.type = type;
    bad_drawable(item)->u.fill.brush.u.pattern.pat = pattern;
    return item;
}

BAD(brush_unknown) { return brushed(77, 0); }
BAD(brush_type_huge) { return brushed(UINT_MAX, 0); }
BAD(brush_none) { return brushed(SPICE_BRUSH_TYPE_NONE, ~0ull); }
BAD(pattern_null) { return brushed(SPICE_BRUSH_TYPE_PATTERN, 0); }
BAD(pattern_unmapped) { return brushed(SPICE_BRUSH_TYPE_PATTERN, UNMAPPED); }

BAD(pattern_far_away)
{
    return qxl_draw_pattern(0, qxl_rect(0, 0, 99, 90), bad_source(), (QXLPoint){ INT_MIN, INT_MAX },
                            SPICE_ROPD_OP_PUT);
}

BAD(pattern_is_missing_surface)
{
    struct qxl_source source = { .width = 8, .height = 8, .surface_id = 31 };

    return qxl_draw_pattern(0, qxl_rect(0, 0, 9, 9), source, (QXLPoint){ 0, 0 }, SPICE_ROPD_OP_PUT);
}

BAD(pattern_is_the_destination)
{
    struct qxl_source source = { .width = BAD_WIDTH, .height = BAD_HEIGHT };

    return qxl_draw_pattern(0, qxl_rect(5, 5, 90, 90), source, (QXLPoint){ 3, 3 }, SPICE_ROPD_OP_PUT);
}

static struct qxl_item *with_rop(uint16_t rop)
{
    return qxl_draw_fill(0, qxl_rect(0, 0, 50, 50), 0x123456, rop);
}

BAD(rop_of_nothing) { return with_rop(0); }
BAD(rop_of_everything) { return with_rop(0xffff); }
BAD(rop_unknown_bits) { return with_rop(0xf800); }

static const struct bad_kind kinds[] = {
    KIND(draw_type_unknown), KIND(draw_type_just_unknown), KIND(draw_type_nop), KIND(effect_unknown),
    KIND(effect_lies), KIND(surface_out_of_range), KIND(surface_just_out_of_range), KIND(surface_not_created),
    KIND(surface_destroyed), KIND(dependency_out_of_range), KIND(dependency_just_out_of_range),
    KIND(dependency_negative), KIND(dependency_smallest), KIND(dependency_not_created),
    KIND(dependency_area_extreme), KIND(box_outside), KIND(box_below), KIND(box_far_outside), KIND(box_negative),
    KIND(box_inverted), KIND(box_inverted_across), KIND(box_inverted_down), KIND(box_extreme),
    KIND(box_inverted_extreme), KIND(box_empty), KIND(clip_type_unknown), KIND(clip_type_path), KIND(clip_null),
    KIND(clip_unmapped), KIND(clip_past_its_slot), KIND(clip_count_lies), KIND(clip_count_wraps),
    KIND(clip_count_zero), KIND(clip_bytes_zero), KIND(clip_bytes_odd), KIND(clip_bytes_huge),
    KIND(clip_rects_strange), KIND(clip_of_very_many), KIND(clip_chunks_circular), KIND(copy_bits_from_outside),
    KIND(copy_bits_from_far_outside), KIND(copy_bits_from_just_no_overflow), KIND(copy_bits_from_negative),
    KIND(copy_bits_in_place), KIND(mask_unmapped), KIND(mask_past_its_slot), KIND(mask_far_away),
    KIND(mask_flags_unknown), KIND(mask_of_32_bits), KIND(mask_stride_short), KIND(mask_without_pixels),
    KIND(mask_smaller_than_box), KIND(mask_is_missing_surface), KIND(brush_unknown), KIND(brush_type_huge),
    KIND(brush_none), KIND(pattern_null), KIND(pattern_unmapped), KIND(pattern_far_away),
    KIND(pattern_is_missing_surface), KIND(pattern_is_the_destination), KIND(rop_of_nothing),
    KIND(rop_of_everything), KIND(rop_unknown_bits),
};

TABLE(bad_drawables, kinds);
