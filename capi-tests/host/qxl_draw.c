/* Builders for the commands a guest driver would send. */
#include "host.h"

#include <string.h>

/* The cleared parts of a descriptor: what remains is the operation proper. */
static bool reads_destination(uint16_t rop)
{
    return rop & (SPICE_ROPD_OP_OR | SPICE_ROPD_OP_AND | SPICE_ROPD_OP_XOR | SPICE_ROPD_OP_INVERS |
                  SPICE_ROPD_INVERS_DEST);
}

static QXLDrawable *drawable(struct qxl_item *item)
{
    return qxl_item_command(item);
}

struct qxl_item *qxl_draw_new(uint32_t surface_id, uint8_t type, QXLRect bbox)
{
    struct qxl_item *item = qxl_item_new(QXL_CMD_DRAW, sizeof(QXLDrawable));
    QXLDrawable *draw = drawable(item);

    draw->surface_id = surface_id;
    draw->type = type;
    draw->effect = QXL_EFFECT_OPAQUE;
    draw->bbox = bbox;
    draw->clip.type = SPICE_CLIP_TYPE_NONE;
    for (int i = 0; i < 3; i++)
        draw->surfaces_dest[i] = -1;
    return item;
}

void qxl_draw_clip(struct qxl_item *item, const QXLRect *rects, uint32_t count)
{
    QXLDrawable *draw = drawable(item);
    QXLClipRects *clip = qxl_item_alloc(item, sizeof(*clip) + count * sizeof(*rects));

    clip->num_rects = count;
    clip->chunk.data_size = (uint32_t)(count * sizeof(*rects));
    memcpy(clip->chunk.data, rects, count * sizeof(*rects));
    draw->clip.type = SPICE_CLIP_TYPE_RECTS;
    draw->clip.data = qxl_address(clip);
    if (draw->effect == QXL_EFFECT_OPAQUE)
        draw->effect = QXL_EFFECT_BLEND;
}

QXLImage *qxl_draw_image(struct qxl_item *item, struct qxl_source source)
{
    static uint32_t unique;
    QXLImage *image = qxl_item_alloc(item, sizeof(*image));
    size_t size = (size_t)source.width * (size_t)source.height * 4;
    uint8_t *data;

    QXL_SET_IMAGE_ID(image, QXL_IMAGE_GROUP_DRIVER_DONT_CACHE, ++unique);
    image->descriptor.width = (uint32_t)source.width;
    image->descriptor.height = (uint32_t)source.height;
    if (!source.pixels) {
        image->descriptor.type = SPICE_IMAGE_TYPE_SURFACE;
        image->surface_image.surface_id = source.surface_id;
        return image;
    }
    data = qxl_item_alloc(item, size);
    memcpy(data, source.pixels, size);
    image->descriptor.type = SPICE_IMAGE_TYPE_BITMAP;
    image->bitmap.format = SPICE_BITMAP_FMT_32BIT;
    image->bitmap.flags = QXL_BITMAP_DIRECT | QXL_BITMAP_TOP_DOWN;
    image->bitmap.x = (uint32_t)source.width;
    image->bitmap.y = (uint32_t)source.height;
    image->bitmap.stride = (uint32_t)source.width * 4;
    image->bitmap.data = qxl_address(data);
    return image;
}

/* Puts the source into the item and, for a surface, notes that the command reads it. */
static QXLPHYSICAL attach_source(struct qxl_item *item, struct qxl_source source, QXLRect area)
{
    QXLDrawable *draw = drawable(item);

    if (!source.pixels) {
        draw->surfaces_dest[0] = (int32_t)source.surface_id;
        draw->surfaces_rects[0] = area;
    }
    return qxl_address(qxl_draw_image(item, source));
}

struct qxl_item *qxl_draw_fill(uint32_t surface_id, QXLRect bbox, uint32_t color, uint16_t rop)
{
    struct qxl_item *item = qxl_draw_new(surface_id, QXL_DRAW_FILL, bbox);
    QXLDrawable *draw = drawable(item);

    draw->u.fill.brush.type = SPICE_BRUSH_TYPE_SOLID;
    draw->u.fill.brush.u.color = color;
    draw->u.fill.rop_descriptor = rop;
    if (reads_destination(rop))
        draw->effect = QXL_EFFECT_BLEND;
    return item;
}

struct qxl_item *qxl_draw_pattern(uint32_t surface_id, QXLRect bbox, struct qxl_source pattern, QXLPoint origin,
                                  uint16_t rop)
{
    struct qxl_item *item = qxl_draw_fill(surface_id, bbox, 0, rop);
    QXLBrush *brush = &drawable(item)->u.fill.brush;

    brush->type = SPICE_BRUSH_TYPE_PATTERN;
    brush->u.pattern.pos = origin;
    brush->u.pattern.pat = attach_source(item, pattern, qxl_rect(0, 0, pattern.width, pattern.height));
    return item;
}

