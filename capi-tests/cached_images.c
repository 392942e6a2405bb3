/* Images that a guest wants its clients to keep, on one or more displays, and palettes.
 *
 *   cached_images --unix PATH | --port P [--displays N] [--seed S] [--ids N] [--change PERCENT] [--compression C]
 *                 [--plain (no compositions)] [--scaled (some copies change the size)]
 *       serves and obeys lines on stdin: "draw N", "dump FILE [DISPLAY]", "compression C", "several 0|1", "quit"
 *
 * A picture has one of `ids` ids, the same on all displays, and is always drawn alike unless PERCENT says how often
 * an id is used for other pixels. Palettes have 200 ids. --level and --bottom-up are taken for compare_draws.py.
 */
#include "host/host.h"

#include <dlfcn.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WIDTH = 320, HEIGHT = 240, MAX_DISPLAYS = 4, PALETTES = 200 };

static struct {
    struct qxl_host *devices[MAX_DISPLAYS];
    SpiceServer *server;
    struct rng rng;
    int displays, ids, change;
    bool composites, scaled, quit;
} state = { .displays = 1, .ids = 40, .composites = true };

static int range(int low, int high)
{
    return rng_range(&state.rng, low, high);
}

/* Pixels that follow from id and variant alone; flat enough to be compressed. */
static uint32_t *picture(int id, int variant, int width, int height, bool alpha)
{
    uint32_t *pixels = malloc((size_t)width * (size_t)height * sizeof(*pixels));

    if (!pixels)
        exit(70);
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            uint32_t value = (uint32_t)(id * 0x071b35 + variant * 0x402010 + x / 4 * 0x0503 + y / 4 * 0x030007);

            pixels[y * width + x] = (value & 0xffffff) | (alpha ? 0xff000000u : 0);
        }
    }
    return pixels;
}

static QXLRect place(int width, int height)
{
    int left = range(0, WIDTH - width), top = range(0, HEIGHT - height);

    return qxl_rect(left, top, left + width, top + height);
}

static void keep(QXLImage *image, int id)
{
    QXL_SET_IMAGE_ID(image, QXL_IMAGE_GROUP_DRIVER, (uint32_t)id + 1);
    image->descriptor.flags = QXL_IMAGE_CACHE;
}

static struct qxl_item *draw_picture(void)
{
    int id = range(0, state.ids - 1), width = 8 + id % 7 * 8, height = 8 + id % 5 * 12;
    int variant = range(1, 100) <= state.change ? range(1, 3) : 0;
    bool composite = state.composites && range(0, 9) == 0;
    uint32_t *pixels = picture(id, variant, width, height, composite);
    struct qxl_source source = { .pixels = pixels, .width = width, .height = height }, none = { 0 };
    QXLRect bbox = place(width, height), area = qxl_rect(0, 0, width, height);
    /* Twice as large, from the middle of nowhere: a state that would spoil a picture that is kept. */
    static const int32_t half[6] = { 0x8000, 0, 0x10000, 0, 0x8000, 0x20000 };
    struct qxl_item *item;
    QXLDrawable *draw;

    if (composite) {
        bool scaled = range(0, 1);

        item = qxl_draw_composite(0, bbox, 3u /* over */ | (scaled ? 1u << 14 /* repeat */ | 1u << 20 : 0), source, none,
                                  scaled ? half : NULL, NULL);
        draw = qxl_item_command(item);
        keep((QXLImage *)(uintptr_t)draw->u.composite.src, id + 1000);
    } else {
        int kind = range(0, 3);

        if (state.scaled && kind == 3)
            bbox = place(width * 2, height + 3);
        if (kind == 0)
            item = qxl_draw_opaque(0, bbox, source, area, 0x112233, SPICE_ROPD_OP_XOR);
        else if (kind == 1)
            item = qxl_draw_pattern(0, place(100, 80), source, (QXLPoint){ .x = range(0, 90), .y = range(0, 90) },
                                    SPICE_ROPD_OP_PUT);
        else
            item = qxl_draw_copy(0, bbox, source, area, SPICE_ROPD_OP_PUT);
        draw = qxl_item_command(item);
        keep((QXLImage *)(uintptr_t)(kind == 0   ? draw->u.opaque.src_bitmap
                                     : kind == 1 ? draw->u.fill.brush.u.pattern.pat
                                                 : draw->u.copy.src_bitmap),
             id);
    }
    free(pixels);
    return item;
}

