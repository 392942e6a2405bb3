/* Several QXL devices, or one with several heads, and an agent's device; prints which monitors clients wish for.
 *
 *   serve_monitors --unix PATH [--devices N]
 *
 * Lines on stdin; each is answered by one line when it is done:
 *   draw COUNT SEED        COUNT random commands on every device, all rings filled side by side
 *   beacon NUMBER          a square of 3x3 on every device that nothing else draws; answers "beacon NUMBER MS"
 *   heads DEVICE WxH+X+Y…  the guest's monitors; head N is the Nth
 *   mode DEVICE W H        a new primary surface
 *   max DEVICE N           spice_qxl_set_max_monitors
 *   info DEVICE N          spice_qxl_set_device_info of N monitors
 *   takes DEVICE 0|1       what the device answers to client_monitors_config (1 at first)
 *   agent on|off           adds or removes an agent's char device
 *   dump DEVICE FILE       writes the primary surface
 *   sync                   nothing
 *   quit
 * Lines by themselves: "probe DEVICE", "monitors DEVICE flags F COUNT WxH+X+Y@DEPTH…[ mm WxH…]", "agent state N",
 * "agent written BYTES".
 */
#include "host/host.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST_DEVICES = 4, WIDTH = 640, HEIGHT = 480, BEACON = 3, POOL = 24, MOST_HEADS = 16, IMAGE_MOST = 64 };

static SpiceServer *server;
static struct qxl_host *devices[MOST_DEVICES];
static bool takes[MOST_DEVICES] = { true, true, true, true };
static int num_devices = 1;
static bool quit_asked;

static int number_of(const struct qxl_host *host)
{
    return host->qxl.id;
}

/* ---- what clients wish ---- */

static int client_monitors(struct qxl_host *host, VDAgentMonitorsConfig *config)
{
    int device = number_of(host);
    const VDAgentMonitorMM *sizes;

    if (!config) {
        printf("probe %d\n", device);
        return takes[device];
    }
    printf("monitors %d flags %u %u%s", device, config->flags, config->num_of_monitors,
           (uintptr_t)config % 4 ? " unaligned" : "");
    for (uint32_t i = 0; i < config->num_of_monitors && i < MOST_HEADS; i++) {
        const VDAgentMonConfig *monitor = &config->monitors[i];

        printf(" %ux%u%+d%+d@%u", monitor->width, monitor->height, monitor->x, monitor->y, monitor->depth);
    }
    sizes = (const VDAgentMonitorMM *)(const void *)&config->monitors[config->num_of_monitors];
    if (config->flags & VD_AGENT_CONFIG_MONITORS_FLAG_PHYSICAL_SIZE)
        for (uint32_t i = 0; i < config->num_of_monitors && i < MOST_HEADS; i++)
            printf(" %s%ux%u", i ? "" : "mm ", sizes[i].width, sizes[i].height);
    puts("");
    return takes[device];
}

/* ---- the agent's device: takes everything and says nothing ---- */

static int agent_write(SpiceCharDeviceInstance *instance, const uint8_t *bytes, int length)
{
    (void)instance;
    (void)bytes;
    printf("agent written %d\n", length);
    return length;
}

static int agent_read(SpiceCharDeviceInstance *instance, uint8_t *bytes, int length)
{
    (void)instance;
    (void)bytes;
    (void)length;
    return 0;
}

static void agent_state(SpiceCharDeviceInstance *instance, int connected)
{
    (void)instance;
    printf("agent state %d\n", connected);
}

static const SpiceCharDeviceInterface agent_interface = {
    .base.type = SPICE_INTERFACE_CHAR_DEVICE,
    .base.description = "test agent",
    .base.major_version = SPICE_INTERFACE_CHAR_DEVICE_MAJOR,
    .base.minor_version = SPICE_INTERFACE_CHAR_DEVICE_MINOR,
    .state = agent_state,
    .write = agent_write,
    .read = agent_read,
    .flags = SPICE_CHAR_DEVICE_NOTIFY_WRITABLE,
};

static SpiceCharDeviceInstance agent = { .base.sif = &agent_interface.base, .subtype = "vdagent" };

/* ---- drawing ---- */

/* Images that all devices send under the same numbers, so that clients may keep them once for all displays. */
static struct qxl_item *draw_shared(struct rng *rng, int width, int height)
{
    uint32_t number = (uint32_t)rng_range(rng, 0, POOL - 1);
    struct rng content;
    uint32_t pixels[IMAGE_MOST * IMAGE_MOST];
    struct qxl_source source = { .pixels = pixels };
    struct qxl_item *item;
    QXLDrawable *draw;
    QXLImage *image;
    int left, top;

