/* What real guests send rarely: every bitmap format, palettes, masks, scaling, any raster operation, images and
 * patterns on surfaces of any format. A stock client must show what the server has drawn.
 *
 *   odd_draws --unix PATH [--seed S] [--bottom-up] [--level L]
 *
 * Obeys lines on stdin: "draw N", "dump FILE", "quit". Level 1 leaves out scaling with interpolation (filters differ
 * between versions of pixman), level 2 (default) has it, level 3 has an 8-bit alpha surface too, as X servers use them
 * for glyphs and shadows.
 */
#include "host/host.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WIDTH = 640, HEIGHT = 480, OFFSCREEN = 4, ALPHA = OFFSCREEN + 1, ALPHA_SIDE = 160 };

static struct {
    struct qxl_host *device;
    struct rng rng;
    int level;
} drawing = { .level = 2 };

/* Of the surfaces 1 to OFFSCREEN. */
static const uint32_t surface_formats[OFFSCREEN] = {
    SPICE_SURFACE_FMT_32_xRGB, SPICE_SURFACE_FMT_32_ARGB, SPICE_SURFACE_FMT_16_555, SPICE_SURFACE_FMT_16_565,
};

static int range(int low, int high)
{
    return rng_range(&drawing.rng, low, high);
}

static bool one_in(int n)
{
    return range(1, n) == 1;
}

static void make_surfaces(void)
{
    for (uint32_t id = 1; id <= OFFSCREEN; id++) {
        struct qxl_item *item = qxl_surface_create(drawing.device, id, range(60, 200), range(60, 200));
        QXLSurfaceCmd *command = qxl_item_command(item);

        /* Narrow pixels leave a part of each row unused. */
        command->u.surface_create.format = surface_formats[id - 1];
        qxl_host_push(drawing.device, item);
    }
}

static void make_alpha_surface(void)
{
    struct qxl_item *item = qxl_surface_create(drawing.device, ALPHA, ALPHA_SIDE, ALPHA_SIDE);
    QXLSurfaceCmd *command = qxl_item_command(item);

    command->u.surface_create.format = SPICE_SURFACE_FMT_8_A;
    command->u.surface_create.stride = ALPHA_SIDE;
    qxl_host_push(drawing.device, item);
}

static QXLRect random_rect(int width, int height, int most)
{
    int left = range(0, width - 1), top = range(0, height - 1);
    int right = left + range(1, most), bottom = top + range(1, most);

    return qxl_rect(left, top, right < width ? right : width, bottom < height ? bottom : height);
}

static QXLPHYSICAL random_palette(struct qxl_item *item, uint32_t surface, int colors)
{
    QXLPalette *palette = qxl_item_alloc(item, sizeof(*palette) + (size_t)colors * 4);

    palette->num_ents = (uint16_t)colors;
    for (int i = 0; i < colors; i++)
        palette->ents[i] = rng_next(&drawing.rng) & (surface == 3 || surface == 4 ? 0x7fff : 0xffffff);
    return qxl_address(palette);
}

