/* Every image that a guest may send, and every operation in the layout of drivers from before 0.6: all bitmap
 * formats with palettes, in one piece or in chunks, either way up, with colours of 16 bits, and QUIC streams.
 *
 *   guest_images [--format N] STREAM...
 *
 * One line per case with the checksum of the picture; the same on both libraries. N is the format of the primary
 * surface (SPICE_SURFACE_FMT_*, 32 unless given); the streams are files with one QUIC image each.
 */
#include "host/host.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 96, HEIGHT = 80, IMAGE_WIDTH = 37, IMAGE_HEIGHT = 23 };

/* How the driver lays its commands out. */
enum layout { NATIVE, COMPAT, COMPAT_16, LAYOUTS };

static const char *const layout_names[LAYOUTS] = { "native", "compat", "compat16" };

static struct qxl_host *device;
static struct rng rng;
static uint32_t surface_format = SPICE_SURFACE_FMT_32_xRGB;

static const QXLRect image_area = { .right = IMAGE_WIDTH, .bottom = IMAGE_HEIGHT };
static const QXLRect box = { .left = 20, .top = 30, .right = 20 + IMAGE_WIDTH, .bottom = 30 + IMAGE_HEIGHT };

static int pixel_bytes(void)
{
    return surface_format == SPICE_SURFACE_FMT_32_xRGB ? 4 : 2;
}

static void show(const char *layout, const char *what)
{
    const uint8_t *pixels;
    ptrdiff_t stride;
    uint32_t sum = 2166136261u;

    qxl_host_render(device, 0);
    pixels = qxl_host_pixels(device, 0, &stride);
    for (int y = 0; y < HEIGHT; y++) {
        for (int x = 0; x < WIDTH * pixel_bytes(); x++) {
            if (pixel_bytes() == 4 && x % 4 == 3)
                continue;
            sum = (sum ^ pixels[y * stride + x]) * 16777619u;
        }
    }
    printf("%-9s %-44s %08x\n", layout, what, sum);
}

/* ---- images ---- */

struct image_case {
    uint8_t format;
    bool chunked, top_down, unstable, high_bits;
    int padding, colors;
};

static int bits_of(uint8_t format)
{
    static const int bits[] = { 0, 1, 1, 4, 4, 8, 16, 24, 32, 32, 8 };

    return bits[format];
}

static QXLPHYSICAL palette(struct qxl_item *item, int colors)
{
    QXLPalette *palette = qxl_item_alloc(item, sizeof(*palette) + (size_t)colors * 4);

    palette->num_ents = (uint16_t)colors;
    for (int i = 0; i < colors; i++)
        palette->ents[i] = rng_next(&rng) & 0xffffff;
    return qxl_address(palette);
}

/* The bytes as they are, or in four chunks of which one is empty. */
static QXLPHYSICAL place(struct qxl_item *item, const uint8_t *data, size_t size, bool chunked)
{
    QXLPHYSICAL next = 0;
    uint8_t *copy;

    if (!chunked) {
        copy = qxl_item_alloc(item, size);
        memcpy(copy, data, size);
        return qxl_address(copy);
    }
    for (int piece = 3; piece >= 0; piece--) {
        size_t from = piece == 0 ? 0 : piece <= 2 ? size / 5 : size / 2;
        size_t to = piece == 0 ? size / 5 : piece == 1 ? from : piece == 2 ? size / 2 : size;
        QXLDataChunk *chunk = qxl_item_alloc(item, sizeof(*chunk) + (to - from));

        chunk->data_size = (uint32_t)(to - from);
        chunk->next_chunk = next;
        memcpy(chunk->data, data + from, to - from);
        next = qxl_address(chunk);
    }
    return next;
}

