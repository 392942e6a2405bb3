/* Surfaces of every format over random pixels, and what is read back of them. */
#include "matrix.h"

#include <stdlib.h>
#include <string.h>

const struct matrix_kind matrix_kinds[MATRIX_KINDS] = {
    { "screen-xRGB", SPICE_SURFACE_FMT_32_xRGB, true }, { "screen-555", SPICE_SURFACE_FMT_16_555, true },
    { "screen-565", SPICE_SURFACE_FMT_16_565, true },   { "screen-ARGB", SPICE_SURFACE_FMT_32_ARGB, true },
    { "off-xRGB", SPICE_SURFACE_FMT_32_xRGB, false },   { "off-ARGB", SPICE_SURFACE_FMT_32_ARGB, false },
    { "off-555", SPICE_SURFACE_FMT_16_555, false },     { "off-565", SPICE_SURFACE_FMT_16_565, false },
    { "off-8A", SPICE_SURFACE_FMT_8_A, false },         { "off-1A", SPICE_SURFACE_FMT_1_A, false },
};

const uint32_t matrix_formats[SOURCE_FORMATS] = {
    SPICE_SURFACE_FMT_32_xRGB, SPICE_SURFACE_FMT_32_ARGB, SPICE_SURFACE_FMT_16_555,
    SPICE_SURFACE_FMT_16_565,  SPICE_SURFACE_FMT_8_A,     SPICE_SURFACE_FMT_1_A,
};

int matrix_depth(uint32_t format)
{
    return (int)(format & 63);
}

bool matrix_is_alpha(const struct matrix_kind *kind)
{
    return matrix_depth(kind->format) < 16;
}

void matrix_noise(struct rng *rng, uint8_t *bytes, size_t size)
{
    size_t at = 0;

    while (at < size) {
        uint32_t value = rng_next(rng);
        /* Runs of one value, so that pixels meet their equals and keys find something to match. */
        size_t run = value & 3 ? 4 : 4u * (1 + (value >> 8) % 6);

        if ((value & 0x70) == 0)
            value = (value & 8) ? 0xffffffff : 0;
        for (size_t i = 0; i < run && at < size; i++, at++)
            bytes[at] = (uint8_t)(value >> at % 4 * 8);
    }
}

/* Rows rounded up to words, some of them longer than needed. */
static int32_t row_bytes(uint32_t format, int width, bool wider)
{
    return (width * matrix_depth(format) + 31) / 32 * 4 + (wider ? 8 : 0);
}

struct qxl_item *matrix_surface(struct qxl_host *host, struct rng *rng, uint32_t id, uint32_t format, int width,
                                int height, bool bottom_up)
{
    struct qxl_item *item = qxl_surface_create(host, id, width + 8, height);
    QXLSurfaceCmd *command = qxl_item_command(item);
    struct qxl_surface *surface = &host->surfaces[id];
    int32_t stride = row_bytes(format, width, rng_range(rng, 0, 2) == 0);

    surface->width = (uint32_t)width;
    surface->stride = bottom_up ? -stride : stride;
    command->flags = QXL_SURF_FLAG_KEEP_DATA;
    command->u.surface_create.format = format;
    command->u.surface_create.width = surface->width;
    command->u.surface_create.stride = surface->stride;
    matrix_noise(rng, qxl_block_data(surface->memory), (size_t)stride * (size_t)height);
    return item;
}

void matrix_make_sources(struct qxl_host *host, const struct matrix_case *c)
{
    for (unsigned i = 0; i < c->num_sources; i++) {
        const struct matrix_source *source = &c->sources[i];
        int width = source->small ? PATTERN_WIDTH : SOURCE_WIDTH, height = source->small ? PATTERN_HEIGHT : SOURCE_HEIGHT;
        struct rng rng;

        rng_seed(&rng, source->format * 2 + source->small);
        for (int skip = 0; skip < 8; skip++)
            rng_next(&rng);
        qxl_host_push(host, matrix_surface(host, &rng, source->id, source->format, width, height,
                                           source->format & 32 && source->small));
    }
}

