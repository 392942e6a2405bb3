/* The classes of cases: which there are, and those that move or fill pixels. */
#include "matrix.h"

#include <stdarg.h>
#include <string.h>

const struct matrix_rule_text matrix_rules[RULES] = {
    [RULE_ROP3_CODE] = { "rop3-code", "spice-server aborts on the 38 codes that ignore an operand" },
    [RULE_ROP3_SMALL] = { "rop3-small", "spice-server aborts on a rop3 source smaller than the box" },
    [RULE_ROP3_PATTERN] = { "rop3-pattern", "spice-server reads before a rop3 tile that begins right of or below the box" },
    [RULE_TEXT_MODE] = { "text-mode", "spice-server aborts on a text background with another mode than PUT" },
    [RULE_TEXT_A8] = { "text-a8", "spice-server reads 8-bit glyphs one row too far, beyond the string" },
    [RULE_SHORT_PALETTE] = { "short-palette", "spice-server reads colours beyond the palette" },
    [RULE_LOW_BITS_FIRST] = { "low-bits-first", "spice-server aborts on colour bitmaps 1BIT_LE and 4BIT_LE" },
    [RULE_SURFACE_DEPTH] = { "surface-depth", "spice-server aborts when it copies from a surface of another depth" },
    [RULE_PALETTE] = { "palette", "spice-server aborts on bitmaps with a palette on 16_565, 8_A and 1_A" },
    [RULE_SELF_FORMAT] = { "self-format", "spice-server aborts when it reads 16_565 or 1_A back as an image" },
    [RULE_ROP3_ALPHA] = { "rop3-alpha", "spice-server aborts on a rop3 on 8_A and 1_A" },
    [RULE_ONE_BIT] = { "one-bit", "spice-server aborts when an image or pattern is copied to or composed on 1_A" },
    [RULE_OUTSIDE] = { "outside", "spice-server reads outside of the source image" },
    [RULE_DASHES] = { "dashes", "spice-server never ends on dashes without a pixel" },
    [RULE_STROKE_SURFACE] = { "stroke-surface", "spice-server aborts on a stroke with a surface as its pattern" },
    [RULE_OPAQUE_SURFACE] = { "opaque-surface",
                              "spice-server takes every surface with SOURCE_OPAQUE for 32 bits and reads beyond it" },
    [RULE_OPAQUE_DEST] = { "opaque-dest",
                           "spice-server takes every destination with DEST_OPAQUE for 32 bits and writes beyond it" },
};

int matrix_range(struct matrix_case *c, int low, int high)
{
    return rng_range(&c->rng, low, high);
}

bool matrix_one_in(struct matrix_case *c, int n)
{
    return matrix_range(c, 1, n) == 1;
}

void matrix_say(struct matrix_case *c, const char *format, ...)
{
    size_t used = strlen(c->text);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(c->text + used, sizeof(c->text) - used, format, arguments);
    va_end(arguments);
}

void matrix_break(struct matrix_case *c, enum matrix_rule rule)
{
    c->broken |= 1ul << rule;
}

uint32_t matrix_color(struct matrix_case *c)
{
    static const uint32_t extremes[] = { 0, 0xffffff, 0xff000000, 0xffffffff, 0x7fff, 0x8000, 0x808080, 0xff0000 };
    uint32_t color = rng_next(&c->rng);

    return matrix_one_in(c, 4) ? extremes[color % 8] : color;
}

uint16_t matrix_rop(struct matrix_case *c)
{
    static const uint16_t operations[] = {
        SPICE_ROPD_OP_PUT, SPICE_ROPD_OP_OR, SPICE_ROPD_OP_AND, SPICE_ROPD_OP_XOR,
        SPICE_ROPD_OP_BLACKNESS, SPICE_ROPD_OP_WHITENESS, SPICE_ROPD_OP_INVERS, 0,
    };
    uint16_t rop = matrix_one_in(c, 3) ? SPICE_ROPD_OP_PUT : operations[matrix_range(c, 0, 7)];

    /* Inverts source, brush, destination. */
    for (int bit = 0; bit < 3; bit++)
        rop |= matrix_one_in(c, 3) ? (uint16_t)(1 << bit) : 0;
    if (matrix_one_in(c, 4))
        rop |= SPICE_ROPD_INVERS_RES;
    if (matrix_one_in(c, 10))
        rop |= operations[matrix_range(c, 0, 6)];
    matrix_say(c, " rop=%03x", rop);
    return rop;
}

QXLRect matrix_box(struct matrix_case *c, int most_width, int most_height)
{
    int width = matrix_range(c, 1, most_width < c->width ? most_width : c->width);
    int height = matrix_range(c, 1, most_height < c->height ? most_height : c->height);
    int left = c->x + matrix_range(c, 0, c->width - width), top = c->y + matrix_range(c, 0, c->height - height);

    return qxl_rect(left, top, left + width, top + height);
}

