/* A film on a QXL device: moving photographs, so many a second, each with its number in it, so that whoever looks at the
 * client's side can count the frames and see how late they are.
 *
 *   play_film --unix PATH | --port P [--size 640x360] [--fps 30] [--mode 1|2|3] [--seed S] [--codecs LIST] [--sound]
 *       serves a screen of 1024x768 or more and obeys lines on stdin:
 *         "play N"         N frames in their time; answers "played N first MS last MS" (CLOCK_MONOTONIC)
 *         "place X Y"      where the film is from now on
 *         "window X Y W H" a window over it: a filled box, and frames are clipped to what it leaves
 *         "window"         no window any more
 *         "cover X Y W H"  a filled box that later frames paint over
 *         "blend X Y W H"  inverts what is there
 *         "copy X Y W H DX DY"  moves pixels on the screen
 *         "repeat N"       the last frame again, N times
 *         "update"         update_area of the screen
 *         "mode N", "codecs LIST", "dump FILE", "cpu" (answers "cpu MS" of the process), "quit"
 *
 * With --sound there is a playback device: while frames are played each of its samples is the number of the frame on the screen.
 *
 * The number of a frame stands in its first 16 rows: 16 squares of 16 pixels, white for 1, the lowest bit first.
 */
#include "host/host.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SCREEN_WIDTH = 1280, SCREEN_HEIGHT = 800, SQUARE = 16, BITS = 16, WORLD = 2048 };

static struct {
    SpiceServer *server;
    struct qxl_host *device;
    struct rng rng;
    int width, height, fps, x, y;
    bool windowed;
    QXLRect window;
    unsigned number;
    uint32_t *pixels;
    bool quit, sounds;
    uint64_t sound_due; /* ms */
} state = { .width = 640, .height = 360, .fps = 30, .x = 64, .y = 32 };

static const SpicePlaybackInterface playback_interface = {
    .base = { SPICE_INTERFACE_PLAYBACK, "film's sound", SPICE_INTERFACE_PLAYBACK_MAJOR, SPICE_INTERFACE_PLAYBACK_MINOR },
};
static SpicePlaybackInstance playback = { .base.sif = &playback_interface.base };

static uint32_t (*world)[WORLD];

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A photograph whose edges fit together: smooth at three scales, with edges and the noise of a camera. */
static void make_world(void)
{
    enum { SCALES = 3 };
    static int lattice[SCALES][3][WORLD / 8 + 1][WORLD / 8 + 1];

    world = malloc(sizeof(uint32_t) * WORLD * WORLD);
    for (int s = 0; s < SCALES; s++) {
        for (int c = 0; c < 3; c++) {
            for (int y = 0; y < WORLD >> (7 - 2 * s); y++) {
                for (int x = 0; x < WORLD >> (7 - 2 * s); x++)
                    lattice[s][c][y][x] = rng_range(&state.rng, -72 >> s, 72 >> s);
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
                value += rng_range(&state.rng, -2, 2);
                value = value < 0 ? 0 : value > 255 ? 255 : value;
                pixel = pixel << 8 | (uint32_t)value;
            }
            world[y][x] = pixel;
        }
    }
}

static void draw_frame(unsigned number)
{
    int left = (int)(number * 3), top = (int)(number * 2);

    for (int y = 0; y < state.height; y++) {
        for (int x = 0; x < state.width; x++)
            state.pixels[y * state.width + x] = world[(top + y) & (WORLD - 1)][(left + x) & (WORLD - 1)];
    }
    for (int y = 0; y < SQUARE; y++) {
        for (int x = 0; x < SQUARE * BITS; x++)
            state.pixels[y * state.width + x] = number >> (x / SQUARE) & 1 ? 0xffffff : 0;
    }
}

static void push(struct qxl_item *item)
{
    qxl_host_push(state.device, item);
}

static void push_frame(void)
{
    QXLRect place = qxl_rect(state.x, state.y, state.x + state.width, state.y + state.height);
    QXLRect all = qxl_rect(0, 0, state.width, state.height);
    struct qxl_source source = { .pixels = state.pixels, .width = state.width, .height = state.height };
    struct qxl_item *item = qxl_draw_copy(0, place, source, all, SPICE_ROPD_OP_PUT);

    if (state.windowed) {
        QXLRect w = state.window;
        QXLRect seen[4] = {
            qxl_rect(place.left, place.top, place.right, w.top), qxl_rect(place.left, w.top, w.left, w.bottom),
            qxl_rect(w.right, w.top, place.right, w.bottom), qxl_rect(place.left, w.bottom, place.right, place.bottom),
        };

        qxl_draw_clip(item, seen, 4);
    }
    push(item);
}

