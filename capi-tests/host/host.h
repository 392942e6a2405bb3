/* A small embedding program's toolbox: what QEMU does around a SPICE server, without QEMU.
 *
 * One thread (the one that called core_loop_start) drives the core interface and makes all API calls, as a
 * hypervisor's main loop does. QXL callbacks come on the server's worker thread; everything they touch here
 * is under the device's mutex. The toolbox also watches the server's manners: callbacks on the wrong thread,
 * overlapping worker callbacks, double releases and rings touched while stopped are counted, not ignored.
 */
#ifndef CAPI_HOST_H
#define CAPI_HOST_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <spice.h>

/* ---- core_loop.c: SpiceCoreInterface on poll(2) ------------------------------------------------------- */

struct channel_record {
    int event; /* SPICE_CHANNEL_EVENT_* */
    int connection_id;
    int type;
    int id;
    int flags;
    const SpiceChannelEventInfo *info; /* kept for identity only, never read later */
};

enum { CHANNEL_RECORDS = 1024 };

/* Makes the calling thread the main loop; ignores SIGPIPE unless HOST_KEEP_SIGPIPE is in the environment
 * (the reference library writes with plain write(2)). Returns the table to hand to spice_server_init. */
SpiceCoreInterface *core_loop_start(void);

/* One round: waits at most timeout_ms for a watch or timer, then runs what is due. */
void core_loop_step(int timeout_ms);

/* Rounds until `done` says so or `timeout_ms` passed; true when done. `done` NULL: just runs that long. */
bool core_loop_until(bool (*done)(void *arg), void *arg, int timeout_ms);

uint64_t core_loop_now_ms(void);

/* A system call that does nothing but show in strace: what is measured begins or ends here. */
void trace_mark(const char *word);

/* For a watch on a pipe of lines: hands each whole line that has come, without its end, to `obey`, which may run rounds of
 * the loop itself. One pipe per program, lines of at most 128 KiB. False at the end of the pipe. */
bool core_loop_read_lines(int fd, void (*obey)(const char *line, void *opaque), void *opaque);

/* Watches and timers the server has not removed, for leak checks after destroy. */
unsigned core_loop_live_watches(void);
unsigned core_loop_live_timers(void);

/* Core calls and channel events that came from another thread than the loop's: must stay 0. */
unsigned core_loop_foreign_calls(void);
bool core_loop_is_mine(void);

/* Channel events in order; the count may exceed CHANNEL_RECORDS, the array then holds the first ones. */
unsigned core_loop_channel_events(const struct channel_record **records);

/* Called for each channel event after it was recorded; NULL to be left alone. */
void core_loop_on_channel_event(void (*hook)(const struct channel_record *record));

/* ---- pixels.c: random numbers, checksums, pictures ----------------------------------------------------- */

struct rng {
    uint64_t state;
};

void rng_seed(struct rng *rng, uint64_t seed);
uint32_t rng_next(struct rng *rng);
/* Uniform in [low, high], both included. */
int rng_range(struct rng *rng, int low, int high);

/* Checksum of the visible part (high byte ignored) of an xRGB picture; stride in bytes, negative = bottom-up. */
uint32_t pixels_checksum(const void *first_row, int width, int height, ptrdiff_t stride);

/* Binary PPM (P6), top-down RGB; 0 or -1 with a message on stderr. */
int pixels_write_ppm(const char *path, const void *first_row, int width, int height, ptrdiff_t stride);

/* ---- qxl_host.c: a QXL device without a guest ---------------------------------------------------------- */

struct qxl_block; /* one piece of memory belonging to a command */

/* A command in flight: the QXL structures and everything they point to, freed after release. */
struct qxl_item {
    uint64_t magic;
    QXLCommandExt ext;
    QXLReleaseInfo *info;     /* the command's first eight bytes, what release_resource must hand back */
    unsigned refs;            /* one for the device, one for each holder (qxl_item_hold) */
    unsigned released;        /* how often release_resource named it: 1 is right */
    bool popped;              /* the server took it from the queue */
    bool other_ring;          /* to be pushed on the ring where its type does not belong */
    struct qxl_block *blocks;
    struct qxl_item *next;    /* in a queue or in the graveyard */
    struct qxl_item *all_prev, *all_next;
};

