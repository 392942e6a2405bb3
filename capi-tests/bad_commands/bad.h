/* The kinds of malformed command, by area; bad_commands.c tries them one by one. */
#ifndef BAD_COMMANDS_BAD_H
#define BAD_COMMANDS_BAD_H

#include "../host/host.h"

#include <limits.h>
#include <string.h>

enum { BAD_WIDTH = 128, BAD_HEIGHT = 96, BAD_NOISE = 64, BAD_ARENA = 1 << 16 };

/* Addresses have two bits of slot and one of generation. Slot 0 is all memory, slot 1 the arena alone; slot 2
 * exists and was never added, slot 3 does not exist. */
enum { BAD_SLOT_SHIFT = 62, BAD_GENERATION_SHIFT = 61 };

static const QXLPHYSICAL UNMAPPED = 2ull << BAD_SLOT_SHIFT;

/* Whether the command must come back: yes when its header can be read; an unknown type may go either way. */
enum bad_release { NO, YES, MAYBE };

struct bad_kind {
    const char *name;
    struct qxl_item *(*make)(void); /* the command, or: */
    bool (*run)(void);              /* does it all by itself; true if everything came out right */
    void (*after)(void);            /* puts the device right again, before the good draw */
    enum bad_release expected;
};

struct bad_table {
    const char *area;
    const struct bad_kind *kinds;
    size_t count;
};

#define BAD(name) static struct qxl_item *name(void)
#define KIND(name_) { .name = #name_, .make = name_, .expected = YES }
#define KEPT(name_) { .name = #name_, .make = name_, .expected = NO }
#define LOOSE(name_) { .name = #name_, .make = name_, .expected = MAYBE }
#define AFTER(name_, after_) { .name = #name_, .make = name_, .after = after_, .expected = YES }
#define RUN(name_) { .name = #name_, .run = name_ }
#define TABLE(symbol, kinds_) \
    const struct bad_table symbol = { #symbol, kinds_, sizeof(kinds_) / sizeof((kinds_)[0]) }

extern const struct bad_table bad_headers, bad_chunks, bad_drawables, bad_sources, bad_bitmaps, bad_streams,
    bad_paths, bad_texts, bad_composites, bad_surfaces, bad_cursors, bad_compat, bad_requests, bad_races;

extern struct qxl_host *bad_device;
extern uint32_t bad_noise[BAD_NOISE * BAD_NOISE];
extern uint8_t *bad_arena;

/* A good copy of noise, to be made bad. */
struct qxl_item *bad_copy(void);
struct qxl_source bad_source(void);

static inline QXLDrawable *bad_drawable(struct qxl_item *item)
{
    return qxl_item_command(item);
}

/* The source image of a copy. */
static inline QXLImage *bad_image(struct qxl_item *item)
{
    return (QXLImage *)(uintptr_t)bad_drawable(item)->u.copy.src_bitmap;
}

/* The last `left` bytes of the arena: whatever is longer leaves the slot. */
static inline QXLPHYSICAL bad_arena_end(unsigned left)
{
    return 1ull << BAD_SLOT_SHIFT | (uint64_t)(BAD_ARENA - left);
}

/* The same place in this process. */
static inline uint8_t *bad_arena_tail(unsigned left)
{
    return bad_arena + BAD_ARENA - left;
}

#endif /* BAD_COMMANDS_BAD_H */
