/* Processor time of this process's threads, by name. */
#ifndef TRACES_THREADS_H
#define TRACES_THREADS_H

#include <stdint.h>

enum { THREADS = 64 };

struct thread_times {
    struct thread_time {
        char name[32];
        uint64_t ns;
    } threads[THREADS];
    unsigned count;
};

/* Of all threads but the first; those of one name are one entry. */
void threads_read(struct thread_times *times);

/* Prints `"NAME": NANOSECONDS` for each that has worked since, with commas in between. */
void threads_print_since(const struct thread_times *before);

#endif /* TRACES_THREADS_H */