static struct qxl_item *draw_from(uint32_t surface_id, uint8_t type, QXLRect bbox, struct qxl_source source,
                                  QXLRect src_area, uint16_t rop)
{
    struct qxl_item *item = qxl_draw_new(surface_id, type, bbox);
    QXLDrawable *draw = drawable(item);

    draw->u.copy.src_area = src_area;
    draw->u.copy.rop_descriptor = rop;
    draw->u.copy.scale_mode = SPICE_IMAGE_SCALE_MODE_NEAREST;
    draw->u.copy.src_bitmap = attach_source(item, source, src_area);
    if (reads_destination(rop))
        draw->effect = QXL_EFFECT_BLEND;
    return item;
}

struct qxl_item *qxl_draw_copy(uint32_t surface_id, QXLRect bbox, struct qxl_source source, QXLRect src_area,
                               uint16_t rop)
{
    return draw_from(surface_id, QXL_DRAW_COPY, bbox, source, src_area, rop);
}

struct qxl_item *qxl_draw_blend(uint32_t surface_id, QXLRect bbox, struct qxl_source source, QXLRect src_area,
                                uint16_t rop)
{
    return draw_from(surface_id, QXL_DRAW_BLEND, bbox, source, src_area, rop);
}

struct qxl_item *qxl_draw_opaque(uint32_t surface_id, QXLRect bbox, struct qxl_source source, QXLRect src_area,
                                 uint32_t color, uint16_t rop)
{
    struct qxl_item *item = qxl_draw_new(surface_id, QXL_DRAW_OPAQUE, bbox);
    QXLDrawable *draw = drawable(item);

    draw->u.opaque.src_area = src_area;
    draw->u.opaque.brush.type = SPICE_BRUSH_TYPE_SOLID;
    draw->u.opaque.brush.u.color = color;
    draw->u.opaque.rop_descriptor = rop;
    draw->u.opaque.scale_mode = SPICE_IMAGE_SCALE_MODE_NEAREST;
    draw->u.opaque.src_bitmap = attach_source(item, source, src_area);
    return item;
}

struct qxl_item *qxl_draw_rop3(uint32_t surface_id, QXLRect bbox, struct qxl_source source, QXLRect src_area,
                               uint32_t color, uint8_t code)
{
    struct qxl_item *item = qxl_draw_new(surface_id, QXL_DRAW_ROP3, bbox);
    QXLDrawable *draw = drawable(item);

    draw->effect = QXL_EFFECT_BLEND;
    draw->u.rop3.src_area = src_area;
    draw->u.rop3.brush.type = SPICE_BRUSH_TYPE_SOLID;
    draw->u.rop3.brush.u.color = color;
    draw->u.rop3.rop3 = code;
    draw->u.rop3.scale_mode = SPICE_IMAGE_SCALE_MODE_NEAREST;
    draw->u.rop3.src_bitmap = attach_source(item, source, src_area);
    return item;
}

void qxl_draw_rop3_pattern(struct qxl_item *item, struct qxl_source pattern, QXLPoint origin)
{
    QXLBrush *brush = &drawable(item)->u.rop3.brush;

    brush->type = SPICE_BRUSH_TYPE_PATTERN;
    brush->u.pattern.pos = origin;
    brush->u.pattern.pat = qxl_address(qxl_draw_image(item, pattern));
}

struct qxl_item *qxl_draw_transparent(uint32_t surface_id, QXLRect bbox, struct qxl_source source,
                                      QXLRect src_area, uint32_t key)
{
    struct qxl_item *item = qxl_draw_new(surface_id, QXL_DRAW_TRANSPARENT, bbox);
    QXLDrawable *draw = drawable(item);

    draw->effect = QXL_EFFECT_BLEND;
    draw->u.transparent.src_area = src_area;
    draw->u.transparent.src_color = key;
    draw->u.transparent.true_color = key;
    draw->u.transparent.src_bitmap = attach_source(item, source, src_area);
    return item;
}

struct qxl_item *qxl_draw_alpha_blend(uint32_t surface_id, QXLRect bbox, struct qxl_source source,
                                      QXLRect src_area, uint8_t alpha, bool has_alpha)
{
    struct qxl_item *item = qxl_draw_new(surface_id, QXL_DRAW_ALPHA_BLEND, bbox);
    QXLDrawable *draw = drawable(item);
    QXLImage *image;

    draw->effect = QXL_EFFECT_BLEND;
    draw->u.alpha_blend.alpha = alpha;
    draw->u.alpha_blend.src_area = src_area;
    draw->u.alpha_blend.src_bitmap = attach_source(item, source, src_area);
    if (has_alpha) {
        image = (QXLImage *)(uintptr_t)draw->u.alpha_blend.src_bitmap;
        image->bitmap.format = SPICE_BITMAP_FMT_RGBA;
    }
    return item;
}

