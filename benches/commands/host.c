/* How many small commands a second get through: a device that costs next to nothing, and a client that reads and throws away.
 *
 *   commands [--scene S] [--client drain|stall|slow|none] [--seconds S | --count N] [--ahead N] [--port N]
 *
 * Scenes:
 *   fill          solid fills of 1x1 to 32x32 pixels anywhere
 *   grid          solid fills of 8x16 pixels, which do not overlap
 *   xor           the same with a raster operation that reads the screen
 *   text          copies of bitmaps of 8x16 pixels of 32 bits, as drivers send text
 *   terminal      a window of 80 by 24 characters: scroll by a line, clear the last one, 80 copies of characters
 *   scroll        copy_bits of that window alone
 *   small-scroll  copy_bits of 120x64 pixels, in 64 places by turns
 *
 * All commands are prepared before the first one is offered; a released one is offered again, elsewhere on the
 * screen. The span that is measured goes from the first command that is handed over until all are released AND the
 * client has received whatever was for it. The end is a synchronous update_area, which makes every library draw what
 * it may have put off; then comes the last byte at the client (nothing for 300 ms).
 * --ahead N hands commands over only while fewer than N of them have not reached the client, so that each one
 * travels as a command; without it the library may send pixels in their place.
 * The client comes over a unix socket, with --port over TCP.
 * The time of the library's own thread is measured as well: other work on the machine does not touch it.
 */
#include "../../capi-tests/host/host.h"
#include "../client/client.h"
#include "../lean_device.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    WIDTH = 1920,
    HEIGHT = 1080,
    SLOTS = 4096,    /* commands that exist: what a guest's memory holds; spice-server keeps about a thousand of them */
    CELLS = WIDTH / 8 * (HEIGHT / 16), /* of 8x16 pixels */
    /* the window that scrolls, by a line of text */
    SCROLL_WIDTH = 640,
    SCROLL_HEIGHT = 384,
    LINE = 16,
};

enum scene { FILL, GRID, XOR, TEXT, TERMINAL, SCROLL, SMALL_SCROLL };
static const char *const scene_names[] = { "fill", "grid", "xor", "text", "terminal", "scroll", "small-scroll", NULL };

struct slot {
    _Alignas(64) QXLDrawable drawable; /* first: its release info names the slot */
};

struct picture {
    _Alignas(64) QXLImage image;
    uint32_t pixels[8 * 16];
};

static struct device {
    QXLInstance qxl; /* first */
    enum scene scene;
    struct slot *slots;
    struct picture *pictures; /* one for each slot */
    uint32_t free[SLOTS]; /* a ring: what was released last is taken last */
    uint32_t free_head;
    atomic_uint free_count;
    QXLRect *places; /* places taken in turn */
    uint32_t num_places;
    struct shared *shared;
    uint64_t ahead;
    uint64_t limit, time_limit_ns;
    /* written by the worker thread */
    atomic_bool go, all_offered, all_released;
    atomic_ullong offered, released;
    uint64_t start_ns, start_cpu_ns, released_ns, end_cpu_ns;
} device;

static void fail(const char *what)
{
    fprintf(stderr, "host: %s\n", what);
    exit(1);
}

/* ---- the device ---- */

static void note_released(void)
{
    if (!device.all_offered || device.released != device.offered)
        return;
    device.released_ns = clock_ns(CLOCK_MONOTONIC);
    device.end_cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    atomic_store(&device.all_released, true);
}

/* True once no further command is offered. */
static bool is_over(uint64_t offered)
{
    if (device.all_offered)
        return true;
    if (offered < device.limit && (offered % 64 || clock_ns(CLOCK_MONOTONIC) - device.start_ns < device.time_limit_ns))
        return false;
    atomic_store(&device.all_offered, true);
    note_released();
    return true;
}

/* With --ahead: true while enough commands are on the way; the client knocks when half of them are not any more. */
static bool is_far_ahead(uint64_t offered)
{
    struct shared *shared = device.shared;

    if (!device.ahead)
        return false;
    if (atomic_load(&shared->gate))
        return true;
    if (offered - atomic_load(&shared->drawn) < device.ahead)
        return false;
    atomic_store(&shared->gate, offered - device.ahead / 2);
    /* It may have come so far before it saw the gate. */
    if (atomic_load(&shared->drawn) >= offered - device.ahead / 2)
        atomic_store(&shared->gate, 0);
    return atomic_load(&shared->gate) != 0;
}