QXLDrawable *matrix_begin(struct matrix_case *c, uint8_t type, QXLRect bbox)
{
    QXLDrawable *draw;

    c->item = qxl_draw_new(c->surface, type, bbox);
    draw = qxl_item_command(c->item);
    /* The truth for all but a few; lies about it have their own tests. */
    draw->effect = QXL_EFFECT_BLEND;
    matrix_say(c, " %dx%d", bbox.right - bbox.left, bbox.bottom - bbox.top);
    return draw;
}

static void clip(struct matrix_case *c)
{
    const QXLDrawable *draw = qxl_item_command(c->item);
    QXLRect rects[24];
    int kind = matrix_range(c, 0, 9), count = 0;

    if (kind < 5)
        return;
    if (kind < 7) {
        rects[count++] = matrix_box(c, c->width, c->height);
        matrix_say(c, " clip=1");
    } else if (kind < 9) {
        /* Bands of disjoint pieces, as window systems send them. */
        for (int y = draw->bbox.top - 2; y < draw->bbox.bottom && count < 20;) {
            int bottom = y + matrix_range(c, 1, 9);

            for (int x = draw->bbox.left + matrix_range(c, -5, 9); x < draw->bbox.right && count < 24;) {
                int right = x + matrix_range(c, 1, 20);

                rects[count++] = qxl_rect(x, y, right, bottom);
                x = right + matrix_range(c, 1, 9);
            }
            y = bottom + matrix_range(c, 0, 3);
        }
        matrix_say(c, " clip=bands");
    } else {
        count = matrix_range(c, 0, 6);
        for (int i = 0; i < count; i++)
            rects[i] = matrix_box(c, c->width, c->height);
        matrix_say(c, " clip=any-%d", count);
    }
    qxl_draw_clip(c->item, rects, (uint32_t)count);
}

/* A part of that size of an image. */
static QXLRect part(struct matrix_case *c, const struct matrix_image *image, int width, int height)
{
    int x = matrix_range(c, 0, image->width - width), y = matrix_range(c, 0, image->height - height);

    if (image->is_surface && matrix_one_in(c, 30)) {
        x += matrix_range(c, 1, 20);
        matrix_say(c, "+%d", x);
        if (x + width > image->width)
            matrix_break(c, RULE_OUTSIDE);
    }
    return qxl_rect(x, y, x + width, y + height);
}

void matrix_need_depth(struct matrix_case *c, const struct matrix_image *image)
{
    if (image->other_depth)
        matrix_break(c, RULE_SURFACE_DEPTH);
}

static bool is_scaled(const QXLDrawable *draw, const QXLRect *area)
{
    return area->right - area->left != draw->bbox.right - draw->bbox.left ||
           area->bottom - area->top != draw->bbox.bottom - draw->bbox.top;
}

static void fill(struct matrix_case *c)
{
    QXLRect bbox = matrix_box(c, TILE_WIDTH, TILE_HEIGHT);
    QXLDrawable *draw = matrix_begin(c, QXL_DRAW_FILL, bbox);

    matrix_brush(c, &draw->u.fill.brush);
    draw->u.fill.rop_descriptor = matrix_rop(c);
    matrix_mask(c, &draw->u.fill.mask, bbox);
}

QXLRect matrix_place(struct matrix_case *c, QXLDrawable *draw, const struct matrix_image *image, uint8_t *mode)
{
    QXLRect *bbox = &draw->bbox;
    int width = bbox->right - bbox->left, height = bbox->bottom - bbox->top;

    uint8_t used = SPICE_IMAGE_SCALE_MODE_NEAREST;

    if (mode) {
        used = matrix_one_in(c, 2) ? SPICE_IMAGE_SCALE_MODE_NEAREST : SPICE_IMAGE_SCALE_MODE_INTERPOLATE;
        *mode = used;
    }
    if (matrix_one_in(c, 3)) {
        width = matrix_range(c, 1, image->width);
        height = matrix_range(c, 1, image->height);
        if (width != bbox->right - bbox->left || height != bbox->bottom - bbox->top)
            matrix_say(c, " scale=%dx%d,%s", width, height,
                       used == SPICE_IMAGE_SCALE_MODE_NEAREST ? "nearest" : "smooth");
        return part(c, image, width, height);
    }
    width = width < image->width ? width : image->width;
    height = height < image->height ? height : image->height;
    bbox->right = bbox->left + width;
    bbox->bottom = bbox->top + height;
    return part(c, image, width, height);
}