static QXLPHYSICAL attach_transform(struct qxl_item *item, const int32_t *transform)
{
    int32_t *copy;

    if (!transform)
        return 0;
    copy = qxl_item_alloc(item, sizeof(QXLTransform));
    memcpy(copy, transform, sizeof(QXLTransform));
    return qxl_address(copy);
}

struct qxl_item *qxl_draw_composite(uint32_t surface_id, QXLRect bbox, uint32_t flags, struct qxl_source source,
                                    struct qxl_source mask, const int32_t *source_transform,
                                    const int32_t *mask_transform)
{
    struct qxl_item *item = qxl_draw_new(surface_id, QXL_DRAW_COMPOSITE, bbox);
    QXLDrawable *draw = drawable(item);
    QXLImage *image = qxl_draw_image(item, source);

    draw->effect = QXL_EFFECT_BLEND;
    image->bitmap.format = SPICE_BITMAP_FMT_RGBA;
    draw->u.composite.flags = flags;
    draw->u.composite.src = qxl_address(image);
    draw->u.composite.src_transform = attach_transform(item, source_transform);
    if (mask.pixels) {
        image = qxl_draw_image(item, mask);
        image->bitmap.format = SPICE_BITMAP_FMT_RGBA;
        draw->u.composite.mask = qxl_address(image);
        draw->u.composite.mask_transform = attach_transform(item, mask_transform);
    }
    return item;
}

void qxl_draw_composite_from(struct qxl_item *item, int16_t source_x, int16_t source_y, int16_t mask_x,
                             int16_t mask_y)
{
    QXLComposite *composite = &drawable(item)->u.composite;

    composite->src_origin.x = source_x;
    composite->src_origin.y = source_y;
    composite->mask_origin.x = mask_x;
    composite->mask_origin.y = mask_y;
}

struct qxl_item *qxl_draw_stroke(uint32_t surface_id, QXLRect bbox, const int32_t *path, size_t words, uint8_t flags,
                                 const int32_t *style, uint8_t count, uint32_t color, uint16_t rop)
{
    struct qxl_item *item = qxl_draw_new(surface_id, QXL_DRAW_STROKE, bbox);
    QXLDrawable *draw = drawable(item);
    QXLPath *copy = qxl_item_alloc(item, sizeof(*copy) + words * sizeof(*path));

    copy->data_size = (uint32_t)(words * sizeof(*path));
    copy->chunk.data_size = copy->data_size;
    memcpy(copy->chunk.data, path, copy->data_size);
    draw->effect = QXL_EFFECT_BLEND;
    draw->u.stroke.path = qxl_address(copy);
    draw->u.stroke.attr.flags = flags;
    draw->u.stroke.attr.style_nseg = count;
    if (count) {
        int32_t *lengths = qxl_item_alloc(item, count * sizeof(*style));

        memcpy(lengths, style, count * sizeof(*style));
        draw->u.stroke.attr.style = qxl_address(lengths);
    }
    draw->u.stroke.brush.type = SPICE_BRUSH_TYPE_SOLID;
    draw->u.stroke.brush.u.color = color;
    draw->u.stroke.fore_mode = rop;
    draw->u.stroke.back_mode = SPICE_ROPD_OP_PUT;
    return item;
}

struct qxl_item *qxl_draw_text(uint32_t surface_id, QXLRect bbox, uint16_t flags, uint16_t length, const void *glyphs,
                               size_t size, QXLRect back_area, uint32_t fore, uint32_t back)
{
    struct qxl_item *item = qxl_draw_new(surface_id, QXL_DRAW_TEXT, bbox);
    QXLDrawable *draw = drawable(item);
    QXLString *string = qxl_item_alloc(item, sizeof(*string) + size);

    string->data_size = (uint32_t)size;
    string->length = length;
    string->flags = flags;
    string->chunk.data_size = (uint32_t)size;
    memcpy(string->chunk.data, glyphs, size);
    draw->effect = QXL_EFFECT_BLEND;
    draw->u.text.str = qxl_address(string);
    draw->u.text.back_area = back_area;
    draw->u.text.fore_brush.type = SPICE_BRUSH_TYPE_SOLID;
    draw->u.text.fore_brush.u.color = fore;
    draw->u.text.back_brush.type = SPICE_BRUSH_TYPE_SOLID;
    draw->u.text.back_brush.u.color = back;
    draw->u.text.fore_mode = SPICE_ROPD_OP_PUT;
    draw->u.text.back_mode = SPICE_ROPD_OP_PUT;
    return item;
}