static void make_fill(QXLDrawable *drawable, uint32_t color)
{
    memset(&drawable->u, 0, sizeof(drawable->u));
    drawable->type = QXL_DRAW_FILL;
    drawable->effect = QXL_EFFECT_OPAQUE;
    drawable->surfaces_dest[0] = -1;
    drawable->u.fill.brush.type = SPICE_BRUSH_TYPE_SOLID;
    drawable->u.fill.brush.u.color = color;
    drawable->u.fill.rop_descriptor = SPICE_ROPD_OP_PUT;
}

static void make_scroll(QXLDrawable *drawable)
{
    drawable->type = QXL_COPY_BITS;
    drawable->effect = QXL_EFFECT_BLEND;
    drawable->u.copy_bits.src_pos.x = drawable->bbox.left;
    drawable->u.copy_bits.src_pos.y = drawable->bbox.top + LINE;
    drawable->surfaces_dest[0] = 0;
    drawable->surfaces_rects[0] = drawable->bbox;
    drawable->surfaces_rects[0].top += LINE;
    drawable->surfaces_rects[0].bottom += LINE;
}

static void make_text(QXLDrawable *drawable, struct picture *picture, uint64_t offered)
{
    QXL_SET_IMAGE_ID(&picture->image, QXL_IMAGE_GROUP_DRIVER_DONT_CACHE, (uint32_t)offered + 1);
    drawable->type = QXL_DRAW_COPY;
    drawable->effect = QXL_EFFECT_OPAQUE;
    drawable->surfaces_dest[0] = -1;
    drawable->u.copy.src_bitmap = qxl_address(&picture->image);
    drawable->u.copy.src_area = qxl_rect(0, 0, 8, 16);
    drawable->u.copy.rop_descriptor = SPICE_ROPD_OP_PUT;
    drawable->u.copy.scale_mode = 0;
    drawable->u.copy.mask = (QXLQMask){ 0 };
}

/* What differs from one use of a command to the next. */
static void prepare(struct slot *slot, uint64_t offered)
{
    struct picture *picture = &device.pictures[slot - device.slots];
    uint64_t turn = offered % device.num_places;

    slot->drawable.bbox = device.places[turn];
    switch (device.scene) {
    case FILL:
    case GRID:
    case XOR:
        break;
    case TEXT:
        make_text(&slot->drawable, picture, offered);
        break;
    case TERMINAL:
        if (turn == 0)
            make_scroll(&slot->drawable);
        else if (turn == 1)
            make_fill(&slot->drawable, 0x202020);
        else
            make_text(&slot->drawable, picture, offered);
        break;
    case SCROLL:
    case SMALL_SCROLL:
        make_scroll(&slot->drawable);
        break;
    }
}

static int get_command(QXLInstance *qxl, struct QXLCommandExt *ext)
{
    uint64_t offered = atomic_load_explicit(&device.offered, memory_order_relaxed);
    struct slot *slot;

    (void)qxl;
    if (!atomic_load_explicit(&device.go, memory_order_acquire))
        return 0;
    if (!offered && !device.start_ns) {
        device.start_ns = clock_ns(CLOCK_MONOTONIC);
        device.start_cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    }
    if (is_over(offered) || is_far_ahead(offered))
        return 0;
    if (!device.free_count)
        fail("the library keeps more commands than there are");
    slot = &device.slots[device.free[device.free_head++ % SLOTS]];
    device.free_count--;
    prepare(slot, offered);
    ext->cmd.data = qxl_address(slot);
    ext->cmd.type = QXL_CMD_DRAW;
    ext->group_id = 0;
    ext->flags = 0;
    atomic_store_explicit(&device.offered, offered + 1, memory_order_relaxed);
    return 1;
}