static QXLPHYSICAL image_of(struct qxl_item *item, struct image_case c)
{
    QXLImage *image = qxl_item_alloc(item, sizeof(*image));
    int stride = ((IMAGE_WIDTH * bits_of(c.format) + 7) / 8 + 3) / 4 * 4 + c.padding;
    size_t size = (size_t)stride * IMAGE_HEIGHT;
    uint8_t *data = malloc(size);

    if (!data)
        exit(70);
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)rng_next(&rng);
        /* Indices beyond a palette are nobody's colours. */
        if (c.colors && c.colors < 256 && bits_of(c.format) == 8)
            data[i] = (uint8_t)(data[i] % c.colors);
    }
    QXL_SET_IMAGE_ID(image, QXL_IMAGE_GROUP_DRIVER_DONT_CACHE, rng_next(&rng));
    image->descriptor.type = SPICE_IMAGE_TYPE_BITMAP;
    image->descriptor.flags = c.high_bits ? QXL_IMAGE_HIGH_BITS_SET : 0;
    image->descriptor.width = image->bitmap.x = IMAGE_WIDTH;
    image->descriptor.height = image->bitmap.y = IMAGE_HEIGHT;
    image->bitmap.format = c.format;
    image->bitmap.flags = (uint8_t)((c.chunked ? 0 : QXL_BITMAP_DIRECT) | (c.top_down ? QXL_BITMAP_TOP_DOWN : 0) |
                                    (c.unstable ? QXL_BITMAP_UNSTABLE : 0));
    image->bitmap.stride = (uint32_t)stride;
    image->bitmap.palette = c.colors ? palette(item, c.colors) : 0;
    image->bitmap.data = place(item, data, size, c.chunked);
    free(data);
    return qxl_address(image);
}

/* ---- drawables ---- */

static struct qxl_item *draw_new(enum layout layout, uint8_t type, QXLRect bbox)
{
    struct qxl_item *item;
    QXLCompatDrawable *draw;

    if (layout == NATIVE) {
        item = qxl_draw_new(0, type, bbox);
        /* Nothing is said to cover what lies under it. */
        ((QXLDrawable *)qxl_item_command(item))->effect = QXL_EFFECT_BLEND;
        return item;
    }
    item = qxl_item_new(QXL_CMD_DRAW, sizeof(*draw));
    draw = qxl_item_command(item);
    item->ext.flags = QXL_COMMAND_FLAG_COMPAT | (layout == COMPAT_16 ? QXL_COMMAND_FLAG_COMPAT_16BPP : 0);
    draw->type = type;
    draw->effect = QXL_EFFECT_BLEND;
    draw->bbox = bbox;
    return item;
}

/* The part that depends on the type, at its place in either layout. */
static void *body_of(enum layout layout, struct qxl_item *item)
{
    QXLDrawable *native = qxl_item_command(item);
    QXLCompatDrawable *compat = qxl_item_command(item);

    return layout == NATIVE ? (void *)&native->u : (void *)&compat->u;
}

static void background(void)
{
    qxl_host_push(device, qxl_draw_fill(0, qxl_rect(0, 0, WIDTH, HEIGHT), 0x5a3c96, SPICE_ROPD_OP_PUT));
}

static void draw_image(enum layout layout, struct image_case c, const char *what)
{
    struct qxl_item *item = draw_new(layout, QXL_DRAW_COPY, box);
    QXLCopy *copy = body_of(layout, item);

    copy->src_bitmap = image_of(item, c);
    copy->src_area = image_area;
    copy->rop_descriptor = SPICE_ROPD_OP_PUT;
    background();
    qxl_host_push(device, item);
    show(layout_names[layout], what);
}

