/* Seeded random drawing: the same commands on any server must give the same pixels.
 *
 *   random_draws [--seed S] [--count N] [--level L] [--out FILE]
 *       draws, prints a checksum of the primary after every tenth of the commands
 *   random_draws --port P | --unix PATH  [--compression N] [--jpeg N] [--smooth] ...
 *       serves as well and obeys lines on stdin: "draw N", "dump FILE", "quit"
 *
 * Levels: 1 fills, copies, opaques, copy_bits, clips, off-screen surfaces and copies from them;
 * 2 (default) adds raster operations and pattern brushes; 3 adds blend, blackness, whiteness, invers;
 * 4 adds rop3, transparent and alpha blend; 5 adds composite; 6 adds solid
 * strokes of lines and curves and dashed ones along the axes; 7 adds text of 1 and 4 bits.
 * Where spice-server aborts or reads beyond an image (rop3 codes that it lacks, sources smaller than the box,
 * patterns that begin right of or below the box), nothing is drawn.
 */
#include "host/host.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WIDTH = 640, HEIGHT = 480, OFFSCREEN = 4, SURFACE_SIZE = 200 };

struct drawing {
    struct qxl_host *device;
    struct rng rng;
    int level;
    bool smooth; /* pictures like photographs only */
    bool exists[OFFSCREEN + 1]; /* by surface id; 0 always */
};

static int range(struct drawing *drawing, int low, int high)
{
    return rng_range(&drawing->rng, low, high);
}

static void surface_size(const struct drawing *drawing, uint32_t surface, int *width, int *height)
{
    *width = (int)drawing->device->surfaces[surface].width;
    *height = (int)drawing->device->surfaces[surface].height;
}

static uint32_t random_surface(struct drawing *drawing)
{
    uint32_t surface = (uint32_t)range(drawing, 0, OFFSCREEN * 3);

    return surface <= OFFSCREEN && drawing->exists[surface] ? surface : 0;
}

static QXLRect random_rect(struct drawing *drawing, uint32_t surface, int most)
{
    int width, height, left, top, right, bottom;

    surface_size(drawing, surface, &width, &height);
    left = range(drawing, 0, width - 1);
    top = range(drawing, 0, height - 1);
    right = left + range(drawing, 1, most);
    bottom = top + range(drawing, 1, most);
    return qxl_rect(left, top, right < width ? right : width, bottom < height ? bottom : height);
}

/* Only operations whose result depends on every operand as the specification says. */
static uint16_t random_rop(struct drawing *drawing)
{
    static const uint16_t rops[] = {
        SPICE_ROPD_OP_PUT, SPICE_ROPD_OP_PUT, SPICE_ROPD_OP_OR, SPICE_ROPD_OP_AND, SPICE_ROPD_OP_XOR,
        SPICE_ROPD_OP_XOR | SPICE_ROPD_INVERS_RES, SPICE_ROPD_OP_AND | SPICE_ROPD_INVERS_DEST,
        SPICE_ROPD_OP_OR | SPICE_ROPD_INVERS_DEST,
    };

    if (drawing->level < 2)
        return SPICE_ROPD_OP_PUT;
    return rops[range(drawing, 0, (int)(sizeof(rops) / sizeof(rops[0])) - 1)];
}

/* Noise, a gradient or flat stripes, so that every compression has something to choose from. */
static uint32_t *random_picture(struct drawing *drawing, int width, int height)
{
    uint32_t *pixels = malloc((size_t)width * (size_t)height * sizeof(*pixels));
    uint32_t base = rng_next(&drawing->rng) & 0xffffff;
    int kind = drawing->smooth ? 3 : range(drawing, 0, 2);

    if (!pixels)
        exit(70);
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            uint32_t *pixel = &pixels[y * width + x];

            if (kind == 0)
                *pixel = rng_next(&drawing->rng) & 0xffffff;
            else if (kind == 1)
                *pixel = (base + (uint32_t)(x * 0x010203 + y * 0x030100)) & 0xffffff;
            else if (kind == 3) /* no channel leaves its byte: slopes of at most 255 steps, and a little noise */
                *pixel = (base & 0x3f3f3f) + 0x010100 * (uint32_t)(x & 127) + 0x000101 * (uint32_t)(y & 63) +
                         (rng_next(&drawing->rng) & 0x010101);
            else
                *pixel = x / 8 % 2 ? base : ~base & 0xffffff;
        }
    }
    return pixels;
}