/* A buffer of 10 ms each 10 ms, as a sound card that is emulated gives them. */
static void sound(void)
{
    for (uint64_t now = now_ms(); state.sounds && state.sound_due <= now; state.sound_due += 10) {
        uint32_t *samples = NULL, count = 0;

        spice_server_playback_get_buffer(&playback, &samples, &count);
        if (!samples)
            continue;
        for (uint32_t i = 0; i < count; i++)
            samples[i] = state.number;
        spice_server_playback_put_samples(&playback, samples);
    }
}

static void play(int count)
{
    struct timespec start, next;
    uint64_t first = 0, last = 0;

    clock_gettime(CLOCK_MONOTONIC, &start);
    state.sound_due = now_ms();
    if (state.sounds)
        spice_server_playback_start(&playback);
    for (int i = 0; i < count; i++) {
        int64_t at = (int64_t)start.tv_nsec + (int64_t)i * 1000000000 / state.fps;

        draw_frame(state.number + 1);
        next.tv_sec = start.tv_sec + at / 1000000000;
        next.tv_nsec = at % 1000000000;
        for (;;) {
            struct timespec now;
            int64_t left;

            clock_gettime(CLOCK_MONOTONIC, &now);
            left = (int64_t)(next.tv_sec - now.tv_sec) * 1000 + (next.tv_nsec - now.tv_nsec) / 1000000;
            if (left <= 0)
                break;
            core_loop_step(state.sounds && left > 5 ? 5 : (int)left);
            sound();
        }
        state.number++;
        /* A server that is far behind is not given more: it would be another measurement. */
        if (qxl_host_backlog(state.device) < 100)
            push_frame();
        last = now_ms();
        if (!first)
            first = last;
        core_loop_step(0);
    }
    if (state.sounds)
        spice_server_playback_stop(&playback);
    printf("played %u first %llu last %llu\n", state.number, (unsigned long long)first, (unsigned long long)last);
}

static QXLRect box(const char *words)
{
    int x = 0, y = 0, width = 1, height = 1;

    sscanf(words, "%d %d %d %d", &x, &y, &width, &height);
    return qxl_rect(x, y, x + width, y + height);
}

static int dump(const char *path)
{
    ptrdiff_t stride;
    const uint8_t *pixels;

    qxl_host_render(state.device, 0);
    pixels = qxl_host_pixels(state.device, 0, &stride);
    return pixels_write_ppm(path, pixels, SCREEN_WIDTH, SCREEN_HEIGHT, stride);
}