static void bitmaps(enum layout layout)
{
    static const struct {
        uint8_t format;
        int colors;
    } formats[] = {
        { SPICE_BITMAP_FMT_1BIT_BE, 2 }, { SPICE_BITMAP_FMT_4BIT_BE, 16 }, { SPICE_BITMAP_FMT_8BIT, 256 },
        { SPICE_BITMAP_FMT_8BIT, 100 },  { SPICE_BITMAP_FMT_16BIT, 0 },    { SPICE_BITMAP_FMT_24BIT, 0 },
        { SPICE_BITMAP_FMT_32BIT, 0 },   { SPICE_BITMAP_FMT_RGBA, 0 },
    };

    for (size_t f = 0; f < sizeof(formats) / sizeof(formats[0]); f++) {
        for (int how = 0; how < 16; how++) {
            struct image_case c = {
                .format = formats[f].format, .colors = formats[f].colors, .chunked = how & 1,
                .top_down = how & 2, .padding = how & 4 ? 8 : 0, .unstable = how & 8, .high_bits = how == 11,
            };
            char what[100];

            snprintf(what, sizeof(what), "format %d colors %d%s%s%s%s%s", c.format, c.colors,
                     c.chunked ? " chunked" : "", c.top_down ? " down" : " up", c.padding ? " padded" : "",
                     c.unstable ? " unstable" : "", c.high_bits ? " high" : "");
            draw_image(layout, c, what);
        }
    }
}

static const struct image_case plain = { .format = SPICE_BITMAP_FMT_32BIT, .top_down = true };

static void set_brush(QXLBrush *brush, struct qxl_item *item, int kind)
{
    const struct image_case indexed = { .format = SPICE_BITMAP_FMT_4BIT_BE, .colors = 16, .chunked = true };

    brush->type = kind == 0 ? SPICE_BRUSH_TYPE_SOLID : SPICE_BRUSH_TYPE_PATTERN;
    if (kind == 0) {
        brush->u.color = rng_next(&rng) & 0xffffff;
    } else {
        brush->u.pattern.pat = image_of(item, kind == 1 ? plain : indexed);
        /* Not beyond the box: spice-server would read before the tile. */
        brush->u.pattern.pos = (QXLPoint){ 7, 11 };
    }
}

static void set_mask(QXLQMask *mask, struct qxl_item *item, int kind)
{
    const struct image_case bits = {
        .format = kind == 1 ? SPICE_BITMAP_FMT_1BIT_BE : SPICE_BITMAP_FMT_1BIT_LE, .chunked = kind == 1,
        .top_down = kind == 2,
    };

    if (kind == 0)
        return;
    mask->bitmap = image_of(item, bits);
    mask->flags = kind == 2 ? SPICE_MASK_FLAGS_INVERS : 0;
}

static void show_operation(enum layout layout, struct qxl_item *item, const char *name, int brush, int mask)
{
    char what[100];

    snprintf(what, sizeof(what), "%s brush %d mask %d", name, brush, mask);
    background();
    qxl_host_push(device, item);
    show(layout_names[layout], what);
}

