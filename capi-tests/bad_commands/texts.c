/* Strings: numbers of glyphs that lie, glyphs larger than their bytes, positions out of the world. */
#include "bad.h"

enum { BYTES = 64 };

struct glyph {
    QXLRasterGlyph head;
    uint8_t bits[BYTES];
} __attribute__((packed));

static const QXLRect everywhere = { .right = BAD_WIDTH, .bottom = BAD_HEIGHT };

/* 8x8 pixels of `bits` bits each, at 20,20; the size is that of its bytes. */
static struct glyph good_glyph(void)
{
    struct glyph glyph = { .head = { .render_pos = { 20, 20 }, .width = 8, .height = 8 } };

    memset(glyph.bits, 0x5a, sizeof(glyph.bits));
    return glyph;
}

static struct qxl_item *text(uint16_t flags, uint16_t length, const struct glyph *glyph, size_t bytes)
{
    const QXLRect none = { 0 };

    return qxl_draw_text(0, everywhere, flags, length, glyph, sizeof(QXLRasterGlyph) + bytes, none, 0xffffff, 0);
}

static QXLString *string_of(struct qxl_item *item)
{
    return (QXLString *)(uintptr_t)bad_drawable(item)->u.text.str;
}

/* One good glyph of one bit. */
static struct qxl_item *good_text(void)
{
    struct glyph glyph = good_glyph();

    return text(SPICE_STRING_FLAGS_RASTER_A1, 1, &glyph, 8);
}

static struct qxl_item *good_with(uint16_t flags, uint16_t length)
{
    struct qxl_item *item = good_text();

    string_of(item)->flags = flags;
    string_of(item)->length = length;
    return item;
}

BAD(text_depth_none) { return good_with(0, 1); }
BAD(text_depth_unknown) { return good_with(0xfff8, 1); }
BAD(text_depth_all) { return good_with(7, 1); }
BAD(text_depth_larger_than_bytes) { return good_with(SPICE_STRING_FLAGS_RASTER_A8, 1); }
BAD(text_length_more) { return good_with(SPICE_STRING_FLAGS_RASTER_A1, 2); }
BAD(text_length_most) { return good_with(SPICE_STRING_FLAGS_RASTER_A1, 65535); }
BAD(text_length_0) { return good_with(SPICE_STRING_FLAGS_RASTER_A1, 0); }

static struct qxl_item *of_bytes(uint32_t bytes, uint32_t announced)
{
    struct qxl_item *item = good_text();

    string_of(item)->chunk.data_size = bytes;
    string_of(item)->data_size = announced;
    return item;
}

BAD(text_size_more) { return of_bytes(28, 29); }
BAD(text_size_less) { return of_bytes(28, 27); }
BAD(text_size_huge) { return of_bytes(28, UINT_MAX); }
BAD(text_bytes_huge) { return of_bytes(UINT_MAX, UINT_MAX); }
BAD(text_glyph_head_cut_off) { return of_bytes(19, 19); }
BAD(text_glyph_bits_cut_off) { return of_bytes(27, 27); }
BAD(text_empty) { return of_bytes(0, 0); }

static struct qxl_item *sized(uint16_t flags, uint16_t width, uint16_t height)
{
    struct glyph glyph = good_glyph();

    glyph.head.width = width;
    glyph.head.height = height;
    return text(flags, 1, &glyph, sizeof(glyph.bits));
}

BAD(glyph_width_most) { return sized(SPICE_STRING_FLAGS_RASTER_A1, 65535, 8); }
BAD(glyph_height_most) { return sized(SPICE_STRING_FLAGS_RASTER_A4, 8, 65535); }
/* 65535 rows of 65537 bits overflow 32 bits once their number is multiplied. */
BAD(glyph_size_most) { return sized(SPICE_STRING_FLAGS_RASTER_A8, 65535, 65535); }

BAD(glyph_width_0)
{
    struct glyph glyph = good_glyph();

    glyph.head.width = 0;
    return text(SPICE_STRING_FLAGS_RASTER_A4, 1, &glyph, 0);
}

BAD(glyph_height_most_of_width_0)
{
    struct glyph glyph = good_glyph();

    glyph.head.width = 0;
    glyph.head.height = 65535;
    return text(SPICE_STRING_FLAGS_RASTER_A8, 1, &glyph, 0);
}

static struct qxl_item *placed(QXLPoint position, QXLPoint origin)
{
    struct glyph glyph = good_glyph();