struct qxl_queue {
    struct qxl_item *head, *tail;
    bool notify; /* the server asked to be woken for the next command */
    unsigned length;
};

struct qxl_dirty {
    uint32_t surface_id;
    uint32_t num_rects;
    QXLRect bounds; /* union of the reported rectangles */
};

enum { QXL_COMPLETIONS = 4096, QXL_MAX_SURFACES = 1024, QXL_GRAVEYARD = 512 };

struct qxl_surface {
    struct qxl_block *memory;
    uint32_t width, height;
    int32_t stride; /* bytes, negative = bottom-up */
};

struct qxl_host {
    QXLInstance qxl; /* first: callbacks get this pointer */
    SpiceServer *server;
    pthread_mutex_t lock;
    struct qxl_queue commands, cursors;
    struct qxl_item *all;
    struct qxl_item *grave_head, *grave_tail;
    unsigned grave_length;
    struct qxl_surface surfaces[QXL_MAX_SURFACES]; /* [0] is the primary */
    uint32_t memslots; /* slots and bits of their numbers; 1 unless changed before qxl_host_attach */
    uint8_t memslot_bits;

    /* counters; read them through qxl_host_count or under the lock */
    unsigned pushed, popped, released, double_releases, unknown_releases;
    unsigned overlaps, worker_changes, while_stopped;
    unsigned flushes, updates_notified, capability_reports, attached, init_infos, compression_levels;
    bool stopped; /* the test says: vm_stop returned, vm_start not called yet */
    int compression_level;
    bool client_present;
    atomic_bool in_callback; /* set before the lock is taken, so that overlaps are seen */
    bool worker_known;
    pthread_t worker;

    uint64_t completions[QXL_COMPLETIONS];
    unsigned num_completions;
    struct qxl_dirty dirty; /* last update_area_complete */
    unsigned num_dirty_reports;

    /* What the device answers when a client's monitors are asked about (NULL) or given; without it 0. */
    int (*on_client_monitors)(struct qxl_host *host, VDAgentMonitorsConfig *config);
    unsigned foreign_monitors; /* came on another thread than the loop's */
};

/* A device with the given display id; memory slot 0 of group 0 covers the whole address space. */
struct qxl_host *qxl_host_new(int id);
/* add_interface, then add_memslot. Returns what add_interface returned. */
int qxl_host_attach(struct qxl_host *host, SpiceServer *server);
/* Frees every command still known; call after remove_interface or destroy. */
void qxl_host_free(struct qxl_host *host);

/* Creates the primary surface over memory of its own: xRGB, top-down unless `bottom_up`. cookie 0 = sync. */
void qxl_host_create_primary(struct qxl_host *host, int width, int height, bool bottom_up, uint64_t cookie);
/* Destroys it and, when sync (cookie 0), frees its memory; after async, call qxl_host_forget_primary. */
void qxl_host_destroy_primary(struct qxl_host *host, uint64_t cookie);
void qxl_host_forget_primary(struct qxl_host *host);
/* First visible row of a surface and the stride to the next one. */
const uint8_t *qxl_host_pixels(const struct qxl_host *host, uint32_t surface_id, ptrdiff_t *stride);
/* Sync update_area over the whole surface, dirty region cleared. */
void qxl_host_render(struct qxl_host *host, uint32_t surface_id);

/* Queues the command on its ring and wakes the server if it asked for it. Takes the device's reference. */
void qxl_host_push(struct qxl_host *host, struct qxl_item *item);
/* Makes the device know a command that reaches the server another way (loadvm_commands). Counts as pushed
 * and popped. */
