/* Cases that mix three operands, compare with a key or blend by alpha. */
#include "matrix.h"

#include <string.h>

/* Codes that depend on all of brush, source and destination. */
static bool uses_all(unsigned code)
{
    return (code >> 4 & 0x0f) != (code & 0x0f) && (code >> 2 & 0x33) != (code & 0x33) &&
           (code >> 1 & 0x55) != (code & 0x55);
}

void matrix_rop3(struct matrix_case *c)
{
    QXLRect bbox = matrix_box(c, TILE_WIDTH, TILE_HEIGHT);
    QXLDrawable *draw = matrix_begin(c, QXL_DRAW_ROP3, bbox);
    QXLRop3 *rop3 = &draw->u.rop3;
    struct matrix_image image;

    rop3->rop3 = (uint8_t)matrix_range(c, 0, 255);
    matrix_say(c, " code=%02x src=", rop3->rop3);
    if (!uses_all(rop3->rop3))
        matrix_break(c, RULE_ROP3_CODE);
    image = matrix_image(c, ROLE_SOURCE, matrix_range(c, 1, 70), matrix_range(c, 1, 50), true);
    matrix_need_depth(c, &image);
    if (matrix_is_alpha(c->kind))
        matrix_break(c, RULE_ROP3_ALPHA);
    rop3->src_bitmap = image.address;
    rop3->src_area = matrix_place(c, draw, &image, &rop3->scale_mode);
    matrix_brush(c, &rop3->brush);
    if (rop3->brush.type == SPICE_BRUSH_TYPE_PATTERN) {
        QXLPoint *pos = &rop3->brush.u.pattern.pos;

        if (matrix_one_in(c, 2) && pos->x > draw->bbox.left)
            pos->x = draw->bbox.left - matrix_range(c, 0, 9);
        if (matrix_one_in(c, 2) && pos->y > draw->bbox.top)
            pos->y = draw->bbox.top - matrix_range(c, 0, 9);
        if (pos->x > draw->bbox.left || pos->y > draw->bbox.top)
            matrix_break(c, RULE_ROP3_PATTERN);
    }
    matrix_mask(c, &rop3->mask, draw->bbox);
}

void matrix_transparent(struct matrix_case *c)
{
    QXLRect bbox = matrix_box(c, TILE_WIDTH, TILE_HEIGHT);
    QXLDrawable *draw = matrix_begin(c, QXL_DRAW_TRANSPARENT, bbox);
    QXLTransparent *transparent = &draw->u.transparent;
    struct matrix_image image;

    matrix_say(c, " src=");
    image = matrix_image(c, ROLE_SOURCE, matrix_range(c, 1, 70), matrix_range(c, 1, 50), true);
    matrix_need_depth(c, &image);
    transparent->src_bitmap = image.address;
    transparent->src_area = matrix_place(c, draw, &image, NULL);
    transparent->src_color = rng_next(&c->rng);
    transparent->true_color = matrix_one_in(c, 3) ? matrix_color(c) : image.one_pixel;
}

void matrix_alpha_blend(struct matrix_case *c)
{
    QXLRect bbox = matrix_box(c, TILE_WIDTH, TILE_HEIGHT);
    QXLDrawable *draw = matrix_begin(c, QXL_DRAW_ALPHA_BLEND, bbox);
    QXLAlphaBlend *blend = &draw->u.alpha_blend;
    struct matrix_image image;

    blend->alpha = (uint8_t)matrix_range(c, 0, 255);
    if (matrix_one_in(c, 4))
        blend->alpha = 255;
    else if (matrix_one_in(c, 16))
        blend->alpha = 0;
    blend->alpha_flags = (uint16_t)matrix_range(c, 0, 3);
    matrix_say(c, " alpha=%d flags=%d src=", blend->alpha, blend->alpha_flags);
    image = matrix_image(c, ROLE_SOURCE, matrix_range(c, 1, 70), matrix_range(c, 1, 50), true);
    blend->src_bitmap = image.address;
    blend->src_area = matrix_place(c, draw, &image, NULL);
}

static QXLPHYSICAL transform(struct matrix_case *c, const char *name)
{
    static const int32_t scales[] = { 0x8000, 0x10000, 0x10000, 0x18000, 0x20000, 0x2aaaa, -0x10000, 0x4000, 0 };
    int32_t *t = qxl_item_alloc(c->item, sizeof(QXLTransform));

    memset(t, 0, sizeof(QXLTransform));
    t[0] = scales[matrix_range(c, 0, 7)];
    t[4] = scales[matrix_range(c, 0, 7)];
    if (matrix_one_in(c, 3)) {
        t[1] = matrix_range(c, -60000, 60000);
        t[3] = matrix_range(c, -60000, 60000);
        if (matrix_one_in(c, 4))
            t[0] = t[4] = 0;
    }
    t[2] = matrix_range(c, -20, 20) * 65536 + (matrix_one_in(c, 2) ? matrix_range(c, 0, 65535) : 0);
    t[5] = matrix_range(c, -20, 20) * 65536 + (matrix_one_in(c, 2) ? matrix_range(c, 0, 65535) : 0);
    matrix_say(c, " %s=%x,%x,%x,%x,%x,%x", name, t[0], t[1], t[2], t[3], t[4], t[5]);
    return qxl_address(t);
}

