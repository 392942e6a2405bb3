/* Draws pictures over the whole screen, one per line on stdin, for a client that only drains its socket.
 *
 *   encode_host PORT off|quic|lz|glz|lz4|auto_lz|auto_glz WIDTH HEIGHT [PKI]
 *
 * PKI is a folder made by tests/tls/pki.sh: the port is for TLS then.
 *
 * Lines on stdin: "load FILE" (rows of B, G, R, x), "draw KEY" (the loaded picture with KEY xored into each pixel:
 * equal pixels stay equal ones, but nothing of earlier frames is found again), "mark COLOR" (a fill of 8x8 pixels, which
 * tells a client how far it is), "trace WORD" (a system call that strace shows), "quit".
 */
#include "../../capi-tests/host/host.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct qxl_host *device;
static uint32_t *picture, *drawn;
static int width, height;
static bool quit_asked;

static void load(const char *name)
{
    FILE *file = fopen(name, "rb");
    size_t pixels = (size_t)width * (size_t)height;

    if (!file || fread(picture, 4, pixels, file) != pixels) {
        fprintf(stderr, "encode_host: %s: not %dx%d pixels\n", name, width, height);
        exit(66);
    }
    fclose(file);
    puts("loaded");
}

static void draw(uint32_t key)
{
    size_t pixels = (size_t)width * (size_t)height;
    QXLRect all = qxl_rect(0, 0, width, height);
    struct qxl_source source = { .pixels = drawn, .width = width, .height = height };

    for (size_t i = 0; i < pixels; i++)
        drawn[i] = picture[i] ^ key;
    qxl_host_push(device, qxl_draw_copy(0, all, source, all, SPICE_ROPD_OP_PUT));
}

static void obey_line(const char *line, void *opaque)
{
    (void)opaque;
    if (strncmp(line, "load ", 5) == 0)
        load(line + 5);
    else if (strncmp(line, "draw ", 5) == 0)
        draw((uint32_t)strtoul(line + 5, NULL, 16));
    else if (strncmp(line, "mark ", 5) == 0)
        qxl_host_push(device, qxl_draw_fill(0, qxl_rect(0, 0, 8, 8), (uint32_t)strtoul(line + 5, NULL, 16),
                                            SPICE_ROPD_OP_PUT));
    else if (strncmp(line, "trace ", 6) == 0)
        trace_mark(line + 6);
    else if (strcmp(line, "quit") == 0)
        quit_asked = true;
}

static void obey(int fd, int event, void *opaque)
{
    (void)event;
    (void)opaque;
    if (!core_loop_read_lines(fd, obey_line, NULL))
        quit_asked = true;
}

static int compression(const char *name)
{
    static const struct {
        const char *name;
        int value;
    } known[] = {
        { "off", SPICE_IMAGE_COMPRESSION_OFF },          { "quic", SPICE_IMAGE_COMPRESSION_QUIC },
        { "lz", SPICE_IMAGE_COMPRESSION_LZ },            { "glz", SPICE_IMAGE_COMPRESSION_GLZ },
        { "auto_lz", SPICE_IMAGE_COMPRESSION_AUTO_LZ },  { "auto_glz", SPICE_IMAGE_COMPRESSION_AUTO_GLZ },
        { "lz4", SPICE_IMAGE_COMPRESSION_LZ4 },
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i].name, name) == 0)
            return known[i].value;
    }
    return SPICE_IMAGE_COMPRESSION_INVALID;
}

int main(int argc, char **argv)
{
    SpiceServer *server = spice_server_new();
    SpiceCoreInterface *core = core_loop_start();
    SpiceWatch *lines;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc != 5 && argc != 6)
        return 64;
    width = atoi(argv[3]);
    height = atoi(argv[4]);
    if (width <= 0 || width > 8192 || height <= 0 || height > 8192)
        return 64;
    picture = calloc((size_t)width * (size_t)height, 4);
    drawn = calloc((size_t)width * (size_t)height, 4);
    if (!picture || !drawn)
        return 70;
    spice_server_set_noauth(server);
    spice_server_set_addr(server, "127.0.0.1", SPICE_ADDR_FLAG_IPV4_ONLY);
    if (argc == 6) {
        char ca[4096], chain[4096], key[4096];

        snprintf(ca, sizeof(ca), "%s/ca-cert.pem", argv[5]);
        snprintf(chain, sizeof(chain), "%s/server-cert.pem", argv[5]);
        snprintf(key, sizeof(key), "%s/server-key.pem", argv[5]);
        spice_server_set_tls(server, atoi(argv[1]), ca, chain, key, NULL, NULL, NULL);
    } else {
        spice_server_set_port(server, atoi(argv[1]));
    }
    /* Frame after frame in the same place would become a video. */
    spice_server_set_streaming_video(server, SPICE_STREAM_VIDEO_OFF);
    spice_server_set_jpeg_compression(server, SPICE_WAN_COMPRESSION_NEVER);
    spice_server_set_zlib_glz_compression(server, SPICE_WAN_COMPRESSION_NEVER);
    if (spice_server_set_image_compression(server, (SpiceImageCompression)compression(argv[2])) != 0)
        return 64;
    if (spice_server_init(server, core) != 0)
        return 1;
    device = qxl_host_new(0);
    qxl_host_attach(device, server);
    qxl_host_create_primary(device, width, height, false, 0);
    spice_server_vm_start(server);
    lines = core->watch_add(0, SPICE_WATCH_EVENT_READ, obey, NULL);
    puts("ready");
    while (!quit_asked)
        core_loop_step(1000);
    core->watch_remove(lines);
    spice_server_vm_stop(server);
    spice_server_destroy(server);
    qxl_host_free(device);
    return 0;
}