/* An 8-bit picture whose palette the client may keep. */
static struct qxl_item *draw_indexed(void)
{
    enum { SIZE = 16 };
    int id = range(1, PALETTES), variant = range(1, 100) <= state.change ? 1 : 0;
    uint32_t zero[SIZE * SIZE] = { 0 };
    struct qxl_source source = { .pixels = zero, .width = SIZE, .height = SIZE };
    struct qxl_item *item = qxl_draw_copy(0, place(SIZE, SIZE), source, qxl_rect(0, 0, SIZE, SIZE), SPICE_ROPD_OP_PUT);
    QXLImage *image = (QXLImage *)(uintptr_t)((QXLDrawable *)qxl_item_command(item))->u.copy.src_bitmap;
    QXLPalette *palette = qxl_item_alloc(item, sizeof(*palette) + 256 * sizeof(uint32_t));
    uint8_t *data = (uint8_t *)(uintptr_t)image->bitmap.data;

    palette->unique = (uint64_t)id;
    palette->num_ents = 256;
    for (int i = 0; i < 256; i++)
        palette->ents[i] = (uint32_t)(i * 0x010305 + id * 0x0a0b0c + variant * 0x808080) & 0xffffff;
    for (int i = 0; i < SIZE * SIZE; i++)
        data[i] = (uint8_t)(i * 3);
    image->bitmap.format = SPICE_BITMAP_FMT_8BIT;
    image->bitmap.stride = SIZE;
    image->bitmap.palette = qxl_address(palette);
    return item;
}

static void draw_many(int count)
{
    for (int i = 0; i < count; i++) {
        struct qxl_host *device = state.devices[range(0, state.displays - 1)];
        int kind = range(0, 99);
        struct qxl_item *item = kind < 10  ? qxl_draw_fill(0, place(40, 30), rng_next(&state.rng) & 0xffffff, SPICE_ROPD_OP_PUT)
                                : kind < 45 ? draw_indexed()
                                            : draw_picture();

        qxl_host_push(device, item);
        if (i % 16 == 15)
            core_loop_step(0);
        if (qxl_host_backlog(device) > 200)
            qxl_host_wait_popped(device, 60000);
    }
    for (int i = 0; i < state.displays; i++)
        qxl_host_wait_popped(state.devices[i], 60000);
}

static int dump(const char *words)
{
    char path[400];
    int display = 0;
    ptrdiff_t stride;
    const uint8_t *pixels;

    if (sscanf(words, "%399s %d", path, &display) < 1 || display < 0 || display >= state.displays)
        return -1;
    qxl_host_render(state.devices[display], 0);
    pixels = qxl_host_pixels(state.devices[display], 0, &stride);
    return pixels_write_ppm(path, pixels, WIDTH, HEIGHT, stride);
}

static void several(int on)
{
    int (*set)(SpiceServer *, int);

    *(void **)&set = dlsym(RTLD_DEFAULT, "cayenne_set_multiple_clients");
    printf("several %d\n", set ? set(state.server, on) : -2);
}

static void obey_line(const char *line, void *opaque)
{
    (void)opaque;
    if (strncmp(line, "draw ", 5) == 0) {
        draw_many(atoi(line + 5));
        puts("drawn");
    } else if (strncmp(line, "dump ", 5) == 0) {
        puts(dump(line + 5) == 0 ? "dumped" : "dump failed");
    } else if (strncmp(line, "compression ", 12) == 0) {
        printf("compression %d\n", spice_server_set_image_compression(state.server, (SpiceImageCompression)atoi(line + 12)));
    } else if (strncmp(line, "several ", 8) == 0) {
        several(atoi(line + 8));
    } else if (strcmp(line, "quit") == 0) {
        state.quit = true;
    }
}