/* Gives opaque pixels some alpha of every kind. */
static void premultiplied_picture(struct drawing *drawing, uint32_t *pixels, int count)
{
    for (int i = 0; i < count; i++) {
        uint32_t alpha = (uint32_t)range(drawing, 0, 3) ? rng_next(&drawing->rng) & 255 : 255;
        uint32_t red = pixels[i] >> 16 & 255, green = pixels[i] >> 8 & 255, blue = pixels[i] & 255;

        pixels[i] = alpha << 24 | red * alpha / 255 << 16 | green * alpha / 255 << 8 | blue * alpha / 255;
    }
}

/* Spice-server aborts on codes that ignore one of the three operands. */
static uint8_t random_rop3(struct drawing *drawing)
{
    for (;;) {
        unsigned code = (unsigned)range(drawing, 0, 255);

        if ((code >> 4 & 0x0f) != (code & 0x0f) && (code >> 2 & 0x33) != (code & 0x33) &&
            (code >> 1 & 0x55) != (code & 0x55))
            return (uint8_t)code;
    }
}

static struct qxl_source surface_source(struct drawing *drawing, uint32_t surface)
{
    struct qxl_source source = { .surface_id = surface };

    surface_size(drawing, surface, &source.width, &source.height);
    return source;
}

static struct qxl_item *draw_fill(struct drawing *drawing, uint32_t surface)
{
    QXLRect bbox = random_rect(drawing, surface, 160);
    uint32_t color = rng_next(&drawing->rng) & 0xffffff;
    struct qxl_item *item;

    if (drawing->level >= 2 && range(drawing, 0, 4) == 0) {
        int width = range(drawing, 1, 32), height = range(drawing, 1, 32);
        uint32_t *pixels = random_picture(drawing, width, height);
        struct qxl_source pattern = { .pixels = pixels, .width = width, .height = height };
        QXLPoint origin = { .x = range(drawing, 0, 20), .y = range(drawing, 0, 20) };

        item = qxl_draw_pattern(surface, bbox, pattern, origin, random_rop(drawing));
        free(pixels);
        return item;
    }
    return qxl_draw_fill(surface, bbox, color, random_rop(drawing));
}

/* Copy, opaque or blend from a fresh picture, its part starting anywhere inside. */
static struct qxl_item *draw_picture(struct drawing *drawing, uint32_t surface, int type)
{
    QXLRect bbox = random_rect(drawing, surface, 120);
    int x = range(drawing, 0, 9), y = range(drawing, 0, 9);
    int width = bbox.right - bbox.left + x + range(drawing, 0, 5);
    int height = bbox.bottom - bbox.top + y + range(drawing, 0, 5);
    uint32_t *pixels = random_picture(drawing, width, height);
    struct qxl_source source = { .pixels = pixels, .width = width, .height = height };
    QXLRect area = qxl_rect(x, y, x + bbox.right - bbox.left, y + bbox.bottom - bbox.top);
    struct qxl_item *item;

    if (type == QXL_DRAW_OPAQUE)
        item = qxl_draw_opaque(surface, bbox, source, area, rng_next(&drawing->rng) & 0xffffff,
                               range(drawing, 0, 1) ? SPICE_ROPD_OP_AND : SPICE_ROPD_OP_XOR);
    else if (type == QXL_DRAW_BLEND)
        item = qxl_draw_blend(surface, bbox, source, area, random_rop(drawing));
    else
        item = qxl_draw_copy(surface, bbox, source, area, random_rop(drawing));
    free(pixels);
    return item;
}