    glyph.head.render_pos = position;
    glyph.head.glyph_origin = origin;
    return text(SPICE_STRING_FLAGS_RASTER_A4, 1, &glyph, 32);
}

BAD(glyph_far_left) { return placed((QXLPoint){ INT_MIN, INT_MIN }, (QXLPoint){ 0, 0 }); }
BAD(glyph_far_right) { return placed((QXLPoint){ INT_MAX, INT_MAX }, (QXLPoint){ 0, 0 }); }
BAD(glyph_origin_overflows) { return placed((QXLPoint){ INT_MAX, INT_MAX }, (QXLPoint){ INT_MAX, INT_MAX }); }
BAD(glyph_origin_underflows) { return placed((QXLPoint){ INT_MIN, INT_MIN }, (QXLPoint){ INT_MIN, INT_MIN }); }

/* Two glyphs 2^32 pixels apart: the picture of a string may not be made as wide as it is. */
BAD(glyphs_far_from_each_other)
{
    struct {
        QXLRasterGlyph left;
        uint8_t left_bits[8];
        QXLRasterGlyph right;
        uint8_t right_bits[8];
    } __attribute__((packed)) both = {
        .left = { .render_pos = { INT_MIN / 2, INT_MIN / 2 }, .width = 8, .height = 8 },
        .right = { .render_pos = { INT_MAX / 2, INT_MAX / 2 }, .width = 8, .height = 8 },
    };

    return text(SPICE_STRING_FLAGS_RASTER_A1, 2, (const struct glyph *)(const void *)&both,
                sizeof(both) - sizeof(QXLRasterGlyph));
}

/* Legal and well formed, but stock clients wait for ever when they draw it. */
BAD(glyphs_of_8_bits)
{
    struct glyph glyph = good_glyph();

    return text(SPICE_STRING_FLAGS_RASTER_A8, 1, &glyph, 64);
}

static struct qxl_item *string_at(QXLPHYSICAL address)
{
    struct qxl_item *item = good_text();

    bad_drawable(item)->u.text.str = address;
    return item;
}

BAD(text_null) { return string_at(0); }
BAD(text_unmapped) { return string_at(UNMAPPED); }
BAD(text_header_cut_off) { return string_at(bad_arena_end(sizeof(QXLString) - 1)); }

BAD(text_chunks_circular)
{
    struct qxl_item *item = good_text();

    string_of(item)->chunk.next_chunk = qxl_address(string_of(item)) + 8;
    return item;
}

static struct qxl_item *with_back(QXLRect area)
{
    struct qxl_item *item = good_text();

    bad_drawable(item)->u.text.back_area = area;
    return item;
}

BAD(text_back_inverted) { return with_back(qxl_rect(50, 50, 10, 10)); }
BAD(text_back_extreme) { return with_back(qxl_rect(INT_MIN, INT_MIN, INT_MAX, INT_MAX)); }

BAD(text_brush_unknown)
{
    struct qxl_item *item = good_text();

    bad_drawable(item)->u.text.fore_brush.type = 12;
    return item;
}

BAD(text_back_brush_unmapped)
{
    struct qxl_item *item = with_back(qxl_rect(10, 10, 50, 50));

    bad_drawable(item)->u.text.back_brush.type = SPICE_BRUSH_TYPE_PATTERN;
    bad_drawable(item)->u.text.back_brush.u.pattern.pat = UNMAPPED;
    return item;
}

static const struct bad_kind kinds[] = {
    KIND(text_depth_none), KIND(text_depth_unknown), KIND(text_depth_all), KIND(text_depth_larger_than_bytes),
    KIND(text_length_more), KIND(text_length_most), KIND(text_length_0), KIND(text_size_more),
    KIND(text_size_less), KIND(text_size_huge), KIND(text_bytes_huge), KIND(text_glyph_head_cut_off),
    KIND(text_glyph_bits_cut_off), KIND(text_empty), KIND(glyph_width_most), KIND(glyph_height_most),
    KIND(glyph_size_most), KIND(glyph_width_0), KIND(glyph_height_most_of_width_0), KIND(glyph_far_left),
    KIND(glyph_far_right), KIND(glyph_origin_overflows), KIND(glyph_origin_underflows),
    KIND(glyphs_far_from_each_other), KIND(glyphs_of_8_bits), KIND(text_null), KIND(text_unmapped),
    KIND(text_header_cut_off), KIND(text_chunks_circular), KIND(text_back_inverted), KIND(text_back_extreme),
    KIND(text_brush_unknown), KIND(text_back_brush_unmapped),
};

TABLE(bad_texts, kinds);
