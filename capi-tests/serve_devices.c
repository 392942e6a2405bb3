/* Serves char devices that a script plays, and prints every callback.
 *
 *   serve_devices --unix PATH | --port P
 *
 * Lines on stdin (NAME is a letter of the script's choice):
 *   add NAME SUBTYPE PORTNAME|- [MINOR [FLAGS]]   adds a device: "added NAME RESULT st 0|1"
 *   remove NAME           "removed NAME RESULT st 0|1"
 *   give NAME HEX         bytes that one later read gives (a read that is shorter leaves the rest to the next one)
 *   wake NAME             spice_server_char_device_wakeup, "woken NAME"
 *   event NAME N          spice_server_port_event, "told NAME"
 *   take NAME N           the device takes N bytes more, then none; -1 without end
 *   most NAME N           and at most so many in one call
 *   rewake NAME N         callbacks call wakeup: 1 from read, 2 from write
 *   answer NAME HEX       the next write gives these bytes, wakes, and takes back what was not read then, as QEMU does
 *   leave NAME            the next read removes the device
 *   quiet NAME 0|1        1: read, write and event are not printed
 *   source NAME N STEP PATTERN   gives N bytes of the pattern, at most STEP in a read, and wakes until they are gone:
 *                         "source NAME done MS" (MS from the first byte that was read)
 *   sink NAME N PATTERN   compares what is written with the pattern: "sink NAME good|BAD MS" after N bytes
 *   start, stop           spice_server_vm_start, spice_server_vm_stop
 *   mark TEXT             prints "mark TEXT" once what came before is done
 *   quit
 * Patterns: 0 noise, 1 text that compresses.
 */
#include "host/host.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

/* A prime, so that no power of two of bytes lost or doubled goes unnoticed. */
#define PATTERN 1000003

struct segment {
    struct segment *next;
    size_t length, used;
    uint8_t bytes[];
};

struct device {
    SpiceCharDeviceInstance sin;
    SpiceCharDeviceInterface interface;
    char subtype[64], portname[300];
    struct segment *first, **last;
    long long takes, most;
    int rewake;
    bool added, quiet, leaves;
    uint64_t source_left, source_at, source_step, source_began;
    uint64_t sink_left, sink_at, sink_began;
    int source_pattern, sink_pattern;
    bool sinks, sink_bad, progress;
    char answer[200];
};

static SpiceServer *server;
static struct device *devices[128];
static uint8_t *patterns[2];
static bool quit_asked;

static void make_patterns(void)
{
    uint64_t state = 88172645463325252u;

    for (int kind = 0; kind < 2; kind++) {
        patterns[kind] = malloc(PATTERN);
        for (size_t i = 0; i < PATTERN; i++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            patterns[kind][i] = (uint8_t)(kind == 0 ? state >> 32 : (i / 64 * 7 + i % 16 + (state >> 60 == 0)));
        }
    }
}

static char name_of(const struct device *device)
{
    for (int i = 0; i < 128; i++)
        if (devices[i] == device)
            return (char)i;
    return '?';
}

static struct device *device_of(SpiceCharDeviceInstance *sin)
{
    return (struct device *)sin;
}

static void print_bytes(const uint8_t *bytes, int length)
{
    if (length > 64) {
        uint64_t hash = 14695981039346656037u;

        for (int i = 0; i < length; i++)
            hash = (hash ^ bytes[i]) * 1099511628211u;
        printf("%d bytes %016llx", length, (unsigned long long)hash);
        return;
    }
    for (int i = 0; i < length; i++)
        printf("%02x", bytes[i]);
}

static void device_state(SpiceCharDeviceInstance *sin, int connected)
{
    printf("%c state %d\n", name_of(device_of(sin)), connected);
}

static void device_event(SpiceCharDeviceInstance *sin, uint8_t event)
{
    if (!device_of(sin)->quiet)
        printf("%c event %d\n", name_of(device_of(sin)), event);
}

static void sink(struct device *device, const uint8_t *bytes, size_t length)
{
    if (device->sink_began == 0)
        device->sink_began = core_loop_now_ms();
    while (length > 0 && device->sink_left > 0) {
        size_t at = device->sink_at % PATTERN, n = PATTERN - at;

        n = n < length ? n : length;
        n = n < device->sink_left ? n : device->sink_left;
        device->sink_bad |= memcmp(bytes, patterns[device->sink_pattern] + at, n) != 0;
        device->sink_at += n;
        device->sink_left -= n;
        bytes += n;
        length -= n;
    }
    device->sink_bad |= length > 0;
    if (device->sink_left == 0)
        printf("sink %c %s %llu\n", name_of(device), device->sink_bad ? "BAD" : "good",
               (unsigned long long)(core_loop_now_ms() - device->sink_began));
}

