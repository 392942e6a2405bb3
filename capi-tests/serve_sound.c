/* Plays and records as it is told, on either library.
 *
 *   serve_sound --unix PATH | --port P [--display]
 *
 * With --display there is a screen of 1024x768 as well, on which "draw on" has a thread draw noise as fast as it is taken.
 * Lines on stdin, each answered by one line unless said otherwise:
 *
 *   add X, remove X          X is playback, playback2 or record: what the library returned
 *   start X, stop X
 *   volume X LEFT RIGHT, mute X N, rate X HZ, best [X]
 *   compression N            spice_server_set_playback_compression
 *   get                      a buffer: its number of samples, and which of those that the program holds it is
 *   put                      gives the buffer that was held for longest back, filled; "none" if there is none
 *   give WHAT                gives something wrong back: null, stack, heap or stale
 *   signal counter|stamp|tone    what the next buffers hold (see fill)
 *   play N [EVERY_US]        plays N buffers, one each 10 ms by the clock; answers "played N taken M refused K" at the end
 *   burst N                  plays N buffers at once
 *   toggle N                 stops and starts both N times, with a volume in between
 *   take N                   spice_server_record_get_samples: how many came, and the sum of their bytes
 *   record FILE              appends every 10 ms what there is to a file, until "record off"
 *   draw on|off
 *   stats                    the longest calls and the longest wait for a tick of 5 ms since the last time, microseconds
 *   quit
 */
#include "host/host.h"

#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef M_PI
#define M_PI 3.14159265358979323846
#endif
#include <math.h>

enum { WIDTH = 1024, HEIGHT = 768, HELD = 16, TICK_MS = 5 };

static const SpicePlaybackInterface playback_interface = {
    .base = { SPICE_INTERFACE_PLAYBACK, "test playback", SPICE_INTERFACE_PLAYBACK_MAJOR, SPICE_INTERFACE_PLAYBACK_MINOR },
};
static const SpiceRecordInterface record_interface = {
    .base = { SPICE_INTERFACE_RECORD, "test record", SPICE_INTERFACE_RECORD_MAJOR, SPICE_INTERFACE_RECORD_MINOR },
};

static SpiceServer *server;
static SpiceCoreInterface *core;
static SpicePlaybackInstance playback = { .base.sif = &playback_interface.base };
static SpicePlaybackInstance playback2 = { .base.sif = &playback_interface.base };
static SpiceRecordInstance record = { .base.sif = &record_interface.base };
static bool quit_asked;

static uint32_t *held[HELD], *stale;
static unsigned held_count;

static enum { COUNTER, STAMP, TONE } signal_kind;
static uint64_t position; /* stereo samples so far */
static unsigned play_left, play_taken, play_refused;
static uint64_t play_due, play_every; /* nanoseconds */

static FILE *recording;
static uint64_t longest_get, longest_put, longest_take, longest_tick, last_tick;

static struct qxl_host *device;
static atomic_bool drawing, draw_quit;
static pthread_t draw_thread;

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void longer(uint64_t *longest, uint64_t since)
{
    uint64_t took = clock_ns(CLOCK_MONOTONIC) - since;

    if (took > *longest)
        *longest = took;
}

/* Counter: each sample is its number. Stamp: the same, but the first two are the real time of the call in ns.
 * Tone: two sines and a sweep, different on both sides, 1/3 of full scale. */
static void fill(uint32_t *samples, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t n = position++;

        if (signal_kind == TONE) {
            double t = (double)n / 48000;
            double left = 6000 * sin(2 * M_PI * 440 * t) + 3000 * sin(2 * M_PI * 2500 * t);
            double right = 6000 * sin(2 * M_PI * 660 * t) + 3000 * sin(2 * M_PI * (1000 + 500 * sin(t)) * t);

            samples[i] = (uint32_t)(uint16_t)(int16_t)left | (uint32_t)(uint16_t)(int16_t)right << 16;
        } else {
            samples[i] = (uint32_t)n;
        }
    }
    if (signal_kind == STAMP) {
        uint64_t now = clock_ns(CLOCK_REALTIME);

        memcpy(samples, &now, sizeof(now));
    }
}

