/* Cases of lines, curves and glyphs. */
#include "matrix.h"

#include <string.h>

enum { WORDS = 256 };

struct path {
    int32_t words[WORDS];
    size_t used;
};

static void segment(struct path *path, int flags, int points)
{
    path->words[path->used++] = flags;
    path->words[path->used++] = points;
}

/* A point near the tile, 28.4; whole pixels half of the time. */
static void point(struct matrix_case *c, struct path *path, bool near)
{
    int reach = near ? 6 : 60;
    int x = c->x * 16 + matrix_range(c, -reach * 16, (TILE_WIDTH + reach) * 16);
    int y = c->y * 16 + matrix_range(c, -reach * 16, (TILE_HEIGHT + reach) * 16);

    if (matrix_one_in(c, 2)) {
        x &= ~15;
        y &= ~15;
    }
    path->words[path->used++] = x;
    path->words[path->used++] = y;
}

/* One line of each octant, of an axis, or of no length. */
static void line(struct matrix_case *c, struct path *path)
{
    int x = c->x + matrix_range(c, 0, TILE_WIDTH), y = c->y + matrix_range(c, 0, TILE_HEIGHT);
    int dx = matrix_range(c, -60, 60), dy = matrix_range(c, -60, 60), kind = matrix_range(c, 0, 7);

    if (kind == 0)
        dx = 0;
    else if (kind == 1)
        dy = 0;
    else if (kind == 2)
        dy = dx;
    segment(path, SPICE_PATH_BEGIN | SPICE_PATH_END, 2);
    path->words[path->used++] = x * 16;
    path->words[path->used++] = y * 16;
    path->words[path->used++] = (x + dx) * 16;
    path->words[path->used++] = (y + dy) * 16;
    matrix_say(c, " line=%d,%d", dx, dy);
}

static void figure(struct matrix_case *c, struct path *path)
{
    int segments = matrix_range(c, 1, 5);
    bool begun = false, near = matrix_one_in(c, 2);

    matrix_say(c, " path=");
    for (int i = 0; i < segments; i++) {
        bool begin = !begun || matrix_one_in(c, 3), curve = matrix_one_in(c, 3);
        int points = curve ? 3 * matrix_range(c, 1, 2) : matrix_range(c, 1, 5);
        int flags = (begin ? SPICE_PATH_BEGIN : 0) | (curve ? SPICE_PATH_BEZIER : 0);

        if (i == segments - 1 || matrix_one_in(c, 4))
            flags |= SPICE_PATH_END | (matrix_one_in(c, 3) ? SPICE_PATH_CLOSE : 0);
        points += begin;
        segment(path, flags, points);
        matrix_say(c, "%s%s%d%s", begin ? "b" : "", curve ? "z" : "l", points,
                   flags & SPICE_PATH_CLOSE ? "c" : flags & SPICE_PATH_END ? "e" : "");
        for (int j = 0; j < points; j++)
            point(c, path, near);
        begun = !(flags & SPICE_PATH_END);
    }
}

void matrix_stroke(struct matrix_case *c)
{
    QXLRect bbox = matrix_one_in(c, 2) ? qxl_rect(c->x, c->y, c->x + c->width, c->y + c->height)
                                       : matrix_box(c, TILE_WIDTH, TILE_HEIGHT);
    QXLDrawable *draw = matrix_begin(c, QXL_DRAW_STROKE, bbox);
    QXLStroke *stroke = &draw->u.stroke;
    struct path path = { .used = 0 };
    QXLPath *copy;

    if (matrix_one_in(c, 2))
        line(c, &path);
    else
        figure(c, &path);
    copy = qxl_item_alloc(c->item, sizeof(*copy) + path.used * sizeof(path.words[0]));
    copy->data_size = (uint32_t)(path.used * sizeof(path.words[0]));
    copy->chunk.data_size = copy->data_size;
    memcpy(copy->chunk.data, path.words, copy->data_size);
    stroke->path = qxl_address(copy);
    /* Of no consequence. */
    stroke->attr.join_style = (uint8_t)matrix_range(c, 0, 2);
    stroke->attr.end_style = (uint8_t)matrix_range(c, 0, 2);
    stroke->attr.width = matrix_range(c, 0, 5) * 16;
    stroke->attr.miter_limit = matrix_range(c, 0, 10) * 16;
    if (matrix_one_in(c, 3)) {
        int count = matrix_one_in(c, 6) ? matrix_range(c, 1, 9) : 2 * matrix_range(c, 1, 3), sum = 0;
        int32_t *lengths = qxl_item_alloc(c->item, (size_t)count * sizeof(*lengths));

        stroke->attr.flags = SPICE_LINE_FLAGS_STYLED | (matrix_one_in(c, 3) ? SPICE_LINE_FLAGS_START_WITH_GAP : 0);
        stroke->attr.style_nseg = (uint8_t)count;
        stroke->attr.style = qxl_address(lengths);
        matrix_say(c, " dashes=%s", stroke->attr.flags & SPICE_LINE_FLAGS_START_WITH_GAP ? "gap" : "");
        for (int i = 0; i < count; i++) {
            lengths[i] = matrix_range(c, 1, 12) * 16;
            if (matrix_one_in(c, 20))
                lengths[i] = matrix_range(c, 0, 300) * 16 + matrix_range(c, 0, 15);
            if (matrix_one_in(c, 40))
                lengths[i] = matrix_one_in(c, 2) ? 0 : 256 * 16;
            sum += ((lengths[i] >> 4) + ((lengths[i] & 15) > 8)) & 255;
            matrix_say(c, ",%d", lengths[i] / 16);
        }
        if (sum == 0)
            matrix_break(c, RULE_DASHES);
    }
    matrix_brush(c, &stroke->brush);
    matrix_say(c, " fore");
    stroke->fore_mode = matrix_rop(c);
    stroke->back_mode = (uint16_t)(matrix_one_in(c, 2) ? SPICE_ROPD_OP_PUT : 0);
}