/* The part of a source that fills the box, or a part of another size when that may be scaled. */
static QXLRect random_area(struct drawing *drawing, struct qxl_source source, QXLRect bbox, bool scaled)
{
    int width = bbox.right - bbox.left, height = bbox.bottom - bbox.top, x, y;

    if (scaled) {
        width = range(drawing, 1, source.width);
        height = range(drawing, 1, source.height);
    }
    x = range(drawing, 0, source.width - width);
    y = range(drawing, 0, source.height - height);
    return qxl_rect(x, y, x + width, y + height);
}

/* Rop3, transparent or alpha blend from a fresh picture or from another surface. */
static struct qxl_item *draw_mixed(struct drawing *drawing, uint32_t surface)
{
    QXLRect bbox = random_rect(drawing, surface, 120);
    int width = bbox.right - bbox.left, height = bbox.bottom - bbox.top;
    uint32_t from = (uint32_t)range(drawing, 0, OFFSCREEN * 2);
    uint32_t *pixels = NULL;
    struct qxl_source source;
    struct qxl_item *item;
    int kind = range(drawing, 0, 2);

    if (from <= OFFSCREEN && from != surface && drawing->exists[from]) {
        source = surface_source(drawing, from);
        width = width < source.width ? width : source.width;
        height = height < source.height ? height : source.height;
        bbox = qxl_rect(bbox.left, bbox.top, bbox.left + width, bbox.top + height);
    } else {
        width += range(drawing, 0, 9);
        height += range(drawing, 0, 9);
        pixels = random_picture(drawing, width, height);
        source = (struct qxl_source){ .pixels = pixels, .width = width, .height = height };
    }
    if (kind == 0) {
        QXLRect area = random_area(drawing, source, bbox, false);

        item = qxl_draw_rop3(surface, bbox, source, area, rng_next(&drawing->rng) & 0xffffff,
                             random_rop3(drawing));
        if (range(drawing, 0, 2) == 0) {
            int side = range(drawing, 1, 32);
            uint32_t *tile = random_picture(drawing, side, side);
            QXLPoint origin = { .x = range(drawing, 0, bbox.left), .y = range(drawing, 0, bbox.top) };

            qxl_draw_rop3_pattern(item, (struct qxl_source){ .pixels = tile, .width = side, .height = side },
                                  origin);
            free(tile);
        }
    } else if (kind == 1) {
        QXLRect area = random_area(drawing, source, bbox, range(drawing, 0, 2) == 0);
        uint32_t key = pixels ? pixels[range(drawing, 0, width * height - 1)] : 0;

        item = qxl_draw_transparent(surface, bbox, source, area, key);
    } else {
        QXLRect area = random_area(drawing, source, bbox, range(drawing, 0, 2) == 0);
        bool has_alpha = pixels && range(drawing, 0, 1);

        if (has_alpha)
            premultiplied_picture(drawing, pixels, width * height);
        item = qxl_draw_alpha_blend(surface, bbox, source, area, (uint8_t)range(drawing, 0, 255), has_alpha);
    }
    free(pixels);
    return item;
}

/* Composite from a fresh picture, half of them through a mask, some of them transformed. */
static struct qxl_item *draw_composite(struct drawing *drawing, uint32_t surface)
{
    static const int32_t scales[] = { 0x8000, 0x10000, 0x18000, 0x20000, 0x2aaaa, -0x10000 };
    QXLRect bbox = random_rect(drawing, surface, 120);
    int width = range(drawing, 1, 130), height = range(drawing, 1, 130);
    uint32_t *pixels = random_picture(drawing, width, height);
    uint32_t *cover = NULL;
    struct qxl_source source = { .pixels = pixels, .width = width, .height = height }, mask = { 0 };
    /* CLEAR to ADD; fast and nearest or bilinear filters; any repeat mode. */
    uint32_t flags = (uint32_t)range(drawing, 0, 12) | (uint32_t)range(drawing, 3, 4) << 8 |
                     (uint32_t)range(drawing, 3, 4) << 11 | (uint32_t)range(drawing, 0, 15) << 14;
    int32_t transforms[2][6];
    int transformed = range(drawing, 0, 5);
    struct qxl_item *item;

