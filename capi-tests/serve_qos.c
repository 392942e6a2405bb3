/* Serves a screen full of noise, keyboard and mouse, with quality of service as it is told, and shows what the library
 * counts (cayenne.h). An example of both calls, and the host of tests/clients/check_qos.py.
 *
 *   serve_qos --unix PATH | --port P [--tls DIR --tls-port P] [--qos "LINE"] [--show-stats MS] [--photos]
 *
 * DIR has ca.pem, cert.pem and key.pem. --photos: pictures that are encoded (QUIC); noise goes as it is. --show-stats prints the statistics on standard error every so many milliseconds.
 * Lines on stdin, and --qos before the server is initialised:
 *   qos TYPE SCHEDULING NICE PRIORITY RATE PROCESSORS   numbers; PROCESSORS is a mask, 0 for none; "qos TYPE default"
 *   flood on, flood off      pictures without end, as fast as they are taken
 *   draw                     one small picture
 *   stats                    prints the statistics in one line
 *   dump FILE                the screen as PPM
 *   quit
 */
#include "host/host.h"

#include <cayenne.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WIDTH = 640, HEIGHT = 480, PATTERNS = 4 };

static SpiceServer *server;
static struct qxl_host *device;
static struct input_host input;
static struct rng rng;
static bool quit_asked, flood;
static uint32_t pictures[PATTERNS][WIDTH * HEIGHT];

/* Noise, or waves of three colours with the noise of a camera. */
static void make_pictures(bool photos)
{
    rng_seed(&rng, 1);
    for (int i = 0; i < PATTERNS; i++) {
        for (int j = 0; j < WIDTH * HEIGHT; j++) {
            int x = j % WIDTH + 40 * i, y = j / WIDTH;
            uint32_t wave = 0;

            for (int c = 1; photos && c <= 3; c++)
                wave = wave << 8 | (uint32_t)(124 + 120 * sin(x / 50.0 * c) * cos(y / 70.0) + rng_range(&rng, 0, 4));
            pictures[i][j] = photos ? wave : rng_next(&rng) & 0xffffff;
        }
    }
}

/* What --qos and "qos ..." say; the library's answer. */
static int set_qos(const char *words)
{
    CayenneQos qos = { .size = sizeof(qos) };
    uint64_t processors = 0;
    int type;

    if (sscanf(words, "%d default", &type) == 1 && strstr(words, "default"))
        return cayenne_set_channel_qos(server, type, NULL);
    if (sscanf(words, "%d %" SCNu32 " %" SCNd32 " %" SCNu32 " %" SCNu64 " %" SCNu64, &type, &qos.scheduling, &qos.nice,
               &qos.priority, &qos.bytes_per_second, &processors) != 6)
        return -2;
    if (processors) {
        qos.processors = &processors;
        qos.num_processor_words = 1;
    }
    return cayenne_set_channel_qos(server, type, &qos);
}

/* As with snprintf: ask for the length, then for the text, which may have grown meanwhile. */
static void show_stats(FILE *out)
{
    char *text = NULL;
    int length = cayenne_stats_json(server, NULL, 0), size = 0;

    while (length >= size) {
        size = length + 256;
        text = realloc(text, (size_t)size);
        if (!text)
            abort();
        length = cayenne_stats_json(server, text, (size_t)size);
    }
    fprintf(out, "%s%s\n", out == stdout ? "stats " : "", length < 0 ? "none" : text);
    fflush(out);
    free(text);
}

static void push_picture(QXLRect bbox)
{
    struct qxl_source source = { .pixels = pictures[rng_range(&rng, 0, PATTERNS - 1)], .width = WIDTH, .height = HEIGHT };

    qxl_host_push(device, qxl_draw_copy(0, bbox, source, bbox, SPICE_ROPD_OP_PUT));
}