static void obey(int fd, int event, void *opaque)
{
    (void)event;
    (void)opaque;
    if (!core_loop_read_lines(fd, obey_line, NULL))
        state.quit = true;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "seed", required_argument, NULL, 's' },   { "unix", required_argument, NULL, 'u' },
        { "port", required_argument, NULL, 'p' },   { "displays", required_argument, NULL, 'd' },
        { "ids", required_argument, NULL, 'i' },    { "change", required_argument, NULL, 'c' },
        { "level", required_argument, NULL, 'l' },  { "compression", required_argument, NULL, 'C' },
        { "bottom-up", no_argument, NULL, 'b' },    { "plain", no_argument, NULL, 'P' },
        { "scaled", no_argument, NULL, 'S' },       { "jpeg", required_argument, NULL, 'j' },
        { NULL, 0, NULL, 0 },
    };
    const char *path = NULL;
    int seed = 1, port = 0, compression = SPICE_IMAGE_COMPRESSION_OFF, jpeg = 0, option;
    bool bottom_up = false;
    unsigned offences = 0;
    SpiceCoreInterface *core = core_loop_start();
    SpiceWatch *input;

    setvbuf(stdout, NULL, _IOLBF, 0);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 's': seed = atoi(optarg); break;
        case 'u': path = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 'd': state.displays = atoi(optarg); break;
        case 'i': state.ids = atoi(optarg); break;
        case 'c': state.change = atoi(optarg); break;
        case 'l': break;
        case 'C': compression = atoi(optarg); break;
        case 'j': jpeg = atoi(optarg); break;
        case 'b': bottom_up = true; break;
        case 'S': state.scaled = true; break;
        case 'P': state.composites = false; break;
        default: return 2;
        }
    }
    if ((!path && !port) || state.displays < 1 || state.displays > MAX_DISPLAYS || state.ids < 1)
        return 2;
    state.server = spice_server_new();
    spice_server_set_noauth(state.server);
    spice_server_set_streaming_video(state.server, SPICE_STREAM_VIDEO_OFF);
    spice_server_set_image_compression(state.server, (SpiceImageCompression)compression);
    if (jpeg)
        spice_server_set_jpeg_compression(state.server, (spice_wan_compression_t)jpeg);
    if (path) {
        spice_server_set_addr(state.server, path, SPICE_ADDR_FLAG_UNIX_ONLY);
    } else {
        spice_server_set_addr(state.server, "127.0.0.1", 0);
        spice_server_set_port(state.server, port);
    }
    if (spice_server_init(state.server, core) != 0)
        return 1;
    rng_seed(&state.rng, (uint64_t)seed);
    for (int i = 0; i < state.displays; i++) {
        state.devices[i] = qxl_host_new(i);
        qxl_host_attach(state.devices[i], state.server);
        qxl_host_create_primary(state.devices[i], WIDTH, HEIGHT, bottom_up, 0);
    }
    spice_server_vm_start(state.server);
    input = core->watch_add(0, SPICE_WATCH_EVENT_READ, obey, NULL);
    puts("ready");
    while (!state.quit)
        core_loop_step(1000);
    core->watch_remove(input);
    spice_server_vm_stop(state.server);
    for (int i = 0; i < state.displays; i++) {
        spice_qxl_destroy_surfaces(&state.devices[i]->qxl);
        printf("released %s\n", qxl_host_wait_released(state.devices[i], 2000) ? "all" : "not all");
    }
    spice_server_destroy(state.server);
    for (int i = 0; i < state.displays; i++) {
        offences += qxl_host_offences(state.devices[i], stdout);
        qxl_host_free(state.devices[i]);
    }
    printf("offences %u\n", offences);
    return offences ? 1 : 0;
}
