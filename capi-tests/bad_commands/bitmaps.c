/* Bitmaps and palettes: every format with rows that are too short, sizes that overflow, missing colours. */
#include "bad.h"

/* A copy of noise whose bitmap says another format; rows as short as they can be, minus `less` bytes. */
static struct qxl_item *of_format(uint8_t format, unsigned bits, unsigned less)
{
    struct qxl_item *item = bad_copy();

    bad_image(item)->bitmap.format = format;
    bad_image(item)->bitmap.stride = BAD_NOISE * bits / 8 - less;
    return item;
}

BAD(format_0) { return of_format(0, 32, 0); }
BAD(format_just_unknown) { return of_format(SPICE_BITMAP_FMT_8BIT_A + 1, 32, 0); }
BAD(format_unknown) { return of_format(99, 32, 0); }
BAD(format_16_stride_short) { return of_format(SPICE_BITMAP_FMT_16BIT, 16, 1); }
BAD(format_24_stride_short) { return of_format(SPICE_BITMAP_FMT_24BIT, 24, 1); }
BAD(format_32_stride_short) { return of_format(SPICE_BITMAP_FMT_32BIT, 32, 1); }
BAD(format_rgba_stride_short) { return of_format(SPICE_BITMAP_FMT_RGBA, 32, 4); }
BAD(format_8_alpha_stride_short) { return of_format(SPICE_BITMAP_FMT_8BIT_A, 8, 1); }

/* ---- palettes ---- */

static QXLPalette *add_palette(struct qxl_item *item, unsigned there, unsigned announced)
{
    QXLPalette *palette = qxl_item_alloc(item, sizeof(*palette) + there * sizeof(uint32_t));

    palette->unique = 77;
    palette->num_ents = (uint16_t)announced;
    bad_image(item)->bitmap.palette = qxl_address(palette);
    return palette;
}

/* Noise as indices into a palette of so many colours. */
static struct qxl_item *indexed(uint8_t format, unsigned bits, unsigned colors, unsigned less)
{
    struct qxl_item *item = of_format(format, bits, less);

    add_palette(item, colors, colors);
    return item;
}

BAD(format_1_stride_short) { return indexed(SPICE_BITMAP_FMT_1BIT_BE, 1, 2, 1); }
BAD(format_4_stride_short) { return indexed(SPICE_BITMAP_FMT_4BIT_BE, 4, 16, 1); }
BAD(format_8_stride_short) { return indexed(SPICE_BITMAP_FMT_8BIT, 8, 256, 1); }
BAD(format_1_lowest_bit_first) { return indexed(SPICE_BITMAP_FMT_1BIT_LE, 1, 2, 0); }
BAD(format_4_lowest_bits_first) { return indexed(SPICE_BITMAP_FMT_4BIT_LE, 4, 16, 0); }
BAD(palette_of_one_for_1_bit) { return indexed(SPICE_BITMAP_FMT_1BIT_BE, 1, 1, 0); }
BAD(palette_of_three_for_4_bits) { return indexed(SPICE_BITMAP_FMT_4BIT_BE, 4, 3, 0); }
BAD(palette_of_three_for_8_bits) { return indexed(SPICE_BITMAP_FMT_8BIT, 8, 3, 0); }
BAD(palette_of_none_for_8_bits) { return indexed(SPICE_BITMAP_FMT_8BIT, 8, 0, 0); }
BAD(palette_of_many_for_1_bit) { return indexed(SPICE_BITMAP_FMT_1BIT_BE, 1, 256, 0); }
BAD(palette_of_65535) { return indexed(SPICE_BITMAP_FMT_8BIT, 8, 65535, 0); }
BAD(palette_missing_for_1_bit) { return of_format(SPICE_BITMAP_FMT_1BIT_BE, 1, 0); }
BAD(palette_missing_for_4_bits) { return of_format(SPICE_BITMAP_FMT_4BIT_BE, 4, 0); }
BAD(palette_missing_for_8_bits) { return of_format(SPICE_BITMAP_FMT_8BIT, 8, 0); }

BAD(palette_unmapped)
{
    struct qxl_item *item = of_format(SPICE_BITMAP_FMT_8BIT, 8, 0);

    bad_image(item)->bitmap.palette = UNMAPPED;
    return item;
}

BAD(palette_header_cut_off)
{
    struct qxl_item *item = of_format(SPICE_BITMAP_FMT_8BIT, 8, 0);

    bad_image(item)->bitmap.palette = bad_arena_end(sizeof(QXLPalette) - 1);
    return item;
}

BAD(palette_colors_cut_off)
{
    struct qxl_item *item = of_format(SPICE_BITMAP_FMT_8BIT, 8, 0);
    QXLPalette palette = { .unique = 5, .num_ents = 256 };

    memcpy(bad_arena_tail(sizeof(palette) + 99), &palette, sizeof(palette));
    bad_image(item)->bitmap.palette = bad_arena_end(sizeof(palette) + 99);
    return item;
}

BAD(palette_for_32_bits)
{
    struct qxl_item *item = bad_copy();

    bad_image(item)->bitmap.palette = UNMAPPED;
    return item;
}

/* ---- sizes ---- */

static struct qxl_item *sized(uint32_t x, uint32_t y, uint32_t stride)
{
    struct qxl_item *item = bad_copy();

