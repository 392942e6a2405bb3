/* Images of every format that a guest may send, masks and brushes. */
#include "matrix.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

/* ---- QUIC streams, which only files have: there is no encoder here ---- */

enum { QUIC_STREAMS = 64 };

static struct quic_stream {
    char name[40];
    int width, height;
    uint32_t type;
    size_t size;
    uint8_t *bytes;
} streams[QUIC_STREAMS];
static unsigned num_streams;

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static bool load_stream(const char *folder, const char *name)
{
    enum { HEADER = 20, MOST = 1 << 16 };
    struct quic_stream *stream = &streams[num_streams];
    char path[512];
    uint8_t *bytes = malloc(MOST);
    uint32_t words[5];
    size_t size;
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "rb");
    size = file && bytes ? fread(bytes, 1, MOST, file) : 0;
    if (file)
        fclose(file);
    if (size < HEADER || size == MOST) {
        free(bytes);
        return false;
    }
    /* Magic, version, type, width, height. */
    memcpy(words, bytes, sizeof(words));
    snprintf(stream->name, sizeof(stream->name), "%.*s", (int)strcspn(name, "."), name);
    stream->type = words[2];
    stream->width = (int)words[3];
    stream->height = (int)words[4];
    stream->size = size;
    stream->bytes = bytes;
    /* Grey pictures are no colours of anything (type 1). */
    if (stream->type == 1) {
        free(bytes);
        return true;
    }
    num_streams++;
    return true;
}

bool matrix_load_quic(const char *folder)
{
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, NULL, by_name);

    for (int i = 0; i < count; i++) {
        const char *end = strrchr(entries[i]->d_name, '.');

        if (end && strcmp(end, ".quic") == 0 && num_streams < QUIC_STREAMS)
            load_stream(folder, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return num_streams > 0;
}

/* ---- bitmaps ---- */

static const char *const format_names[] = {
    "?", "1LE", "1BE", "4LE", "4BE", "8", "16", "24", "32", "RGBA", "8A",
};
static const int format_bits[] = { 0, 1, 1, 4, 4, 8, 16, 24, 32, 32, 8 };

static QXLImage *new_image(struct matrix_case *c, uint8_t type, int width, int height)
{
    static uint32_t unique;
    QXLImage *image = qxl_item_alloc(c->item, sizeof(*image));

    QXL_SET_IMAGE_ID(image, QXL_IMAGE_GROUP_DRIVER, ++unique);
    image->descriptor.type = type;
    image->descriptor.width = (uint32_t)width;
    image->descriptor.height = (uint32_t)height;
    return image;
}

static QXLPHYSICAL palette(struct matrix_case *c, int colors)
{
    static uint64_t unique;
    QXLPalette *palette = qxl_item_alloc(c->item, sizeof(*palette) + (size_t)colors * 4);
    int count = colors;

    if (matrix_one_in(c, 25)) {
        count = matrix_range(c, 0, colors - 1);
        matrix_say(c, "/%d-colors", count);
        matrix_break(c, RULE_SHORT_PALETTE);
    }
    palette->unique = matrix_one_in(c, 2) ? ++unique : 0;
    matrix_say(c, palette->unique ? "/kept" : "");
    palette->num_ents = (uint16_t)count;
    for (int i = 0; i < count; i++)
        palette->ents[i] = matrix_color(c);
    return qxl_address(palette);
}

/* Pixel data as one piece or as chunks. */
static QXLPHYSICAL put_data(struct matrix_case *c, const uint8_t *bytes, size_t size, bool direct)
{
    QXLDataChunk *first = NULL, *last = NULL;
    uint8_t *data;
    size_t done = 0;

    if (direct) {
        data = qxl_item_alloc(c->item, size);
        memcpy(data, bytes, size);
        return qxl_address(data);
    }
    while (done < size) {
        size_t piece = (size_t)matrix_range(c, 1, 4000);
        QXLDataChunk *chunk;

        if (piece > size - done)
            piece = size - done;
        chunk = qxl_item_alloc(c->item, sizeof(*chunk) + piece);
        chunk->data_size = (uint32_t)piece;
        memcpy(chunk->data, bytes + done, piece);
        if (last) {
            last->next_chunk = qxl_address(chunk);
            chunk->prev_chunk = qxl_address(last);
        } else {
            first = chunk;
        }
        last = chunk;
        done += piece;
    }
    return qxl_address(first);
}

static void premultiply(uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i + 3 < size; i += 4)
        for (size_t channel = 0; channel < 3; channel++)
            bytes[i + channel] = (uint8_t)(bytes[i + channel] * bytes[i + 3] / 255);
}

