/* Shows pictures in memfds as a host shows what it renders with GL, and prints when its draws are done.
 *
 *   serve_gl --unix PATH | --port P
 *
 * Lines on stdin; each is answered by one line when it is done:
 *   primary W H           a primary surface with a picture of its own: "primary made"
 *   unprimary             destroys it: "primary gone"
 *   scanout W H FOURCC Y0TOP [PLANES [OFFSET]]  another picture, noise; with PLANES through spice_qxl_gl_scanout2:
 *                         "scanout shown", or "scanout2 is not there"
 *   none                  spice_qxl_gl_scanout(-1): "scanout none"
 *   paint X Y W H         changes the picture there and draws; "drawn COOKIE", and later by itself "done COOKIE MS"
 *   draw X Y W H          the same without a change
 *   draws N               N draws of one pixel, each when the last one is done: "draws N MS"
 *   dump FILE             writes the picture: "dumped 0"
 *   cut                   the picture's file has no byte any more: "cut"
 *   fds                   "fds N", descriptors of the process
 *   mouse                 "mouse 1" if the mouse is in server mode
 *   sync                  "synced"
 *   quit
 */
#include "host/host.h"

#include <dirent.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MOST_DRAWS = 4096 };

typedef void (*scanout2)(QXLInstance *instance, const int *fd, uint32_t width, uint32_t height, const uint32_t *offset,
                         const uint32_t *stride, uint32_t num_planes, uint32_t format, uint64_t modifier, int y_0_top);

static SpiceServer *server;
static struct qxl_host *device;
static bool quit_asked;
static struct rng noise;

/* The picture that is shown; `memory` is NULL if none is. */
static struct {
    uint8_t *memory;
    int fd; /* our own */
    size_t size;
    uint32_t width, height, stride, offset;
    bool y0_top, red_first;
} picture = { .fd = -1 };

static struct {
    uint64_t cookie, began;
    bool done;
} draws[MOST_DRAWS];
static unsigned num_draws, first_open;

static void drop_picture(void)
{
    if (picture.memory)
        munmap(picture.memory, picture.size);
    if (picture.fd >= 0)
        close(picture.fd);
    picture.memory = NULL;
    picture.fd = -1;
}

static uint8_t *row_of(uint32_t y)
{
    uint32_t row = picture.y0_top ? y : picture.height - 1 - y;

    return picture.memory + picture.offset + (size_t)row * picture.stride;
}

static void paint(uint32_t x, uint32_t y, uint32_t w, uint32_t h)
{
    for (uint32_t j = y; picture.memory && j < y + h && j < picture.height; j++)
        for (uint32_t i = x; i < x + w && i < picture.width; i++) {
            uint32_t color = rng_next(&noise) & 0x3f3f3f;

            memcpy(row_of(j) + 4 * i, &color, 4);
        }
}

static void show(const char *words)
{
    char fourcc[8] = "XR24";
    uint32_t width = 0, height = 0, format = 0, offset = 0;
    int y0_top = 1, planes = 0;

    sscanf(words, "%u %u %7s %d %d %u", &width, &height, fourcc, &y0_top, &planes, &offset);
    memcpy(&format, fourcc, 4);
    drop_picture();
    picture.width = width;
    picture.height = height;
    picture.offset = offset;
    picture.stride = width * 4 + 64; /* rows need not touch */
    picture.size = offset + (size_t)picture.stride * height;
    picture.y0_top = y0_top != 0;
    picture.red_first = fourcc[1] == 'B';
    picture.fd = memfd_create("scanout", MFD_CLOEXEC);
    if (picture.fd < 0 || ftruncate(picture.fd, (off_t)picture.size) != 0)
        exit(1);
    picture.memory = mmap(NULL, picture.size, PROT_READ | PROT_WRITE, MAP_SHARED, picture.fd, 0);
    if (picture.memory == MAP_FAILED)
        exit(1);
    paint(0, 0, width, height);
    if (planes == 0) {
        spice_qxl_gl_scanout(&device->qxl, dup(picture.fd), width, height, picture.stride, format, y0_top);
    } else {
        scanout2 call = (scanout2)(uintptr_t)dlsym(RTLD_DEFAULT, "spice_qxl_gl_scanout2");
        int fds[4] = { -1, -1, -1, -1 };
        uint32_t offsets[4] = { offset, 1, 2, 3 }, strides[4] = { picture.stride, 5, 6, 7 };

        if (!call) {
            puts("scanout2 is not there");
            return;
        }
        for (int i = 0; i < planes && i < 4; i++)
            fds[i] = dup(picture.fd);
        call(&device->qxl, fds, width, height, offsets, strides, (uint32_t)planes, format, 0, y0_top);
    }
    puts("scanout shown");
}

static uint64_t begin_draw(uint32_t x, uint32_t y, uint32_t w, uint32_t h)
{
    static uint64_t next = 1000;
    unsigned at = num_draws++ % MOST_DRAWS;

    draws[at].cookie = next++;
    draws[at].began = core_loop_now_ms();
    draws[at].done = false;
    spice_qxl_gl_draw_async(&device->qxl, x, y, w, h, draws[at].cookie);
    return draws[at].cookie;
}