static uint32_t *get(uint32_t *count)
{
    uint32_t *samples = (uint32_t *)(uintptr_t)1;
    uint64_t start = clock_ns(CLOCK_MONOTONIC);

    *count = 77;
    spice_server_playback_get_buffer(&playback, &samples, count);
    longer(&longest_get, start);
    return samples;
}

static void put(uint32_t *samples)
{
    uint64_t start = clock_ns(CLOCK_MONOTONIC);

    spice_server_playback_put_samples(&playback, samples);
    longer(&longest_put, start);
}

static void play_one(void)
{
    uint32_t count, *samples = get(&count);

    if (!samples) {
        play_refused++;
        position += 480; /* what is lost shows in the signal */
        return;
    }
    play_taken++;
    fill(samples, count);
    put(samples);
}

static uint32_t take(uint32_t wanted, uint32_t *sum, FILE *file)
{
    static uint32_t samples[16384];
    uint64_t start = clock_ns(CLOCK_MONOTONIC);
    uint32_t count;

    memset(samples, 0xee, sizeof(samples));
    count = spice_server_record_get_samples(&record, samples, wanted > 16384 ? 16384 : wanted);
    longer(&longest_take, start);
    *sum = 0;
    for (uint32_t i = 0; i < 4 * count; i++)
        *sum += ((uint8_t *)samples)[i];
    if (file)
        fwrite(samples, 4, count, file);
    return count;
}

static void *draw(void *unused)
{
    static uint32_t pixels[WIDTH * HEIGHT];
    uint32_t seed = 1;

    (void)unused;
    while (!atomic_load(&draw_quit)) {
        struct qxl_source source = { .pixels = pixels, .width = WIDTH, .height = HEIGHT };
        QXLRect all = qxl_rect(0, 0, WIDTH, HEIGHT);

        if (!atomic_load(&drawing) || qxl_host_backlog(device) > 3) {
            usleep(500);
            continue;
        }
        for (unsigned i = 0; i < WIDTH * HEIGHT; i++) {
            seed = seed * 1664525 + 1013904223;
            pixels[i] = (i * 0x010203 & 0x7f7f7f) + (seed >> 9 & 0x070707);
        }
        qxl_host_push(device, qxl_draw_copy(0, all, source, all, SPICE_ROPD_OP_PUT));
    }
    return NULL;
}

static SpiceBaseInstance *instance(const char *name)
{
    if (strcmp(name, "record") == 0)
        return &record.base;
    return strcmp(name, "playback2") == 0 ? &playback2.base : &playback.base;
}

static void give_wrong(const char *what)
{
    uint32_t stack[480] = { 0 };
    uint32_t *heap = malloc(sizeof(stack));

    if (strcmp(what, "null") == 0)
        put(NULL);
    else if (strcmp(what, "stack") == 0)
        put(stack);
    else if (strcmp(what, "heap") == 0)
        put(heap);
    else if (stale)
        put(stale);
    free(heap);
    puts("given");
}

static void get_or_put(bool putting)
{
    uint32_t count, *samples;

    if (putting) {
        if (held_count == 0) {
            puts("put none");
            return;
        }
        samples = stale = held[0];
        memmove(held, held + 1, --held_count * sizeof(held[0]));
        fill(samples, 480);
        put(samples);
        puts("put");
        return;
    }
    samples = get(&count);
    if (!samples) {
        printf("get none %u\n", count);
        return;
    }
    for (unsigned i = 0; i < held_count; i++) {
        if (held[i] == samples)
            puts("the same buffer twice");
    }
    if (held_count < HELD)
        held[held_count++] = samples;
    printf("get %u held %u\n", count, held_count);
}