static void give(struct device *device, const char *hex)
{
    size_t length = strlen(hex) / 2;
    struct segment *segment = calloc(1, sizeof(*segment) + length);

    segment->length = length;
    for (size_t i = 0; i < length; i++) {
        unsigned byte = 0;

        sscanf(hex + 2 * i, "%2x", &byte);
        segment->bytes[i] = (uint8_t)byte;
    }
    *device->last = segment;
    device->last = &segment->next;
}

static int device_write(SpiceCharDeviceInstance *sin, const uint8_t *buf, int len)
{
    struct device *device = device_of(sin);
    long long n = len;

    if (device->most >= 0 && n > device->most)
        n = device->most;
    if (device->takes >= 0 && n > device->takes)
        n = device->takes;
    if (device->takes >= 0)
        device->takes -= n;
    if (!device->quiet && n > 0) {
        printf("%c write ", name_of(device));
        print_bytes(buf, (int)n);
        putchar('\n');
    }
    if (device->sinks)
        sink(device, buf, (size_t)n);
    if (device->rewake & 2)
        spice_server_char_device_wakeup(sin);
    if (device->answer[0] && n > 0) {
        struct segment *first = device->first;

        give(device, device->answer);
        device->answer[0] = '\0';
        spice_server_char_device_wakeup(sin);
        if (!first && device->first) {
            printf("%c answer not read\n", name_of(device));
            free(device->first);
            device->first = NULL;
            device->last = &device->first;
        }
    }
    return (int)n;
}

static int from_source(struct device *device, uint8_t *buf, int len)
{
    uint64_t n = (uint64_t)len, done = 0;

    if (device->source_began == 0)
        device->source_began = core_loop_now_ms();
    n = n < device->source_left ? n : device->source_left;
    n = n < device->source_step ? n : device->source_step;
    while (done < n) {
        size_t at = device->source_at % PATTERN, part = PATTERN - at;

        part = part < n - done ? part : (size_t)(n - done);
        memcpy(buf + done, patterns[device->source_pattern] + at, part);
        device->source_at += part;
        done += part;
    }
    device->source_left -= n;
    if (device->source_left == 0)
        printf("source %c done %llu\n", name_of(device),
               (unsigned long long)(core_loop_now_ms() - device->source_began));
    return (int)n;
}

static int device_read(SpiceCharDeviceInstance *sin, uint8_t *buf, int len)
{
    struct device *device = device_of(sin);
    struct segment *segment = device->first;
    size_t n = 0;

    device->progress = true;
    if (device->source_left > 0)
        return from_source(device, buf, len);
    if (segment) {
        n = segment->length - segment->used;
        n = n < (size_t)len ? n : (size_t)len;
        memcpy(buf, segment->bytes + segment->used, n);
        segment->used += n;
        if (segment->used == segment->length) {
            device->first = segment->next;
            if (!device->first)
                device->last = &device->first;
            free(segment);
        }
        if (!device->quiet) {
            printf("%c read %zu\n", name_of(device), n);
        }
    }
    if (device->rewake & 1)
        spice_server_char_device_wakeup(sin);
    if (device->leaves) {
        device->leaves = false;
        device->added = false;
        printf("%c leaves %d\n", name_of(device), spice_server_remove_interface(&sin->base));
    }
    return (int)n;
}

static void add(char name, const char *words)
{
    struct device *device = devices[(int)name];
    char subtype[64] = "", port[300] = "-";
    unsigned minor = 3, flags = SPICE_CHAR_DEVICE_NOTIFY_WRITABLE;
    int result;

    if (!device) {
        device = devices[(int)name] = calloc(1, sizeof(*device));
        device->last = &device->first;
    }
    sscanf(words, "%63s %299s %u %u", subtype, port, &minor, &flags);
    strcpy(device->subtype, subtype);
    strcpy(device->portname, port);
    device->takes = device->most = -1;
    device->rewake = 0;
    device->sinks = device->quiet = false;
    device->interface = (SpiceCharDeviceInterface){
        .base = { .type = SPICE_INTERFACE_CHAR_DEVICE, .description = "test", .major_version = 1, .minor_version = minor },
        .state = device_state,
        .write = device_write,
        .read = device_read,
        .event = device_event,
        .flags = (spice_char_device_flags)flags,
    };
    memset(&device->sin, 0, sizeof(device->sin));
    device->sin.base.sif = &device->interface.base;
    device->sin.subtype = device->subtype;
    device->sin.portname = strcmp(port, "-") == 0 ? NULL : device->portname;
    result = spice_server_add_interface(server, &device->sin.base);
    device->added = result == 0 && device->sin.st;
    printf("added %c %d st %d\n", name, result, device->sin.st != NULL);
}

