/* Strokes: paths that cannot be walked, dashes without a length. */
#include "bad.h"

enum { BEGIN = QXL_PATH_BEGIN, END = QXL_PATH_END, CLOSE = QXL_PATH_CLOSE, BEZIER = QXL_PATH_BEZIER };
enum { FIX = 16, STYLED = SPICE_LINE_FLAGS_STYLED };

#define WORDS(...) ((const int32_t[]){ __VA_ARGS__ })
#define COUNT(...) (sizeof(WORDS(__VA_ARGS__)) / sizeof(int32_t))
/* A solid line along these words: flags, number of points, points; as often as one likes. */
#define STROKE(name, ...) \
    BAD(name) { return stroke(WORDS(__VA_ARGS__), COUNT(__VA_ARGS__)); }

static const QXLRect everywhere = { .right = BAD_WIDTH, .bottom = BAD_HEIGHT };

static struct qxl_item *stroke(const int32_t *path, size_t words)
{
    return qxl_draw_stroke(0, everywhere, path, words, 0, NULL, 0, 0xff8800, SPICE_ROPD_OP_PUT);
}

static QXLPath *path_of(struct qxl_item *item)
{
    return (QXLPath *)(uintptr_t)bad_drawable(item)->u.stroke.path;
}

STROKE(path_count_lies, BEGIN, 1000, 5 * FIX, 5 * FIX)
STROKE(path_count_huge, BEGIN, -1, 5 * FIX, 5 * FIX)
/* 8 * (2^29 + 1) bytes are 8 in 32 bits. */
STROKE(path_count_wraps, BEGIN, 0x20000001, 5 * FIX, 5 * FIX)
STROKE(path_without_points, BEGIN | END, 0, BEGIN | END, 0)
STROKE(path_never_begun, 0, 2, 5 * FIX, 5 * FIX, 9 * FIX, 9 * FIX)
STROKE(path_closed_before_begun, CLOSE | END, 0, CLOSE | END, 0)
STROKE(curve_without_start, BEZIER | END, 3, 5 * FIX, 5 * FIX, 9 * FIX, 9 * FIX, 50 * FIX, 9 * FIX)
STROKE(curve_of_two_points, BEGIN | BEZIER | END, 3, 5 * FIX, 5 * FIX, 9 * FIX, 9 * FIX, 50 * FIX, 9 * FIX)
STROKE(path_far_away, BEGIN | END, 2, INT_MIN, INT_MIN, INT_MAX, INT_MAX)
STROKE(curve_far_away, BEGIN | BEZIER | END, 4, INT_MIN, INT_MAX, INT_MAX, INT_MIN, INT_MIN, INT_MIN, INT_MAX, INT_MAX)
STROKE(path_flags_unknown, ~0, 4, 1 * FIX, 1 * FIX, 2 * FIX, 9 * FIX, 9 * FIX, 9 * FIX, 7 * FIX, 1 * FIX)
STROKE(path_cut_off, BEGIN, 2, 5 * FIX)

BAD(path_empty)
{
    struct qxl_item *item = stroke(WORDS(0), 1);

    path_of(item)->chunk.data_size = 0;
    return item;
}

BAD(path_null)
{
    struct qxl_item *item = stroke(WORDS(0), 1);

    bad_drawable(item)->u.stroke.path = 0;
    return item;
}

BAD(path_unmapped)
{
    struct qxl_item *item = stroke(WORDS(0), 1);

    bad_drawable(item)->u.stroke.path = UNMAPPED;
    return item;
}

BAD(path_header_cut_off)
{
    struct qxl_item *item = stroke(WORDS(0), 1);

    bad_drawable(item)->u.stroke.path = bad_arena_end(sizeof(QXLPath) - 1);
    return item;
}

BAD(path_chunks_circular)
{
    struct qxl_item *item = stroke(WORDS(BEGIN, 1, 5 * FIX, 5 * FIX), 4);

    path_of(item)->chunk.next_chunk = qxl_address(path_of(item)) + sizeof(uint32_t);
    return item;
}

BAD(path_size_huge)
{
    struct qxl_item *item = stroke(WORDS(BEGIN, 1, 5 * FIX, 5 * FIX), 4);

    path_of(item)->chunk.data_size = UINT_MAX;
    return item;
}

BAD(path_of_a_million_points)
{
    enum { POINTS = 1 << 20 };
    static int32_t words[2 + 2 * POINTS];

    words[0] = BEGIN | END;
    words[1] = POINTS;
    for (int i = 0; i < POINTS; i++) {
        words[2 + 2 * i] = i % 2 ? 0 : 127 * FIX;
        words[3 + 2 * i] = i % 96 * FIX;
    }
    return stroke(words, 2 + 2 * POINTS);
}