    premultiplied_picture(drawing, pixels, width * height);
    if (range(drawing, 0, 1)) {
        mask.width = range(drawing, 1, 130);
        mask.height = range(drawing, 1, 130);
        cover = random_picture(drawing, mask.width, mask.height);
        premultiplied_picture(drawing, cover, mask.width * mask.height);
        mask.pixels = cover;
        flags |= (uint32_t)range(drawing, 0, 1) << 18;
    }
    for (int i = 0; i < 2; i++) {
        memset(transforms[i], 0, sizeof(transforms[i]));
        transforms[i][0] = scales[range(drawing, 0, 5)];
        transforms[i][4] = scales[range(drawing, 0, 5)];
        transforms[i][1] = range(drawing, 0, 2) ? 0 : range(drawing, -60000, 60000);
        transforms[i][2] = range(drawing, -20, 20) * 65536;
        transforms[i][5] = range(drawing, -20, 20) * 65536;
    }
    item = qxl_draw_composite(surface, bbox, flags, source, mask, transformed == 1 || transformed == 2 ? transforms[0] : NULL,
                              cover && transformed >= 2 && transformed <= 3 ? transforms[1] : NULL);
    qxl_draw_composite_from(item, (int16_t)range(drawing, -20, 60), (int16_t)range(drawing, -20, 60),
                            (int16_t)range(drawing, -20, 60), (int16_t)range(drawing, -20, 60));
    free(pixels);
    free(cover);
    return item;
}

/* Solid lines and curves anywhere, or one dashed line along an axis: other dashed lines are floating-point polygons. */
static struct qxl_item *draw_stroke(struct drawing *drawing, uint32_t surface)
{
    int32_t words[64], style[4];
    size_t used = 0;
    QXLRect bbox = random_rect(drawing, surface, 250);
    uint32_t color = rng_next(&drawing->rng) & 0xffffff;
    bool dashed = range(drawing, 0, 4) == 0;
    uint8_t flags = 0, count = 0;

    if (dashed) {
        int x = range(drawing, -50, 300) * 16, y = range(drawing, -50, 300) * 16;
        int length = range(drawing, -200, 200) * 16;
        bool across = range(drawing, 0, 1);

        words[used++] = SPICE_PATH_BEGIN | SPICE_PATH_END;
        words[used++] = 2;
        words[used++] = x;
        words[used++] = y;
        words[used++] = across ? x + length : x;
        words[used++] = across ? y : y + length;
        flags = SPICE_LINE_FLAGS_STYLED | (range(drawing, 0, 1) ? SPICE_LINE_FLAGS_START_WITH_GAP : 0);
        count = (uint8_t)(range(drawing, 1, 2) * 2);
        for (int i = 0; i < count; i++)
            style[i] = range(drawing, 1, 20) * 16;
    } else {
        int segments = range(drawing, 1, 4);

        for (int i = 0; i < segments; i++) {
            bool begin = i == 0 || range(drawing, 0, 2) == 0, curve = !begin && range(drawing, 0, 1);
            int points = curve ? 3 : range(drawing, 1, 4);

            words[used++] = (begin ? SPICE_PATH_BEGIN : 0) | (curve ? SPICE_PATH_BEZIER : 0) |
                            (i == segments - 1 ? SPICE_PATH_END : 0) |
                            (i == segments - 1 && range(drawing, 0, 1) ? SPICE_PATH_CLOSE : 0);
            words[used++] = points;
            for (int j = 0; j < 2 * points; j++)
                words[used++] = range(drawing, -100 * 16, 400 * 16);
        }
    }
    return qxl_draw_stroke(surface, bbox, words, used, flags, style, count, color,
                           dashed ? SPICE_ROPD_OP_PUT : random_rop(drawing));
}