static void obey_line(const char *line, void *opaque)
{
    char word[256] = "", name[256] = "";
    int a = 0, b = 0;
    bool is_record;

    (void)opaque;
    sscanf(line, "%255s %255s %d %d", word, name, &a, &b);
    is_record = strcmp(name, "record") == 0;
    if (strcmp(word, "add") == 0) {
        printf("add %s %d\n", name, spice_server_add_interface(server, instance(name)));
    } else if (strcmp(word, "remove") == 0) {
        printf("remove %s %d\n", name, spice_server_remove_interface(instance(name)));
    } else if (strcmp(word, "start") == 0) {
        if (is_record)
            spice_server_record_start(&record);
        else
            spice_server_playback_start(&playback);
        puts(line);
    } else if (strcmp(word, "stop") == 0) {
        if (is_record)
            spice_server_record_stop(&record);
        else
            spice_server_playback_stop(&playback);
        puts(line);
    } else if (strcmp(word, "volume") == 0) {
        uint16_t volume[2] = { (uint16_t)a, (uint16_t)b };

        if (is_record)
            spice_server_record_set_volume(&record, 2, volume);
        else
            spice_server_playback_set_volume(&playback, 2, volume);
        puts(line);
    } else if (strcmp(word, "mute") == 0) {
        if (is_record)
            spice_server_record_set_mute(&record, (uint8_t)a);
        else
            spice_server_playback_set_mute(&playback, (uint8_t)a);
        puts(line);
    } else if (strcmp(word, "rate") == 0) {
        if (is_record)
            spice_server_set_record_rate(&record, (uint32_t)a);
        else
            spice_server_set_playback_rate(&playback, (uint32_t)a);
        puts(line);
    } else if (strcmp(word, "best") == 0) {
        printf("best %u %u null %u %u\n", spice_server_get_best_playback_rate(&playback),
               spice_server_get_best_record_rate(&record), spice_server_get_best_playback_rate(NULL),
               spice_server_get_best_record_rate(NULL));
    } else if (strcmp(word, "compression") == 0) {
        printf("compression %d\n", spice_server_set_playback_compression(server, atoi(name)));
    } else if (strcmp(word, "get") == 0 || strcmp(word, "put") == 0) {
        get_or_put(word[0] == 'p');
    } else if (strcmp(word, "give") == 0) {
        give_wrong(name);
    } else if (strcmp(word, "signal") == 0) {
        signal_kind = strcmp(name, "tone") == 0 ? TONE : strcmp(name, "stamp") == 0 ? STAMP : COUNTER;
        position = 0;
        puts(line);
    } else if (strcmp(word, "play") == 0) {
        play_left = (unsigned)atoi(name);
        play_every = a ? (uint64_t)a * 1000 : 10000000;
        play_due = clock_ns(CLOCK_MONOTONIC);
        play_taken = play_refused = 0;
    } else if (strcmp(word, "burst") == 0) {
        play_taken = play_refused = 0;
        for (int i = atoi(name); i > 0; i--)
            play_one();
        printf("burst taken %u refused %u\n", play_taken, play_refused);
    } else if (strcmp(word, "toggle") == 0) {
        for (int i = atoi(name); i > 0; i--) {
            uint16_t volume[2] = { (uint16_t)i, (uint16_t)i };

            spice_server_playback_stop(&playback);
            spice_server_record_stop(&record);
            spice_server_playback_set_volume(&playback, 2, volume);
            spice_server_record_set_volume(&record, 2, volume);
            spice_server_playback_start(&playback);
            spice_server_record_start(&record);
        }
        puts(line);
    } else if (strcmp(word, "take") == 0) {
        uint32_t sum, count = take((uint32_t)atoi(name), &sum, NULL);

        printf("take %u sum %u\n", count, sum);
    } else if (strcmp(word, "record") == 0) {
        if (recording)
            fclose(recording);
        recording = strcmp(name, "off") == 0 ? NULL : fopen(name, "wb");
        puts(line);
    } else if (strcmp(word, "draw") == 0) {
        atomic_store(&drawing, strcmp(name, "on") == 0);
        puts(line);
    } else if (strcmp(word, "stats") == 0) {
        printf("stats get %u put %u take %u tick %u\n", (unsigned)(longest_get / 1000), (unsigned)(longest_put / 1000),
               (unsigned)(longest_take / 1000), (unsigned)(longest_tick / 1000));
        longest_get = longest_put = longest_take = longest_tick = 0;
    } else if (strcmp(word, "quit") == 0) {
        quit_asked = true;
    } else {
        printf("what is %s?\n", line);
    }
}

