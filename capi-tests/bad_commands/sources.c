/* Where draws take their pixels from: the area of the source, scaling, the destination as its own source. */
#include "bad.h"

static const QXLRect all_noise = { .right = BAD_NOISE, .bottom = BAD_NOISE };

static struct qxl_item *copy_area(QXLRect area)
{
    struct qxl_item *item = bad_copy();

    bad_drawable(item)->u.copy.src_area = area;
    return item;
}

BAD(copy_area_outside) { return copy_area(qxl_rect(0, 0, BAD_NOISE + 1, BAD_NOISE)); }
BAD(copy_area_below) { return copy_area(qxl_rect(0, 0, BAD_NOISE, BAD_NOISE + 1)); }
BAD(copy_area_negative) { return copy_area(qxl_rect(-1, -1, BAD_NOISE - 1, BAD_NOISE - 1)); }
BAD(copy_area_empty) { return copy_area(qxl_rect(5, 5, 5, 5)); }
BAD(copy_area_inverted) { return copy_area(qxl_rect(50, 50, 10, 10)); }
BAD(copy_area_extreme) { return copy_area(qxl_rect(INT_MIN, INT_MIN, INT_MAX, INT_MAX)); }
BAD(copy_area_far_outside) { return copy_area(qxl_rect(INT_MAX - 64, INT_MAX - 64, INT_MAX, INT_MAX)); }
BAD(copy_of_one_pixel_scaled_up) { return copy_area(qxl_rect(63, 63, 64, 64)); }

BAD(copy_without_image)
{
    struct qxl_item *item = bad_copy();

    bad_drawable(item)->u.copy.src_bitmap = 0;
    return item;
}

BAD(copy_of_itself_without_image)
{
    struct qxl_item *item = copy_without_image();

    bad_drawable(item)->self_bitmap = 1;
    bad_drawable(item)->self_bitmap_area = all_noise;
    return item;
}

BAD(copy_image_unmapped)
{
    struct qxl_item *item = bad_copy();

    bad_drawable(item)->u.copy.src_bitmap = UNMAPPED;
    return item;
}

BAD(copy_image_cut_off)
{
    struct qxl_item *item = bad_copy();
    size_t size = sizeof(QXLImageDescriptor) + sizeof(QXLBitmap);

    /* All but the last byte of a good image. */
    memcpy(bad_arena_tail((unsigned)size - 1), bad_image(item), size - 1);
    bad_drawable(item)->u.copy.src_bitmap = bad_arena_end((unsigned)size - 1);
    return item;
}

BAD(copy_descriptor_cut_off)
{
    struct qxl_item *item = bad_copy();

    bad_drawable(item)->u.copy.src_bitmap = bad_arena_end(sizeof(QXLImageDescriptor) - 1);
    return item;
}

BAD(copy_scale_mode_unknown)
{
    struct qxl_item *item = bad_copy();

    bad_drawable(item)->u.copy.scale_mode = 9;
    return item;
}

BAD(copy_rop_of_everything)
{
    struct qxl_item *item = bad_copy();

    bad_drawable(item)->u.copy.rop_descriptor = 0xffff;
    return item;
}

/* ---- blend ---- */

static struct qxl_item *blend(QXLRect area)
{
    return qxl_draw_blend(0, all_noise, bad_source(), area, SPICE_ROPD_OP_XOR);
}

BAD(blend_area_outside) { return blend(qxl_rect(10, 10, BAD_NOISE + 10, BAD_NOISE + 10)); }
BAD(blend_area_inverted) { return blend(qxl_rect(9, 9, 3, 3)); }

BAD(blend_without_image)
{
    struct qxl_item *item = blend(all_noise);

    bad_drawable(item)->u.blend.src_bitmap = 0;
    return item;
}

/* ---- opaque ---- */

static struct qxl_item *opaque(QXLRect area)
{
    return qxl_draw_opaque(0, all_noise, bad_source(), area, 0x334455, SPICE_ROPD_OP_XOR);
}

