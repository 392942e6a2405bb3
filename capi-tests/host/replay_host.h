/* A QXL device whose guest is a recording; stands on host.h. Used by replay_player.c alone.
 *
 * The memory of the primary surface belongs to the replay, so a picture is taken by commands of our own: an
 * off-screen surface in our memory, and a copy from the primary. update_area brings that surface up to date.
 */
#ifndef CAPI_REPLAY_HOST_H
#define CAPI_REPLAY_HOST_H

#include "host.h"

enum { REPLAY_QUEUE = 512, REPLAY_SURFACES = 1024, REPLAY_COMMAND_TYPES = 6 };

struct replay_ring {
    QXLCommandExt *commands[REPLAY_QUEUE];
    unsigned head, length;
    bool notify;
};

struct replay_host {
    QXLInstance qxl; /* first: callbacks get this pointer */
    SpiceReplay *replay;
    pthread_mutex_t lock;
    pthread_cond_t taken;
    struct replay_ring display, cursor;
    unsigned room; /* commands that a ring takes, at most REPLAY_QUEUE; 0 is as many */
    /* Commands of the recording; over all passes if it is played several times. */
    unsigned played, released, by_type[REPLAY_COMMAND_TYPES];
    /* Commands of pictures. */
    unsigned own_played, own_released;
    /* What set_client_capabilities said last, and how often it spoke. */
    unsigned reports;
    uint8_t client_present, client_caps[SPICE_CAPABILITIES_SIZE];
};

struct replay_picture {
    uint8_t *pixels; /* xRGB, top-down, no padding; freed by the caller */
    int width, height;
};

/* Adds the device with one memory slot over all addresses. */
void replay_host_attach(struct replay_host *host, SpiceServer *server);

/* Plays commands until `host->played` is `until`, and waits until the server has taken them. The main loop runs
 * meanwhile. *end says that the recording has no more; false: the server stopped taking commands. */
bool replay_host_play(struct replay_host *host, unsigned until, double deadline, bool *end);

/* The primary surface, of that size, by way of the off-screen surface `surface_id`, which is gone afterwards. */
bool replay_host_picture(struct replay_host *host, uint32_t surface_id, struct replay_picture *picture);

/* Destroys all surfaces and waits until every command was released. */
bool replay_host_reset(struct replay_host *host);

/* Seconds of a clock that never jumps. */
double replay_host_now(void);

#endif /* CAPI_REPLAY_HOST_H */