static void obey(int fd, int event, void *opaque)
{
    (void)event;
    (void)opaque;
    if (!core_loop_read_lines(fd, obey_line, NULL))
        quit_asked = true;
}

/* What is due by the clock; milliseconds until the next time. */
static int work(void)
{
    static uint64_t next_take;
    uint64_t now = clock_ns(CLOCK_MONOTONIC);

    if (last_tick && now - last_tick > (TICK_MS + 1) * 1000000u && now - last_tick - TICK_MS * 1000000u > longest_tick)
        longest_tick = now - last_tick - TICK_MS * 1000000u;
    last_tick = now;
    while (play_left && play_due <= now) {
        play_one();
        play_due += play_every;
        if (--play_left == 0)
            printf("played %u taken %u refused %u\n", play_taken + play_refused, play_taken, play_refused);
    }
    if (recording && next_take <= now) {
        uint32_t sum;

        take(16384, &sum, recording);
        next_take = now + 10000000;
    }
    if (play_left) {
        /* The loop sleeps in milliseconds: the rest is spent awake, so that each buffer comes on time. */
        now = clock_ns(CLOCK_MONOTONIC);
        if (play_due <= now + 1000000)
            return 0;
        now = (play_due - now) / 1000000;
        return now < TICK_MS ? (int)now : TICK_MS;
    }
    return TICK_MS;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "port", required_argument, NULL, 'p' },
        { "unix", required_argument, NULL, 'u' },
        { "display", no_argument, NULL, 'd' },
        { NULL, 0, NULL, 0 },
    };
    const char *path = NULL;
    SpiceWatch *lines;
    int port = 0, option;
    bool screen = false;
    unsigned offences = 0;

    core = core_loop_start();
    setvbuf(stdout, NULL, _IOLBF, 0);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'u': path = optarg; break;
        case 'd': screen = true; break;
        default: return 2;
        }
    }
    server = spice_server_new();
    spice_server_set_name(server, "sound");
    spice_server_set_noauth(server);
    if (path) {
        spice_server_set_addr(server, path, SPICE_ADDR_FLAG_UNIX_ONLY);
    } else {
        spice_server_set_addr(server, "127.0.0.1", 0);
        spice_server_set_port(server, port);
    }
    if (spice_server_init(server, core) != 0)
        return 1;
    if (screen) {
        device = qxl_host_new(0);
        qxl_host_attach(device, server);
        qxl_host_create_primary(device, WIDTH, HEIGHT, false, 0);
        pthread_create(&draw_thread, NULL, draw, NULL);
    }
    spice_server_vm_start(server);
    lines = core->watch_add(0, SPICE_WATCH_EVENT_READ, obey, NULL);
    puts("ready");
    while (!quit_asked)
        core_loop_step(work());
    core->watch_remove(lines);
    if (screen) {
        atomic_store(&draw_quit, true);
        pthread_join(draw_thread, NULL);
        qxl_host_wait_popped(device, 10000);
    }
    spice_server_vm_stop(server);
    if (screen)
        spice_qxl_destroy_surfaces(&device->qxl);
    spice_server_destroy(server);
    core_loop_step(0);
    while (held_count) /* given back after everything: nobody may look at it any more */
        put(held[--held_count]);
    if (screen) {
        offences = qxl_host_offences(device, stdout);
        qxl_host_free(device);
    }
    printf("end: %u watches, %u timers, %u offences\n", core_loop_live_watches(), core_loop_live_timers(), offences);
    if (recording)
        fclose(recording);
    puts("released all");
    return offences ? 1 : 0;
}