BAD(opaque_area_outside) { return opaque(qxl_rect(10, 10, BAD_NOISE + 10, BAD_NOISE + 10)); }
BAD(opaque_area_negative) { return opaque(qxl_rect(-10, -10, 54, 54)); }
BAD(opaque_area_inverted) { return opaque(qxl_rect(9, 9, 3, 3)); }
BAD(opaque_area_empty) { return opaque(qxl_rect(9, 9, 9, 9)); }

BAD(opaque_without_image)
{
    struct qxl_item *item = opaque(all_noise);

    bad_drawable(item)->u.opaque.src_bitmap = 0;
    return item;
}

BAD(opaque_scale_mode_unknown)
{
    struct qxl_item *item = opaque(all_noise);

    bad_drawable(item)->u.opaque.scale_mode = 2;
    return item;
}

BAD(opaque_brush_unknown)
{
    struct qxl_item *item = opaque(all_noise);

    bad_drawable(item)->u.opaque.brush.type = 3;
    return item;
}

/* The destination as its own source: `part` of it, of which `area` is used. */
static struct qxl_item *opaque_of_itself(QXLRect part, QXLRect area)
{
    struct qxl_item *item = opaque(area);

    bad_drawable(item)->u.opaque.src_bitmap = 0;
    bad_drawable(item)->self_bitmap = 1;
    bad_drawable(item)->self_bitmap_area = part;
    return item;
}

BAD(own_area_outside) { return opaque_of_itself(qxl_rect(BAD_WIDTH - 9, 0, BAD_WIDTH + 55, 64), all_noise); }
BAD(own_area_negative) { return opaque_of_itself(qxl_rect(-64, -64, 0, 0), all_noise); }
BAD(own_area_inverted) { return opaque_of_itself(qxl_rect(64, 64, 0, 0), all_noise); }
BAD(own_area_empty) { return opaque_of_itself(qxl_rect(3, 3, 3, 3), all_noise); }
BAD(own_area_extreme) { return opaque_of_itself(qxl_rect(INT_MIN, INT_MIN, INT_MAX, INT_MAX), all_noise); }
BAD(own_area_huge) { return opaque_of_itself(qxl_rect(0, 0, INT_MAX, INT_MAX), all_noise); }
BAD(own_area_smaller_than_its_use) { return opaque_of_itself(qxl_rect(0, 0, 8, 8), all_noise); }

/* ---- rop3 ---- */

static struct qxl_item *rop3(QXLRect area)
{
    return qxl_draw_rop3(0, all_noise, bad_source(), area, 0x334455, 0x96);
}

BAD(rop3_area_outside) { return rop3(qxl_rect(10, 10, BAD_NOISE + 10, BAD_NOISE + 10)); }
BAD(rop3_area_negative) { return rop3(qxl_rect(-10, -10, 54, 54)); }
BAD(rop3_area_far_outside) { return rop3(qxl_rect(INT_MAX - 64, 0, INT_MAX, 64)); }

BAD(rop3_without_image)
{
    struct qxl_item *item = rop3(all_noise);

    bad_drawable(item)->u.rop3.src_bitmap = 0;
    return item;
}

BAD(rop3_source_smaller_than_its_area)
{
    struct qxl_item *item = rop3(all_noise);
    QXLImage *image = (QXLImage *)(uintptr_t)bad_drawable(item)->u.rop3.src_bitmap;

    image->bitmap.x = image->bitmap.y = image->descriptor.width = image->descriptor.height = 16;
    return item;
}

BAD(rop3_scale_mode_unknown)
{
    struct qxl_item *item = rop3(all_noise);

    bad_drawable(item)->u.rop3.scale_mode = 255;
    return item;
}

/* ---- transparent ---- */

static struct qxl_item *transparent(QXLRect area)
{
    return qxl_draw_transparent(0, all_noise, bad_source(), area, 0x334455);
}

BAD(transparent_area_outside) { return transparent(qxl_rect(10, 10, BAD_NOISE + 10, BAD_NOISE + 10)); }
BAD(transparent_area_negative) { return transparent(qxl_rect(-10, -10, 54, 54)); }

BAD(transparent_without_image)
{
    struct qxl_item *item = transparent(all_noise);

    bad_drawable(item)->u.transparent.src_bitmap = 0;
    return item;
}