/* A bitmap of random pixels; `surface` says for which destination its palette is. */
static QXLPHYSICAL random_bitmap(struct qxl_item *item, uint32_t surface, uint8_t format, int width, int height)
{
    static const int bits[] = { 0, 1, 1, 4, 4, 8, 16, 24, 32, 32, 8 };
    static uint32_t unique;
    QXLImage *image = qxl_item_alloc(item, sizeof(*image));
    uint32_t stride = (uint32_t)(width * bits[format] + 31) / 32 * 4 + (one_in(3) ? 4 : 0);
    uint8_t *data = qxl_item_alloc(item, (size_t)stride * (size_t)height);

    QXL_SET_IMAGE_ID(image, QXL_IMAGE_GROUP_DRIVER, ++unique);
    image->descriptor.type = SPICE_IMAGE_TYPE_BITMAP;
    image->descriptor.width = (uint32_t)width;
    image->descriptor.height = (uint32_t)height;
    image->descriptor.flags = one_in(6) ? QXL_IMAGE_HIGH_BITS_SET : 0;
    if (one_in(4))
        image->descriptor.flags |= QXL_IMAGE_CACHE;
    image->bitmap.format = format;
    image->bitmap.flags = QXL_BITMAP_DIRECT | (one_in(3) ? 0 : QXL_BITMAP_TOP_DOWN);
    image->bitmap.x = (uint32_t)width;
    image->bitmap.y = (uint32_t)height;
    image->bitmap.stride = stride;
    image->bitmap.data = qxl_address(data);
    for (size_t i = 0; i < (size_t)stride * (size_t)height; i++)
        data[i] = (uint8_t)rng_next(&drawing.rng);
    if (one_in(2)) {
        /* Something that compresses, with the bits that nobody sees all the same: others are not compressed. */
        uint8_t unseen = one_in(2) ? 0xff : 0;

        for (size_t i = 24; i < (size_t)stride * (size_t)height; i++)
            data[i] = data[i - 24];
        for (size_t i = 0; i < (size_t)stride * (size_t)height; i++) {
            if (format == SPICE_BITMAP_FMT_32BIT && i % 4 == 3)
                data[i] = unseen;
            else if (format == SPICE_BITMAP_FMT_16BIT && i % 2 == 1)
                data[i] &= 0x7f;
        }
    }
    if (format == SPICE_BITMAP_FMT_RGBA) {
        /* Premultiplied: no colour above its alpha. */
        for (size_t i = 0; i + 3 < (size_t)stride * (size_t)height; i += 4)
            for (size_t c = 0; c < 3; c++)
                data[i + c] = (uint8_t)(data[i + c] * data[i + 3] / 255);
    }
    if (format <= SPICE_BITMAP_FMT_8BIT)
        image->bitmap.palette = random_palette(item, surface, 1 << bits[format]);
    return qxl_address(image);
}

/* A source of at least the given size; what it is in truth goes to width and height. */
static QXLPHYSICAL random_source(struct qxl_item *item, uint32_t surface, int *width, int *height)
{
    static const uint8_t formats[] = {
        SPICE_BITMAP_FMT_1BIT_BE, SPICE_BITMAP_FMT_4BIT_BE, SPICE_BITMAP_FMT_8BIT, SPICE_BITMAP_FMT_16BIT,
        SPICE_BITMAP_FMT_24BIT,   SPICE_BITMAP_FMT_32BIT,   SPICE_BITMAP_FMT_RGBA, SPICE_BITMAP_FMT_32BIT,
    };
    QXLDrawable *draw = qxl_item_command(item);

    if (one_in(3)) {
        uint32_t from = (uint32_t)range(0, OFFSCREEN);
        const struct qxl_surface *known = &drawing.device->surfaces[from];

        if (from != surface && (int)known->width >= *width && (int)known->height >= *height) {
            *width = (int)known->width;
            *height = (int)known->height;
            draw->surfaces_dest[0] = (int32_t)from;
            draw->surfaces_rects[0] = qxl_rect(0, 0, *width, *height);
            return qxl_address(
                qxl_draw_image(item, (struct qxl_source){ .surface_id = from, .width = *width, .height = *height }));
        }
    }
    *width += range(0, 9);
    *height += range(0, 9);
    return random_bitmap(item, surface, formats[range(0, (int)sizeof(formats) - 1)], *width, *height);
}

static void random_mask(struct qxl_item *item, QXLQMask *mask, QXLRect bbox)
{
    int width, height;

    if (!one_in(4))
        return;
    mask->flags = one_in(2) ? SPICE_MASK_FLAGS_INVERS : 0;
    mask->pos = (QXLPoint){ .x = range(0, 9), .y = range(0, 9) };
    width = bbox.right - bbox.left + mask->pos.x + range(0, 9);
    height = bbox.bottom - bbox.top + mask->pos.y + range(0, 9);
    mask->bitmap =
        random_bitmap(item, 0, one_in(2) ? SPICE_BITMAP_FMT_1BIT_BE : SPICE_BITMAP_FMT_1BIT_LE, width, height);
}

