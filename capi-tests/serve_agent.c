/* A guest agent's device that does what it is told, around a small screen. The same program runs on both libraries.
 *
 *   serve_agent --unix PATH | --port P [--devices N] [--poll]
 *
 * --poll: the device cannot tell when it can be written (flags 0, as Xspice).
 *
 * Lines on stdin; each is answered by one line when it is done:
 *   agent on|off        adds or removes the device; "agent added 0", "agent removed 0"
 *   second agent        adds another one
 *   say HEX             bytes that the agent writes, read by the server inside this call
 *   sayfile PATH        the same from a file
 *   room N              the device takes N bytes more and then nothing; -1: no end (at first)
 *   step N              one call takes at most N bytes; 0: all (at first)
 *   wakeup              spice_server_char_device_wakeup
 *   log PATH|-          what is written goes to this file instead of lines
 *   files PATH          answers file transfers as a guest's agent does; what comes goes to PATH
 *   flood BYTES         the agent sends a clipboard of so many bytes, made as they are read
 *   vm start|stop       spice_server_vm_start, spice_server_vm_stop
 *   copypaste|filexfer|mouse 0|1   spice_server_set_agent_…
 *   info DEVICE FIRST COUNT ADDRESS   spice_qxl_set_device_info
 *   takes 0|1           what the devices answer to client_monitors_config (0 at first)
 *   tablet on|off
 *   mode                "mode server" or "mode client"
 *   left                bytes that the agent has said and nobody has read: "left N"
 *   sync                nothing
 *   quit
 * Lines by themselves: "state N", "wrote HEX" (one for each call that took something), "monitors DEVICE N FLAGS",
 * "file N bytes MS", those of the input devices.
 */
#include "host/host.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_DEVICES = 4, WIDTH = 640, HEIGHT = 480, HEADER = 20, CHUNK = 8, PIECE = 2048 };
enum { FILE_XFER_START = 10, FILE_XFER_STATUS = 11, FILE_XFER_DATA = 12, CLIPBOARD = 4 };

static SpiceServer *server;
static struct qxl_host *devices[MOST_DEVICES];
static int num_devices = 1;
static struct input_host input;
static bool quit_asked, takes, added;

static void put32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