static void release_resource(QXLInstance *qxl, struct QXLReleaseInfoExt release)
{
    uint32_t slot = (uint32_t)release.info->id;

    (void)qxl;
    device.free[(device.free_head + device.free_count) % SLOTS] = slot;
    device.free_count++;
    atomic_store_explicit(&device.released, device.released + 1, memory_order_relaxed);
    note_released();
}

static QXLInterface interface;

/* ---- what is drawn ---- */

static void shuffle(QXLRect *places, uint32_t count, struct rng *rng)
{
    for (uint32_t i = count - 1; i > 0; i--) {
        uint32_t other = (uint32_t)rng_range(rng, 0, (int)i);
        QXLRect place = places[i];

        places[i] = places[other];
        places[other] = place;
    }
}

/* Places are drawn on in turn; but for `fill`, none is covered by another before its turn comes again. */
static void make_places(struct rng *rng)
{
    enum { RANDOM_PLACES = 65536 };

    device.places = calloc(RANDOM_PLACES, sizeof(*device.places));
    if (!device.places)
        fail("out of memory");
    switch (device.scene) {
    case GRID:
    case XOR:
    case TEXT:
        for (int i = 0; i < CELLS; i++) {
            int x = i % (WIDTH / 8) * 8, y = i / (WIDTH / 8) * 16;

            device.places[i] = qxl_rect(x, y, x + 8, y + 16);
        }
        device.num_places = CELLS;
        if (device.scene != TEXT)
            shuffle(device.places, CELLS, rng);
        break;
    case FILL:
        for (uint32_t i = 0; i < RANDOM_PLACES; i++) {
            int width = rng_range(rng, 1, 32), height = rng_range(rng, 1, 32);
            int x = rng_range(rng, 0, WIDTH - width), y = rng_range(rng, 0, HEIGHT - height);

            device.places[i] = qxl_rect(x, y, x + width, y + height);
        }
        device.num_places = RANDOM_PLACES;
        break;
    case SCROLL:
        device.places[0] = qxl_rect(100, 100, 100 + SCROLL_WIDTH, 100 + SCROLL_HEIGHT - LINE);
        device.num_places = 1;
        break;
    case TERMINAL:
        device.places[0] = qxl_rect(100, 100, 100 + SCROLL_WIDTH, 100 + SCROLL_HEIGHT - LINE);
        device.places[1] = qxl_rect(100, 100 + SCROLL_HEIGHT - LINE, 100 + SCROLL_WIDTH, 100 + SCROLL_HEIGHT);
        for (int i = 0; i < SCROLL_WIDTH / 8; i++)
            device.places[2 + i] = qxl_rect(100 + i * 8, 100 + SCROLL_HEIGHT - LINE, 108 + i * 8, 100 + SCROLL_HEIGHT);
        device.num_places = 2 + SCROLL_WIDTH / 8;
        break;
    case SMALL_SCROLL:
        for (int i = 0; i < 64; i++) {
            int x = i % 8 * 128, y = i / 8 * 96;

            device.places[i] = qxl_rect(x, y, x + 120, y + 80 - LINE);
        }
        device.num_places = 64;
        break;
    }
}

static void make_commands(struct rng *rng)
{
    device.slots = aligned_alloc(64, SLOTS * sizeof(*device.slots));
    device.pictures = aligned_alloc(64, SLOTS * sizeof(*device.pictures));
    if (!device.slots || !device.pictures)
        fail("out of memory");
    memset(device.slots, 0, SLOTS * sizeof(*device.slots));
    memset(device.pictures, 0, SLOTS * sizeof(*device.pictures));
    for (uint32_t i = 0; i < SLOTS; i++) {
        struct picture *picture = &device.pictures[i];
        QXLDrawable *drawable = &device.slots[i].drawable;

        drawable->release_info.id = i;
        for (int n = 0; n < 3; n++)
            drawable->surfaces_dest[n] = -1;
        make_fill(drawable, rng_next(rng) & 0xffffff);
        if (device.scene == XOR) {
            drawable->u.fill.rop_descriptor = SPICE_ROPD_OP_XOR;
            drawable->effect = QXL_EFFECT_BLEND;
        }
        picture->image.descriptor.type = SPICE_IMAGE_TYPE_BITMAP;
        picture->image.descriptor.width = picture->image.bitmap.x = 8;
        picture->image.descriptor.height = picture->image.bitmap.y = 16;
        picture->image.bitmap.format = SPICE_BITMAP_FMT_32BIT;
        picture->image.bitmap.flags = QXL_BITMAP_DIRECT | QXL_BITMAP_TOP_DOWN;
        picture->image.bitmap.stride = 8 * 4;
        picture->image.bitmap.data = qxl_address(picture->pixels);
        for (int n = 0; n < 8 * 16; n++)
            picture->pixels[n] = rng_next(rng) & 0xffffff;
        device.free[i] = i;
    }
    device.free_count = SLOTS;
}