static uint16_t random_rop(void)
{
    static const uint16_t operations[] = {
        SPICE_ROPD_OP_PUT, SPICE_ROPD_OP_OR, SPICE_ROPD_OP_AND, SPICE_ROPD_OP_XOR,
        SPICE_ROPD_OP_BLACKNESS, SPICE_ROPD_OP_WHITENESS, SPICE_ROPD_OP_INVERS,
    };
    uint16_t rop = one_in(2) ? SPICE_ROPD_OP_PUT : operations[range(0, 6)];

    for (int bit = 0; bit < 3; bit++)
        rop |= one_in(6) ? (uint16_t)(1 << bit) : 0; /* inverts source, brush, destination */
    return rop | (one_in(6) ? SPICE_ROPD_INVERS_RES : 0);
}

static void random_brush(struct qxl_item *item, uint32_t surface, QXLBrush *brush)
{
    int width = range(1, 24), height = range(1, 24);

    brush->type = SPICE_BRUSH_TYPE_SOLID;
    brush->u.color = rng_next(&drawing.rng);
    if (one_in(2))
        return;
    brush->type = SPICE_BRUSH_TYPE_PATTERN;
    brush->u.pattern.pos = (QXLPoint){ .x = range(0, 600), .y = range(0, 400) };
    brush->u.pattern.pat = random_source(item, surface, &width, &height);
}

/* Part of a source and, one time in three, of another size than the box. */
static QXLPHYSICAL random_area(struct qxl_item *item, uint32_t surface, QXLRect bbox, QXLRect *area, uint8_t *mode)
{
    int used_width = bbox.right - bbox.left, used_height = bbox.bottom - bbox.top, width, height, x, y;
    QXLPHYSICAL source;

    *mode = SPICE_IMAGE_SCALE_MODE_NEAREST;
    if (one_in(3)) {
        used_width = range(1, 90);
        used_height = range(1, 90);
        if (drawing.level >= 2 && one_in(2))
            *mode = SPICE_IMAGE_SCALE_MODE_INTERPOLATE;
    }
    width = used_width;
    height = used_height;
    source = random_source(item, surface, &width, &height);
    x = range(0, width - used_width);
    y = range(0, height - used_height);
    *area = qxl_rect(x, y, x + used_width, y + used_height);
    return source;
}

/* On the alpha surface, or from it onto another one. */
static struct qxl_item *draw_alpha(void)
{
    /* As pixman numbers them: operator, filters of source and mask, repetition of the source. */
    enum { OVER = 3, NEAREST = 3 << 8 | 3 << 11, TILED = 1 << 14 };
    static const uint8_t operators[] = { 1, OVER, 5, 12 }; /* SRC, OVER, IN, ADD */
    int kind = range(0, 3);
    uint32_t surface = kind < 3 ? ALPHA : (uint32_t)range(0, 2), dot = 0x80400040 ^ (rng_next(&drawing.rng) & 0x3f3f3f);
    const struct qxl_surface *known = &drawing.device->surfaces[surface];
    QXLRect bbox = random_rect((int)known->width, (int)known->height, 80);
    int width = bbox.right - bbox.left, height = bbox.bottom - bbox.top;
    struct qxl_item *item = qxl_draw_new(surface, QXL_DRAW_FILL, bbox);
    QXLDrawable *draw = qxl_item_command(item);