    rng_seed(&content, number + 1);
    source.width = rng_range(&content, 1, IMAGE_MOST);
    source.height = rng_range(&content, 1, IMAGE_MOST);
    for (int i = 0; i < source.width * source.height; i++)
        pixels[i] = rng_next(&content) & 0xffffff;
    left = rng_range(rng, 0, width - source.width);
    top = rng_range(rng, BEACON, height - source.height);
    item = qxl_draw_copy(0, qxl_rect(left, top, left + source.width, top + source.height), source,
                         qxl_rect(0, 0, source.width, source.height), SPICE_ROPD_OP_PUT);
    draw = qxl_item_command(item);
    image = (QXLImage *)(uintptr_t)draw->u.copy.src_bitmap;
    QXL_SET_IMAGE_ID(image, QXL_IMAGE_GROUP_DRIVER, number + 1);
    image->descriptor.flags = QXL_IMAGE_CACHE;
    return item;
}

static struct qxl_item *draw_something(struct rng *rng, int width, int height)
{
    int left = rng_range(rng, 0, width - 8), top = rng_range(rng, BEACON, height - 8);
    int right = left + rng_range(rng, 4, 120), bottom = top + rng_range(rng, 4, 120);
    QXLRect box = qxl_rect(left, top, right < width ? right : width, bottom < height ? bottom : height);

    switch (rng_range(rng, 0, 7)) {
    case 0:
    case 1: return qxl_draw_fill(0, box, rng_next(rng) & 0xffffff, SPICE_ROPD_OP_PUT);
    case 2: return qxl_draw_fill(0, box, rng_next(rng) & 0xffffff, SPICE_ROPD_OP_XOR);
    case 3:
        return qxl_draw_copy_bits(0, box, rng_range(rng, 0, width - (box.right - box.left)),
                                  rng_range(rng, BEACON, height - (box.bottom - box.top)));
    case 4: return qxl_draw_plain(0, QXL_DRAW_INVERS, box);
    default: return draw_shared(rng, width, height);
    }
}

static bool some_ring_is_short(void *unused)
{
    (void)unused;
    for (int i = 0; i < num_devices; i++)
        if (qxl_host_backlog(devices[i]) < 64)
            return true;
    return false;
}

static void draw_all(unsigned count, unsigned seed)
{
    struct rng rngs[MOST_DEVICES];
    unsigned left[MOST_DEVICES];
    bool more = true;

    for (int i = 0; i < num_devices; i++) {
        rng_seed(&rngs[i], seed * MOST_DEVICES + (unsigned)i);
        left[i] = count;
    }
    while (more) {
        core_loop_until(some_ring_is_short, NULL, 10000);
        more = false;
        for (int i = 0; i < num_devices; i++) {
            if (left[i] && qxl_host_backlog(devices[i]) < 64) {
                const struct qxl_surface *primary = &devices[i]->surfaces[0];

                qxl_host_push(devices[i], draw_something(&rngs[i], (int)primary->width, (int)primary->height));
                left[i]--;
            }
            more |= left[i] > 0;
        }
    }
    for (int i = 0; i < num_devices; i++)
        qxl_host_wait_popped(devices[i], 10000);
    printf("drawn %u\n", count);
}

static double monotonic_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void beacon(unsigned number)
{
    double now = monotonic_ms();

    for (int i = 0; i < num_devices; i++) {
        int left = (int)(number % (devices[i]->surfaces[0].width / BEACON)) * BEACON;

        qxl_host_push(devices[i], qxl_draw_fill(0, qxl_rect(left, 0, left + BEACON, BEACON), number * 0x10307,
                                                SPICE_ROPD_OP_PUT));
    }
    printf("beacon %u %.3f\n", number, now);
}

/* ---- lines ---- */

static void set_heads(int device, const char *text)
{
    static uint64_t cookie = 1000;
    struct {
        QXLMonitorsConfig config;
        QXLHead heads[MOST_HEADS];
    } layout = { .config.max_allowed = MOST_HEADS };
    unsigned width, height;
    int x, y, used;

    while (layout.config.count < MOST_HEADS && sscanf(text, "%ux%u%d%d%n", &width, &height, &x, &y, &used) == 4) {
        QXLHead *head = &layout.heads[layout.config.count];

        *head = (QXLHead){ .id = layout.config.count, .width = width, .height = height, .x = (uint32_t)x,
                           .y = (uint32_t)y };
        layout.config.count++;
        text += used;
    }
    spice_qxl_monitors_config_async(&devices[device]->qxl, qxl_address(&layout), 0, ++cookie);
    printf("heads %s\n", qxl_host_wait_cookie(devices[device], cookie, 5000) ? "given" : "without an answer");
}

