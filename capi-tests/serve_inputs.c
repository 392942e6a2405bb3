/* Serves keyboard, mouse, tablet and a small screen, and prints every event that a client causes.
 *
 *   serve_inputs --unix PATH | --port P [--ticket T] [--no-tablet]
 *
 * Lines on stdin: "leds N" (the guest changed its lock keys), "tablet on", "tablet off", "mode" (prints the mouse
 * mode), "resize W H" (a new primary surface), "cursor" (a new shape), "channels" (prints the channel events so far
 * in order), "quit".
 */
#include "host/host.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static SpiceServer *server;
static struct qxl_host *device;
static struct input_host input;
static bool quit_asked;

static void show_channels(void)
{
    static const char *const events[] = { "?", "connected", "initialized", "disconnected" };
    const struct channel_record *records;
    unsigned count = core_loop_channel_events(&records);

    for (unsigned i = 0; i < count && i < CHANNEL_RECORDS; i++) {
        unsigned first = i, again = 0;

        /* Which earlier connection had the same info pointer: it must be its own, from CONNECTED on. */
        for (unsigned j = i; j-- > 0 && records[i].event != SPICE_CHANNEL_EVENT_CONNECTED;) {
            if (records[j].info == records[i].info) {
                first = j;
                again = 1;
                if (records[j].event == SPICE_CHANNEL_EVENT_CONNECTED)
                    break;
            }
        }
        printf("channel %s type %d id %d flags %d info %s\n",
               records[i].event >= 1 && records[i].event <= 3 ? events[records[i].event] : "?", records[i].type,
               records[i].id, records[i].flags,
               records[i].event == SPICE_CHANNEL_EVENT_CONNECTED ? "new"
               : again && records[first].event == SPICE_CHANNEL_EVENT_CONNECTED ? "same" : "UNKNOWN");
    }
    puts("channels end");
}

static void set_cursor(void)
{
    uint32_t pixels[16 * 16];

    memset(pixels, 0xff, sizeof(pixels));
    qxl_host_push(device, qxl_cursor_set(7, 9, SPICE_CURSOR_TYPE_ALPHA, 16, 16, 3, 4, pixels, sizeof(pixels)));
}

static void obey_line(const char *line, void *opaque)
{
    int width, height;

    (void)opaque;
    if (strncmp(line, "leds ", 5) == 0) {
        input.leds = (uint8_t)atoi(line + 5);
        spice_server_kbd_leds(&input.keyboard, input.leds);
    } else if (strcmp(line, "tablet on") == 0) {
        printf("add tablet %d\n", spice_server_add_interface(server, &input.tablet.base));
    } else if (strcmp(line, "tablet off") == 0) {
        printf("remove tablet %d\n", spice_server_remove_interface(&input.tablet.base));
    } else if (strcmp(line, "mode") == 0) {
        printf("mode %s\n", spice_server_is_server_mouse(server) ? "server" : "client");
    } else if (sscanf(line, "resize %d %d", &width, &height) == 2 && width > 0 && height > 0) {
        qxl_host_destroy_primary(device, 0);
        qxl_host_create_primary(device, width, height, false, 0);
        puts("resized");
    } else if (strcmp(line, "cursor") == 0) {
        set_cursor();
    } else if (strcmp(line, "hide") == 0) {
        qxl_host_push(device, qxl_cursor_hide());
    } else if (strcmp(line, "channels") == 0) {
        show_channels();
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
    static const struct option options[] = {
        { "port", required_argument, NULL, 'p' },   { "unix", required_argument, NULL, 'u' },
        { "ticket", required_argument, NULL, 't' }, { "no-tablet", no_argument, NULL, 'n' },
        { NULL, 0, NULL, 0 },
    };
    const char *path = NULL, *ticket = NULL;
    SpiceCoreInterface *core = core_loop_start();
    SpiceWatch *lines;
    int port = 0, option;
    bool tablet = true;
    unsigned offences;

    setvbuf(stdout, NULL, _IOLBF, 0);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'u': path = optarg; break;
        case 't': ticket = optarg; break;
        case 'n': tablet = false; break;
        default: return 2;
        }
    }
    server = spice_server_new();
    spice_server_set_name(server, "inputs");
    if (ticket)
        spice_server_set_ticket(server, ticket, 0, 0, 0);
    else
        spice_server_set_noauth(server);
    if (path) {
        spice_server_set_addr(server, path, SPICE_ADDR_FLAG_UNIX_ONLY);
    } else {
        spice_server_set_addr(server, "127.0.0.1", 0);
        spice_server_set_port(server, port);
    }
    if (spice_server_init(server, core) != 0)
        return 1;
    input_host_init(&input);
    input.print = true;
    input_host_attach(&input, server, tablet);
    device = qxl_host_new(0);
    qxl_host_attach(device, server);
    qxl_host_create_primary(device, 640, 480, false, 0);
    spice_server_vm_start(server);
    set_cursor();
    lines = core->watch_add(0, SPICE_WATCH_EVENT_READ, obey, NULL);
    puts("ready");
    while (!quit_asked)
        core_loop_step(1000);
    core->watch_remove(lines);
    spice_server_vm_stop(server);
    spice_qxl_destroy_surfaces(&device->qxl); /* gives the current cursor back, on the worker thread */
    spice_server_destroy(server);
    core_loop_step(0);
    offences = qxl_host_offences(device, stdout);
    printf("end: %u watches, %u timers, %u offences\n", core_loop_live_watches(), core_loop_live_timers(), offences);
    qxl_host_free(device);
    return offences ? 1 : 0;
}
