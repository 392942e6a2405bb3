/* How long things take from the host to a client's socket and back: what the host, its devices and the client share. */
#ifndef BENCH_LATENCY_H
#define BENCH_LATENCY_H

#include <spice.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum {
    WIDTH = 1280,
    HEIGHT = 720,
    /* Small draws of a run: each has its own place in the lower third of the screen, by which it is known. */
    CELL_WIDTH = 8,
    CELL_HEIGHT = 16,
    CELL_TOP = 480,
    CELLS_ACROSS = WIDTH / CELL_WIDTH,
    DRAWS = CELLS_ACROSS * ((HEIGHT - CELL_TOP) / CELL_HEIGHT),
    KEYS = 1 << 14,
    RING = 32,       /* commands that a guest's ring holds */
    RECORDS = 8192,  /* commands that exist: spice-server keeps about a thousand of them */
    PHOTOS = 8,
};

/* In memory that both processes map. Times are CLOCK_REALTIME, in ns, because the kernel stamps what it receives with it. */
struct board {
    atomic_uint ready; /* the server has all its devices */
    atomic_uint linked, failed, stop;
    atomic_uint pictures; /* a bit for each display whose first picture has come */
    _Atomic uint64_t came[DRAWS];   /* 0: not yet */
    _Atomic uint64_t pressed[KEYS];
    atomic_uint press;              /* keys to be sent, from 0 on */
    atomic_uint press_gap_us;
    atomic_ullong photos, photo_bytes; /* pixels and bytes of what is no small draw */
};

struct client_wish {
    uint16_t port;
    bool tls;
    bool photos; /* display 1 as well */
};

/* The life of the client process. */
void client_run(struct board *board, const struct client_wish *wish);
/* The scancode of a key press: none that changes LEDs or is a prefix. */
static inline uint8_t key_code(unsigned number)
{
    return (uint8_t)(2 + number % 12);
}

static inline uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct record {
    _Alignas(64) QXLDrawable drawable; /* its release info names the record */
    atomic_bool busy;
    QXLImage image;
    uint32_t pixels[CELL_WIDTH * CELL_HEIGHT];
};

/* A device whose guest is a thread of the host: the guest fills a ring of commands, the server's worker empties it. */
struct device {
    QXLInstance qxl; /* first: callbacks cast back */
    atomic_uint head, tail;
    QXLDrawable *ring[RING];
    struct record records[RECORDS];
    unsigned next;
    atomic_bool notify; /* the server wants to be told of the next command */
    atomic_bool endless; /* there is always a photo, as long as the server gives back what it has taken */
    QXLImage *images[PHOTOS];
    uint8_t *pixels[PHOTOS];
    uint8_t *screen;
    atomic_ullong taken;
};

/* Adds it to the server with a screen of WIDTH by HEIGHT; `photos`: its commands are pictures of that size, without end. */
struct device *device_new(SpiceServer *server, int id, bool photos);
bool device_has_room(struct device *device);
/* Puts a command into the ring; waits for room. */
void device_copy(struct device *device, unsigned number);
void device_scroll(struct device *device);
/* True once, if the server wanted to be told. */
bool device_asked(struct device *device);

#endif /* BENCH_LATENCY_H */