/* Deprecated, but hosts of before 0.14.2 have nothing else. */
static void set_max(int device, unsigned most)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    spice_qxl_set_max_monitors(&devices[device]->qxl, most);
#pragma GCC diagnostic pop
}

static void obey_line(const char *line, void *opaque)
{
    unsigned a, b;
    int device, used = 0;
    char path[4000];
    ptrdiff_t stride;
    const uint8_t *pixels;

    (void)opaque;
    if (sscanf(line, "draw %u %u", &a, &b) == 2) {
        draw_all(a, b);
    } else if (sscanf(line, "beacon %u", &a) == 1) {
        beacon(a);
    } else if (sscanf(line, "heads %d %n", &device, &used) == 1 && used) {
        set_heads(device, line + used);
    } else if (sscanf(line, "mode %d %u %u", &device, &a, &b) == 3) {
        qxl_host_wait_popped(devices[device], 5000);
        qxl_host_destroy_primary(devices[device], 0);
        qxl_host_create_primary(devices[device], (int)a, (int)b, false, 0);
        puts("mode set");
    } else if (sscanf(line, "max %d %u", &device, &a) == 2) {
        set_max(device, a);
        puts("max set");
    } else if (sscanf(line, "info %d %u", &device, &a) == 2) {
        spice_qxl_set_device_info(&devices[device]->qxl, "pci/0000/02.0", 0, a);
        puts("info set");
    } else if (sscanf(line, "takes %d %u", &device, &a) == 2) {
        takes[device] = a;
        puts("takes set");
    } else if (strcmp(line, "agent on") == 0) {
        printf("agent added %d\n", spice_server_add_interface(server, &agent.base));
    } else if (strcmp(line, "agent off") == 0) {
        printf("agent removed %d\n", spice_server_remove_interface(&agent.base));
    } else if (sscanf(line, "dump %d %3999s", &device, path) == 2) {
        qxl_host_wait_popped(devices[device], 5000);
        qxl_host_render(devices[device], 0);
        pixels = qxl_host_pixels(devices[device], 0, &stride);
        printf("dumped %d\n", pixels_write_ppm(path, pixels, (int)devices[device]->surfaces[0].width,
                                              (int)devices[device]->surfaces[0].height, stride));
    } else if (strcmp(line, "sync") == 0) {
        puts("synced");
    } else if (strcmp(line, "quit") == 0) {
        quit_asked = true;
    } else {
        printf("unknown line: %s\n", line);
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
    SpiceCoreInterface *core = core_loop_start();
    SpiceWatch *lines;
    unsigned offences = 0;
    bool released = true;
    const char *path = NULL;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--unix") == 0)
            path = argv[i + 1];
        else if (strcmp(argv[i], "--devices") == 0)
            num_devices = atoi(argv[i + 1]);
    }
    if (!path || num_devices < 1 || num_devices > MOST_DEVICES)
        return 2;
    server = spice_server_new();
    spice_server_set_noauth(server);
    spice_server_set_image_compression(server, SPICE_IMAGE_COMPRESSION_OFF);
    spice_server_set_addr(server, path, SPICE_ADDR_FLAG_UNIX_ONLY);
    if (spice_server_init(server, core) != 0)
        return 1;
    for (int i = 0; i < num_devices; i++) {
        devices[i] = qxl_host_new(i);
        devices[i]->on_client_monitors = client_monitors;
        qxl_host_attach(devices[i], server);
        qxl_host_create_primary(devices[i], WIDTH + 32 * i, HEIGHT, false, 0);
    }
    spice_server_vm_start(server);
    lines = core->watch_add(0, SPICE_WATCH_EVENT_READ, obey, NULL);
    puts("ready");
    while (!quit_asked)
        core_loop_step(1000);
    core->watch_remove(lines);
    spice_server_vm_stop(server);
    for (int i = 0; i < num_devices; i++) {
        spice_qxl_destroy_surfaces(&devices[i]->qxl);
        released &= qxl_host_wait_released(devices[i], 5000);
    }
    printf("released %s\n", released ? "all" : "not all");
    spice_server_destroy(server);
    for (int i = 0; i < num_devices; i++) {
        offences += qxl_host_offences(devices[i], stdout);
        qxl_host_free(devices[i]);
    }
    printf("offences %u\n", offences);
    return offences ? 1 : 0;
}