static uint32_t get32(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* ---- what the agent says ---- */

static uint8_t *said;
static size_t said_length, said_taken;
static uint64_t flood_left; /* bytes of the clipboard that are not made yet */

static void say(const uint8_t *bytes, size_t length)
{
    memmove(said, said + said_taken, said_length - said_taken);
    said_length -= said_taken;
    said_taken = 0;
    said = realloc(said, said_length + length + 1);
    if (!said)
        exit(3);
    memcpy(said + said_length, bytes, length);
    said_length += length;
}

static void flood_on(void)
{
    uint8_t chunk[CHUNK + PIECE];

    if (said_taken == said_length && flood_left) {
        uint32_t size = flood_left > PIECE ? PIECE : (uint32_t)flood_left;

        put32(chunk, 1);
        put32(chunk + 4, size);
        for (uint32_t i = 0; i < size; i++)
            chunk[CHUNK + i] = (uint8_t)(flood_left - i);
        flood_left -= size;
        say(chunk, CHUNK + size);
    }
}

static int agent_read(SpiceCharDeviceInstance *instance, uint8_t *bytes, int length)
{
    size_t left;

    (void)instance;
    flood_on();
    left = said_length - said_taken;
    if ((size_t)length > left)
        length = (int)left;
    if (length > 0)
        memcpy(bytes, said + said_taken, (size_t)length);
    said_taken += (size_t)length;
    return length;
}

/* ---- what it hears ---- */

static long room = -1, step;
static FILE *written_log, *received;
static SpiceCharDeviceInstance agent;

/* The messages of clients, put together, for file transfers. */
static struct {
    uint8_t chunk_head[CHUNK];
    size_t chunk_have, chunk_left;
    uint32_t port;
    uint8_t head[HEADER + 12]; /* with the id and size of FILE_XFER_DATA */
    size_t have, left;
    uint64_t file_size, file_have, began;
    char name[4096];
    size_t name_have;
} hears;

static void status(uint32_t id, uint32_t result)
{
    uint8_t message[CHUNK + HEADER + 8] = { 0 };

    put32(message, 1);
    put32(message + 4, HEADER + 8);
    put32(message + CHUNK, 1);
    put32(message + CHUNK + 4, FILE_XFER_STATUS);
    put32(message + CHUNK + 16, 8);
    put32(message + CHUNK + HEADER, id);
    put32(message + CHUNK + HEADER + 4, result);
    say(message, sizeof(message));
}

/* Data of the message whose header is complete. */
static void hear(const uint8_t *bytes, size_t length)
{
    uint32_t type = get32(hears.head + 4);

    if (type == FILE_XFER_START) {
        size_t fit = sizeof(hears.name) - 1 - hears.name_have;

        memcpy(hears.name + hears.name_have, bytes, length < fit ? length : fit);
        hears.name_have += length < fit ? length : fit;
    } else if (type == FILE_XFER_DATA) {
        while (length && hears.have < HEADER + 12) {
            hears.head[hears.have++] = *bytes++;
            length--;
        }
        if (received && length)
            fwrite(bytes, 1, length, received);
        hears.file_have += length;
    }
}

static void message_ends(void)
{
    uint32_t type = get32(hears.head + 4);

    if (type == FILE_XFER_START && hears.name_have > 4) {
        const char *size = strstr(hears.name + 4, "size=");

        hears.file_size = size ? strtoull(size + 5, NULL, 10) : 0;
        hears.file_have = 0;
        hears.began = core_loop_now_ms();
        status(get32((const uint8_t *)hears.name), 0);
    } else if (type == FILE_XFER_DATA && hears.file_have == hears.file_size) {
        fflush(received);
        printf("file %llu bytes %llu\n", (unsigned long long)hears.file_have,
               (unsigned long long)(core_loop_now_ms() - hears.began));
        status(get32(hears.head + HEADER), 3);
    }
    hears.have = 0;
    hears.name_have = 0;
}

static void hear_chunks(const uint8_t *bytes, size_t length)
{
    while (length) {
        size_t part;

        if (!hears.chunk_left) {
            hears.chunk_head[hears.chunk_have++] = *bytes++;
            length--;
            if (hears.chunk_have == CHUNK) {
                hears.port = get32(hears.chunk_head);
                hears.chunk_left = get32(hears.chunk_head + 4);
                hears.chunk_have = 0;
            }
            continue;
        }
        part = length < hears.chunk_left ? length : hears.chunk_left;
        hears.chunk_left -= part;
        length -= part;
        if (hears.port != 1) {
            bytes += part;
            continue;
        }
        while (part) {
            size_t some;

            if (hears.have < HEADER) {
                hears.head[hears.have++] = *bytes++;
                part--;
                if (hears.have < HEADER)
                    continue;
                hears.left = get32(hears.head + 16);
                if (!hears.left)
                    message_ends();
                continue;
            }
            some = part < hears.left ? part : hears.left;
            hear(bytes, some);
            bytes += some;
            part -= some;
            hears.left -= some;
            if (!hears.left)
                message_ends();
        }
    }
}

static int agent_write(SpiceCharDeviceInstance *instance, const uint8_t *bytes, int length)
{
    static const char digits[] = "0123456789abcdef";

    (void)instance;
    if (step && length > step)
        length = (int)step;
    if (room >= 0 && length > room)
        length = (int)room;
    if (room >= 0)
        room -= length;
    if (length <= 0)
        return 0;
    if (received) {
        hear_chunks(bytes, (size_t)length);
        if (said_length > said_taken)
            spice_server_char_device_wakeup(&agent);
    } else if (written_log) {
        fwrite(bytes, 1, (size_t)length, written_log);
    } else {
        fputs("wrote ", stdout);
        for (int i = 0; i < length; i++) {
            putchar(digits[bytes[i] >> 4]);
            putchar(digits[bytes[i] & 15]);
        }
        putchar('\n');
    }
    return length;
}

static void agent_state(SpiceCharDeviceInstance *instance, int connected)
{
    (void)instance;
    printf("state %d\n", connected);
}

static SpiceCharDeviceInterface agent_interface = {
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
static SpiceCharDeviceInstance second_agent = { .base.sif = &agent_interface.base, .subtype = "vdagent" };

static void wakeup(void)
{
    if (added)
        spice_server_char_device_wakeup(&agent);
}

/* ---- lines ---- */

static int client_monitors(struct qxl_host *host, VDAgentMonitorsConfig *config)
{
    if (config)
        printf("monitors %d %u %u\n", host->qxl.id, config->num_of_monitors, config->flags);
    return takes;
}

static void say_hex(const char *text)
{
    size_t length = strlen(text) / 2;
    uint8_t *bytes = malloc(length + 1);

    for (size_t i = 0; bytes && i < length; i++) {
        unsigned value = 0;

        sscanf(text + 2 * i, "%2x", &value);
        bytes[i] = (uint8_t)value;
    }
    if (bytes)
        say(bytes, length);
    free(bytes);
    wakeup();
    puts("said");
}

static void say_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t bytes[4096];
    size_t got;

    while (file && (got = fread(bytes, 1, sizeof(bytes), file)) > 0)
        say(bytes, got);
    if (file)
        fclose(file);
    wakeup();
    puts("said");
}

static void flood(unsigned long long bytes)
{
    uint8_t head[CHUNK + HEADER + 4] = { 0 };

    put32(head, 1);
    put32(head + 4, HEADER + 4);
    put32(head + CHUNK, 1);
    put32(head + CHUNK + 4, CLIPBOARD);
    put32(head + CHUNK + 16, (uint32_t)bytes + 4);
    put32(head + CHUNK + HEADER, 1); /* text */
    say(head, sizeof(head));
    flood_left = bytes;
    wakeup();
    puts("flooding");
}

static FILE *reopen(FILE *old, const char *path)
{
    if (old)
        fclose(old);
    return strcmp(path, "-") == 0 ? NULL : fopen(path, "wb");
}

static void obey_line(const char *line, void *opaque)
{
    unsigned long long size;
    unsigned a, b;
    int device, value, used = 0;
    char path[4000];

    (void)opaque;
    if (strcmp(line, "agent on") == 0) {
        memset(&hears, 0, sizeof(hears));
        said_length = said_taken = 0;
        flood_left = 0;
        added = true;
        printf("agent added %d\n", spice_server_add_interface(server, &agent.base));
    } else if (strcmp(line, "agent off") == 0) {
        added = false;
        printf("agent removed %d\n", spice_server_remove_interface(&agent.base));
    } else if (strcmp(line, "second agent") == 0) {
        printf("second agent added %d, served %d\n", spice_server_add_interface(server, &second_agent.base),
               second_agent.st != NULL);
    } else if (strncmp(line, "say ", 4) == 0) {
        say_hex(line + 4);
    } else if (sscanf(line, "sayfile %3999s", path) == 1) {
        say_file(path);
    } else if (sscanf(line, "room %d", &value) == 1) {
        room = value;
        if (agent_interface.flags) /* else the server has to look for itself */
            wakeup();
        puts("room set");
    } else if (sscanf(line, "step %d", &value) == 1) {
        step = value;
        puts("step set");
    } else if (strcmp(line, "wakeup") == 0) {
        wakeup();
        puts("woken");
    } else if (sscanf(line, "log %3999s", path) == 1) {
        written_log = reopen(written_log, path);
        puts("log set");
    } else if (sscanf(line, "files %3999s", path) == 1) {
        received = reopen(received, path);
        puts("files set");
    } else if (sscanf(line, "flood %llu", &size) == 1) {
        flood(size);
    } else if (strcmp(line, "vm stop") == 0) {
        spice_server_vm_stop(server);
        puts("vm stopped");
    } else if (strcmp(line, "vm start") == 0) {
        spice_server_vm_start(server);
        puts("vm started");
    } else if (sscanf(line, "copypaste %d", &value) == 1) {
        printf("copypaste %d\n", spice_server_set_agent_copypaste(server, value));
    } else if (sscanf(line, "filexfer %d", &value) == 1) {
        printf("filexfer %d\n", spice_server_set_agent_file_xfer(server, value));
    } else if (sscanf(line, "mouse %d", &value) == 1) {
        printf("mouse %d\n", spice_server_set_agent_mouse(server, value));
    } else if (sscanf(line, "info %d %u %u %n", &device, &a, &b, &used) == 3 && used) {
        spice_qxl_set_device_info(&devices[device]->qxl, line + used, a, b);
        puts("info set");
    } else if (sscanf(line, "takes %d", &value) == 1) {
        takes = value;
        puts("takes set");
    } else if (strcmp(line, "tablet on") == 0) {
        printf("tablet added %d\n", spice_server_add_interface(server, &input.tablet.base));
    } else if (strcmp(line, "tablet off") == 0) {
        printf("tablet removed %d\n", spice_server_remove_interface(&input.tablet.base));
    } else if (strcmp(line, "mode") == 0) {
        printf("mode %s\n", spice_server_is_server_mouse(server) ? "server" : "client");
    } else if (strcmp(line, "left") == 0) {
        printf("left %zu\n", said_length - said_taken);
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
    const char *path = NULL;
    int port = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--poll") == 0)
            agent_interface.flags = 0;
        else if (i + 1 < argc && strcmp(argv[i], "--unix") == 0)
            path = argv[++i];
        else if (i + 1 < argc && strcmp(argv[i], "--port") == 0)
            port = atoi(argv[++i]);
        else if (i + 1 < argc && strcmp(argv[i], "--devices") == 0)
            num_devices = atoi(argv[++i]);
    }
    if ((!path && !port) || num_devices < 1 || num_devices > MOST_DEVICES)
        return 2;
    said = malloc(1);
    server = spice_server_new();
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
    input_host_attach(&input, server, false);
    for (int i = 0; i < num_devices; i++) {
        devices[i] = qxl_host_new(i);
        devices[i]->on_client_monitors = client_monitors;
        qxl_host_attach(devices[i], server);
        qxl_host_create_primary(devices[i], WIDTH, HEIGHT, false, 0);
    }
    spice_server_vm_start(server);
    lines = core->watch_add(0, SPICE_WATCH_EVENT_READ, obey, NULL);
    puts("ready");
    while (!quit_asked)
        core_loop_step(1000);
    core->watch_remove(lines);
    spice_server_vm_stop(server);
    puts("destroying");
    spice_server_destroy(server);
    puts("released all");
    core_loop_step(0);
    for (int i = 0; i < num_devices; i++) {
        offences += qxl_host_offences(devices[i], stdout);
        qxl_host_free(devices[i]);
    }
    printf("end: %u watches, %u timers, %u offences, %u foreign\n", core_loop_live_watches(),
           core_loop_live_timers(), offences, core_loop_foreign_calls());
    return offences || core_loop_foreign_calls() ? 1 : 0;
}