static void obey_line(const char *line, void *opaque)
{
    char path[400];
    ptrdiff_t stride;
    const uint8_t *pixels;

    (void)opaque;
    if (strncmp(line, "qos ", 4) == 0) {
        printf("qos %d\n", set_qos(line + 4));
    } else if (strncmp(line, "flood ", 6) == 0) {
        flood = strcmp(line + 6, "on") == 0;
        if (!flood)
            qxl_host_wait_popped(device, 10000);
        puts("flood");
    } else if (strcmp(line, "draw") == 0) {
        push_picture(qxl_rect(8, 8, 24, 24));
        puts("drawn");
    } else if (strcmp(line, "stats") == 0) {
        show_stats(stdout);
    } else if (sscanf(line, "dump %399s", path) == 1) {
        qxl_host_render(device, 0);
        pixels = qxl_host_pixels(device, 0, &stride);
        puts(pixels_write_ppm(path, pixels, WIDTH, HEIGHT, stride) == 0 ? "dumped" : "dump failed");
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

static int set_tls(const char *folder, int port)
{
    char ca[400], certificate[400], key[400];

    snprintf(ca, sizeof(ca), "%s/ca.pem", folder);
    snprintf(certificate, sizeof(certificate), "%s/cert.pem", folder);
    snprintf(key, sizeof(key), "%s/key.pem", folder);
    return spice_server_set_tls(server, port, ca, certificate, key, NULL, NULL, NULL);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "port", required_argument, NULL, 'p' },     { "unix", required_argument, NULL, 'u' },
        { "tls", required_argument, NULL, 't' },      { "tls-port", required_argument, NULL, 'T' },
        { "qos", required_argument, NULL, 'q' },      { "show-stats", required_argument, NULL, 's' },
        { "photos", no_argument, NULL, 'P' },
        { NULL, 0, NULL, 0 },
    };
    const char *path = NULL, *folder = NULL;
    SpiceCoreInterface *core = core_loop_start();
    SpiceWatch *lines;
    int port = 0, tls_port = 0, show_every = 0, option;
    uint64_t show_next = 0;
    unsigned offences;
    bool all, photos = false;

    setvbuf(stdout, NULL, _IOLBF, 0);
    server = spice_server_new();
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'u': path = optarg; break;
        case 't': folder = optarg; break;
        case 'T': tls_port = atoi(optarg); break;
        case 'q': printf("qos %d\n", set_qos(optarg)); break;
        case 's': show_every = atoi(optarg); break;
        case 'P': photos = true; break;
        default: return 2;
        }
    }
    make_pictures(photos);
    spice_server_set_name(server, "qos");
    spice_server_set_noauth(server);
    spice_server_set_streaming_video(server, SPICE_STREAM_VIDEO_OFF);
    spice_server_set_image_compression(server, photos ? SPICE_IMAGE_COMPRESSION_QUIC : SPICE_IMAGE_COMPRESSION_LZ);
    spice_server_set_jpeg_compression(server, SPICE_WAN_COMPRESSION_NEVER);
    if (path) {
        spice_server_set_addr(server, path, SPICE_ADDR_FLAG_UNIX_ONLY);
    } else {
        spice_server_set_addr(server, "127.0.0.1", 0);
        spice_server_set_port(server, port);
    }
    if (folder && set_tls(folder, tls_port) != 0)
        return 1;
    if (spice_server_init(server, core) != 0)
        return 1;
    input_host_init(&input);
    input_host_attach(&input, server, true);
    device = qxl_host_new(0);
    qxl_host_attach(device, server);
    qxl_host_create_primary(device, WIDTH, HEIGHT, false, 0);
    spice_server_vm_start(server);
    lines = core->watch_add(0, SPICE_WATCH_EVENT_READ, obey, NULL);
    puts("ready");
    while (!quit_asked) {
        uint64_t now = core_loop_now_ms();

        if (show_every && now >= show_next) {
            show_stats(stderr);
            show_next = now + (uint64_t)show_every;
        }
        for (int i = 0; flood && i < 4 && qxl_host_backlog(device) < 8; i++)
            push_picture(qxl_rect(0, 0, WIDTH, HEIGHT));
        core_loop_step(flood ? 2 : show_every ? show_every : 1000);
    }
    core->watch_remove(lines);
    spice_server_vm_stop(server);
    spice_qxl_destroy_surfaces(&device->qxl);
    all = qxl_host_wait_released(device, 2000);
    printf("released %s\n", all ? "all" : "not all");
    spice_server_destroy(server);
    core_loop_step(0);
    offences = qxl_host_offences(device, stdout);
    qxl_host_free(device);
    return offences || !all;
}