void matrix_end_sources(struct qxl_host *host, const struct matrix_case *c)
{
    for (unsigned i = 0; i < c->num_sources; i++)
        qxl_host_push(host, qxl_surface_destroy(host, c->sources[i].id));
}

void matrix_primary(struct qxl_host *host, struct rng *rng, uint32_t format, int width, int height, bool bottom_up)
{
    struct qxl_surface *primary = &host->surfaces[0];
    int32_t stride = row_bytes(format, width, false);
    QXLDevSurfaceCreate create = {
        .width = (uint32_t)width,
        .height = (uint32_t)height,
        .stride = bottom_up ? -stride : stride,
        .format = format,
        .mouse_mode = 1,
        .flags = QXL_SURF_FLAG_KEEP_DATA,
        .type = QXL_SURF_TYPE_PRIMARY,
    };

    if (primary->memory)
        qxl_host_destroy_primary(host, 0);
    primary->memory = qxl_block_new((size_t)stride * (size_t)height);
    primary->width = create.width;
    primary->height = create.height;
    primary->stride = create.stride;
    create.mem = qxl_address(qxl_block_data(primary->memory));
    matrix_noise(rng, qxl_block_data(primary->memory), (size_t)stride * (size_t)height);
    spice_qxl_create_primary_surface(&host->qxl, 0, &create);
}

static struct qxl_item *reads(struct qxl_item *item, uint32_t id)
{
    QXLDrawable *draw = qxl_item_command(item);

    draw->effect = QXL_EFFECT_BLEND;
    draw->surfaces_dest[0] = (int32_t)id;
    draw->surfaces_rects[0] = qxl_rect(0, 0, TILE_WIDTH, TILE_HEIGHT);
    return item;
}

void matrix_bring(struct qxl_host *host, uint32_t id, uint32_t format, int x, int y)
{
    static const uint32_t green = 0xff20c040;
    struct qxl_source source = { .surface_id = id, .width = TILE_WIDTH, .height = TILE_HEIGHT };
    struct qxl_source color = { .pixels = &green, .width = 1, .height = 1 };
    QXLRect area = qxl_rect(0, 0, TILE_WIDTH, TILE_HEIGHT), left = qxl_rect(x, y, x + TILE_WIDTH, y + TILE_HEIGHT);
    QXLRect right = qxl_rect(x + TILE_WIDTH, y, x + 2 * TILE_WIDTH, y + TILE_HEIGHT);
    const uint32_t over = 3 | 3 << 8 | 3 << 11 | 1 << 14; /* OVER, nearest, the source tiled */
    struct qxl_item *item;
    QXLDrawable *draw;

    switch (matrix_depth(format)) {
    case 1:
        item = reads(qxl_draw_fill(0, left, green, SPICE_ROPD_OP_PUT), id);
        draw = qxl_item_command(item);
        draw->u.fill.mask.bitmap = qxl_address(qxl_draw_image(item, source));
        qxl_host_push(host, item);
        return;
    case 8:
        item = reads(qxl_draw_composite(0, left, over, color, color, NULL, NULL), id);
        draw = qxl_item_command(item);
        draw->u.composite.mask = qxl_address(qxl_draw_image(item, source));
        qxl_host_push(host, item);
        return;
    default:
        qxl_host_push(host, qxl_draw_copy(0, left, source, area, SPICE_ROPD_OP_PUT));
    }
    if (format == SPICE_SURFACE_FMT_32_xRGB) {
        item = qxl_draw_alpha_blend(0, right, source, area, 255, false);
        draw = qxl_item_command(item);
        draw->u.alpha_blend.alpha_flags = SPICE_ALPHA_FLAGS_SRC_SURFACE_HAS_ALPHA;
        qxl_host_push(host, item);
    } else if (format == SPICE_SURFACE_FMT_32_ARGB) {
        item = reads(qxl_draw_composite(0, right, over, color, (struct qxl_source){ 0 }, NULL, NULL), id);
        draw = qxl_item_command(item);
        draw->u.composite.src = qxl_address(qxl_draw_image(item, source));
        qxl_host_push(host, item);
    }
}

