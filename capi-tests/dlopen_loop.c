/*
 * Loads the library, uses a server, destroys it and closes the library, again and again.
 *
 *   dlopen_loop LIBRARY [ROUNDS]
 *
 * Prints what the process holds after a few rounds and after all, and fails if descriptors,
 * threads, mappings or heap grew in between. The host part below is the smallest one that can
 * drive a server: one-shot timers and watches on poll().
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <spice.h>

struct SpiceTimer {
    SpiceTimerFunc func;
    void *opaque;
    long long due; /* milliseconds, 0 when not armed */
    SpiceTimer *next;
};

struct SpiceWatch {
    int fd;
    int mask;
    SpiceWatchFunc func;
    void *opaque;
    SpiceWatch *next;
};

static SpiceTimer *timers;
static SpiceWatch *watches;

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000 + 1;
}

static SpiceTimer *timer_add(SpiceTimerFunc func, void *opaque)
{
    SpiceTimer *timer = calloc(1, sizeof(*timer));
    timer->func = func;
    timer->opaque = opaque;
    timer->next = timers;
    timers = timer;
    return timer;
}

static void timer_start(SpiceTimer *timer, uint32_t ms)
{
    timer->due = now() + ms;
}

static void timer_cancel(SpiceTimer *timer)
{
    timer->due = 0;
}

static void timer_remove(SpiceTimer *timer)
{
    SpiceTimer **link = &timers;
    while (*link != timer) {
        link = &(*link)->next;
    }
    *link = timer->next;
    free(timer);
}

static SpiceWatch *watch_add(int fd, int mask, SpiceWatchFunc func, void *opaque)
{
    SpiceWatch *watch = calloc(1, sizeof(*watch));
    watch->fd = fd;
    watch->mask = mask;
    watch->func = func;
    watch->opaque = opaque;
    watch->next = watches;
    watches = watch;
    return watch;
}

static void watch_update_mask(SpiceWatch *watch, int mask)
{
    watch->mask = mask;
}

static void watch_remove(SpiceWatch *watch)
{
    SpiceWatch **link = &watches;
    while (*link != watch) {
        link = &(*link)->next;
    }
    *link = watch->next;
    free(watch);
}

static void channel_event(int event, SpiceChannelEventInfo *info)
{
    (void)event;
    (void)info;
}

static SpiceCoreInterface core = {
    .base = {
        .type = SPICE_INTERFACE_CORE,
        .description = "dlopen loop",
        .major_version = SPICE_INTERFACE_CORE_MAJOR,
        .minor_version = SPICE_INTERFACE_CORE_MINOR,
    },
    .timer_add = timer_add,
    .timer_start = timer_start,
    .timer_cancel = timer_cancel,
    .timer_remove = timer_remove,
    .watch_add = watch_add,
    .watch_update_mask = watch_update_mask,
    .watch_remove = watch_remove,
    .channel_event = channel_event,
};

/* Delivers what is due now, at most one event: a callback may change the lists. */
static void turn(void)
{
    for (SpiceTimer *timer = timers; timer; timer = timer->next) {
        if (timer->due && timer->due <= now()) {
            timer->due = 0;
            timer->func(timer->opaque);
            return;
        }
    }
    for (SpiceWatch *watch = watches; watch; watch = watch->next) {
        struct pollfd p = {.fd = watch->fd};
        p.events = (watch->mask & SPICE_WATCH_EVENT_READ ? POLLIN : 0) |
                   (watch->mask & SPICE_WATCH_EVENT_WRITE ? POLLOUT : 0);
        if (p.events && poll(&p, 1, 0) > 0) {
            watch->func(watch->fd,
                        p.revents & POLLOUT ? SPICE_WATCH_EVENT_WRITE : SPICE_WATCH_EVENT_READ,
                        watch->opaque);
            return;
        }
    }
}

/* The library is not linked, so every function is looked up by name. */
static void *library;

static void *function(const char *name)
{
    void *found = dlsym(library, name);
    if (!found) {
        fprintf(stderr, "no %s: %s\n", name, dlerror());
        exit(1);
    }
    return found;
}

#define CALL(name) ((__typeof__(&name))function(#name))

/* Uses a server; 1 if there was one. */
static int use_a_server(void)
{
    SpiceServer *server = CALL(spice_server_new)();
    if (!server) {
        return 0;
    }
    CALL(spice_server_set_addr)(server, "127.0.0.1", 0);
    CALL(spice_server_set_port)(server, 0);
    CALL(spice_server_set_noauth)(server);
    CALL(spice_server_set_name)(server, "dlopen loop");
    if (CALL(spice_server_init)(server, &core) != 0) {
        fprintf(stderr, "init failed\n");
        exit(1);
    }
    CALL(spice_server_vm_start)(server);
    for (int i = 0; i < 4; i++) {
        turn();
    }
    CALL(spice_server_vm_stop)(server);
    CALL(spice_server_destroy)(server);
    return 1;
}

struct held {
    int descriptors, threads, mappings, timers, watches;
    size_t heap;
};

static int entries(const char *path)
{
    int count = 0;
    DIR *directory = opendir(path);
    while (directory && readdir(directory)) {
        count++;
    }
    if (directory) {
        closedir(directory);
    }
    return count;
}

static struct held look(void)
{
    struct held held = {0};
    FILE *maps = fopen("/proc/self/maps", "r");
    for (int c; maps && (c = fgetc(maps)) != EOF;) {
        held.mappings += c == '\n';
    }
    if (maps) {
        fclose(maps);
    }
    for (SpiceTimer *timer = timers; timer; timer = timer->next) {
        held.timers++;
    }
    for (SpiceWatch *watch = watches; watch; watch = watch->next) {
        held.watches++;
    }
    held.descriptors = entries("/proc/self/fd");
    held.threads = entries("/proc/self/task");
    held.heap = mallinfo2().uordblks;
    printf("descriptors %d threads %d mappings %d timers %d watches %d heap %zu\n",
           held.descriptors, held.threads, held.mappings, held.timers, held.watches, held.heap);
    return held;
}

int main(int argc, char **argv)
{
    const int warm_up = 10;
    int rounds = argc > 2 ? atoi(argv[2]) : 100;
    int servers = 0;
    struct held before = {0};

    if (argc < 2) {
        fprintf(stderr, "usage: dlopen_loop LIBRARY [ROUNDS]\n");
        return 1;
    }
    printf("library %s\n", argv[1]); /* also allocates the output's buffer before the first look */
    for (int i = 0; i < warm_up + rounds; i++) {
        if (i == warm_up) {
            before = look();
        }
        library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
        if (!library) {
            fprintf(stderr, "%s\n", dlerror());
            return 1;
        }
        servers += use_a_server();
        dlclose(library);
    }
    struct held after = look();
    printf("rounds %d servers %d\n", warm_up + rounds, servers);

    /* Arenas and stacks may be mapped later than the first rounds, but not once per round. */
    if (after.descriptors > before.descriptors || after.threads > before.threads ||
        after.timers > before.timers || after.watches > before.watches ||
        after.mappings > before.mappings + 8 || after.heap > before.heap + 32 * (size_t)rounds) {
        printf("LEAK\n");
        return 1;
    }
    printf("no leak\n");
    return 0;
}