BAD(path_of_many_long_curves)
{
    enum { CURVES = 1000 };
    static int32_t words[4 + 6 * CURVES];

    words[0] = BEGIN | BEZIER | END;
    words[1] = 1 + 3 * CURVES;
    for (int i = 0; i < 1 + 3 * CURVES; i++) {
        words[2 + 2 * i] = i % 2 ? -(1 << 26) : 1 << 26;
        words[3 + 2 * i] = i % 3 ? -(1 << 26) : 1 << 26;
    }
    return stroke(words, 2 + 2 * (1 + 3 * CURVES));
}

/* ---- dashes ---- */

static struct qxl_item *dashed(const int32_t *style, uint8_t count)
{
    return qxl_draw_stroke(0, everywhere, WORDS(BEGIN | END, 2, 5 * FIX, 5 * FIX, 99 * FIX, 80 * FIX), 6, STYLED,
                           style, count, 0xff8800, SPICE_ROPD_OP_PUT);
}

BAD(dashes_none) { return dashed(NULL, 0); }
/* Stock clients look for the end of such a line for ever. */
BAD(dashes_all_zero) { return dashed(WORDS(0, 0, 0, 0), 4); }
BAD(dashes_shorter_than_a_pixel) { return dashed(WORDS(1, 2), 2); }
BAD(dashes_of_256_pixels) { return dashed(WORDS(256 * FIX, 256 * FIX), 2); }
BAD(dashes_negative) { return dashed(WORDS(-5 * FIX, INT_MIN), 2); }
BAD(dashes_huge) { return dashed(WORDS(INT_MAX, INT_MAX), 2); }

static struct qxl_item *dashes_at(QXLPHYSICAL style, uint8_t count)
{
    struct qxl_item *item = dashed(WORDS(5 * FIX, 5 * FIX), 2);

    bad_drawable(item)->u.stroke.attr.style = style;
    bad_drawable(item)->u.stroke.attr.style_nseg = count;
    return item;
}

BAD(dashes_null) { return dashes_at(0, 2); }
BAD(dashes_unmapped) { return dashes_at(UNMAPPED, 2); }
BAD(dashes_cut_off) { return dashes_at(bad_arena_end(255 * 4 - 1), 255); }

BAD(line_flags_unknown)
{
    struct qxl_item *item = dashed(WORDS(5 * FIX, 5 * FIX), 2);

    bad_drawable(item)->u.stroke.attr.flags = 0xff;
    bad_drawable(item)->u.stroke.attr.join_style = 0xff;
    bad_drawable(item)->u.stroke.attr.end_style = 0xff;
    bad_drawable(item)->u.stroke.attr.width = INT_MIN;
    bad_drawable(item)->u.stroke.attr.miter_limit = INT_MIN;
    return item;
}

BAD(stroke_brush_unknown)
{
    struct qxl_item *item = dashed(WORDS(5 * FIX, 5 * FIX), 2);

    bad_drawable(item)->u.stroke.brush.type = 9;
    return item;
}

BAD(stroke_modes_unknown)
{
    struct qxl_item *item = dashed(WORDS(5 * FIX, 5 * FIX), 2);

    bad_drawable(item)->u.stroke.fore_mode = 0xf800;
    bad_drawable(item)->u.stroke.back_mode = 0xf800;
    return item;
}

static const struct bad_kind kinds[] = {
    KIND(path_count_lies), KIND(path_count_huge), KIND(path_count_wraps), KIND(path_without_points),
    KIND(path_never_begun), KIND(path_closed_before_begun), KIND(curve_without_start), KIND(curve_of_two_points),
    KIND(path_far_away), KIND(curve_far_away), KIND(path_flags_unknown), KIND(path_cut_off), KIND(path_empty),
    KIND(path_null), KIND(path_unmapped), KIND(path_header_cut_off), KIND(path_chunks_circular),
    KIND(path_size_huge), KIND(path_of_a_million_points), KIND(path_of_many_long_curves), KIND(dashes_none),
    KIND(dashes_all_zero), KIND(dashes_shorter_than_a_pixel), KIND(dashes_of_256_pixels), KIND(dashes_negative),
    KIND(dashes_huge), KIND(dashes_null), KIND(dashes_unmapped), KIND(dashes_cut_off), KIND(line_flags_unknown),
    KIND(stroke_brush_unknown), KIND(stroke_modes_unknown),
};

TABLE(bad_paths, kinds);