static void operations(enum layout layout)
{
    static const uint16_t rops[] = { SPICE_ROPD_OP_PUT, SPICE_ROPD_OP_XOR, SPICE_ROPD_OP_AND | SPICE_ROPD_INVERS_RES };

    for (int brush = 0; brush < 3; brush++) {
        for (int mask = 0; mask < 3; mask++) {
            struct qxl_item *item = draw_new(layout, QXL_DRAW_FILL, box);
            QXLFill *fill = body_of(layout, item);
            QXLOpaque *opaque;
            QXLRop3 *rop3;

            set_brush(&fill->brush, item, brush);
            fill->rop_descriptor = rops[mask];
            set_mask(&fill->mask, item, mask);
            show_operation(layout, item, "fill", brush, mask);
            item = draw_new(layout, QXL_DRAW_OPAQUE, box);
            opaque = body_of(layout, item);
            opaque->src_bitmap = image_of(item, plain);
            opaque->src_area = image_area;
            set_brush(&opaque->brush, item, brush);
            opaque->rop_descriptor = rops[brush];
            set_mask(&opaque->mask, item, mask);
            show_operation(layout, item, "opaque", brush, mask);
            item = draw_new(layout, QXL_DRAW_ROP3, box);
            rop3 = body_of(layout, item);
            rop3->src_bitmap = image_of(item, plain);
            rop3->src_area = image_area;
            set_brush(&rop3->brush, item, brush);
            rop3->rop3 = 0x96;
            set_mask(&rop3->mask, item, mask);
            show_operation(layout, item, "rop3", brush, mask);
        }
    }
    for (int mask = 0; mask < 3; mask++) {
        static const uint8_t types[] = { QXL_DRAW_BLACKNESS, QXL_DRAW_WHITENESS, QXL_DRAW_INVERS };
        struct qxl_item *item;
        QXLBlend *blend;

        for (int t = 0; t < 3; t++) {
            QXLBlackness *blackness;

            item = draw_new(layout, types[t], box);
            blackness = body_of(layout, item);
            set_mask(&blackness->mask, item, mask);
            show_operation(layout, item, "plain", t, mask);
        }
        item = draw_new(layout, QXL_DRAW_BLEND, box);
        blend = body_of(layout, item);
        blend->src_bitmap = image_of(item, plain);
        blend->src_area = image_area;
        blend->rop_descriptor = SPICE_ROPD_OP_OR;
        set_mask(&blend->mask, item, mask);
        show_operation(layout, item, "blend", 0, mask);
    }
}

static void other_operations(enum layout layout)
{
    const int32_t path[] = { QXL_PATH_BEGIN, 3, 16, 16, 900, 300, 1200, 1200, QXL_PATH_END | QXL_PATH_CLOSE, 1, 40, 900 };
    struct qxl_item *item = draw_new(layout, QXL_COPY_BITS, box), *built;
    QXLCopyBits *copy_bits = body_of(layout, item);
    QXLTransparent *transparent;
    uint8_t glyph[20 + 32] = { [0] = 30, [4] = 40, [16] = 8, [18] = 8 };

    copy_bits->src_pos = (QXLPoint){ 5, 9 };
    qxl_host_push(device, item);
    show(layout_names[layout], "copy bits");
    item = draw_new(layout, QXL_DRAW_TRANSPARENT, box);
    transparent = body_of(layout, item);
    transparent->src_bitmap = image_of(item, plain);
    transparent->src_area = image_area;
    transparent->true_color = 0x112233;
    show_operation(layout, item, "transparent", 0, 0);
    /* The builders make the native layout; what they point to lives as long as the command it was made for. */
    built = qxl_draw_stroke(0, box, path, sizeof(path) / sizeof(path[0]), 0, NULL, 0, 0x1234, SPICE_ROPD_OP_PUT);
    item = draw_new(layout, QXL_DRAW_STROKE, qxl_rect(0, 0, WIDTH, HEIGHT));
    memcpy(body_of(layout, item), body_of(NATIVE, built), sizeof(QXLStroke));
    qxl_item_hold(device, built);
    show_operation(layout, item, "stroke", 0, 0);
    for (size_t i = 20; i < sizeof(glyph); i++)
        glyph[i] = (uint8_t)rng_next(&rng);
    built = qxl_draw_text(0, box, SPICE_STRING_FLAGS_RASTER_A4, 1, glyph, sizeof(glyph), qxl_rect(25, 32, 50, 50), 0x4321,
                          0x1f);
    item = draw_new(layout, QXL_DRAW_TEXT, qxl_rect(0, 0, WIDTH, HEIGHT));
    memcpy(body_of(layout, item), body_of(NATIVE, built), sizeof(QXLText));
    qxl_item_hold(device, built);
    show_operation(layout, item, "text", 0, 0);
}

/* ---- streams ---- */