void qxl_host_adopt(struct qxl_host *host, struct qxl_item *item);
/* Commands pushed and not yet popped. */
unsigned qxl_host_backlog(struct qxl_host *host);
/* Reads one of the counters above under the lock. */
unsigned qxl_host_count(struct qxl_host *host, const unsigned *counter);

/* These run the main loop while they wait; true when it happened in time. */
bool qxl_host_wait_popped(struct qxl_host *host, int timeout_ms);
bool qxl_host_wait_released(struct qxl_host *host, int timeout_ms);
bool qxl_host_wait_cookie(struct qxl_host *host, uint64_t cookie, int timeout_ms);
/* How often the cookie was completed so far. */
unsigned qxl_host_cookie_count(struct qxl_host *host, uint64_t cookie);
/* Number of bad manners seen (double releases, overlaps, ...); each kind is named on `out` when non-zero. */
unsigned qxl_host_offences(struct qxl_host *host, FILE *out);

/* Memory for a command; zeroed, freed with it. The first piece of an item must be the command itself. */
struct qxl_item *qxl_item_new(uint32_t command_type, size_t command_size);
void *qxl_item_command(struct qxl_item *item);
void *qxl_item_alloc(struct qxl_item *item, size_t size);
/* Keeps the item's bookkeeping alive for the test after release; drop with qxl_item_drop. */
void qxl_item_hold(struct qxl_host *host, struct qxl_item *item);
void qxl_item_drop(struct qxl_host *host, struct qxl_item *item);
/* Moves a surface's memory under the item, so that it dies when the item is released. */
void qxl_item_adopt(struct qxl_item *item, struct qxl_block *block);
struct qxl_block *qxl_block_new(size_t size);
void *qxl_block_data(struct qxl_block *block);

/* ---- qxl_draw.c: commands -------------------------------------------------------------------------------- */

static inline QXLPHYSICAL qxl_address(const void *pointer)
{
    return (QXLPHYSICAL)(uintptr_t)pointer;
}

static inline QXLRect qxl_rect(int left, int top, int right, int bottom)
{
    return (QXLRect){ .top = top, .left = left, .bottom = bottom, .right = right };
}

/* Where a draw takes its pixels from. */
struct qxl_source {
    const uint32_t *pixels; /* copied; xRGB, top-down, `width` per row. NULL: take surface_id instead */
    int width, height;
    uint32_t surface_id;
};

/* All return an item to be changed further or pushed. Effects are set to what the operation truly does. */
struct qxl_item *qxl_draw_new(uint32_t surface_id, uint8_t type, QXLRect bbox);
struct qxl_item *qxl_draw_fill(uint32_t surface_id, QXLRect bbox, uint32_t color, uint16_t rop);
struct qxl_item *qxl_draw_pattern(uint32_t surface_id, QXLRect bbox, struct qxl_source pattern, QXLPoint origin,
                                  uint16_t rop);
struct qxl_item *qxl_draw_copy(uint32_t surface_id, QXLRect bbox, struct qxl_source source, QXLRect src_area,
                               uint16_t rop);
struct qxl_item *qxl_draw_blend(uint32_t surface_id, QXLRect bbox, struct qxl_source source, QXLRect src_area,
                                uint16_t rop);
struct qxl_item *qxl_draw_opaque(uint32_t surface_id, QXLRect bbox, struct qxl_source source, QXLRect src_area,
                                 uint32_t color, uint16_t rop);
struct qxl_item *qxl_draw_rop3(uint32_t surface_id, QXLRect bbox, struct qxl_source source, QXLRect src_area,
                               uint32_t color, uint8_t code);
/* Gives a rop3 a pattern instead of its colour. */
void qxl_draw_rop3_pattern(struct qxl_item *item, struct qxl_source pattern, QXLPoint origin);
struct qxl_item *qxl_draw_transparent(uint32_t surface_id, QXLRect bbox, struct qxl_source source,
                                      QXLRect src_area, uint32_t key);