static uint32_t hash(uint32_t sum, uint32_t value)
{
    return (sum ^ value) * 16777619u;
}

/* One pixel of a row in its own format. */
static uint32_t pixel_at(const uint8_t *row, int x, uint32_t format)
{
    uint32_t pixel = 0;

    switch (matrix_depth(format)) {
    case 1:
        return row[x / 8] >> x % 8 & 1;
    case 8:
        return row[x];
    case 16:
        memcpy(&pixel, row + (size_t)x * 2, 2);
        return pixel;
    default:
        memcpy(&pixel, row + (size_t)x * 4, 4);
        return pixel;
    }
}

void matrix_checksum(const struct qxl_host *host, uint32_t id, uint32_t format, QXLRect tile, uint32_t *colors,
                     uint32_t *bytes)
{
    static const uint32_t basis = 2166136261u;
    uint32_t used = 0xffffffff;
    ptrdiff_t stride;
    const uint8_t *row = qxl_host_pixels(host, id, &stride);

    if (format == SPICE_SURFACE_FMT_32_xRGB)
        used = 0xffffff;
    else if (format == SPICE_SURFACE_FMT_16_555)
        used = 0x7fff;
    *colors = *bytes = basis;
    row += stride * tile.top;
    for (int y = tile.top; y < tile.bottom; y++, row += stride) {
        for (int x = tile.left; x < tile.right; x++) {
            uint32_t pixel = pixel_at(row, x, format);

            *colors = hash(*colors, pixel & used);
            *bytes = hash(*bytes, pixel);
        }
        if (id != 0) {
            /* What lies behind the row's pixels is nobody's business: it must not change. */
            int end = (tile.right * matrix_depth(format) + 7) / 8;
            int whole = (int)(stride < 0 ? -stride : stride);

            for (int at = end; at < whole; at++)
                *bytes = hash(*bytes, row[at]);
        }
    }
}

void matrix_print(const struct qxl_host *host, uint32_t id, uint32_t format, QXLRect tile)
{
    int digits = (matrix_depth(format) + 3) / 4;
    ptrdiff_t stride;
    const uint8_t *row = qxl_host_pixels(host, id, &stride);

    row += stride * tile.top;
    for (int y = tile.top; y < tile.bottom; y++, row += stride) {
        for (int x = tile.left; x < tile.right; x++)
            printf(digits > 1 ? " %0*x" : "%0*x", digits, pixel_at(row, x, format));
        putchar('\n');
    }
}

int matrix_write_ppm(const struct qxl_host *host, uint32_t format, const char *path)
{
    const struct qxl_surface *primary = &host->surfaces[0];
    int width = (int)primary->width, height = (int)primary->height, result;
    uint32_t *wide = malloc((size_t)width * (size_t)height * 4);
    ptrdiff_t stride;
    const uint8_t *row = qxl_host_pixels(host, 0, &stride);

    if (!wide)
        exit(70);
    for (int y = 0; y < height; y++, row += stride) {
        for (int x = 0; x < width; x++) {
            uint32_t p = pixel_at(row, x, format), r, g, b;

            if (format == SPICE_SURFACE_FMT_16_555 || format == SPICE_SURFACE_FMT_16_565) {
                bool six = format == SPICE_SURFACE_FMT_16_565;

                r = p >> (six ? 11 : 10) & 31, g = six ? p >> 5 & 63 : p >> 5 & 31, b = p & 31;
                g = six ? g << 2 | g >> 4 : g << 3 | g >> 2;
                p = (r << 3 | r >> 2) << 16 | g << 8 | b << 3 | b >> 2;
            }
            wide[y * width + x] = p;
        }
    }
    result = pixels_write_ppm(path, wide, width, height, (ptrdiff_t)width * 4);
    free(wide);
    return result;
}
