/* Pointers: shapes of sizes and types that are not, data too short for them. */
#include "bad.h"

enum { SIDE = 8, MOST = SIDE * SIDE * 4 + 1024 + 64 };

static QXLCursorCmd *command_of(struct qxl_item *item)
{
    return qxl_item_command(item);
}

static QXLCursor *shape_of(struct qxl_item *item)
{
    return (QXLCursor *)(uintptr_t)command_of(item)->u.set.shape;
}

/* A shape that says these numbers over data that is enough for 8x8 pixels of any type. */
static struct qxl_item *shape(uint16_t type, uint16_t width, uint16_t height, uint32_t data_size)
{
    struct qxl_item *item = qxl_cursor_set(1, 1, type, SIDE, SIDE, 0, 0, bad_noise, MOST);

    shape_of(item)->header.width = width;
    shape_of(item)->header.height = height;
    shape_of(item)->data_size = data_size;
    shape_of(item)->chunk.data_size = data_size < MOST ? data_size : MOST;
    return item;
}

enum { ALPHA = SPICE_CURSOR_TYPE_ALPHA };

BAD(cursor_type_unknown) { return shape(77, SIDE, SIDE, MOST); }
BAD(cursor_type_just_unknown) { return shape(SPICE_CURSOR_TYPE_COLOR32 + 1, SIDE, SIDE, MOST); }
BAD(cursor_type_wraps) { return shape(256, SIDE, SIDE, MOST); }
BAD(cursor_width_0) { return shape(ALPHA, 0, SIDE, MOST); }
BAD(cursor_height_0) { return shape(ALPHA, SIDE, 0, MOST); }
BAD(cursor_too_large) { return shape(ALPHA, 65535, 65535, MOST); }
BAD(cursor_too_wide) { return shape(SPICE_CURSOR_TYPE_MONO, 1025, 1, MOST); }
BAD(cursor_data_none) { return shape(ALPHA, SIDE, SIDE, 0); }
BAD(cursor_alpha_short) { return shape(ALPHA, SIDE, SIDE, 255); }
BAD(cursor_mono_short) { return shape(SPICE_CURSOR_TYPE_MONO, SIDE, SIDE, 15); }
BAD(cursor_4_bits_short) { return shape(SPICE_CURSOR_TYPE_COLOR4, SIDE, SIDE, 32 + 64 + 7); }
BAD(cursor_8_bits_short) { return shape(SPICE_CURSOR_TYPE_COLOR8, SIDE, SIDE, 64 + 1024 + 7); }
BAD(cursor_16_bits_short) { return shape(SPICE_CURSOR_TYPE_COLOR16, SIDE, SIDE, 128 + 7); }
BAD(cursor_24_bits_short) { return shape(SPICE_CURSOR_TYPE_COLOR24, SIDE, SIDE, 192 + 7); }
BAD(cursor_32_bits_short) { return shape(SPICE_CURSOR_TYPE_COLOR32, SIDE, SIDE, 256 + 7); }
BAD(cursor_data_for_a_larger_one) { return shape(ALPHA, 64, 64, MOST); }
BAD(cursor_data_size_lies) { return shape(ALPHA, SIDE * 2, SIDE * 2, UINT_MAX); }

BAD(cursor_chunk_size_huge)
{
    struct qxl_item *item = shape(ALPHA, SIDE, SIDE, MOST);

    shape_of(item)->chunk.data_size = UINT_MAX;
    return item;
}

BAD(cursor_chunks_circular)
{
    struct qxl_item *item = shape(ALPHA, SIDE, SIDE, MOST);

    shape_of(item)->chunk.next_chunk = qxl_address(shape_of(item)) + sizeof(QXLCursorHeader) + 4;
    return item;
}

BAD(cursor_next_chunk_unmapped)
{
    struct qxl_item *item = shape(ALPHA, SIDE, SIDE, MOST);

    shape_of(item)->chunk.next_chunk = UNMAPPED;
    return item;
}

BAD(cursor_hot_spot_outside)
{
    struct qxl_item *item = shape(ALPHA, SIDE, SIDE, MOST);

    shape_of(item)->header.hot_spot_x = shape_of(item)->header.hot_spot_y = 65535;
    return item;
}

static struct qxl_item *shape_at(QXLPHYSICAL address)
{
    struct qxl_item *item = shape(ALPHA, SIDE, SIDE, MOST);

    command_of(item)->u.set.shape = address;
    return item;
}

BAD(cursor_null) { return shape_at(0); }
BAD(cursor_unmapped) { return shape_at(UNMAPPED); }
BAD(cursor_header_cut_off) { return shape_at(bad_arena_end(sizeof(QXLCursor) - 1)); }

BAD(cursor_data_cut_off)
{
    QXLCursor cursor = {
        .header = { .width = SIDE, .height = SIDE }, .data_size = 256, .chunk = { .data_size = 256 },
    };

    memcpy(bad_arena_tail(sizeof(cursor) + 255), &cursor, sizeof(cursor));
    return shape_at(bad_arena_end(sizeof(cursor) + 255));
}

static struct qxl_item *other(uint8_t type)
{
    struct qxl_item *item = qxl_cursor_hide();

    command_of(item)->type = type;
    memset(&command_of(item)->u, 0xff, sizeof(command_of(item)->u));
    return item;
}

BAD(cursor_command_unknown) { return other(99); }
BAD(cursor_command_just_unknown) { return other(QXL_CURSOR_TRAIL + 1); }
BAD(cursor_trail_extreme) { return other(QXL_CURSOR_TRAIL); }
BAD(cursor_moved_to_the_extreme) { return qxl_cursor_move(SHRT_MIN, SHRT_MAX); }

static const struct bad_kind kinds[] = {
    KIND(cursor_type_unknown), KIND(cursor_type_just_unknown), KIND(cursor_type_wraps), KIND(cursor_width_0),
    KIND(cursor_height_0), KIND(cursor_too_large), KIND(cursor_too_wide), KIND(cursor_data_none),
    KIND(cursor_alpha_short), KIND(cursor_mono_short), KIND(cursor_4_bits_short), KIND(cursor_8_bits_short),
    KIND(cursor_16_bits_short), KIND(cursor_24_bits_short), KIND(cursor_32_bits_short),
    KIND(cursor_data_for_a_larger_one), KIND(cursor_data_size_lies), KIND(cursor_chunk_size_huge),
    KIND(cursor_chunks_circular), KIND(cursor_next_chunk_unmapped), KIND(cursor_hot_spot_outside),
    KIND(cursor_null), KIND(cursor_unmapped), KIND(cursor_header_cut_off), KIND(cursor_data_cut_off),
    KIND(cursor_command_unknown), KIND(cursor_command_just_unknown), KIND(cursor_trail_extreme),
    KIND(cursor_moved_to_the_extreme),
};

TABLE(bad_cursors, kinds);