static uint32_t color_of(const uint8_t *bytes, uint8_t format)
{
    uint32_t p = 0;

    if (format == SPICE_BITMAP_FMT_16BIT) {
        memcpy(&p, bytes, 2);
        return (p >> 10 & 31) << 19 | (p >> 5 & 31) << 11 | (p & 31) << 3;
    }
    memcpy(&p, bytes, 3);
    return p;
}

static struct matrix_image bitmap(struct matrix_case *c, uint8_t format, int width, int height, bool is_mask)
{
    struct matrix_image out = { .width = width, .height = height };
    QXLImage *image = new_image(c, SPICE_IMAGE_TYPE_BITMAP, width, height);
    uint32_t stride = (uint32_t)(width * format_bits[format] + 31) / 32 * 4 + (matrix_one_in(c, 4) ? 4 : 0);
    size_t size = (size_t)stride * (size_t)height;
    bool direct = !matrix_one_in(c, 5), top_down = !matrix_one_in(c, 3);
    uint8_t *bytes = malloc(size);

    if (!bytes)
        exit(70);
    matrix_say(c, "%s%s%s", format_names[format], top_down ? "" : "/up", direct ? "" : "/pieces");
    matrix_noise(&c->rng, bytes, size);
    if (format == SPICE_BITMAP_FMT_RGBA && !matrix_one_in(c, 5))
        premultiply(bytes, size);
    else if (format == SPICE_BITMAP_FMT_RGBA)
        matrix_say(c, "/wild");
    if (!is_mask && matrix_one_in(c, 8)) {
        image->descriptor.flags |= QXL_IMAGE_HIGH_BITS_SET;
        matrix_say(c, "/high");
    }
    if (matrix_one_in(c, 4)) {
        image->descriptor.flags |= QXL_IMAGE_CACHE;
        matrix_say(c, "/cache");
    }
    image->bitmap.format = format;
    image->bitmap.flags = (uint8_t)((direct ? QXL_BITMAP_DIRECT : 0) | (top_down ? QXL_BITMAP_TOP_DOWN : 0));
    image->bitmap.x = (uint32_t)width;
    image->bitmap.y = (uint32_t)height;
    image->bitmap.stride = stride;
    image->bitmap.data = put_data(c, bytes, size, direct);
    if (format <= SPICE_BITMAP_FMT_8BIT && !is_mask) {
        image->bitmap.palette = palette(c, 1 << format_bits[format]);
        out.has_palette = true;
    }
    if (size > 8)
        out.one_pixel = color_of(bytes + (top_down ? 0 : size - stride), format);
    out.has_alpha_only = format == SPICE_BITMAP_FMT_8BIT_A;
    out.address = qxl_address(image);
    free(bytes);
    return out;
}

static struct matrix_image quic(struct matrix_case *c, const struct quic_stream *stream)
{
    struct matrix_image out = { .width = stream->width, .height = stream->height };
    QXLImage *image =
        qxl_item_alloc(c->item, sizeof(QXLImageDescriptor) + sizeof(QXLQUICData) + sizeof(QXLDataChunk) + stream->size);
    QXLImage *made = new_image(c, SPICE_IMAGE_TYPE_QUIC, stream->width, stream->height);
    QXLDataChunk *chunk = (QXLDataChunk *)(void *)image->quic.data;

