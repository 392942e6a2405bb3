/* Guests that change their memory while it is read: one field goes back and forth between a good value and a
 * bad one, from another thread, while many commands with it are executed. */
#include "bad.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { COMMANDS = 300 };

struct race {
    volatile uint8_t *field;
    size_t size;
    uint64_t good, bad;
    atomic_bool stop;
};

static void set(const struct race *race, uint64_t value)
{
    for (size_t i = 0; i < race->size; i++)
        race->field[i] = (uint8_t)(value >> (8 * i));
}

static void *flip(void *arg)
{
    struct race *race = arg;

    while (!atomic_load(&race->stop)) {
        set(race, race->bad);
        set(race, race->good);
    }
    return NULL;
}

/* All commands share what the first one points to; right if each came back once. The cursor that is current
 * at the end is given up. */
static bool run(struct qxl_item *(*another)(void), struct qxl_item *owner, struct race *race)
{
    struct qxl_item *items[COMMANDS];
    pthread_t thread;
    unsigned wrong = 0;
    bool popped = true, cursors = false;

    qxl_item_hold(bad_device, owner);
    atomic_init(&race->stop, false);
    pthread_create(&thread, NULL, flip, race);
    for (int i = 0; i < COMMANDS; i++) {
        items[i] = another();
        cursors = items[i]->ext.cmd.type == QXL_CMD_CURSOR;
        qxl_item_hold(bad_device, items[i]);
        qxl_host_push(bad_device, items[i]);
        if (i % 50 == 49)
            popped &= qxl_host_wait_popped(bad_device, 10000);
    }
    popped &= qxl_host_wait_popped(bad_device, 10000);
    atomic_store(&race->stop, true);
    pthread_join(thread, NULL);
    if (cursors)
        spice_qxl_reset_cursor(&bad_device->qxl);
    qxl_host_render(bad_device, 0);
    pthread_mutex_lock(&bad_device->lock);
    for (int i = 0; i < COMMANDS; i++)
        wrong += items[i]->released != 1;
    pthread_mutex_unlock(&bad_device->lock);
    for (int i = 0; i < COMMANDS; i++)
        qxl_item_drop(bad_device, items[i]);
    qxl_item_drop(bad_device, owner);
    return popped && wrong == 0;
}

/* The command that owns the memory which the others share; it is never pushed. */
static struct qxl_item *shared;

static struct qxl_item *copy_of_shared(void)
{
    struct qxl_item *item = qxl_item_new(shared->ext.cmd.type, sizeof(QXLDrawable));

    memcpy((uint8_t *)qxl_item_command(item) + sizeof(QXLReleaseInfo),
           (uint8_t *)qxl_item_command(shared) + sizeof(QXLReleaseInfo), sizeof(QXLDrawable) - sizeof(QXLReleaseInfo));
    return item;
}

static bool race(struct qxl_item *owner, void *field, size_t size, uint64_t good, uint64_t bad)
{
    struct race one = { .field = field, .size = size, .good = good, .bad = bad };
    bool right;

    shared = owner;
    set(&one, good);
    right = run(copy_of_shared, owner, &one);
    qxl_item_drop(bad_device, owner);
    return right;
}

/* Moves memory to where its slot ends soon after: sizes that lie are seen to, whatever the heap holds there. */
static QXLPHYSICAL in_arena(const void *memory, size_t size)
{
    memcpy(bad_arena, memory, size);
    return bad_arena_end(BAD_ARENA);
}

#define FIELD(lvalue) ((uint8_t *)&(lvalue)), sizeof(lvalue)
#define RACE_IMAGE(name, lvalue, good, bad) \
    static bool name(void) \
    { \
        struct qxl_item *owner = bad_copy(); \
        QXLImage *image = bad_image(owner); \
        image->bitmap.data = in_arena(bad_noise, sizeof(bad_noise)); \
        return race(owner, FIELD(image->lvalue), good, bad); \
    }

RACE_IMAGE(racing_bitmap_width, bitmap.x, BAD_NOISE, 0x40000001)
RACE_IMAGE(racing_bitmap_height, bitmap.y, BAD_NOISE, 0x7fffffff)
RACE_IMAGE(racing_bitmap_stride, bitmap.stride, BAD_NOISE * 4, 0x7fffffff)
RACE_IMAGE(racing_bitmap_format, bitmap.format, SPICE_BITMAP_FMT_32BIT, SPICE_BITMAP_FMT_8BIT)
RACE_IMAGE(racing_bitmap_flags, bitmap.flags, QXL_BITMAP_DIRECT | QXL_BITMAP_TOP_DOWN, 0)
RACE_IMAGE(racing_image_type, descriptor.type, SPICE_IMAGE_TYPE_BITMAP, SPICE_IMAGE_TYPE_QUIC)