/* has_alpha: the picture is RGBA, premultiplied. */
struct qxl_item *qxl_draw_alpha_blend(uint32_t surface_id, QXLRect bbox, struct qxl_source source,
                                      QXLRect src_area, uint8_t alpha, bool has_alpha);
/* Pictures are RGBA; a mask without pixels is none; transforms have six numbers 16.16 or are NULL. */
struct qxl_item *qxl_draw_composite(uint32_t surface_id, QXLRect bbox, uint32_t flags, struct qxl_source source,
                                    struct qxl_source mask, const int32_t *source_transform,
                                    const int32_t *mask_transform);
/* Pixels of source and mask that lie on the corner of the box. */
void qxl_draw_composite_from(struct qxl_item *item, int16_t source_x, int16_t source_y, int16_t mask_x,
                             int16_t mask_y);
/* path: words of segments as a driver writes them; style: count lengths 28.4 if flags say so. */
struct qxl_item *qxl_draw_stroke(uint32_t surface_id, QXLRect bbox, const int32_t *path, size_t words, uint8_t flags,
                                 const int32_t *style, uint8_t count, uint32_t color, uint16_t rop);
/* glyphs: size bytes of QXLRasterGlyph, length of them; an empty back_area is none. */
struct qxl_item *qxl_draw_text(uint32_t surface_id, QXLRect bbox, uint16_t flags, uint16_t length, const void *glyphs,
                               size_t size, QXLRect back_area, uint32_t fore, uint32_t back);
struct qxl_item *qxl_draw_copy_bits(uint32_t surface_id, QXLRect bbox, int src_x, int src_y);
/* QXL_DRAW_BLACKNESS, _WHITENESS or _INVERS. */
struct qxl_item *qxl_draw_plain(uint32_t surface_id, uint8_t type, QXLRect bbox);
void qxl_draw_clip(struct qxl_item *item, const QXLRect *rects, uint32_t count);
/* An image in the item's memory, for commands that are put together by hand. */
QXLImage *qxl_draw_image(struct qxl_item *item, struct qxl_source source);

struct qxl_item *qxl_surface_create(struct qxl_host *host, uint32_t surface_id, int width, int height);
struct qxl_item *qxl_surface_destroy(struct qxl_host *host, uint32_t surface_id);

/* `data` as the cursor type wants it (see SPICE_CURSOR_TYPE_*). */
struct qxl_item *qxl_cursor_set(int x, int y, uint16_t type, int width, int height, int hot_x, int hot_y,
                                const void *data, uint32_t size);
struct qxl_item *qxl_cursor_move(int x, int y);
struct qxl_item *qxl_cursor_hide(void);

/* ---- font.c: text ------------------------------------------------------------------------------------------ */

enum { FONT_WIDTH = 8, FONT_HEIGHT = 16 };

/* Draws text into a picture `width` pixels wide and `height` high, cut at its edges. */
void font_draw(uint32_t *pixels, int width, int height, int x, int y, const char *text, uint32_t color);

/* ---- input_host.c: keyboard, mouse, tablet ---------------------------------------------------------------- */

enum { INPUT_LOG = 8192 };

struct input_host {
    SpiceKbdInstance keyboard; /* first: callbacks cast back; the others by offset */
    SpiceMouseInstance mouse;
    SpiceTabletInstance tablet;
    bool print; /* one line per event on stdout */
    uint8_t leds;
    uint8_t scancodes[INPUT_LOG];
    unsigned num_scancodes; /* all ever seen; the array holds the first INPUT_LOG */
    unsigned motions, positions, wheels, presses;
    int dx, dy; /* sums */
    int x, y;   /* last tablet position */
    int logical_width, logical_height;
    uint32_t buttons;
    void (*on_scancode)(struct input_host *input, uint8_t code);
    void (*on_pointer)(struct input_host *input);
};

void input_host_init(struct input_host *input);
/* Adds keyboard and mouse, and the tablet if asked. 0 or the first error. */
int input_host_attach(struct input_host *input, SpiceServer *server, bool with_tablet);

#endif /* CAPI_HOST_H */