    matrix_say(c, "quic-%s", stream->name);
    image->descriptor = made->descriptor;
    if (matrix_one_in(c, 8)) {
        image->descriptor.flags |= QXL_IMAGE_HIGH_BITS_SET;
        matrix_say(c, "/high");
    }
    image->quic.data_size = (uint32_t)stream->size;
    chunk->data_size = (uint32_t)stream->size;
    memcpy(chunk->data, stream->bytes, stream->size);
    out.address = qxl_address(image);
    return out;
}

/* ---- surfaces ---- */

static const char *format_name(uint32_t format)
{
    for (unsigned i = 0; i < MATRIX_KINDS; i++)
        if (matrix_kinds[i].format == format && !matrix_kinds[i].primary)
            return matrix_kinds[i].name + 4;
    return "?";
}

static struct matrix_image surface(struct matrix_case *c, uint32_t format, bool small)
{
    struct matrix_image out = {
        .width = small ? PATTERN_WIDTH : SOURCE_WIDTH,
        .height = small ? PATTERN_HEIGHT : SOURCE_HEIGHT,
        .is_surface = true,
        .surface_format = format,
        .has_alpha_only = matrix_depth(format) < 16,
    };
    QXLDrawable *draw = qxl_item_command(c->item);
    QXLImage *image = new_image(c, SPICE_IMAGE_TYPE_SURFACE, out.width, out.height);
    uint32_t id = c->source_first + c->num_sources;

    c->sources[c->num_sources++] = (struct matrix_source){ .id = id, .format = format, .small = small };
    image->surface_image.surface_id = id;
    draw->surfaces_dest[c->reads] = (int32_t)id;
    draw->surfaces_rects[c->reads++] = qxl_rect(0, 0, out.width, out.height);
    matrix_say(c, "surface-%s", format_name(format));
    out.address = qxl_address(image);
    return out;
}

static struct matrix_image source_surface(struct matrix_case *c, enum matrix_role role)
{
    uint32_t format = matrix_formats[matrix_range(c, 0, SOURCE_FORMATS - 1)];

    /* Mostly one that the command may read. */
    for (int tries = 0; tries < 3 && role != ROLE_COMPOSITE; tries++)
        if (matrix_depth(format) != matrix_depth(c->kind->format))
            format = matrix_formats[matrix_range(c, 0, SOURCE_FORMATS - 1)];
    return surface(c, format, role == ROLE_PATTERN);
}

/* ---- what commands use ---- */

static struct matrix_image self_image(struct matrix_case *c)
{
    QXLDrawable *draw = qxl_item_command(c->item);
    int width = matrix_range(c, 1, c->width), height = matrix_range(c, 1, c->height);
    int x = c->x + matrix_range(c, 0, c->width - width), y = c->y + matrix_range(c, 0, c->height - height);
    struct matrix_image out = { .width = width, .height = height, .is_self = true };

    draw->self_bitmap = 1;
    draw->self_bitmap_area = qxl_rect(x, y, x + width, y + height);
    matrix_say(c, "self");
    if (c->kind->format == SPICE_SURFACE_FMT_16_565 || c->kind->format == SPICE_SURFACE_FMT_1_A)
        matrix_break(c, RULE_SELF_FORMAT);
    return out;
}

struct matrix_image matrix_image(struct matrix_case *c, enum matrix_role role, int width, int height, bool self)
{
    static const uint8_t formats[] = {
        SPICE_BITMAP_FMT_1BIT_BE, SPICE_BITMAP_FMT_4BIT_BE, SPICE_BITMAP_FMT_8BIT, SPICE_BITMAP_FMT_16BIT,
        SPICE_BITMAP_FMT_24BIT,   SPICE_BITMAP_FMT_32BIT,   SPICE_BITMAP_FMT_RGBA, SPICE_BITMAP_FMT_32BIT,
    };
    const QXLDrawable *draw = qxl_item_command(c->item);
    struct matrix_image out;
    uint8_t format;