static bool racing_palette_count(void)
{
    struct qxl_item *owner = bad_copy();
    QXLPalette *palette = qxl_item_alloc(owner, sizeof(*palette) + 65535 * sizeof(uint32_t));

    bad_image(owner)->bitmap.format = SPICE_BITMAP_FMT_8BIT;
    bad_image(owner)->bitmap.stride = BAD_NOISE;
    bad_image(owner)->bitmap.palette = qxl_address(palette);
    return race(owner, FIELD(palette->num_ents), 256, 65535);
}

static bool racing_clip_count(void)
{
    struct qxl_item *owner = bad_copy();
    const QXLRect rects[] = { qxl_rect(0, 0, 5, 5), qxl_rect(9, 9, 30, 30) };
    QXLClipRects *clip;

    qxl_draw_clip(owner, rects, 2);
    clip = (QXLClipRects *)(uintptr_t)bad_drawable(owner)->clip.data;
    return race(owner, FIELD(clip->num_rects), 2, 0x10000002);
}

static bool racing_clip_bytes(void)
{
    struct qxl_item *owner = bad_copy();
    const QXLRect rects[] = { qxl_rect(0, 0, 5, 5), qxl_rect(9, 9, 30, 30) };
    QXLClipRects *clip;

    qxl_draw_clip(owner, rects, 2);
    clip = (QXLClipRects *)(uintptr_t)bad_drawable(owner)->clip.data;
    bad_drawable(owner)->clip.data = in_arena(clip, sizeof(*clip) + sizeof(rects));
    clip = (QXLClipRects *)(void *)bad_arena;
    return race(owner, FIELD(clip->chunk.data_size), sizeof(rects), 0xfffffff0);
}

static bool racing_path_count(void)
{
    const int32_t words[] = { QXL_PATH_BEGIN | QXL_PATH_END, 2, 16, 16, 900, 900 };
    struct qxl_item *owner = qxl_draw_stroke(0, qxl_rect(0, 0, BAD_WIDTH, BAD_HEIGHT), words, 6, 0, NULL, 0, 7,
                                             SPICE_ROPD_OP_PUT);
    QXLPath *path = (QXLPath *)(uintptr_t)bad_drawable(owner)->u.stroke.path;

    return race(owner, path->chunk.data + 4, 4, 2, 0x20000001);
}

static bool racing_glyph_width(void)
{
    struct {
        QXLRasterGlyph glyph;
        uint8_t bits[8];
    } __attribute__((packed)) glyph = { .glyph = { .render_pos = { 9, 9 }, .width = 8, .height = 8 } };
    struct qxl_item *owner = qxl_draw_text(0, qxl_rect(0, 0, BAD_WIDTH, BAD_HEIGHT), SPICE_STRING_FLAGS_RASTER_A1,
                                           1, &glyph, sizeof(glyph), qxl_rect(0, 0, 0, 0), 9, 0);
    QXLString *string = (QXLString *)(uintptr_t)bad_drawable(owner)->u.text.str;
    QXLRasterGlyph *there = (QXLRasterGlyph *)(void *)string->chunk.data;

    return race(owner, FIELD(there->width), 8, 65535);
}

static struct qxl_item *cursor_of_shared(void)
{
    struct qxl_item *item = qxl_item_new(QXL_CMD_CURSOR, sizeof(QXLCursorCmd));
    QXLCursorCmd *command = qxl_item_command(item), *from = qxl_item_command(shared);

    command->type = QXL_CURSOR_SET;
    command->u = from->u;
    return item;
}

static bool racing_cursor_width(void)
{
    struct qxl_item *owner = qxl_cursor_set(1, 1, SPICE_CURSOR_TYPE_ALPHA, 8, 8, 0, 0, bad_noise, 256);
    QXLCursorCmd *command = qxl_item_command(owner);
    QXLCursor *cursor = (QXLCursor *)(uintptr_t)command->u.set.shape;
    struct race one = { .field = (uint8_t *)&cursor->header.width, .size = 2, .good = 8, .bad = 1024 };
    bool right;

    shared = owner;
    right = run(cursor_of_shared, owner, &one);
    qxl_item_drop(bad_device, owner);
    return right;
}

static const struct bad_kind kinds[] = {
    RUN(racing_bitmap_width),
    RUN(racing_bitmap_height),
    RUN(racing_bitmap_stride),
    RUN(racing_bitmap_format),
    RUN(racing_bitmap_flags),
    RUN(racing_image_type),
    RUN(racing_palette_count),
    RUN(racing_clip_count),
    RUN(racing_clip_bytes),
    RUN(racing_path_count),
    RUN(racing_glyph_width),
    RUN(racing_cursor_width),
};

TABLE(bad_races, kinds);