    draw->effect = QXL_EFFECT_BLEND;
    if (kind == 0) {
        draw->u.fill.brush.type = SPICE_BRUSH_TYPE_SOLID;
        draw->u.fill.brush.u.color = rng_next(&drawing.rng) & 0xff;
        draw->u.fill.rop_descriptor = SPICE_ROPD_OP_PUT;
    } else if (kind == 1) {
        draw->type = QXL_DRAW_COPY;
        draw->u.copy.src_bitmap = random_bitmap(item, surface, SPICE_BITMAP_FMT_8BIT_A, width, height);
        draw->u.copy.src_area = qxl_rect(0, 0, width, height);
        draw->u.copy.rop_descriptor = SPICE_ROPD_OP_PUT;
    } else {
        draw->type = QXL_DRAW_COMPOSITE;
        draw->u.composite.flags = NEAREST | operators[range(0, 3)];
        draw->u.composite.src = random_bitmap(item, surface, SPICE_BITMAP_FMT_RGBA, width, height);
        if (surface != ALPHA) {
            /* A colour through the alpha surface, as text is drawn. */
            struct qxl_source mask = { .surface_id = ALPHA, .width = ALPHA_SIDE, .height = ALPHA_SIDE };

            draw->u.composite.flags = NEAREST | OVER | TILED;
            draw->u.composite.src = qxl_address(qxl_draw_image(item, (struct qxl_source){ &dot, 1, 1, 0 }));
            ((QXLImage *)(uintptr_t)draw->u.composite.src)->bitmap.format = SPICE_BITMAP_FMT_RGBA;
            draw->u.composite.mask = qxl_address(qxl_draw_image(item, mask));
            draw->surfaces_dest[0] = ALPHA;
            draw->surfaces_rects[0] = qxl_rect(0, 0, ALPHA_SIDE, ALPHA_SIDE);
        }
    }
    return item;
}

static void draw_one(void)
{
    uint32_t surface = one_in(2) ? 0 : (uint32_t)range(0, OFFSCREEN);
    const struct qxl_surface *known = &drawing.device->surfaces[surface];
    QXLRect bbox = random_rect((int)known->width, (int)known->height, 120), rects[2];
    int kind = range(0, 9);
    struct qxl_item *item;
    QXLDrawable *draw;

    if (drawing.level >= 3 && one_in(3)) {
        qxl_host_push(drawing.device, draw_alpha());
        return;
    }
    item = qxl_draw_new(surface, QXL_DRAW_FILL, bbox);
    draw = qxl_item_command(item);
    draw->effect = QXL_EFFECT_BLEND;
    if (kind < 2) {
        random_brush(item, surface, &draw->u.fill.brush);
        draw->u.fill.rop_descriptor = random_rop();
        random_mask(item, &draw->u.fill.mask, bbox);
    } else if (kind < 6) {
        draw->type = one_in(4) ? QXL_DRAW_BLEND : QXL_DRAW_COPY;
        draw->u.copy.src_bitmap =
            random_area(item, surface, bbox, &draw->u.copy.src_area, &draw->u.copy.scale_mode);
        draw->u.copy.rop_descriptor = random_rop();
        random_mask(item, &draw->u.copy.mask, bbox);
    } else if (kind < 8) {
        draw->type = QXL_DRAW_OPAQUE;
        draw->u.opaque.src_bitmap =
            random_area(item, surface, bbox, &draw->u.opaque.src_area, &draw->u.opaque.scale_mode);
        draw->u.opaque.brush.type = SPICE_BRUSH_TYPE_SOLID;
        draw->u.opaque.brush.u.color = rng_next(&drawing.rng);
        draw->u.opaque.rop_descriptor = random_rop();
        random_mask(item, &draw->u.opaque.mask, bbox);
    } else {
        /* The three have nothing but a mask. */
        draw->type = (uint8_t)range(QXL_DRAW_BLACKNESS, QXL_DRAW_INVERS);
        random_mask(item, &draw->u.blackness.mask, bbox);
    }
    if (one_in(5)) {
        rects[0] = qxl_rect(bbox.left + range(0, 9), bbox.top, bbox.left + range(10, 60), bbox.top + 9);
        rects[1] = qxl_rect(bbox.left, bbox.top + 9, bbox.left + range(1, 60), bbox.top + range(10, 60));
        qxl_draw_clip(item, rects, 2);
    }
    qxl_host_push(drawing.device, item);
}

