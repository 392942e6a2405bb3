/* Photographs that scroll, move sideways and roll down, on one or more displays: what a dictionary of earlier images is
 * for, and what is hard for it.
 *
 *   moving_photos --unix PATH | --port P [--displays N] [--seed S] [--compression C] [--zlib W]
 *       serves and obeys lines on stdin: "frames N" (the next N pictures, each on a random display), "dump FILE [DISPLAY]",
 *       "quit"
 *
 * Most pictures fill the screen; some cover a part of it, have their fourth bytes set, or are blended or combined.
 */
#include "host/host.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WIDTH = 320, HEIGHT = 240, MAX_DISPLAYS = 4, WORLD = 1024 };

/* What a display shows of the world. */
struct view {
    struct qxl_host *device;
    int x, y;
};

static struct {
    struct view views[MAX_DISPLAYS];
    SpiceServer *server;
    struct rng rng;
    int displays;
    bool quit;
} state = { .displays = 1 };

/* A photograph whose edges fit together. */
static uint32_t world[WORLD][WORLD];

static int range(int low, int high)
{
    return rng_range(&state.rng, low, high);
}

/* Smooth at several scales, with hard edges and the noise of a camera. */
static void make_world(void)
{
    enum { SCALES = 3 };
    static int lattice[SCALES][3][WORLD / 8 + 1][WORLD / 8 + 1];

    for (int s = 0; s < SCALES; s++) {
        int cells = WORLD >> (7 - 2 * s);

        for (int c = 0; c < 3; c++) {
            for (int y = 0; y < cells; y++) {
                for (int x = 0; x < cells; x++)
                    lattice[s][c][y][x] = range(-64 >> s, 64 >> s);
            }
        }
    }
    for (int y = 0; y < WORLD; y++) {
        for (int x = 0; x < WORLD; x++) {
            uint32_t pixel = 0;

            for (int c = 0; c < 3; c++) {
                int value = 128;

                for (int s = 0; s < SCALES; s++) {
                    int shift = 7 - 2 * s, size = 1 << shift, cells = WORLD >> shift;
                    int cx = x >> shift, cy = y >> shift, fx = x & (size - 1), fy = y & (size - 1);
                    int nx = (cx + 1) % cells, ny = (cy + 1) % cells;
                    int top = lattice[s][c][cy][cx] * (size - fx) + lattice[s][c][cy][nx] * fx;
                    int bottom = lattice[s][c][ny][cx] * (size - fx) + lattice[s][c][ny][nx] * fx;

                    value += (top * (size - fy) + bottom * fy) / (size * size);
                }
                if (value > 150)
                    value += 40;
                value += range(-2, 2);
                value = value < 0 ? 0 : value > 255 ? 255 : value;
                pixel = pixel << 8 | (uint32_t)value;
            }
            world[y][x] = pixel;
        }
    }
}

/* The world from a place on. */
static void look(uint32_t *pixels, int left, int top, int width, int height, uint32_t fourth)
{
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++)
            pixels[y * width + x] = world[(top + y) & (WORLD - 1)][(left + x) & (WORLD - 1)] | fourth;
    }
}

static void push(struct view *view, struct qxl_item *item)
{
    qxl_host_push(view->device, item);
    if (qxl_host_backlog(view->device) > 200)
        qxl_host_wait_popped(view->device, 60000);
}

/* The whole screen, a little further than before. */
static void move(struct view *view)
{
    static uint32_t pixels[WIDTH * HEIGHT];
    QXLRect all = qxl_rect(0, 0, WIDTH, HEIGHT);
    struct qxl_source source = { .pixels = pixels, .width = WIDTH, .height = HEIGHT };
    uint32_t fourth = range(0, 5) == 0 ? 0xff000000u : 0;

    switch (range(0, 4)) {
    case 0: view->y += 40; break;
    case 1: view->x += 13; break;
    case 2: view->x -= range(1, 100); break;
    case 3: view->y -= range(1, 200); break;
    default: view->x += range(-7, 7), view->y += range(-7, 7); break;
    }
    look(pixels, view->x, view->y, WIDTH, HEIGHT, fourth);
    if (range(0, 2) == 0) {
        /* A window with another picture. */
        int left = range(0, WIDTH - 121), top = range(0, HEIGHT - 81), far_x = range(0, WORLD), far_y = range(0, WORLD);

        for (int y = 0; y < 80; y++)
            look(pixels + (top + y) * WIDTH + left, far_x, far_y + y, 120, 1, fourth);
    }
    push(view, qxl_draw_copy(0, all, source, all, SPICE_ROPD_OP_PUT));
}

