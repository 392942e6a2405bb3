/* A client that drains its sockets, and what the host of a benchmark shares with it. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum { MESSAGE_KINDS = 512, IMAGE_TYPES = 128 };

enum client_mode {
    CLIENT_DRAINS,  /* reads and throws away as fast as it can */
    CLIENT_STALLS,  /* reads no more on the display channel once the picture has come */
    CLIENT_IS_SLOW, /* reads 16 KiB every 10 ms */
    CLIENT_NONE,    /* nobody connects */
};

/* In memory that both processes map. */
struct shared {
    atomic_uint linked;            /* the client has sent its INIT */
    atomic_uint ready;             /* the client has its first picture */
    atomic_uint failed;            /* the client gave up */
    atomic_uint stop;              /* the host is done */
    atomic_ullong messages;        /* of the display channel, SET_ACK and PING included */
    atomic_ullong bytes;           /* of the display channel, headers included */
    atomic_ullong kinds[MESSAGE_KINDS];
    atomic_ullong last_ns;         /* when the last bytes of the display channel came */
    atomic_ullong acks;            /* sent */
    atomic_ullong drawn;           /* commands that have arrived as commands */
    atomic_ullong area;            /* pixels of the boxes of these commands: the same however a large one is cut */
    atomic_ullong image_bytes[IMAGE_TYPES]; /* of whole draw_copy messages, by SpiceImageType */
    atomic_ullong gate;            /* the client writes to `gate_fd` once it has come so far; 0: never */
    bool gate_counts_area;         /* `gate` is about `area`, not about `drawn` */
    int gate_fd;
};

static inline uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* What a client asks for and says of itself. */
struct client_wish {
    const char *path;      /* unix socket; NULL: TCP on loopback, `port` */
    uint16_t port;
    enum client_mode mode;
    uint32_t capabilities; /* of the display channel; 0: the word is left out */
    int64_t cache;         /* pixels of the image cache */
    int32_t window;        /* pixels of the GLZ dictionary */
};

/* The life of the client process: links main and display, then reads until told to stop. */
void client_run(struct shared *shared, const struct client_wish *wish);

#endif /* BENCH_CLIENT_H */