/* ---- alpha_blend ---- */

static struct qxl_item *alpha(QXLRect area)
{
    return qxl_draw_alpha_blend(0, all_noise, bad_source(), area, 100, true);
}

BAD(alpha_area_outside) { return alpha(qxl_rect(10, 10, BAD_NOISE + 10, BAD_NOISE + 10)); }
BAD(alpha_area_negative) { return alpha(qxl_rect(-10, -10, 54, 54)); }
BAD(alpha_area_empty) { return alpha(qxl_rect(1, 1, 1, 1)); }

BAD(alpha_without_image)
{
    struct qxl_item *item = alpha(all_noise);

    bad_drawable(item)->u.alpha_blend.src_bitmap = 0;
    return item;
}

BAD(alpha_flags_unknown)
{
    struct qxl_item *item = alpha(all_noise);

    bad_drawable(item)->u.alpha_blend.alpha_flags = 0xffff;
    return item;
}

/* ---- surfaces as sources ---- */

static struct qxl_item *from_surface(uint32_t id, QXLRect area, int32_t declared)
{
    struct qxl_source source = { .width = 64, .height = 64, .surface_id = id };
    struct qxl_item *item = qxl_draw_copy(0, all_noise, source, area, SPICE_ROPD_OP_PUT);

    bad_drawable(item)->surfaces_dest[0] = declared;
    return item;
}

BAD(source_surface_undeclared) { return from_surface(9, all_noise, -1); }
BAD(source_surface_missing) { return from_surface(9, all_noise, 9); }
BAD(source_surface_out_of_range) { return from_surface(UINT_MAX, all_noise, -1); }
BAD(source_surface_declared_as_another) { return from_surface(9, all_noise, 0); }
BAD(source_surface_is_the_destination) { return from_surface(0, qxl_rect(8, 8, 72, 72), 0); }
BAD(source_surface_too_small) { return from_surface(0, qxl_rect(100, 90, 164, 154), 0); }
BAD(source_surface_far_too_small) { return from_surface(0, qxl_rect(INT_MAX - 64, 0, INT_MAX, 64), 0); }

static const struct bad_kind kinds[] = {
    KIND(copy_area_outside), KIND(copy_area_below), KIND(copy_area_negative), KIND(copy_area_empty),
    KIND(copy_area_inverted), KIND(copy_area_extreme), KIND(copy_area_far_outside),
    KIND(copy_of_one_pixel_scaled_up), KIND(copy_without_image), KIND(copy_of_itself_without_image),
    KIND(copy_image_unmapped), KIND(copy_image_cut_off), KIND(copy_descriptor_cut_off),
    KIND(copy_scale_mode_unknown), KIND(copy_rop_of_everything), KIND(blend_area_outside),
    KIND(blend_area_inverted), KIND(blend_without_image), KIND(opaque_area_outside), KIND(opaque_area_negative),
    KIND(opaque_area_inverted), KIND(opaque_area_empty), KIND(opaque_without_image),
    KIND(opaque_scale_mode_unknown), KIND(opaque_brush_unknown), KIND(own_area_outside), KIND(own_area_negative),
    KIND(own_area_inverted), KIND(own_area_empty), KIND(own_area_extreme), KIND(own_area_huge),
    KIND(own_area_smaller_than_its_use), KIND(rop3_area_outside), KIND(rop3_area_negative),
    KIND(rop3_area_far_outside), KIND(rop3_without_image), KIND(rop3_source_smaller_than_its_area),
    KIND(rop3_scale_mode_unknown), KIND(transparent_area_outside), KIND(transparent_area_negative),
    KIND(transparent_without_image), KIND(alpha_area_outside), KIND(alpha_area_negative), KIND(alpha_area_empty),
    KIND(alpha_without_image), KIND(alpha_flags_unknown), KIND(source_surface_undeclared),
    KIND(source_surface_missing), KIND(source_surface_out_of_range), KIND(source_surface_declared_as_another),
    KIND(source_surface_is_the_destination), KIND(source_surface_too_small), KIND(source_surface_far_too_small),
};

TABLE(bad_sources, kinds);