    bad_image(item)->bitmap.x = x;
    bad_image(item)->bitmap.y = y;
    bad_image(item)->bitmap.stride = stride;
    return item;
}

BAD(bitmap_of_no_size) { return sized(0, 0, 256); }
BAD(bitmap_of_no_width) { return sized(0, 64, 256); }
BAD(bitmap_of_no_height) { return sized(64, 0, 256); }
BAD(bitmap_without_stride) { return sized(64, 64, 0); }
/* Bytes to a row: 4 more than 2^32 (CVE-2015-5261). */
BAD(bitmap_row_wraps) { return sized(0x40000001, 64, 4); }
BAD(bitmap_size_wraps) { return sized(64, 0x10000, 0x10000); }
BAD(bitmap_size_wraps_with_rest) { return sized(64, 0x4000001, 256); }
BAD(bitmap_huge) { return sized(0x40000001, 0x40000001, 4); }
BAD(bitmap_width_negative) { return sized(UINT_MAX, 64, 256); }
BAD(bitmap_height_negative) { return sized(64, UINT_MAX, 256); }
BAD(bitmap_stride_negative) { return sized(64, 64, (uint32_t)-256); }
BAD(bitmap_stride_huge) { return sized(64, 64, 0x7fffffff); }
BAD(bitmap_stride_not_of_words) { return sized(61, 60, 61 * 4 + 3); }

BAD(bitmap_of_a_gigabyte)
{
    struct qxl_item *item = sized(1 << 14, 1 << 14, 1 << 16);

    /* The pixels lie in the arena, which has not so many. */
    bad_image(item)->bitmap.data = bad_arena_end(BAD_ARENA);
    return item;
}

static struct qxl_item *pixels_at(QXLPHYSICAL data)
{
    struct qxl_item *item = bad_copy();

    bad_image(item)->bitmap.data = data;
    return item;
}

BAD(pixels_null) { return pixels_at(0); }
BAD(pixels_unmapped) { return pixels_at(UNMAPPED); }
BAD(pixels_a_byte_past_their_slot) { return pixels_at(bad_arena_end(BAD_NOISE * BAD_NOISE * 4 - 1)); }

BAD(pixels_in_pieces_at_null)
{
    struct qxl_item *item = pixels_at(0);

    bad_image(item)->bitmap.flags &= (uint8_t)~QXL_BITMAP_DIRECT;
    return item;
}

BAD(bitmap_flags_unknown)
{
    struct qxl_item *item = bad_copy();

    bad_image(item)->bitmap.flags |= 0xf8;
    return item;
}

/* ---- descriptors ---- */

static struct qxl_item *described(uint8_t flags, uint32_t width, uint32_t height)
{
    struct qxl_item *item = bad_copy();

    bad_image(item)->descriptor.flags = flags;
    bad_image(item)->descriptor.width = width;
    bad_image(item)->descriptor.height = height;
    return item;
}

BAD(descriptor_of_no_size) { return described(0, 0, 0); }
BAD(descriptor_of_huge_size) { return described(0, UINT_MAX, UINT_MAX); }
BAD(descriptor_larger_than_bitmap) { return described(0, BAD_NOISE * 2, BAD_NOISE * 2); }
BAD(descriptor_flags_unknown) { return described(0xff, BAD_NOISE, BAD_NOISE); }

static const struct bad_kind kinds[] = {
    KIND(format_0), KIND(format_just_unknown), KIND(format_unknown), KIND(format_16_stride_short),
    KIND(format_24_stride_short), KIND(format_32_stride_short), KIND(format_rgba_stride_short),
    KIND(format_8_alpha_stride_short), KIND(format_1_stride_short), KIND(format_4_stride_short),
    KIND(format_8_stride_short), KIND(format_1_lowest_bit_first), KIND(format_4_lowest_bits_first),
    KIND(palette_of_one_for_1_bit), KIND(palette_of_three_for_4_bits), KIND(palette_of_three_for_8_bits),
    KIND(palette_of_none_for_8_bits), KIND(palette_of_many_for_1_bit), KIND(palette_of_65535),
    KIND(palette_missing_for_1_bit), KIND(palette_missing_for_4_bits), KIND(palette_missing_for_8_bits),
    KIND(palette_unmapped), KIND(palette_header_cut_off), KIND(palette_colors_cut_off), KIND(palette_for_32_bits),
    KIND(bitmap_of_no_size), KIND(bitmap_of_no_width), KIND(bitmap_of_no_height), KIND(bitmap_without_stride),
    KIND(bitmap_row_wraps), KIND(bitmap_size_wraps), KIND(bitmap_size_wraps_with_rest), KIND(bitmap_huge),
    KIND(bitmap_width_negative), KIND(bitmap_height_negative), KIND(bitmap_stride_negative),
    KIND(bitmap_stride_huge), KIND(bitmap_stride_not_of_words), KIND(bitmap_of_a_gigabyte), KIND(pixels_null),
    KIND(pixels_unmapped), KIND(pixels_a_byte_past_their_slot), KIND(pixels_in_pieces_at_null),
    KIND(bitmap_flags_unknown), KIND(descriptor_of_no_size), KIND(descriptor_of_huge_size),
    KIND(descriptor_larger_than_bitmap), KIND(descriptor_flags_unknown),
};

TABLE(bad_bitmaps, kinds);