    if (c->kind->format == SPICE_SURFACE_FMT_1_A && role != ROLE_PATTERN && draw->type != QXL_DRAW_ALPHA_BLEND)
        matrix_break(c, RULE_ONE_BIT);
    if (self && matrix_one_in(c, 8))
        return self_image(c);
    if (matrix_one_in(c, 4)) {
        out = source_surface(c, role);
        out.other_depth = matrix_depth(out.surface_format) != matrix_depth(c->kind->format);
        return out;
    }
    if (matrix_one_in(c, 10) && num_streams)
        return quic(c, &streams[matrix_range(c, 0, (int)num_streams - 1)]);
    format = formats[matrix_range(c, 0, (int)sizeof(formats) - 1)];
    if (matrix_one_in(c, role == ROLE_COMPOSITE ? 3 : 14))
        format = SPICE_BITMAP_FMT_8BIT_A;
    if (matrix_one_in(c, 60)) {
        format = matrix_one_in(c, 2) ? SPICE_BITMAP_FMT_1BIT_LE : SPICE_BITMAP_FMT_4BIT_LE;
        matrix_break(c, RULE_LOW_BITS_FIRST);
    }
    out = bitmap(c, format, width + (matrix_one_in(c, 2) ? matrix_range(c, 0, 9) : 0),
                 height + (matrix_one_in(c, 2) ? matrix_range(c, 0, 9) : 0), false);
    if (out.has_palette && (c->kind->format == SPICE_SURFACE_FMT_16_565 || matrix_is_alpha(c->kind)))
        matrix_break(c, RULE_PALETTE);
    return out;
}

void matrix_mask(struct matrix_case *c, QXLQMask *mask, QXLRect bbox)
{
    int width, height;

    if (!matrix_one_in(c, 3))
        return;
    mask->flags = matrix_one_in(c, 2) ? SPICE_MASK_FLAGS_INVERS : 0;
    mask->pos = (QXLPoint){ .x = matrix_range(c, 0, 9), .y = matrix_range(c, 0, 9) };
    matrix_say(c, " mask=%s", mask->flags ? "not-" : "");
    if (matrix_one_in(c, 4)) {
        struct matrix_image image = surface(c, SPICE_SURFACE_FMT_1_A, false);

        mask->bitmap = image.address;
        return;
    }
    width = bbox.right - bbox.left + mask->pos.x + matrix_range(c, 0, 9);
    height = bbox.bottom - bbox.top + mask->pos.y + matrix_range(c, 0, 9);
    if (matrix_one_in(c, 4)) {
        /* Smaller than the box. */
        width = matrix_range(c, 1, width);
        height = matrix_range(c, 1, height);
        matrix_say(c, "part-");
    }
    mask->bitmap =
        bitmap(c, matrix_one_in(c, 2) ? SPICE_BITMAP_FMT_1BIT_BE : SPICE_BITMAP_FMT_1BIT_LE, width, height, true)
            .address;
}

void matrix_brush(struct matrix_case *c, QXLBrush *brush)
{
    const QXLDrawable *draw = qxl_item_command(c->item);
    int kind = matrix_range(c, 0, 7);

    matrix_say(c, " brush=");
    if (kind == 0) {
        brush->type = SPICE_BRUSH_TYPE_NONE;
        matrix_say(c, "none");
    } else if (kind < 4) {
        brush->type = SPICE_BRUSH_TYPE_SOLID;
        brush->u.color = matrix_color(c);
        matrix_say(c, "solid");
    } else {
        struct matrix_image image =
            matrix_image(c, ROLE_PATTERN, matrix_range(c, 1, 24), matrix_range(c, 1, 24), false);

        brush->type = SPICE_BRUSH_TYPE_PATTERN;
        brush->u.pattern.pos = (QXLPoint){ .x = matrix_range(c, -40, 120), .y = matrix_range(c, -40, 90) };
        brush->u.pattern.pat = image.address;
        if (draw->type == QXL_DRAW_STROKE && image.is_surface)
            matrix_break(c, RULE_STROKE_SURFACE);
        else if (!c->glyphs)
            matrix_need_depth(c, &image);
        if (c->kind->format == SPICE_SURFACE_FMT_1_A && !c->glyphs)
            matrix_break(c, RULE_ONE_BIT);
    }
}