static void obey_line(const char *line, void *opaque)
{
    (void)opaque;
    if (strncmp(line, "play ", 5) == 0) {
        play(atoi(line + 5));
    } else if (strncmp(line, "place ", 6) == 0) {
        sscanf(line + 6, "%d %d", &state.x, &state.y);
        puts("done");
    } else if (strcmp(line, "window") == 0) {
        state.windowed = false;
        puts("done");
    } else if (strncmp(line, "window ", 7) == 0) {
        state.window = box(line + 7);
        state.windowed = true;
        push(qxl_draw_fill(0, state.window, 0x204060, SPICE_ROPD_OP_PUT));
        puts("done");
    } else if (strncmp(line, "cover ", 6) == 0) {
        push(qxl_draw_fill(0, box(line + 6), 0x40a010, SPICE_ROPD_OP_PUT));
        puts("done");
    } else if (strncmp(line, "blend ", 6) == 0) {
        push(qxl_draw_plain(0, QXL_DRAW_INVERS, box(line + 6)));
        puts("done");
    } else if (strncmp(line, "copy ", 5) == 0) {
        int dx = 0, dy = 0;
        QXLRect from = box(line + 5), to;

        sscanf(line + 5, "%*d %*d %*d %*d %d %d", &dx, &dy);
        to = qxl_rect(from.left + dx, from.top + dy, from.right + dx, from.bottom + dy);
        push(qxl_draw_copy_bits(0, to, from.left, from.top));
        puts("done");
    } else if (strncmp(line, "repeat ", 7) == 0) {
        for (int i = atoi(line + 7); i > 0; i--) {
            push_frame();
            core_loop_until(NULL, NULL, 1000 / state.fps);
        }
        puts("done");
    } else if (strcmp(line, "update") == 0) {
        qxl_host_render(state.device, 0);
        puts("done");
    } else if (strncmp(line, "mode ", 5) == 0) {
        printf("mode %d\n", spice_server_set_streaming_video(state.server, atoi(line + 5)));
    } else if (strncmp(line, "codecs ", 7) == 0) {
        int result = spice_server_set_video_codecs(state.server, line + 7);
        const char *list = spice_server_get_video_codecs(state.server);

        printf("codecs %d %s\n", result, list);
        spice_server_free_video_codecs(state.server, list);
    } else if (strncmp(line, "dump ", 5) == 0) {
        puts(dump(line + 5) == 0 ? "dumped" : "dump failed");
    } else if (strcmp(line, "cpu") == 0) {
        struct timespec used, mine;

        /* The thread of this loop draws the frames: that is no work of the server. */
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &mine);
        printf("cpu %lld\n", (long long)(used.tv_sec - mine.tv_sec) * 1000 + (used.tv_nsec - mine.tv_nsec) / 1000000);
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
        { "seed", required_argument, NULL, 's' },   { "unix", required_argument, NULL, 'u' },
        { "port", required_argument, NULL, 'p' },   { "size", required_argument, NULL, 'S' },
        { "fps", required_argument, NULL, 'f' },    { "mode", required_argument, NULL, 'm' },
        { "codecs", required_argument, NULL, 'c' }, { "sound", no_argument, NULL, 'a' },
        { NULL, 0, NULL, 0 },
    };
    const char *path = NULL, *codecs = NULL;
    int seed = 1, port = 0, mode = 0, option;
    bool all;
    unsigned offences;
    SpiceCoreInterface *core = core_loop_start();
    SpiceWatch *input;

    setvbuf(stdout, NULL, _IOLBF, 0);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 's': seed = atoi(optarg); break;
        case 'u': path = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 'S': sscanf(optarg, "%dx%d", &state.width, &state.height); break;
        case 'f': state.fps = atoi(optarg); break;
        case 'm': mode = atoi(optarg); break;
        case 'a': state.sounds = true; break;
        case 'c': codecs = optarg; break;
        default: return 2;
        }
    }
    if ((!path && !port) || state.fps < 1 || state.width < SQUARE * BITS || state.width > SCREEN_WIDTH ||
        state.height < SQUARE || state.height > SCREEN_HEIGHT)
        return 2;
    if (state.width > SCREEN_WIDTH - 64)
        state.x = SCREEN_WIDTH - state.width;
    rng_seed(&state.rng, (uint64_t)seed);
    make_world();
    state.pixels = malloc(sizeof(uint32_t) * (size_t)state.width * (size_t)state.height);
    state.server = spice_server_new();
    spice_server_set_noauth(state.server);
    if (mode)
        spice_server_set_streaming_video(state.server, mode);
    if (path) {
        spice_server_set_addr(state.server, path, SPICE_ADDR_FLAG_UNIX_ONLY);
    } else {
        spice_server_set_addr(state.server, "127.0.0.1", 0);
        spice_server_set_port(state.server, port);
    }
    if (spice_server_init(state.server, core) != 0)
        return 1;
    if (codecs && spice_server_set_video_codecs(state.server, codecs) != 0)
        return 1;
    if (state.sounds) {
        spice_server_set_playback_compression(state.server, 0);
        spice_server_add_interface(state.server, &playback.base);
        spice_server_set_playback_rate(&playback, 48000);
    }
    state.device = qxl_host_new(0);
    qxl_host_attach(state.device, state.server);
    qxl_host_create_primary(state.device, SCREEN_WIDTH, SCREEN_HEIGHT, false, 0);
    spice_server_vm_start(state.server);
    input = core->watch_add(0, SPICE_WATCH_EVENT_READ, obey, NULL);
    puts("ready");
    while (!state.quit)
        core_loop_step(1000);
    core->watch_remove(input);
    spice_server_vm_stop(state.server);
    spice_qxl_destroy_surfaces(&state.device->qxl);
    all = qxl_host_wait_released(state.device, 2000);
    printf("released %s\n", all ? "all" : "not all");
    if (state.sounds)
        spice_server_remove_interface(&playback.base);
    spice_server_destroy(state.server);
    offences = qxl_host_offences(state.device, stdout);
    qxl_host_free(state.device);
    printf("offences %u\n", offences);
    return offences ? 1 : 0;
}