/* Tells of draws that have ended; only the newest QXL_COMPLETIONS completions of the device are known. */
static void look(void)
{
    for (unsigned i = first_open; i < num_draws; i++) {
        unsigned at = i % MOST_DRAWS;

        if (!draws[at].done && qxl_host_cookie_count(device, draws[at].cookie) > 0) {
            draws[at].done = true;
            printf("done %llu %llu\n", (unsigned long long)draws[at].cookie,
                   (unsigned long long)(core_loop_now_ms() - draws[at].began));
        }
    }
    while (first_open < num_draws && draws[first_open % MOST_DRAWS].done)
        first_open++;
}

static void many(unsigned count)
{
    uint64_t began = core_loop_now_ms();
    unsigned done = 0;

    while (done < count) {
        uint64_t cookie = begin_draw(done % 8, 0, 1, 1);

        draws[(num_draws - 1) % MOST_DRAWS].done = true;
        if (!qxl_host_wait_cookie(device, cookie, 5000))
            break;
        done++;
    }
    printf("draws %u %llu\n", done, (unsigned long long)(core_loop_now_ms() - began));
}

static int dump(const char *path)
{
    FILE *file = fopen(path, "wb");

    if (!file || !picture.memory)
        return 1;
    fprintf(file, "P6\n%u %u\n255\n", picture.width, picture.height);
    for (uint32_t y = 0; y < picture.height; y++)
        for (uint32_t x = 0; x < picture.width; x++) {
            const uint8_t *p = row_of(y) + 4 * x;
            uint8_t rgb[3] = { p[2], p[1], p[0] };

            if (picture.red_first)
                memcpy(rgb, p, 3);
            fwrite(rgb, 1, 3, file);
        }
    return fclose(file);
}

static unsigned descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned count = 0;

    while (folder && readdir(folder))
        count++;
    if (folder)
        closedir(folder);
    return count;
}

static void obey_line(const char *line, void *opaque)
{
    uint32_t x, y, w, h;
    unsigned count;
    char path[4000];

    (void)opaque;
    if (sscanf(line, "primary %u %u", &w, &h) == 2) {
        qxl_host_create_primary(device, (int)w, (int)h, false, 0);
        qxl_host_push(device, qxl_draw_fill(0, qxl_rect(0, 0, (int)w, (int)h), 0x204060, SPICE_ROPD_OP_PUT));
        qxl_host_wait_popped(device, 5000);
        puts("primary made");
    } else if (strcmp(line, "unprimary") == 0) {
        qxl_host_destroy_primary(device, 0);
        puts("primary gone");
    } else if (strncmp(line, "scanout ", 8) == 0) {
        show(line + 8);
    } else if (strcmp(line, "none") == 0) {
        spice_qxl_gl_scanout(&device->qxl, -1, 0, 0, 0, 0, 0);
        drop_picture();
        puts("scanout none");
    } else if (sscanf(line, "paint %u %u %u %u", &x, &y, &w, &h) == 4) {
        paint(x, y, w, h);
        printf("drawn %llu\n", (unsigned long long)begin_draw(x, y, w, h));
    } else if (sscanf(line, "draw %u %u %u %u", &x, &y, &w, &h) == 4) {
        printf("drawn %llu\n", (unsigned long long)begin_draw(x, y, w, h));
    } else if (sscanf(line, "draws %u", &count) == 1) {
        many(count);
    } else if (sscanf(line, "dump %3999s", path) == 1) {
        printf("dumped %d\n", dump(path));
    } else if (strcmp(line, "cut") == 0) {
        printf("cut%s\n", ftruncate(picture.fd, 0) == 0 ? "" : " failed");
        munmap(picture.memory, picture.size);
        picture.memory = NULL;
    } else if (strcmp(line, "fds") == 0) {
        printf("fds %u\n", descriptors());
    } else if (strcmp(line, "mouse") == 0) {
        printf("mouse %d\n", spice_server_is_server_mouse(server));
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
    bool released;
    unsigned offences;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc != 3)
        return 2;
    rng_seed(&noise, 1);
    server = spice_server_new();
    spice_server_set_noauth(server);
    if (strcmp(argv[1], "--unix") == 0) {
        spice_server_set_addr(server, argv[2], SPICE_ADDR_FLAG_UNIX_ONLY);
    } else {
        spice_server_set_addr(server, "127.0.0.1", 0);
        spice_server_set_port(server, atoi(argv[2]));
    }
    spice_server_set_image_compression(server, SPICE_IMAGE_COMPRESSION_OFF);
    spice_server_set_streaming_video(server, SPICE_STREAM_VIDEO_OFF);
    if (spice_server_init(server, core) != 0)
        return 1;
    device = qxl_host_new(0);
    qxl_host_attach(device, server);
    spice_server_vm_start(server);
    lines = core->watch_add(0, SPICE_WATCH_EVENT_READ, obey, NULL);
    puts("ready");
    while (!quit_asked) {
        core_loop_step(first_open < num_draws ? 1 : 1000);
        look();
    }
    core->watch_remove(lines);
    spice_server_vm_stop(server);
    spice_qxl_destroy_surfaces(&device->qxl);
    released = qxl_host_wait_released(device, 5000);
    printf("released %s\n", released ? "all" : "not all");
    spice_server_destroy(server);
    look();
    drop_picture();
    offences = qxl_host_offences(device, stdout);
    qxl_host_free(device);
    printf("offences %u\n", offences);
    return offences ? 1 : 0;
}