static void draw_many(int count)
{
    for (int i = 0; i < count; i++) {
        draw_one();
        if (i % 16 == 15)
            core_loop_step(0);
        if (qxl_host_backlog(drawing.device) > 200)
            qxl_host_wait_popped(drawing.device, 60000);
    }
    qxl_host_wait_popped(drawing.device, 60000);
}

static void dump(const char *path)
{
    ptrdiff_t stride;
    const uint8_t *pixels;

    qxl_host_render(drawing.device, 0);
    pixels = qxl_host_pixels(drawing.device, 0, &stride);
    puts(pixels_write_ppm(path, pixels, WIDTH, HEIGHT, stride) == 0 ? "dumped" : "dump failed");
}

static bool quit_asked;

static void obey_line(const char *line, void *opaque)
{
    (void)opaque;
    if (strncmp(line, "draw ", 5) == 0) {
        draw_many(atoi(line + 5));
        puts("drawn");
    } else if (strncmp(line, "dump ", 5) == 0) {
        dump(line + 5);
    } else if (strcmp(line, "quit") == 0) {
        quit_asked = true;
    }
}

static void obey(int fd, int event, void *opaque)
{
    (void)event;
    (void)opaque;
    if (!core_loop_read_lines(fd, obey_line, NULL))
        quit_asked = true;
}

int main(int argc, char **argv)
{
    SpiceServer *server = spice_server_new();
    SpiceCoreInterface *core = core_loop_start();
    const char *path = NULL;
    bool bottom_up = false;
    int port = 0;
    SpiceWatch *lines;
    unsigned offences;

    setvbuf(stdout, NULL, _IOLBF, 0);
    rng_seed(&drawing.rng, 1);
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";

        if (strcmp(argv[i], "--bottom-up") == 0) {
            bottom_up = true;
            continue;
        }
        if (strcmp(argv[i], "--unix") == 0)
            path = value;
        else if (strcmp(argv[i], "--port") == 0)
            port = atoi(value);
        else if (strcmp(argv[i], "--compression") == 0)
            spice_server_set_image_compression(server, (SpiceImageCompression)atoi(value));
        else if (strcmp(argv[i], "--jpeg") == 0)
            spice_server_set_jpeg_compression(server, (spice_wan_compression_t)atoi(value));
        else if (strcmp(argv[i], "--seed") == 0)
            rng_seed(&drawing.rng, (uint64_t)atoi(value));
        else if (strcmp(argv[i], "--level") == 0)
            drawing.level = atoi(value);
        else
            return 2;
        i++;
    }
    if (!path && !port)
        return 2;
    spice_server_set_noauth(server);
    spice_server_set_streaming_video(server, SPICE_STREAM_VIDEO_OFF);
    if (path) {
        spice_server_set_addr(server, path, SPICE_ADDR_FLAG_UNIX_ONLY);
    } else {
        spice_server_set_addr(server, "127.0.0.1", 0);
        spice_server_set_port(server, port);
    }
    if (spice_server_init(server, core) != 0)
        return 1;
    drawing.device = qxl_host_new(0);
    qxl_host_attach(drawing.device, server);
    qxl_host_create_primary(drawing.device, WIDTH, HEIGHT, bottom_up, 0);
    spice_server_vm_start(server);
    make_surfaces();
    if (drawing.level >= 3)
        make_alpha_surface();
    lines = core->watch_add(0, SPICE_WATCH_EVENT_READ, obey, NULL);
    puts("ready");
    while (!quit_asked)
        core_loop_step(1000);
    core->watch_remove(lines);
    spice_server_vm_stop(server);
    spice_qxl_destroy_surfaces(&drawing.device->qxl);
    printf("released %s\n", qxl_host_wait_released(drawing.device, 2000) ? "all" : "not all");
    spice_server_destroy(server);
    offences = qxl_host_offences(drawing.device, stdout);
    printf("offences %u\n", offences);
    qxl_host_free(drawing.device);
    return offences ? 1 : 0;
}