static size_t glyph(struct matrix_case *c, uint8_t *data, uint16_t depth, int x, int y)
{
    QXLRasterGlyph head = { .render_pos = { x, y } };
    int width = matrix_range(c, 1, 20), height = matrix_range(c, 1, 17);
    size_t rows = (size_t)width;

    head.glyph_origin = (QXLPoint){ .x = matrix_range(c, -3, 3), .y = matrix_range(c, -12, 2) };
    head.width = (uint16_t)width;
    head.height = (uint16_t)height;
    if (depth == SPICE_STRING_FLAGS_RASTER_A1)
        rows = (size_t)(width + 7) / 8;
    else if (depth == SPICE_STRING_FLAGS_RASTER_A4)
        rows = (size_t)(width + 1) / 2;
    rows *= (size_t)height;
    memcpy(data, &head, sizeof(head));
    matrix_noise(&c->rng, data + sizeof(head), rows);
    return sizeof(head) + rows;
}

void matrix_text(struct matrix_case *c)
{
    uint8_t data[8192];
    size_t used = 0;
    QXLRect bbox = matrix_one_in(c, 2) ? qxl_rect(c->x, c->y, c->x + c->width, c->y + c->height)
                                       : matrix_box(c, TILE_WIDTH, TILE_HEIGHT);
    QXLDrawable *draw = matrix_begin(c, QXL_DRAW_TEXT, bbox);
    QXLText *text = &draw->u.text;
    QXLString *string;
    int length = matrix_range(c, 1, 8), x = bbox.left + matrix_range(c, -10, 30), y = bbox.top + matrix_range(c, -5, 40);
    uint16_t depth = SPICE_STRING_FLAGS_RASTER_A1;

    if (matrix_one_in(c, 2))
        depth = SPICE_STRING_FLAGS_RASTER_A4;
    if (matrix_one_in(c, 12)) {
        depth = SPICE_STRING_FLAGS_RASTER_A8;
        matrix_break(c, RULE_TEXT_A8);
    }
    matrix_say(c, " A%d", depth == SPICE_STRING_FLAGS_RASTER_A8 ? 8 : depth == SPICE_STRING_FLAGS_RASTER_A4 ? 4 : 1);
    for (int i = 0; i < length; i++) {
        used += glyph(c, data + used, depth, x, y);
        /* Some overlap. */
        x += matrix_range(c, 2, 15);
    }
    string = qxl_item_alloc(c->item, sizeof(*string) + used);
    string->data_size = (uint32_t)used;
    string->length = (uint16_t)length;
    string->flags = depth | (matrix_one_in(c, 4) ? SPICE_STRING_FLAGS_RASTER_TOP_DOWN : 0);
    string->chunk.data_size = (uint32_t)used;
    memcpy(string->chunk.data, data, used);
    text->str = qxl_address(string);
    c->glyphs = true;
    matrix_brush(c, &text->fore_brush);
    c->glyphs = false;
    text->fore_mode = SPICE_ROPD_OP_PUT;
    text->back_mode = SPICE_ROPD_OP_PUT;
    if (matrix_one_in(c, 2)) {
        text->back_area = matrix_one_in(c, 2) ? bbox : matrix_box(c, TILE_WIDTH, TILE_HEIGHT);
        matrix_say(c, " back");
        matrix_brush(c, &text->back_brush);
        if (matrix_one_in(c, 25)) {
            text->fore_mode = SPICE_ROPD_OP_XOR;
            matrix_say(c, " fore=xor");
            matrix_break(c, RULE_TEXT_MODE);
        }
    }
}