/* ---- the run ---- */

static bool has_client(void *arg)
{
    (void)arg;
    if (atomic_load(&device.shared->failed))
        fail("the client gave up");
    return atomic_load(&device.shared->ready);
}

static bool is_offered(void *arg)
{
    (void)arg;
    return atomic_load(&device.all_offered);
}

static bool is_released(void *arg)
{
    (void)arg;
    return atomic_load(&device.all_released);
}

/* Nothing has come for 300 ms. */
static bool is_quiet(void *arg)
{
    (void)arg;
    return clock_ns(CLOCK_MONOTONIC) - atomic_load(&device.shared->last_ns) > 300000000u;
}

static void knocked(int fd, int event, void *opaque)
{
    uint64_t count;

    (void)event;
    (void)opaque;
    if (read(fd, &count, sizeof(count)) == sizeof(count))
        spice_qxl_wakeup(&device.qxl);
}

static int word_of(const char *word, const char *const *words)
{
    for (int i = 0; words[i]; i++) {
        if (!strcmp(word, words[i]))
            return i;
    }
    fprintf(stderr, "host: unknown word %s\n", word);
    exit(2);
}

static void report(enum client_mode mode)
{
    struct shared *shared = device.shared;
    uint64_t last = atomic_load(&shared->last_ns);
    uint64_t end = device.released_ns;
    double seconds, commands = (double)device.released;

    if (mode == CLIENT_DRAINS && last > end)
        end = last;
    seconds = (double)(end - device.start_ns) / 1e9;
    printf("commands=%.0f seconds=%.4f rate=%.0f cpu_ns=%.0f messages=%llu bytes=%llu as_commands=%llu acks=%llu", commands,
           seconds, commands / seconds, (double)(device.end_cpu_ns - device.start_cpu_ns) / commands,
           atomic_load(&shared->messages), atomic_load(&shared->bytes), atomic_load(&shared->drawn),
           atomic_load(&shared->acks));
    for (int i = 0; i < MESSAGE_KINDS; i++) {
        unsigned long long count = atomic_load(&shared->kinds[i]);

        if (count && i > 103)
            printf(" kind%d=%llu", i, count);
    }
    printf("\n");
}