/* A part of the screen, by any operation that has a source. */
static void cover(struct view *view)
{
    static uint32_t pixels[200 * 150];
    int width = range(1, 200), height = range(1, 150), left = range(0, WIDTH - width), top = range(0, HEIGHT - height);
    QXLRect bbox = qxl_rect(left, top, left + width, top + height), area = qxl_rect(0, 0, width, height);
    struct qxl_source source = { .pixels = pixels, .width = width, .height = height };

    look(pixels, view->x + left, view->y + top, width, height, 0);
    switch (range(0, 5)) {
    case 0: push(view, qxl_draw_blend(0, bbox, source, area, SPICE_ROPD_OP_XOR)); break;
    case 1: push(view, qxl_draw_opaque(0, bbox, source, area, 0x80ff40, SPICE_ROPD_OP_AND)); break;
    case 2: push(view, qxl_draw_transparent(0, bbox, source, area, pixels[0])); break;
    case 3: push(view, qxl_draw_alpha_blend(0, bbox, source, area, 150, false)); break;
    case 4: push(view, qxl_draw_rop3(0, bbox, source, area, 0x123456, 0x96)); break;
    default: push(view, qxl_draw_copy(0, bbox, source, area, SPICE_ROPD_OP_PUT)); break;
    }
}

static void draw_frames(int count)
{
    for (int i = 0; i < count; i++) {
        struct view *view = &state.views[range(0, state.displays - 1)];

        if (range(0, 3) == 0)
            cover(view);
        else
            move(view);
        core_loop_step(0);
    }
    for (int i = 0; i < state.displays; i++)
        qxl_host_wait_popped(state.views[i].device, 60000);
}

static int dump(const char *words)
{
    char path[400];
    int display = 0;
    ptrdiff_t stride;
    const uint8_t *pixels;

    if (sscanf(words, "%399s %d", path, &display) < 1 || display < 0 || display >= state.displays)
        return -1;
    qxl_host_render(state.views[display].device, 0);
    pixels = qxl_host_pixels(state.views[display].device, 0, &stride);
    return pixels_write_ppm(path, pixels, WIDTH, HEIGHT, stride);
}

static void obey_line(const char *line, void *opaque)
{
    (void)opaque;
    if (strncmp(line, "frames ", 7) == 0) {
        draw_frames(atoi(line + 7));
        puts("drawn");
    } else if (strncmp(line, "dump ", 5) == 0) {
        puts(dump(line + 5) == 0 ? "dumped" : "dump failed");
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
        { "seed", required_argument, NULL, 's' },     { "unix", required_argument, NULL, 'u' },
        { "port", required_argument, NULL, 'p' },     { "displays", required_argument, NULL, 'd' },
        { "compression", required_argument, NULL, 'C' }, { "zlib", required_argument, NULL, 'z' },
        { NULL, 0, NULL, 0 },
    };
    const char *path = NULL;
    int seed = 1, port = 0, compression = SPICE_IMAGE_COMPRESSION_GLZ, zlib = 0, option;
    bool all = true;
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
        case 'C': compression = atoi(optarg); break;
        case 'z': zlib = atoi(optarg); break;
        default: return 2;
        }
    }
    if ((!path && !port) || state.displays < 1 || state.displays > MAX_DISPLAYS)
        return 2;
    rng_seed(&state.rng, (uint64_t)seed);
    make_world();
    state.server = spice_server_new();
    spice_server_set_noauth(state.server);
    spice_server_set_streaming_video(state.server, SPICE_STREAM_VIDEO_OFF);
    spice_server_set_image_compression(state.server, (SpiceImageCompression)compression);
    if (zlib)
        spice_server_set_zlib_glz_compression(state.server, (spice_wan_compression_t)zlib);
    if (path) {
        spice_server_set_addr(state.server, path, SPICE_ADDR_FLAG_UNIX_ONLY);
    } else {
        spice_server_set_addr(state.server, "127.0.0.1", 0);
        spice_server_set_port(state.server, port);
    }
    if (spice_server_init(state.server, core) != 0)
        return 1;
    for (int i = 0; i < state.displays; i++) {
        state.views[i].device = qxl_host_new(i);
        qxl_host_attach(state.views[i].device, state.server);
        qxl_host_create_primary(state.views[i].device, WIDTH, HEIGHT, false, 0);
    }
    spice_server_vm_start(state.server);
    input = core->watch_add(0, SPICE_WATCH_EVENT_READ, obey, NULL);
    puts("ready");
    while (!state.quit)
        core_loop_step(1000);
    core->watch_remove(input);
    spice_server_vm_stop(state.server);
    for (int i = 0; i < state.displays; i++) {
        spice_qxl_destroy_surfaces(&state.views[i].device->qxl);
        all = qxl_host_wait_released(state.views[i].device, 2000) && all;
    }
    printf("released %s\n", all ? "all" : "not all");
    spice_server_destroy(state.server);
    for (int i = 0; i < state.displays; i++) {
        offences += qxl_host_offences(state.views[i].device, stdout);
        qxl_host_free(state.views[i].device);
    }
    printf("offences %u\n", offences);
    return offences ? 1 : 0;
}