static void stream(enum layout layout, const char *path, bool chunked)
{
    static uint8_t data[1 << 16];
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    FILE *file = fopen(path, "rb");
    size_t size = file ? fread(data, 1, sizeof(data), file) : 0, half = chunked ? size / 8 * 4 : size;
    struct qxl_item *item = draw_new(layout, QXL_DRAW_COPY, qxl_rect(0, 0, 1, 1));
    QXLImage *image = qxl_item_alloc(item, sizeof(*image) + sizeof(QXLDataChunk) + size);
    QXLDataChunk *first = (QXLDataChunk *)(void *)image->quic.data, *second;
    QXLCopy *copy = body_of(layout, item);
    uint32_t width, height;
    QXLRect area;
    char what[100];

    /* Whole words: spice-server takes no others from one chunk to the next. */
    if (!file || size < 20) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(2);
    }
    fclose(file);
    memcpy(&width, data + 12, 4);
    memcpy(&height, data + 16, 4);
    area = qxl_rect(0, 0, (int)width, (int)height);
    QXL_SET_IMAGE_ID(image, QXL_IMAGE_GROUP_DRIVER_DONT_CACHE, rng_next(&rng));
    image->descriptor.type = SPICE_IMAGE_TYPE_QUIC;
    image->descriptor.width = width;
    image->descriptor.height = height;
    image->quic.data_size = (uint32_t)size;
    first->data_size = (uint32_t)half;
    memcpy(first->data, data, half);
    if (chunked) {
        second = qxl_item_alloc(item, sizeof(*second) + size);
        second->data_size = (uint32_t)(size - half);
        memcpy(second->data, data + half, size - half);
        first->next_chunk = qxl_address(second);
    }
    if (layout == NATIVE)
        ((QXLDrawable *)qxl_item_command(item))->bbox = area;
    else
        ((QXLCompatDrawable *)qxl_item_command(item))->bbox = area;
    copy->src_bitmap = qxl_address(image);
    copy->src_area = area;
    copy->rop_descriptor = SPICE_ROPD_OP_PUT;
    background();
    qxl_host_push(device, item);
    snprintf(what, sizeof(what), "%s%s", name, chunked ? " chunked" : "");
    show(layout_names[layout], what);
}

static void create_primary(void)
{
    struct qxl_surface *primary = &device->surfaces[0];
    QXLDevSurfaceCreate create = {
        .width = WIDTH, .height = HEIGHT, .stride = WIDTH * pixel_bytes(), .format = surface_format, .mouse_mode = 1,
    };

    primary->memory = qxl_block_new(WIDTH * HEIGHT * 4);
    primary->width = WIDTH;
    primary->height = HEIGHT;
    primary->stride = create.stride;
    create.mem = qxl_address(qxl_block_data(primary->memory));
    spice_qxl_create_primary_surface(&device->qxl, 0, &create);
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "format", required_argument, NULL, 'f' }, { NULL, 0, NULL, 0 } };
    SpiceCoreInterface *core = core_loop_start();
    SpiceServer *server = spice_server_new();
    int option;

    setvbuf(stdout, NULL, _IOLBF, 0);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'f')
            return 2;
        surface_format = (uint32_t)atoi(optarg);
    }
    rng_seed(&rng, 11);
    spice_server_set_noauth(server);
    if (spice_server_init(server, core) != 0)
        return 1;
    device = qxl_host_new(0);
    qxl_host_attach(device, server);
    create_primary();
    spice_server_vm_start(server);
    for (int layout = NATIVE; layout < LAYOUTS; layout++) {
        bitmaps((enum layout)layout);
        operations((enum layout)layout);
        other_operations((enum layout)layout);
        for (int i = optind; i < argc; i++) {
            stream((enum layout)layout, argv[i], false);
            stream((enum layout)layout, argv[i], true);
        }
    }
    spice_server_vm_stop(server);
    spice_qxl_destroy_surfaces(&device->qxl);
    printf("all released %d, offences %u\n", qxl_host_wait_released(device, 3000), qxl_host_offences(device, stdout));
    spice_server_destroy(server);
    return 0;
}
