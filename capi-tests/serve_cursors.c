/* Serves a small screen and sets pointer shapes as told.
 *
 *   serve_cursors --unix PATH
 *
 * Lines on stdin: "set UNIQUE TYPE W H SEED X Y VISIBLE" (shape bytes made from SEED, exactly as many as the type
 * demands), "shape UNIQUE TYPE W H HOTX HOTY HEX" (these bytes, at 0,0 and visible), "move X Y", "hide", "trail LENGTH FREQUENCY", "reset", "mode" (a new primary surface),
 * "sync" (all commands so far are taken; prints "synced"), "quit". After a "set" the hot spot is at (W / 2, H / 3).
 */
#include "host/host.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct qxl_host *device;
static bool quit_asked;

static size_t shape_size(unsigned type, size_t width, size_t height)
{
    size_t mask = (width * height + 7) / 8;

    switch (type) {
    case SPICE_CURSOR_TYPE_ALPHA: return width * height * 4;
    case SPICE_CURSOR_TYPE_MONO: return (width + 7) / 8 * height * 2;
    case SPICE_CURSOR_TYPE_COLOR4: return (width + 1) / 2 * height + 16 * 4 + mask;
    case SPICE_CURSOR_TYPE_COLOR8: return width * height + 256 * 4 + mask;
    case SPICE_CURSOR_TYPE_COLOR16: return width * height * 2 + mask;
    case SPICE_CURSOR_TYPE_COLOR24: return width * height * 3 + mask;
    case SPICE_CURSOR_TYPE_COLOR32: return width * height * 4 + mask;
    default: return 0;
    }
}

static void set_shape(const char *arguments)
{
    unsigned long long unique;
    unsigned type, width, height, seed;
    int x, y, visible;
    struct rng rng;
    struct qxl_item *item;
    QXLCursorCmd *command;
    uint8_t *data;
    size_t size;

    if (sscanf(arguments, "%llu %u %u %u %u %d %d %d", &unique, &type, &width, &height, &seed, &x, &y, &visible) != 8)
        return;
    size = shape_size(type, width, height);
    data = malloc(size + 1);
    if (!data)
        exit(70);
    rng_seed(&rng, seed);
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)rng_next(&rng);
    item = qxl_cursor_set(x, y, (uint16_t)type, (int)width, (int)height, (int)width / 2, (int)height / 3, data,
                          (uint32_t)size);
    command = qxl_item_command(item);
    ((QXLCursor *)(uintptr_t)command->u.set.shape)->header.unique = unique;
    command->u.set.visible = (uint8_t)visible;
    free(data);
    qxl_host_push(device, item);
}

static void set_bytes(const char *arguments)
{
    unsigned long long unique;
    unsigned type, width, height, hot_x, hot_y;
    int used;
    size_t size = 0;
    uint8_t *data;
    struct qxl_item *item;
    QXLCursorCmd *command;

    if (sscanf(arguments, "%llu %u %u %u %u %u %n", &unique, &type, &width, &height, &hot_x, &hot_y, &used) != 6)
        return;
    arguments += used;
    data = malloc(strlen(arguments) / 2 + 1);
    if (!data)
        exit(70);
    while (sscanf(arguments + 2 * size, "%2hhx", &data[size]) == 1)
        size++;
    item = qxl_cursor_set(0, 0, (uint16_t)type, (int)width, (int)height, (int)hot_x, (int)hot_y, data, (uint32_t)size);
    command = qxl_item_command(item);
    ((QXLCursor *)(uintptr_t)command->u.set.shape)->header.unique = unique;
    command->u.set.visible = 1;
    free(data);
    qxl_host_push(device, item);
}

static void obey_line(const char *line, void *opaque)
{
    int a, b;

    (void)opaque;
    if (strncmp(line, "set ", 4) == 0) {
        set_shape(line + 4);
    } else if (strncmp(line, "shape ", 6) == 0) {
        set_bytes(line + 6);
    } else if (sscanf(line, "move %d %d", &a, &b) == 2) {
        qxl_host_push(device, qxl_cursor_move(a, b));
    } else if (strcmp(line, "hide") == 0) {
        qxl_host_push(device, qxl_cursor_hide());
    } else if (sscanf(line, "trail %d %d", &a, &b) == 2) {
        struct qxl_item *item = qxl_cursor_hide();
        QXLCursorCmd *command = qxl_item_command(item);

        command->type = QXL_CURSOR_TRAIL;
        command->u.trail.length = (uint16_t)a;
        command->u.trail.frequency = (uint16_t)b;
        qxl_host_push(device, item);
    } else if (strcmp(line, "reset") == 0) {
        qxl_host_wait_popped(device, 5000);
        spice_qxl_reset_cursor(&device->qxl);
    } else if (strcmp(line, "mode") == 0) {
        qxl_host_wait_popped(device, 5000);
        qxl_host_destroy_primary(device, 0);
        qxl_host_create_primary(device, 640, 480, false, 0);
    } else if (strcmp(line, "sync") == 0) {
        puts(qxl_host_wait_popped(device, 5000) ? "synced" : "not taken");
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
    SpiceWatch *lines;
    unsigned offences;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc != 3 || strcmp(argv[1], "--unix") != 0)
        return 2;
    spice_server_set_noauth(server);
    spice_server_set_addr(server, argv[2], SPICE_ADDR_FLAG_UNIX_ONLY);
    if (spice_server_init(server, core) != 0)
        return 1;
    device = qxl_host_new(0);
    qxl_host_attach(device, server);
    qxl_host_create_primary(device, 640, 480, false, 0);
    spice_server_vm_start(server);
    lines = core->watch_add(0, SPICE_WATCH_EVENT_READ, obey, NULL);
    puts("ready");
    while (!quit_asked)
        core_loop_step(1000);
    core->watch_remove(lines);
    spice_server_vm_stop(server);
    spice_qxl_destroy_surfaces(&device->qxl);
    printf("released %s\n", qxl_host_wait_released(device, 2000) ? "all" : "not all");
    spice_server_destroy(server);
    offences = qxl_host_offences(device, stdout);
    printf("offences %u\n", offences);
    qxl_host_free(device);
    return offences ? 1 : 0;
}