/* A string of glyphs of any shape, half of them on a background. */
static struct qxl_item *draw_text(struct drawing *drawing, uint32_t surface)
{
    uint8_t data[4096];
    size_t used = 0;
    QXLRect bbox = random_rect(drawing, surface, 200);
    QXLRect back = range(drawing, 0, 1) ? bbox : qxl_rect(0, 0, 0, 0);
    int length = range(drawing, 1, 8), x = bbox.left + range(drawing, -10, 60), y = bbox.top + range(drawing, -5, 90);
    uint16_t depth = range(drawing, 0, 1) ? SPICE_STRING_FLAGS_RASTER_A1 : SPICE_STRING_FLAGS_RASTER_A4;
    uint32_t fore = rng_next(&drawing->rng) & 0xffffff, ground = rng_next(&drawing->rng) & 0xffffff;

    for (int i = 0; i < length; i++) {
        QXLRasterGlyph glyph = { .render_pos = { x, y }, .glyph_origin = { range(drawing, -3, 3), range(drawing, -12, 0) } };
        size_t rows;

        glyph.width = (uint16_t)range(drawing, 1, 17);
        glyph.height = (uint16_t)range(drawing, 1, 17);
        rows = (size_t)glyph.height * (depth == SPICE_STRING_FLAGS_RASTER_A1 ? (glyph.width + 7u) / 8 : (glyph.width + 1u) / 2);
        memcpy(data + used, &glyph, sizeof(glyph));
        used += sizeof(glyph);
        for (size_t j = 0; j < rows; j++)
            data[used++] = (uint8_t)rng_next(&drawing->rng);
        x += range(drawing, 2, 15);
    }
    return qxl_draw_text(surface, bbox, depth, (uint16_t)length, data, used, back, fore, ground);
}

static struct qxl_item *draw_from_surface(struct drawing *drawing, uint32_t surface)
{
    uint32_t from = (uint32_t)range(drawing, 0, OFFSCREEN);
    QXLRect bbox, area;

    if (!drawing->exists[from] || from == surface)
        return draw_fill(drawing, surface);
    area = random_rect(drawing, from, 150);
    bbox = random_rect(drawing, surface, 150);
    if (bbox.right - bbox.left > area.right - area.left)
        bbox.right = bbox.left + area.right - area.left;
    if (bbox.bottom - bbox.top > area.bottom - area.top)
        bbox.bottom = bbox.top + area.bottom - area.top;
    area.right = area.left + bbox.right - bbox.left;
    area.bottom = area.top + bbox.bottom - bbox.top;
    return qxl_draw_copy(surface, bbox, surface_source(drawing, from), area, SPICE_ROPD_OP_PUT);
}

static struct qxl_item *draw_copy_bits(struct drawing *drawing, uint32_t surface)
{
    QXLRect bbox = random_rect(drawing, surface, 250);
    int width, height;

    surface_size(drawing, surface, &width, &height);
    return qxl_draw_copy_bits(surface, bbox, range(drawing, 0, width - (bbox.right - bbox.left)),
                              range(drawing, 0, height - (bbox.bottom - bbox.top)));
}

static void clip_sometimes(struct drawing *drawing, struct qxl_item *item)
{
    const QXLDrawable *draw = qxl_item_command(item);
    QXLRect rects[3];
    int top = draw->bbox.top, count = range(drawing, 1, 3);

    if (range(drawing, 0, 5) != 0)
        return;
    /* Bands that do not overlap, as window systems send them. */
    for (int i = 0; i < count; i++) {
        int left = draw->bbox.left + range(drawing, 0, 20);

        rects[i] = qxl_rect(left, top, left + range(drawing, 1, 60), top + range(drawing, 1, 30));
        top = rects[i].bottom;
    }
    qxl_draw_clip(item, rects, (uint32_t)count);
}

