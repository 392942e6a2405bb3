/* Threads as /proc shows them. */
#include "threads.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* False if the thread has ended. */
static bool read_thread(const char *task, struct thread_time *thread)
{
    char path[300];
    bool good = false;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/self/task/%s/comm", task);
    file = fopen(path, "r");
    if (file) {
        good = fscanf(file, "%31[^\n]", thread->name) == 1;
        fclose(file);
    }
    snprintf(path, sizeof(path), "/proc/self/task/%s/schedstat", task);
    file = good ? fopen(path, "r") : NULL;
    if (file) {
        good = fscanf(file, "%" SCNu64, &thread->ns) == 1;
        fclose(file);
    }
    return good && file;
}

static struct thread_time *find(struct thread_times *times, const char *name)
{
    for (unsigned i = 0; i < times->count; i++) {
        if (strcmp(times->threads[i].name, name) == 0)
            return &times->threads[i];
    }
    return NULL;
}

void threads_read(struct thread_times *times)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;

    times->count = 0;
    while (tasks && (entry = readdir(tasks)) != NULL) {
        struct thread_time thread = { .ns = 0 }, *known;

        if (entry->d_name[0] == '.' || atoi(entry->d_name) == (int)getpid() || !read_thread(entry->d_name, &thread))
            continue;
        known = find(times, thread.name);
        if (known)
            known->ns += thread.ns;
        else if (times->count < THREADS)
            times->threads[times->count++] = thread;
    }
    if (tasks)
        closedir(tasks);
}

void threads_print_since(const struct thread_times *before)
{
    struct thread_times now, then = *before;
    const char *comma = "";

    threads_read(&now);
    for (unsigned i = 0; i < now.count; i++) {
        struct thread_time *thread = &now.threads[i], *old = find(&then, thread->name);
        uint64_t ns = thread->ns - (old && old->ns <= thread->ns ? old->ns : 0);

        if (ns < 1000000)
            continue; /* less than a millisecond */
        printf("%s\"%s\": %" PRIu64, comma, thread->name, ns);
        comma = ", ";
    }
}