void matrix_composite(struct matrix_case *c)
{
    static const char *const filters[] = { "fast", "good", "best", "nearest", "smooth" };
    static const char *const repeats[] = { "once", "tiled", "edge", "mirrored" };
    QXLRect bbox = matrix_box(c, TILE_WIDTH, TILE_HEIGHT);
    QXLDrawable *draw = matrix_begin(c, QXL_DRAW_COMPOSITE, bbox);
    QXLComposite *composite = &draw->u.composite;
    uint32_t operator= (uint32_t)matrix_range(c, 0, 13), filter = (uint32_t)matrix_range(c, 0, 4);
    uint32_t repeat = (uint32_t)matrix_range(c, 0, 3);
    struct matrix_image image;

    if (matrix_one_in(c, 3)) {
        /* Disjoint, conjoint and the blend modes of PDF. */
        static const uint32_t first[] = { 0x10, 0x20, 0x30 }, last[] = { 0x1b, 0x2b, 0x3e };
        int group = matrix_range(c, 0, 2);

        operator= (uint32_t)matrix_range(c, (int)first[group], (int)last[group]);
    }
    composite->flags = operator| filter << 8 | repeat << 14;
    if (matrix_one_in(c, 5))
        composite->flags |= SPICE_COMPOSITE_SOURCE_OPAQUE;
    if (matrix_one_in(c, 5))
        composite->flags |= SPICE_COMPOSITE_DEST_OPAQUE;
    matrix_say(c, " op=%02x %s,%s%s%s src=", operator, filters[filter], repeats[repeat],
               composite->flags & SPICE_COMPOSITE_SOURCE_OPAQUE ? ",source-opaque" : "",
               composite->flags & SPICE_COMPOSITE_DEST_OPAQUE ? ",dest-opaque" : "");
    image = matrix_image(c, ROLE_COMPOSITE, matrix_range(c, 1, 70), matrix_range(c, 1, 50), true);
    composite->src = image.address;
    if (image.is_surface && matrix_depth(image.surface_format) < 32 &&
        composite->flags & SPICE_COMPOSITE_SOURCE_OPAQUE)
        matrix_break(c, RULE_OPAQUE_SURFACE);
    if (matrix_depth(c->kind->format) < 32 && composite->flags & SPICE_COMPOSITE_DEST_OPAQUE)
        matrix_break(c, RULE_OPAQUE_DEST);
    if (matrix_one_in(c, 3))
        composite->src_transform = transform(c, "turn");
    if (matrix_one_in(c, 2)) {
        filter = (uint32_t)matrix_range(c, 0, 4);
        repeat = (uint32_t)matrix_range(c, 0, 3);
        composite->flags |= filter << 11 | repeat << 16;
        if (matrix_one_in(c, 3))
            composite->flags |= SPICE_COMPOSITE_COMPONENT_ALPHA;
        if (matrix_one_in(c, 5))
            composite->flags |= SPICE_COMPOSITE_MASK_OPAQUE;
        matrix_say(c, " mask=%s,%s,%s%s", filters[filter], repeats[repeat],
                   composite->flags & SPICE_COMPOSITE_COMPONENT_ALPHA ? "each-channel," : "",
                   composite->flags & SPICE_COMPOSITE_MASK_OPAQUE ? "mask-opaque," : "");
        composite->mask =
            matrix_image(c, ROLE_COMPOSITE, matrix_range(c, 1, 70), matrix_range(c, 1, 50), false).address;
        if (matrix_one_in(c, 4))
            composite->mask_transform = transform(c, "mask-turn");
    }
    composite->src_origin.x = (int16_t)matrix_range(c, -20, 60);
    composite->src_origin.y = (int16_t)matrix_range(c, -20, 40);
    composite->mask_origin.x = (int16_t)matrix_range(c, -20, 60);
    composite->mask_origin.y = (int16_t)matrix_range(c, -20, 40);
    if (matrix_one_in(c, 2)) {
        composite->src_origin = (QXLPoint16){ 0 };
        composite->mask_origin = (QXLPoint16){ 0 };
    }
}
