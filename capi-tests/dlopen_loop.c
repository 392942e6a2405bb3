/*
 * Loads the library, uses a server, destroys it and closes the library, again and again.
 *
 *   dlopen_loop LIBRARY [ROUNDS]
 *
 * Prints what the process holds after a few rounds and after all, and fails if descriptors,
 * threads, mappings or heap grew in between.
 *
 * It runs itself again with malloc's per-thread caches and extra arenas turned off: malloc counts
 * what lies freed in those caches as in use, and they fill for hundreds of rounds. Without them
 * the heap is exact, so that even a few bytes per round show.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core_loop.h"

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
    held.timers = timer_count();
    held.watches = watch_count();
    held.descriptors = entries("/proc/self/fd");
    held.threads = entries("/proc/self/task");
    held.heap = mallinfo2().uordblks;
    printf("descriptors %d threads %d mappings %d timers %d watches %d heap %zu\n",
           held.descriptors, held.threads, held.mappings, held.timers, held.watches, held.heap);
    return held;
}

/* The least heap in use after any of the rounds from `first` on: single rounds differ by what
 * happens to be alive (a key that is just being made), a leak lifts all of them. */
static size_t lowest(const size_t *heap, int first, int count)
{
    size_t low = heap[first];
    for (int i = first; i < first + count; i++) {
        low = heap[i] < low ? heap[i] : low;
    }
    return low;
}

int main(int argc, char **argv)
{
    const int warm_up = 10, window = 40;
    const char *exact = "glibc.malloc.tcache_count=0:glibc.malloc.arena_max=1";
    const char *tunables = getenv("GLIBC_TUNABLES");
    if (!tunables || strcmp(tunables, exact) != 0) {
        setenv("GLIBC_TUNABLES", exact, 1);
        execv("/proc/self/exe", argv);
        perror("execv");
        return 1;
    }
    int rounds = argc > 2 ? atoi(argv[2]) : 100;
    int servers = 0;
    struct held before = {0};
    size_t *heap = calloc((size_t)(warm_up + rounds), sizeof(*heap));

    if (argc < 2 || rounds < window || !heap) {
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
        heap[i] = mallinfo2().uordblks;
    }
    struct held after = look();
    printf("rounds %d servers %d\n", warm_up + rounds, servers);

    size_t first_low = lowest(heap, warm_up, window);
    size_t last_low = lowest(heap, warm_up + rounds - window, window);
    printf("least heap of %d rounds: first %zu last %zu\n", window, first_low, last_low);

    /* Arenas and stacks may be mapped later than the first rounds, but not once per round. */
    if (after.descriptors > before.descriptors || after.threads > before.threads ||
        after.timers > before.timers || after.watches > before.watches ||
        after.mappings > before.mappings + 8 || last_low > first_low + 2 * (size_t)rounds) {
        printf("LEAK\n");
        return 1;
    }
    printf("no leak\n");
    return 0;
}