static void obey_device(struct device *device, char name, const char *verb, const char *rest)
{
    long long number = atoll(rest);

    if (strcmp(verb, "remove") == 0) {
        int result = spice_server_remove_interface(&device->sin.base);

        device->added = false;
        device->source_left = 0;
        printf("removed %c %d st %d\n", name, result, device->sin.st != NULL);
    } else if (strcmp(verb, "give") == 0) {
        give(device, rest);
    } else if (strcmp(verb, "answer") == 0) {
        snprintf(device->answer, sizeof(device->answer), "%s", rest);
    } else if (strcmp(verb, "wake") == 0) {
        spice_server_char_device_wakeup(&device->sin);
        printf("woken %c\n", name);
    } else if (strcmp(verb, "event") == 0) {
        spice_server_port_event(&device->sin, (uint8_t)number);
        printf("told %c\n", name);
    } else if (strcmp(verb, "take") == 0) {
        device->takes = number;
    } else if (strcmp(verb, "most") == 0) {
        device->most = number;
    } else if (strcmp(verb, "rewake") == 0) {
        device->rewake = (int)number;
    } else if (strcmp(verb, "leave") == 0) {
        device->leaves = true;
    } else if (strcmp(verb, "quiet") == 0) {
        device->quiet = number != 0;
    } else if (strcmp(verb, "source") == 0) {
        unsigned long long left = 0, step = 0;
        int pattern = 0;

        sscanf(rest, "%llu %llu %d", &left, &step, &pattern);
        device->source_left = left;
        device->source_step = step;
        device->source_pattern = pattern & 1;
        device->source_at = device->source_began = 0;
    } else if (strcmp(verb, "sink") == 0) {
        unsigned long long left = 0;
        int pattern = 0;

        sscanf(rest, "%llu %d", &left, &pattern);
        device->sink_left = left;
        device->sink_pattern = pattern & 1;
        device->sink_at = device->sink_began = 0;
        device->sink_bad = false;
        device->sinks = device->quiet = true;
    }
}

static void obey_line(const char *line, void *opaque)
{
    char verb[16] = "", name = 0;
    int rest = 0;

    (void)opaque;
    if (strcmp(line, "start") == 0) {
        spice_server_vm_start(server);
        puts("started");
    } else if (strcmp(line, "stop") == 0) {
        spice_server_vm_stop(server);
        puts("stopped");
    } else if (strncmp(line, "mark ", 5) == 0) {
        puts(line);
    } else if (strcmp(line, "quit") == 0) {
        quit_asked = true;
    } else if (sscanf(line, "%15s %c %n", verb, &name, &rest) >= 2 && name > ' ' && name < 127) {
        if (strcmp(verb, "add") == 0)
            add(name, line + rest);
        else if (devices[(int)name])
            obey_device(devices[(int)name], name, verb, rest > 0 ? line + rest : "");
    }
}

static void obey(int fd, int event, void *opaque)
{
    (void)event;
    (void)opaque;
    if (!core_loop_read_lines(fd, obey_line, NULL))
        quit_asked = true;
}

/* Wakes devices that have more to give, as a guest that goes on writing. How long the loop may sleep then, in ms. */
static int run_sources(void)
{
    int sleep = 1000;

    for (int i = 0; i < 128; i++) {
        struct device *device = devices[i];

        if (!device || !device->added || device->source_left == 0)
            continue;
        device->progress = false;
        spice_server_char_device_wakeup(&device->sin);
        if (device->source_left > 0)
            sleep = device->progress ? 0 : 1;
    }
    return sleep;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "port", required_argument, NULL, 'p' },
        { "unix", required_argument, NULL, 'u' },
        { NULL, 0, NULL, 0 },
    };
    const char *path = NULL;
    SpiceCoreInterface *core = core_loop_start();
    SpiceWatch *lines;
    int port = 0, option;

    setvbuf(stdout, NULL, _IOLBF, 0);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'u': path = optarg; break;
        default: return 2;
        }
    }
    make_patterns();
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
    lines = core->watch_add(0, SPICE_WATCH_EVENT_READ, obey, NULL);
    puts("ready");
    while (!quit_asked)
        core_loop_step(run_sources());
    core->watch_remove(lines);
    spice_server_destroy(server);
    core_loop_step(0);
    printf("end: %u watches, %u timers\n", core_loop_live_watches(), core_loop_live_timers());
    return 0;
}