static void change_surface(struct drawing *drawing)
{
    uint32_t surface = (uint32_t)range(drawing, 1, OFFSCREEN);
    struct qxl_item *item;

    if (drawing->exists[surface] && range(drawing, 0, 2) == 0) {
        item = qxl_surface_destroy(drawing->device, surface);
        drawing->exists[surface] = false;
    } else if (!drawing->exists[surface]) {
        item = qxl_surface_create(drawing->device, surface, range(drawing, 20, SURFACE_SIZE),
                                  range(drawing, 20, SURFACE_SIZE));
        drawing->exists[surface] = true;
    } else {
        item = draw_fill(drawing, surface);
    }
    qxl_host_push(drawing->device, item);
}

static void draw_one(struct drawing *drawing)
{
    uint32_t surface = random_surface(drawing);
    int kind = range(drawing, 0, 99);
    struct qxl_item *item;

    if (kind < 4) {
        change_surface(drawing);
        return;
    }
    if (drawing->level >= 7 && range(drawing, 0, 4) == 0)
        item = draw_text(drawing, surface);
    else if (drawing->level >= 6 && range(drawing, 0, 4) == 0)
        item = draw_stroke(drawing, surface);
    else if (drawing->level >= 5 && range(drawing, 0, 3) == 0)
        item = draw_composite(drawing, surface);
    else if (drawing->level >= 4 && range(drawing, 0, 2) == 0)
        item = draw_mixed(drawing, surface);
    else if (kind < 30)
        item = draw_fill(drawing, surface);
    else if (kind < 55)
        item = draw_picture(drawing, surface, QXL_DRAW_COPY);
    else if (kind < 63)
        item = draw_picture(drawing, surface, QXL_DRAW_OPAQUE);
    else if (kind < 78)
        item = draw_from_surface(drawing, surface);
    else if (kind < 92 || drawing->level < 3)
        item = draw_copy_bits(drawing, surface);
    else if (kind < 95)
        item = draw_picture(drawing, surface, QXL_DRAW_BLEND);
    else
        item = qxl_draw_plain(surface, (uint8_t)range(drawing, QXL_DRAW_BLACKNESS, QXL_DRAW_INVERS),
                              random_rect(drawing, surface, 100));
    clip_sometimes(drawing, item);
    qxl_host_push(drawing->device, item);
}

static uint32_t checksum(struct drawing *drawing)
{
    ptrdiff_t stride;
    const uint8_t *pixels;

    qxl_host_render(drawing->device, 0);
    pixels = qxl_host_pixels(drawing->device, 0, &stride);
    return pixels_checksum(pixels, WIDTH, HEIGHT, stride);
}

static int dump(struct drawing *drawing, const char *path)
{
    ptrdiff_t stride;
    const uint8_t *pixels;

    qxl_host_render(drawing->device, 0);
    pixels = qxl_host_pixels(drawing->device, 0, &stride);
    return pixels_write_ppm(path, pixels, WIDTH, HEIGHT, stride);
}

/* Draws with the main loop running between batches, so that clients are served meanwhile. */
static void draw_many(struct drawing *drawing, int count)
{
    for (int i = 0; i < count; i++) {
        draw_one(drawing);
        if (i % 16 == 15)
            core_loop_step(0);
        if (qxl_host_backlog(drawing->device) > 200)
            qxl_host_wait_popped(drawing->device, 60000);
    }
    qxl_host_wait_popped(drawing->device, 60000);
}

static bool quit_asked;

static void obey_line(const char *line, void *opaque)
{
    struct drawing *drawing = opaque;

    if (strncmp(line, "draw ", 5) == 0) {
        draw_many(drawing, atoi(line + 5));
        printf("drawn checksum %08x\n", checksum(drawing));
    } else if (strncmp(line, "dump ", 5) == 0) {
        puts(dump(drawing, line + 5) == 0 ? "dumped" : "dump failed");
    } else if (strcmp(line, "quit") == 0) {
        quit_asked = true;
    }
}