struct qxl_item *qxl_draw_copy_bits(uint32_t surface_id, QXLRect bbox, int src_x, int src_y)
{
    struct qxl_item *item = qxl_draw_new(surface_id, QXL_COPY_BITS, bbox);
    QXLDrawable *draw = drawable(item);

    draw->effect = QXL_EFFECT_BLEND;
    draw->u.copy_bits.src_pos.x = src_x;
    draw->u.copy_bits.src_pos.y = src_y;
    draw->surfaces_dest[0] = (int32_t)surface_id;
    draw->surfaces_rects[0] =
        qxl_rect(src_x, src_y, src_x + bbox.right - bbox.left, src_y + bbox.bottom - bbox.top);
    return item;
}

struct qxl_item *qxl_draw_plain(uint32_t surface_id, uint8_t type, QXLRect bbox)
{
    struct qxl_item *item = qxl_draw_new(surface_id, type, bbox);

    if (type == QXL_DRAW_INVERS)
        drawable(item)->effect = QXL_EFFECT_REVERT_ON_DUP;
    return item;
}

struct qxl_item *qxl_surface_create(struct qxl_host *host, uint32_t surface_id, int width, int height)
{
    struct qxl_item *item = qxl_item_new(QXL_CMD_SURFACE, sizeof(QXLSurfaceCmd));
    QXLSurfaceCmd *command = qxl_item_command(item);
    struct qxl_surface *surface = &host->surfaces[surface_id];

    surface->memory = qxl_block_new((size_t)width * (size_t)height * 4);
    surface->width = (uint32_t)width;
    surface->height = (uint32_t)height;
    surface->stride = width * 4;
    command->surface_id = surface_id;
    command->type = QXL_SURFACE_CMD_CREATE;
    command->u.surface_create.format = SPICE_SURFACE_FMT_32_xRGB;
    command->u.surface_create.width = surface->width;
    command->u.surface_create.height = surface->height;
    command->u.surface_create.stride = surface->stride;
    command->u.surface_create.data = qxl_address(qxl_block_data(surface->memory));
    return item;
}

struct qxl_item *qxl_surface_destroy(struct qxl_host *host, uint32_t surface_id)
{
    struct qxl_item *item = qxl_item_new(QXL_CMD_SURFACE, sizeof(QXLSurfaceCmd));
    QXLSurfaceCmd *command = qxl_item_command(item);
    struct qxl_surface *surface = &host->surfaces[surface_id];

    command->surface_id = surface_id;
    command->type = QXL_SURFACE_CMD_DESTROY;
    /* As in a guest driver: the pixels may go when the destroy command comes back, not before. */
    if (surface->memory)
        qxl_item_adopt(item, surface->memory);
    memset(surface, 0, sizeof(*surface));
    return item;
}

struct qxl_item *qxl_cursor_set(int x, int y, uint16_t type, int width, int height, int hot_x, int hot_y,
                                const void *data, uint32_t size)
{
    static uint64_t unique;
    struct qxl_item *item = qxl_item_new(QXL_CMD_CURSOR, sizeof(QXLCursorCmd));
    QXLCursorCmd *command = qxl_item_command(item);
    QXLCursor *cursor = qxl_item_alloc(item, sizeof(*cursor) + size);

    cursor->header.unique = ++unique;
    cursor->header.type = type;
    cursor->header.width = (uint16_t)width;
    cursor->header.height = (uint16_t)height;
    cursor->header.hot_spot_x = (uint16_t)hot_x;
    cursor->header.hot_spot_y = (uint16_t)hot_y;
    cursor->data_size = size;
    cursor->chunk.data_size = size;
    memcpy(cursor->chunk.data, data, size);
    command->type = QXL_CURSOR_SET;
    command->u.set.position.x = (int16_t)x;
    command->u.set.position.y = (int16_t)y;
    command->u.set.visible = 1;
    command->u.set.shape = qxl_address(cursor);
    return item;
}

struct qxl_item *qxl_cursor_move(int x, int y)
{
    struct qxl_item *item = qxl_item_new(QXL_CMD_CURSOR, sizeof(QXLCursorCmd));
    QXLCursorCmd *command = qxl_item_command(item);

    command->type = QXL_CURSOR_MOVE;
    command->u.position.x = (int16_t)x;
    command->u.position.y = (int16_t)y;
    return item;
}

struct qxl_item *qxl_cursor_hide(void)
{
    struct qxl_item *item = qxl_item_new(QXL_CMD_CURSOR, sizeof(QXLCursorCmd));
    QXLCursorCmd *command = qxl_item_command(item);

    command->type = QXL_CURSOR_HIDE;
    return item;
}
