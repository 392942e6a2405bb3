/* What the host and the draining client of the command benchmark share. */
#ifndef COMMANDS_BENCH_H
#define COMMANDS_BENCH_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

enum { MESSAGE_KINDS = 512 };

enum client_mode {
    CLIENT_DRAINS,  /* reads and throws away as fast as it can */
    CLIENT_STALLS,  /* reads no more on the display channel once the picture has come */
    CLIENT_IS_SLOW, /* reads 16 KiB every 10 ms */
    CLIENT_NONE,    /* nobody connects */
};

/* In memory that both processes map. */
struct shared {
    atomic_uint ready;             /* the client has its first picture */
    atomic_uint failed;            /* the client gave up */
    atomic_uint stop;              /* the host is done */
    atomic_ullong messages;        /* of the display channel, SET_ACK and PING included */
    atomic_ullong bytes;           /* of the display channel, headers included */
    atomic_ullong kinds[MESSAGE_KINDS];
    atomic_ullong last_ns;         /* when the last bytes of the display channel came */
    atomic_ullong acks;            /* sent */
    atomic_ullong drawn;           /* commands that have arrived as commands */
    atomic_ullong gate;            /* the client writes to `gate_fd` once `drawn` has come so far; 0: never */
    int gate_fd;
};

static inline uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The life of the client process: links main and display over the unix socket, then reads until told to stop. */
void client_run(struct shared *shared, const char *path, enum client_mode mode);

#endif /* COMMANDS_BENCH_H */