static void obey(int fd, int event, void *opaque)
{
    (void)event;
    if (!core_loop_read_lines(fd, obey_line, opaque))
        quit_asked = true;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "seed", required_argument, NULL, 's' },  { "count", required_argument, NULL, 'c' },
        { "level", required_argument, NULL, 'l' }, { "out", required_argument, NULL, 'o' },
        { "port", required_argument, NULL, 'p' },  { "unix", required_argument, NULL, 'u' },
        { "bottom-up", no_argument, NULL, 'b' },   { "compression", required_argument, NULL, 'r' },
        { "jpeg", required_argument, NULL, 'j' },  { "smooth", no_argument, NULL, 'm' },
        { NULL, 0, NULL, 0 },
    };
    static struct drawing drawing = { .level = 2, .exists[0] = true };
    const char *out = NULL, *path = NULL;
    int seed = 1, count = 1000, port = 0, compression = 0, jpeg = 0, option;
    bool bottom_up = false, serve;
    SpiceServer *server = spice_server_new();
    SpiceCoreInterface *core = core_loop_start();
    unsigned offences;

    setvbuf(stdout, NULL, _IOLBF, 0);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 's': seed = atoi(optarg); break;
        case 'c': count = atoi(optarg); break;
        case 'l': drawing.level = atoi(optarg); break;
        case 'o': out = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 'u': path = optarg; break;
        case 'b': bottom_up = true; break;
        case 'r': compression = atoi(optarg); break;
        case 'j': jpeg = atoi(optarg); break;
        case 'm': drawing.smooth = true; break;
        default: return 2;
        }
    }
    serve = port || path;
    spice_server_set_noauth(server);
    /* No lossy video in a test that compares pixels. */
    spice_server_set_streaming_video(server, SPICE_STREAM_VIDEO_OFF);
    if (compression)
        spice_server_set_image_compression(server, (SpiceImageCompression)compression);
    if (jpeg)
        spice_server_set_jpeg_compression(server, (spice_wan_compression_t)jpeg);
    if (path) {
        spice_server_set_addr(server, path, SPICE_ADDR_FLAG_UNIX_ONLY);
    } else if (port) {
        spice_server_set_addr(server, "127.0.0.1", 0);
        spice_server_set_port(server, port);
    }
    if (spice_server_init(server, core) != 0) {
        fputs("random_draws: init failed\n", stderr);
        return 1;
    }
    rng_seed(&drawing.rng, (uint64_t)seed);
    drawing.device = qxl_host_new(0);
    qxl_host_attach(drawing.device, server);
    qxl_host_create_primary(drawing.device, WIDTH, HEIGHT, bottom_up, 0);
    spice_server_vm_start(server);
    if (serve) {
        SpiceWatch *input = core->watch_add(0, SPICE_WATCH_EVENT_READ, obey, &drawing);

        puts("ready");
        while (!quit_asked)
            core_loop_step(1000);
        core->watch_remove(input);
    } else {
        for (int i = 0; i < 10; i++) {
            draw_many(&drawing, count / 10);
            printf("%d commands: checksum %08x\n", (i + 1) * (count / 10), checksum(&drawing));
        }
    }
    if (out)
        dump(&drawing, out);
    spice_server_vm_stop(server);
    spice_qxl_destroy_surfaces(&drawing.device->qxl);
    printf("released %s\n", qxl_host_wait_released(drawing.device, 2000) ? "all" : "not all");
    if (qxl_host_count(drawing.device, &drawing.device->released) != drawing.device->pushed)
        fprintf(stderr, "released %u of %u\n", drawing.device->released, drawing.device->pushed);
    spice_server_destroy(server);
    offences = qxl_host_offences(drawing.device, stdout);
    printf("offences %u\n", offences);
    qxl_host_free(drawing.device);
    return offences ? 1 : 0;
}
