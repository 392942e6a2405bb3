/* The layout of drivers from before 0.6: the same lies, and what that layout does not have. */
#include "bad.h"

static const QXLRect all_noise = { .right = BAD_NOISE, .bottom = BAD_NOISE };

static QXLCompatDrawable *compat_of(struct qxl_item *item)
{
    return qxl_item_command(item);
}

static struct qxl_item *compat(uint8_t type, QXLRect bbox)
{
    struct qxl_item *item = qxl_item_new(QXL_CMD_DRAW, sizeof(QXLCompatDrawable));

    item->ext.flags = QXL_COMMAND_FLAG_COMPAT;
    compat_of(item)->type = type;
    compat_of(item)->effect = QXL_EFFECT_BLEND;
    compat_of(item)->bbox = bbox;
    return item;
}

static struct qxl_item *compat_copy(void)
{
    struct qxl_item *item = compat(QXL_DRAW_COPY, all_noise);

    compat_of(item)->u.copy.src_area = all_noise;
    compat_of(item)->u.copy.rop_descriptor = SPICE_ROPD_OP_PUT;
    compat_of(item)->u.copy.src_bitmap = qxl_address(qxl_draw_image(item, bad_source()));
    return item;
}

static struct qxl_item *compat_fill(QXLRect bbox)
{
    struct qxl_item *item = compat(QXL_DRAW_FILL, bbox);

    compat_of(item)->u.fill.brush.type = SPICE_BRUSH_TYPE_SOLID;
    compat_of(item)->u.fill.rop_descriptor = SPICE_ROPD_OP_PUT;
    return item;
}

BAD(compat_type_unknown) { return compat(99, all_noise); }
BAD(compat_composite) { return compat(QXL_DRAW_COMPOSITE, all_noise); }
BAD(compat_box_outside) { return compat_fill(qxl_rect(0, 0, BAD_WIDTH + 1, BAD_HEIGHT)); }
BAD(compat_box_inverted) { return compat_fill(qxl_rect(9, 9, 3, 3)); }
BAD(compat_box_extreme) { return compat_fill(qxl_rect(INT_MIN, INT_MIN, INT_MAX, INT_MAX)); }

BAD(compat_effect_unknown)
{
    struct qxl_item *item = compat_fill(all_noise);

    compat_of(item)->effect = 99;
    return item;
}

BAD(compat_brush_unknown)
{
    struct qxl_item *item = compat_fill(all_noise);

    compat_of(item)->u.fill.brush.type = 5;
    return item;
}

BAD(compat_clip_unmapped)
{
    struct qxl_item *item = compat_copy();

    compat_of(item)->clip.type = SPICE_CLIP_TYPE_RECTS;
    compat_of(item)->clip.data = UNMAPPED;
    return item;
}

BAD(compat_without_image)
{
    struct qxl_item *item = compat_copy();

    compat_of(item)->u.copy.src_bitmap = 0;
    return item;
}

BAD(compat_area_outside)
{
    struct qxl_item *item = compat_copy();

    compat_of(item)->u.copy.src_area.right = INT_MAX;
    return item;
}

/* An image that is a surface: nothing in this layout says which surfaces are read. */
BAD(compat_source_is_a_surface)
{
    struct qxl_item *item = compat_copy();
    QXLImage *image = (QXLImage *)(uintptr_t)compat_of(item)->u.copy.src_bitmap;

    image->descriptor.type = SPICE_IMAGE_TYPE_SURFACE;
    image->surface_image.surface_id = 0;
    return item;
}

static struct qxl_item *compat_moved_from(int x, int y)
{
    struct qxl_item *item = compat(QXL_COPY_BITS, all_noise);

    compat_of(item)->u.copy_bits.src_pos.x = x;
    compat_of(item)->u.copy_bits.src_pos.y = y;
    return item;
}

BAD(compat_copy_bits_from_outside) { return compat_moved_from(BAD_WIDTH, BAD_HEIGHT); }
BAD(compat_copy_bits_overflows) { return compat_moved_from(INT_MAX, INT_MAX); }
BAD(compat_copy_bits_negative) { return compat_moved_from(INT_MIN, INT_MIN); }

/* An offset of no meaning, and an area outside of the surface. */
BAD(compat_own_area_outside)
{
    struct qxl_item *item = compat(QXL_DRAW_OPAQUE, all_noise);

    compat_of(item)->bitmap_offset = 0xffff;
    compat_of(item)->bitmap_area = qxl_rect(BAD_WIDTH, BAD_HEIGHT, 2 * BAD_WIDTH, 2 * BAD_HEIGHT);
    compat_of(item)->u.opaque.src_area = all_noise;
    compat_of(item)->u.opaque.brush.type = SPICE_BRUSH_TYPE_SOLID;
    compat_of(item)->u.opaque.rop_descriptor = SPICE_ROPD_OP_XOR;
    return item;
}

BAD(compat_alpha_without_image)
{
    struct qxl_item *item = compat(QXL_DRAW_ALPHA_BLEND, all_noise);

    compat_of(item)->u.alpha_blend.alpha = 9;
    compat_of(item)->u.alpha_blend.src_area = all_noise;
    return item;
}

/* Colours of 16 bits in a palette that is too small. */
BAD(compat_16_bit_palette_short)
{
    struct qxl_item *item = compat_copy();
    QXLImage *image = (QXLImage *)(uintptr_t)compat_of(item)->u.copy.src_bitmap;
    QXLPalette *palette = qxl_item_alloc(item, sizeof(*palette) + 4);

    palette->num_ents = 1;
    palette->ents[0] = UINT_MAX;
    image->bitmap.format = SPICE_BITMAP_FMT_8BIT;
    image->bitmap.stride = BAD_NOISE;
    image->bitmap.palette = qxl_address(palette);
    item->ext.flags |= QXL_COMMAND_FLAG_COMPAT_16BPP;
    return item;
}

/* A native drawable where the host says that it is an old one: every field is another. */
BAD(native_taken_for_compat)
{
    struct qxl_item *item = bad_copy();

    item->ext.flags = QXL_COMMAND_FLAG_COMPAT;
    return item;
}

static const struct bad_kind kinds[] = {
    KIND(compat_type_unknown),
    KIND(compat_composite),
    KIND(compat_box_outside),
    KIND(compat_box_inverted),
    KIND(compat_box_extreme),
    KIND(compat_effect_unknown),
    KIND(compat_brush_unknown),
    KIND(compat_clip_unmapped),
    KIND(compat_without_image),
    KIND(compat_area_outside),
    KIND(compat_source_is_a_surface),
    KIND(compat_copy_bits_from_outside),
    KIND(compat_copy_bits_overflows),
    KIND(compat_copy_bits_negative),
    KIND(compat_own_area_outside),
    KIND(compat_alpha_without_image),
    KIND(compat_16_bit_palette_short),
    KIND(native_taken_for_compat),
};

TABLE(bad_compat, kinds);