static void copy(struct matrix_case *c, uint8_t type)
{
    QXLRect bbox = matrix_box(c, TILE_WIDTH, TILE_HEIGHT);
    QXLDrawable *draw = matrix_begin(c, type, bbox);
    QXLCopy *copy = &draw->u.copy;
    struct matrix_image image;

    matrix_say(c, " src=");
    image = matrix_image(c, ROLE_SOURCE, matrix_range(c, 1, 70), matrix_range(c, 1, 50), false);
    copy->src_bitmap = image.address;
    copy->src_area = matrix_place(c, draw, &image, &copy->scale_mode);
    copy->rop_descriptor = matrix_rop(c);
    /* What is scaled is converted as well. */
    if (!is_scaled(draw, &copy->src_area) || (copy->rop_descriptor & 0x7ff) != SPICE_ROPD_OP_PUT)
        matrix_need_depth(c, &image);
    matrix_mask(c, &copy->mask, draw->bbox);
}

static void opaque(struct matrix_case *c)
{
    QXLRect bbox = matrix_box(c, TILE_WIDTH, TILE_HEIGHT);
    QXLDrawable *draw = matrix_begin(c, QXL_DRAW_OPAQUE, bbox);
    QXLOpaque *opaque = &draw->u.opaque;
    struct matrix_image image;

    matrix_say(c, " src=");
    image = matrix_image(c, ROLE_SOURCE, matrix_range(c, 1, 70), matrix_range(c, 1, 50), true);
    opaque->src_bitmap = image.address;
    opaque->src_area = matrix_place(c, draw, &image, &opaque->scale_mode);
    if (!is_scaled(draw, &opaque->src_area))
        matrix_need_depth(c, &image);
    matrix_brush(c, &opaque->brush);
    opaque->rop_descriptor = matrix_rop(c);
    matrix_mask(c, &opaque->mask, draw->bbox);
}

static void copy_bits(struct matrix_case *c)
{
    QXLRect bbox = matrix_box(c, TILE_WIDTH, TILE_HEIGHT);
    int width = bbox.right - bbox.left, height = bbox.bottom - bbox.top;
    int x = c->x + matrix_range(c, 0, c->width - width), y = c->y + matrix_range(c, 0, c->height - height);
    QXLDrawable *draw = matrix_begin(c, QXL_COPY_BITS, bbox);

    draw->u.copy_bits.src_pos = (QXLPoint){ .x = x, .y = y };
    draw->surfaces_dest[0] = (int32_t)c->surface;
    draw->surfaces_rects[0] = qxl_rect(x, y, x + width, y + height);
    matrix_say(c, " by=%d,%d", bbox.left - x, bbox.top - y);
}

static void plain(struct matrix_case *c, uint8_t type)
{
    QXLRect bbox = matrix_box(c, TILE_WIDTH, TILE_HEIGHT);
    QXLDrawable *draw = matrix_begin(c, type, bbox);

    matrix_mask(c, &draw->u.blackness.mask, bbox);
}

static const struct class {
    const char *name;
    uint8_t type;
    void (*make)(struct matrix_case *c);
    void (*make_of)(struct matrix_case *c, uint8_t type);
} slots[MATRIX_SLOTS] = {
    { "FILL", 0, fill, NULL },
    { "COPY", QXL_DRAW_COPY, NULL, copy },
    { "OPAQUE", 0, opaque, NULL },
    { "ROP3", 0, matrix_rop3, NULL },
    { "STROKE", 0, matrix_stroke, NULL },
    { "TEXT", 0, matrix_text, NULL },
    { "TRANSPARENT", 0, matrix_transparent, NULL },
    { "ALPHA_BLEND", 0, matrix_alpha_blend, NULL },
    { "COMPOSITE", 0, matrix_composite, NULL },
    { "COPY_BITS", 0, copy_bits, NULL },
    { "BLACKNESS", QXL_DRAW_BLACKNESS, NULL, plain },
    { "WHITENESS", QXL_DRAW_WHITENESS, NULL, plain },
    { "INVERS", QXL_DRAW_INVERS, NULL, plain },
    { "BLEND", QXL_DRAW_BLEND, NULL, copy },
    { "COPY", QXL_DRAW_COPY, NULL, copy },
    { "FILL", 0, fill, NULL },
    { "OPAQUE", 0, opaque, NULL },
    { "ROP3", 0, matrix_rop3, NULL },
    { "STROKE", 0, matrix_stroke, NULL },
    { "COMPOSITE", 0, matrix_composite, NULL },
    { "TEXT", 0, matrix_text, NULL },
    { "ALPHA_BLEND", 0, matrix_alpha_blend, NULL },
    { "COMPOSITE", 0, matrix_composite, NULL },
    { "COPY", QXL_DRAW_COPY, NULL, copy },
};

const char *matrix_class_name(unsigned slot)
{
    return slots[slot].name;
}

void matrix_case_make(struct matrix_case *c, unsigned slot)
{
    const struct class *class = &slots[slot];

    c->item = NULL;
    c->reads = 0;
    c->num_sources = 0;
    c->text[0] = '\0';
    c->broken = 0;
    c->glyphs = false;
    if (class->make)
        class->make(c);
    else
        class->make_of(c, class->type);
    clip(c);
}