int main(int argc, char **argv)
{
    static const char *const modes[] = { "drain", "stall", "slow", "none", NULL };
    enum client_mode mode = CLIENT_DRAINS;
    SpiceCoreInterface *core;
    SpiceServer *server;
    char path[64];
    pid_t child = 0;
    int port = 0;
    struct rng rng;
    uint8_t *screen = calloc(WIDTH * HEIGHT, 4);
    QXLDevMemSlot memslot = { .virt_end = ~(uintptr_t)0 };
    QXLDevSurfaceCreate create = {
        .width = WIDTH,
        .height = HEIGHT,
        .stride = WIDTH * 4,
        .format = SPICE_SURFACE_FMT_32_xRGB,
        .mouse_mode = 1,
        .type = QXL_SURF_TYPE_PRIMARY,
        .mem = qxl_address(screen),
    };
    QXLRect whole = qxl_rect(0, 0, WIDTH, HEIGHT);
    QXLRect dirty;

    device.limit = UINT64_MAX;
    device.time_limit_ns = 1000000000u;
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *option = argv[i], *value = argv[i + 1];

        if (!strcmp(option, "--scene")) {
            device.scene = (enum scene)word_of(value, scene_names);
        } else if (!strcmp(option, "--client")) {
            mode = (enum client_mode)word_of(value, modes);
        } else if (!strcmp(option, "--seconds")) {
            device.time_limit_ns = (uint64_t)(atof(value) * 1e9);
        } else if (!strcmp(option, "--count")) {
            device.limit = strtoull(value, NULL, 10);
            device.time_limit_ns = 60000000000u;
        } else if (!strcmp(option, "--ahead")) {
            device.ahead = strtoull(value, NULL, 10);
        } else if (!strcmp(option, "--port")) {
            port = atoi(value);
        } else {
            fail("unknown option");
        }
    }
    rng_seed(&rng, 1);
    make_places(&rng);
    make_commands(&rng);
    device.shared = mmap(NULL, sizeof(*device.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!screen || device.shared == MAP_FAILED)
        fail("out of memory");
    device.shared->gate_fd = eventfd(0, 0);
    snprintf(path, sizeof(path), "/tmp/commands-%d", (int)getpid());
    if (mode != CLIENT_NONE) {
        child = fork();
        if (child == 0) {
            client_run(device.shared, &(struct client_wish){
                                          .path = port ? NULL : path, .port = (uint16_t)port, .mode = mode, .cache = 10 << 20, .window = 8 << 20 });
            _exit(0);
        }
    }

    core = core_loop_start();
    server = spice_server_new();
    spice_server_set_noauth(server);
    if (port) {
        spice_server_set_addr(server, "127.0.0.1", SPICE_ADDR_FLAG_IPV4_ONLY);
        spice_server_set_port(server, port);
    } else {
        spice_server_set_addr(server, path, SPICE_ADDR_FLAG_UNIX_ONLY);
    }
    spice_server_set_image_compression(server, SPICE_IMAGE_COMPRESSION_OFF);
    spice_server_set_jpeg_compression(server, SPICE_WAN_COMPRESSION_NEVER);
    spice_server_set_zlib_glz_compression(server, SPICE_WAN_COMPRESSION_NEVER);
    spice_server_set_streaming_video(server, SPICE_STREAM_VIDEO_OFF);
    if (spice_server_init(server, core) != 0)
        fail("spice_server_init failed");
    interface = lean_interface("commands");
    interface.get_command = get_command;
    interface.release_resource = release_resource;
    device.qxl.base.sif = &interface.base;
    if (spice_server_add_interface(server, &device.qxl.base) != 0)
        fail("spice_server_add_interface failed");
    spice_qxl_add_memslot(&device.qxl, &memslot);
    spice_qxl_create_primary_surface(&device.qxl, 0, &create);
    spice_server_vm_start(server);
    core->watch_add(device.shared->gate_fd, SPICE_WATCH_EVENT_READ, knocked, NULL);
    if (mode != CLIENT_NONE) {
        if (!core_loop_until(has_client, NULL, 20000))
            fail("no client in 20 s");
        core_loop_until(is_quiet, NULL, 5000);
    }
    core_loop_until(NULL, NULL, 1000); /* until the threads of the start have done their work: keys are made then */
    /* What came before the start does not count. */
    atomic_store(&device.shared->messages, 0);
    atomic_store(&device.shared->bytes, 0);
    atomic_store(&device.shared->drawn, 0);
    atomic_store(&device.shared->acks, 0);
    for (int i = 0; i < MESSAGE_KINDS; i++)
        atomic_store(&device.shared->kinds[i], 0);

    trace_mark("begin");
    atomic_store_explicit(&device.go, true, memory_order_release);
    spice_qxl_wakeup(&device.qxl);
    if (!core_loop_until(is_offered, NULL, 120000))
        fail("not all commands were taken in 120 s");
    spice_qxl_update_area(&device.qxl, 0, &whole, &dirty, 1, 1);
    if (!core_loop_until(is_released, NULL, 60000))
        fail("not all commands were released");
    if (mode != CLIENT_NONE)
        core_loop_until(is_quiet, NULL, 20000);
    trace_mark("end");
    report(mode);
    atomic_store(&device.shared->stop, 1);
    spice_server_destroy(server);
    if (child > 0)
        waitpid(child, NULL, 0);
    unlink(path);
    return 0;
}
