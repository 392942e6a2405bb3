/* Malformed guest commands, one kind after another, each followed by a good draw.
 *
 *   bad_commands            all kinds in one process: prints whether the bad command came back and whether the
 *                           next good one was drawn; exit 1 if any good one was not (for our library)
 *   bad_commands --forked   each kind in a child: prints "survived" or the signal (to see what the reference does)
 *   bad_commands --port P   serves on P and waits for a line on stdin before it starts, so that a client can watch
 *
 * A command whose header cannot be read cannot be released: "kept" is right for those, and only for those.
 */
#include "host/host.h"

#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WIDTH = 128, HEIGHT = 96, CANARY_X = 120, CANARY_Y = 90 };

static struct qxl_host *device;
static SpiceServer *server;
static uint32_t noise[64 * 64];

static struct qxl_source noise_source(void)
{
    return (struct qxl_source){ .pixels = noise, .width = 64, .height = 64 };
}

static struct qxl_item *good_copy(void)
{
    return qxl_draw_copy(0, qxl_rect(0, 0, 64, 64), noise_source(), qxl_rect(0, 0, 64, 64), SPICE_ROPD_OP_PUT);
}

static QXLDrawable *drawable(struct qxl_item *item)
{
    return qxl_item_command(item);
}

static QXLImage *image_of(struct qxl_item *item)
{
    return (QXLImage *)(uintptr_t)drawable(item)->u.copy.src_bitmap;
}

/* ---- headers ---- */

static struct qxl_item *command_type(uint32_t type)
{
    struct qxl_item *item = good_copy();

    item->ext.cmd.type = type;
    return item;
}

static struct qxl_item *unknown_command_type(void)
{
    return command_type(99);
}

static struct qxl_item *nop_command(void)
{
    return command_type(QXL_CMD_NOP);
}

static struct qxl_item *null_address(void)
{
    struct qxl_item *item = good_copy();

    item->ext.cmd.data = 0;
    return item;
}

static struct qxl_item *wrong_group(void)
{
    struct qxl_item *item = good_copy();

    item->ext.group_id = 7;
    return item;
}

static struct qxl_item *wrong_slot(void)
{
    struct qxl_item *item = good_copy();

    item->ext.cmd.data |= 1ull << 63; /* one slot bit: slot 1 was never added */
    return item;
}

static struct qxl_item *wrong_generation(void)
{
    struct qxl_item *item = good_copy();

    item->ext.cmd.data |= 1ull << 62;
    return item;
}

/* ---- drawables ---- */

static struct qxl_item *unknown_draw_type(void)
{
    struct qxl_item *item = good_copy();

    drawable(item)->type = 200;
    return item;
}

static struct qxl_item *surface_out_of_range(void)
{
    struct qxl_item *item = good_copy();

    drawable(item)->surface_id = 0xffffffff;
    return item;
}

static struct qxl_item *surface_not_created(void)
{
    struct qxl_item *item = good_copy();

    drawable(item)->surface_id = 77;
    return item;
}

static struct qxl_item *fill_bbox(QXLRect bbox)
{
    return qxl_draw_fill(0, bbox, 0xff00ff, SPICE_ROPD_OP_PUT);
}

static struct qxl_item *bbox_outside(void)
{
    return fill_bbox(qxl_rect(0, 0, WIDTH + 1, HEIGHT));
}

static struct qxl_item *bbox_negative(void)
{
    return fill_bbox(qxl_rect(-5, -5, 10, 10));
}

static struct qxl_item *bbox_inverted(void)
{
    return fill_bbox(qxl_rect(50, 50, 10, 10));
}

static struct qxl_item *bbox_extreme(void)
{
    return fill_bbox(qxl_rect(INT_MIN, INT_MIN, INT_MAX, INT_MAX));
}

static struct qxl_item *bbox_empty(void)
{
    return fill_bbox(qxl_rect(10, 10, 10, 10));
}

static struct qxl_item *dependency_out_of_range(void)
{
    struct qxl_item *item = good_copy();

    drawable(item)->surfaces_dest[1] = 5000;
    return item;
}

static struct qxl_item *dependency_negative(void)
{
    struct qxl_item *item = good_copy();

    drawable(item)->surfaces_dest[2] = -77;
    return item;
}

static struct qxl_item *clip_unmapped(void)
{
    struct qxl_item *item = good_copy();

    drawable(item)->clip.type = SPICE_CLIP_TYPE_RECTS;
    drawable(item)->clip.data = 1ull << 63;
    return item;
}

static struct qxl_item *clip_count_lies(void)
{
    struct qxl_item *item = good_copy();
    QXLRect rect = qxl_rect(0, 0, 5, 5);

    qxl_draw_clip(item, &rect, 1);
    ((QXLClipRects *)(uintptr_t)drawable(item)->clip.data)->num_rects = 0x10000001;
    return item;
}

static struct qxl_item *clip_type_unknown(void)
{
    struct qxl_item *item = good_copy();

    drawable(item)->clip.type = 55;
    return item;
}

static struct qxl_item *copy_without_image(void)
{
    struct qxl_item *item = good_copy();

    drawable(item)->u.copy.src_bitmap = 0;
    return item;
}

static struct qxl_item *src_area_outside(void)
{
    struct qxl_item *item = good_copy();

    drawable(item)->u.copy.src_area = qxl_rect(0, 0, 65, 64);
    return item;
}

static struct qxl_item *src_area_negative(void)
{
    struct qxl_item *item = good_copy();

    drawable(item)->u.copy.src_area = qxl_rect(-1, -1, 63, 63);
    return item;
}

static struct qxl_item *src_area_empty(void)
{
    struct qxl_item *item = good_copy();

    drawable(item)->u.copy.src_area = qxl_rect(5, 5, 5, 5);
    return item;
}

static struct qxl_item *scale_mode_unknown(void)
{
    struct qxl_item *item = good_copy();

    drawable(item)->u.copy.scale_mode = 9;
    return item;
}

static struct qxl_item *mask_unmapped(void)
{
    struct qxl_item *item = good_copy();

    drawable(item)->u.copy.mask.bitmap = 1ull << 63;
    return item;
}

static struct qxl_item *brush_unknown(void)
{
    struct qxl_item *item = qxl_draw_fill(0, qxl_rect(0, 0, 9, 9), 0, SPICE_ROPD_OP_PUT);

    drawable(item)->u.fill.brush.type = 77;
    return item;
}

static struct qxl_item *pattern_unmapped(void)
{
    struct qxl_item *item = qxl_draw_fill(0, qxl_rect(0, 0, 9, 9), 0, SPICE_ROPD_OP_PUT);

    drawable(item)->u.fill.brush.type = SPICE_BRUSH_TYPE_PATTERN;
    drawable(item)->u.fill.brush.u.pattern.pat = 1ull << 63;
    return item;
}

static struct qxl_item *copy_bits_from_outside(void)
{
    return qxl_draw_copy_bits(0, qxl_rect(0, 0, 50, 50), WIDTH - 10, HEIGHT - 10);
}

static struct qxl_item *copy_bits_from_negative(void)
{
    return qxl_draw_copy_bits(0, qxl_rect(0, 0, 50, 50), INT_MIN, -7);
}

/* ---- images ---- */

static struct qxl_item *image_type_unknown(void)
{
    struct qxl_item *item = good_copy();

    image_of(item)->descriptor.type = 200;
    return item;
}

static struct qxl_item *image_type_from_cache(void)
{
    struct qxl_item *item = good_copy();

    image_of(item)->descriptor.type = SPICE_IMAGE_TYPE_FROM_CACHE;
    return item;
}

static struct qxl_item *bitmap_format_unknown(void)
{
    struct qxl_item *item = good_copy();

    image_of(item)->bitmap.format = 99;
    return item;
}

static struct qxl_item *bitmap_zero_size(void)
{
    struct qxl_item *item = good_copy();

    image_of(item)->bitmap.x = image_of(item)->bitmap.y = 0;
    return item;
}

static struct qxl_item *bitmap_stride_short(void)
{
    struct qxl_item *item = good_copy();

    image_of(item)->bitmap.stride = 16;
    return item;
}

static struct qxl_item *bitmap_huge(void)
{
    struct qxl_item *item = good_copy();

    image_of(item)->bitmap.x = 0x40000001;
    image_of(item)->bitmap.y = 0x40000001;
    image_of(item)->bitmap.stride = 4;
    return item;
}

static struct qxl_item *bitmap_pixels_unmapped(void)
{
    struct qxl_item *item = good_copy();

    image_of(item)->bitmap.data = 1ull << 63;
    return item;
}

static struct qxl_item *palette_missing(void)
{
    struct qxl_item *item = good_copy();

    image_of(item)->bitmap.format = SPICE_BITMAP_FMT_8BIT;
    image_of(item)->bitmap.stride = 64;
    return item;
}

/* Pixels in chunks: the first says 64 rows but holds `size` bytes and then goes to `next`. */
static struct qxl_item *chunked(uint32_t size, bool circular)
{
    struct qxl_item *item = good_copy();
    QXLDataChunk *chunk = qxl_item_alloc(item, sizeof(*chunk) + 64 * 64 * 4);

    chunk->data_size = size;
    if (circular)
        chunk->next_chunk = qxl_address(chunk);
    image_of(item)->bitmap.flags &= (uint8_t)~QXL_BITMAP_DIRECT;
    image_of(item)->bitmap.data = qxl_address(chunk);
    return item;
}

static struct qxl_item *chunks_too_short(void)
{
    return chunked(100, false);
}

static struct qxl_item *chunks_circular(void)
{
    return chunked(0, true);
}

static struct qxl_item *chunk_size_huge(void)
{
    return chunked(0xffffffff, false);
}

static struct qxl_item *quic_garbage(void)
{
    struct qxl_item *item = good_copy();
    QXLImage *image = qxl_item_alloc(item, sizeof(QXLImageDescriptor) + 4 + sizeof(QXLDataChunk) + 256);
    QXLDataChunk *chunk = (QXLDataChunk *)(void *)image->quic.data;

    image->descriptor = image_of(item)->descriptor;
    image->descriptor.type = SPICE_IMAGE_TYPE_QUIC;
    image->quic.data_size = 256;
    chunk->data_size = 256;
    memset(chunk->data, 0xa5, 256);
    drawable(item)->u.copy.src_bitmap = qxl_address(image);
    return item;
}

static struct qxl_item *surface_image_undeclared(void)
{
    struct qxl_item *item = good_copy();

    image_of(item)->descriptor.type = SPICE_IMAGE_TYPE_SURFACE;
    image_of(item)->surface_image.surface_id = 9;
    return item;
}

/* ---- surfaces ---- */

static struct qxl_item *surface_command(uint32_t id, uint32_t width, uint32_t height, int32_t stride, uint32_t format,
                                        bool mapped)
{
    struct qxl_item *item = qxl_item_new(QXL_CMD_SURFACE, sizeof(QXLSurfaceCmd));
    QXLSurfaceCmd *command = qxl_item_command(item);

    command->surface_id = id;
    command->type = QXL_SURFACE_CMD_CREATE;
    command->u.surface_create.width = width;
    command->u.surface_create.height = height;
    command->u.surface_create.stride = stride;
    command->u.surface_create.format = format;
    command->u.surface_create.data = mapped ? qxl_address(qxl_item_alloc(item, 64 * 64 * 4)) : 1ull << 63;
    return item;
}

static struct qxl_item *surface_id_out_of_range(void)
{
    return surface_command(QXL_MAX_SURFACES, 64, 64, 256, SPICE_SURFACE_FMT_32_xRGB, true);
}

static struct qxl_item *surface_format_unknown(void)
{
    return surface_command(20, 64, 64, 256, 33, true);
}

static struct qxl_item *surface_stride_short(void)
{
    return surface_command(20, 64, 64, 8, SPICE_SURFACE_FMT_32_xRGB, true);
}

static struct qxl_item *surface_stride_extreme(void)
{
    return surface_command(20, 64, 64, INT_MIN, SPICE_SURFACE_FMT_32_xRGB, true);
}

static struct qxl_item *surface_huge(void)
{
    return surface_command(20, 0x20000000, 0x20000000, 0x7ffffffc, SPICE_SURFACE_FMT_32_xRGB, true);
}

static struct qxl_item *surface_unmapped(void)
{
    return surface_command(20, 64, 64, 256, SPICE_SURFACE_FMT_32_xRGB, false);
}

static struct qxl_item *surface_type_unknown(void)
{
    struct qxl_item *item = surface_command(20, 64, 64, 256, SPICE_SURFACE_FMT_32_xRGB, true);

    ((QXLSurfaceCmd *)qxl_item_command(item))->type = 9;
    return item;
}

static struct qxl_item *surface_destroy_missing(void)
{
    return qxl_surface_destroy(device, 55);
}

/* ---- update, cursor ---- */

static struct qxl_item *update_command(QXLRect area, uint32_t surface)
{
    struct qxl_item *item = qxl_item_new(QXL_CMD_UPDATE, sizeof(QXLUpdateCmd));
    QXLUpdateCmd *command = qxl_item_command(item);

    command->area = area;
    command->surface_id = surface;
    return item;
}

static struct qxl_item *update_outside(void)
{
    return update_command(qxl_rect(0, 0, WIDTH * 2, HEIGHT * 2), 0);
}

static struct qxl_item *update_inverted(void)
{
    return update_command(qxl_rect(50, 50, 10, 10), 0);
}

static struct qxl_item *update_of_missing_surface(void)
{
    return update_command(qxl_rect(0, 0, 10, 10), 44);
}

static struct qxl_item *cursor_with(uint16_t type, uint16_t width, uint16_t height, uint32_t data_size)
{
    struct qxl_item *item = qxl_cursor_set(1, 1, type, 8, 8, 0, 0, noise, 8 * 8 * 4);
    QXLCursorCmd *command = qxl_item_command(item);
    QXLCursor *cursor = (QXLCursor *)(uintptr_t)command->u.set.shape;

    cursor->header.width = width;
    cursor->header.height = height;
    cursor->data_size = data_size;
    return item;
}

static struct qxl_item *cursor_type_unknown(void)
{
    return cursor_with(77, 8, 8, 256);
}

static struct qxl_item *cursor_too_large(void)
{
    return cursor_with(SPICE_CURSOR_TYPE_ALPHA, 65535, 65535, 256);
}

static struct qxl_item *cursor_data_short(void)
{
    return cursor_with(SPICE_CURSOR_TYPE_ALPHA, 64, 64, 256);
}

static struct qxl_item *cursor_data_size_lies(void)
{
    return cursor_with(SPICE_CURSOR_TYPE_ALPHA, 8, 8, 0xffffffff);
}

static struct qxl_item *cursor_unmapped(void)
{
    struct qxl_item *item = cursor_with(SPICE_CURSOR_TYPE_ALPHA, 8, 8, 256);

    ((QXLCursorCmd *)qxl_item_command(item))->u.set.shape = 1ull << 63;
    return item;
}

static struct qxl_item *cursor_command_unknown(void)
{
    struct qxl_item *item = qxl_cursor_hide();

    ((QXLCursorCmd *)qxl_item_command(item))->type = 99;
    return item;
}

/* ---- the table ---- */

#define KIND(name, expected) { #name, name, expected }

/* Whether the command must come back: yes when its header can be read; an unknown type may go either way. */
enum release { NO, YES, MAYBE };

static const struct {
    const char *name;
    struct qxl_item *(*make)(void);
    enum release expected;
} kinds[] = {
    KIND(unknown_command_type, MAYBE), KIND(nop_command, MAYBE),
    KIND(null_address, NO), KIND(wrong_group, NO), KIND(wrong_slot, NO), KIND(wrong_generation, NO),
    KIND(unknown_draw_type, YES), KIND(surface_out_of_range, YES), KIND(surface_not_created, YES),
    KIND(bbox_outside, YES), KIND(bbox_negative, YES), KIND(bbox_inverted, YES), KIND(bbox_extreme, YES),
    KIND(bbox_empty, YES), KIND(dependency_out_of_range, YES), KIND(dependency_negative, YES),
    KIND(clip_unmapped, YES), KIND(clip_count_lies, YES), KIND(clip_type_unknown, YES),
    KIND(copy_without_image, YES), KIND(src_area_outside, YES), KIND(src_area_negative, YES),
    KIND(src_area_empty, YES), KIND(scale_mode_unknown, YES), KIND(mask_unmapped, YES),
    KIND(brush_unknown, YES), KIND(pattern_unmapped, YES), KIND(copy_bits_from_outside, YES),
    KIND(copy_bits_from_negative, YES), KIND(image_type_unknown, YES), KIND(image_type_from_cache, YES),
    KIND(bitmap_format_unknown, YES), KIND(bitmap_zero_size, YES), KIND(bitmap_stride_short, YES),
    KIND(bitmap_huge, YES), KIND(bitmap_pixels_unmapped, YES), KIND(palette_missing, YES),
    KIND(chunks_too_short, YES), KIND(chunks_circular, YES), KIND(chunk_size_huge, YES),
    KIND(quic_garbage, YES), KIND(surface_image_undeclared, YES), KIND(surface_id_out_of_range, YES),
    KIND(surface_format_unknown, YES), KIND(surface_stride_short, YES), KIND(surface_stride_extreme, YES),
    KIND(surface_huge, YES), KIND(surface_unmapped, YES), KIND(surface_type_unknown, YES),
    KIND(surface_destroy_missing, YES), KIND(update_outside, YES), KIND(update_inverted, YES),
    KIND(update_of_missing_surface, YES), KIND(cursor_type_unknown, YES), KIND(cursor_too_large, YES),
    KIND(cursor_data_short, YES), KIND(cursor_data_size_lies, YES), KIND(cursor_unmapped, YES),
    KIND(cursor_command_unknown, YES),
};

enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static void start(int port)
{
    SpiceCoreInterface *core = core_loop_start();

    server = spice_server_new();
    spice_server_set_noauth(server);
    if (port) {
        spice_server_set_addr(server, "127.0.0.1", 0);
        spice_server_set_port(server, port);
    }
    if (spice_server_init(server, core) != 0)
        exit(2);
    device = qxl_host_new(0);
    qxl_host_attach(device, server);
    qxl_host_create_primary(device, WIDTH, HEIGHT, false, 0);
    spice_server_vm_start(server);
}

/* A pixel of the primary that only this program's good draws touch. */
static bool good_draw_works(uint32_t color)
{
    ptrdiff_t stride;
    const uint8_t *pixels;
    uint32_t pixel;

    qxl_host_push(device, qxl_draw_fill(0, qxl_rect(CANARY_X, CANARY_Y, CANARY_X + 8, CANARY_Y + 6), color,
                                        SPICE_ROPD_OP_PUT));
    qxl_host_render(device, 0);
    pixels = qxl_host_pixels(device, 0, &stride);
    memcpy(&pixel, pixels + (CANARY_Y + 2) * stride + (CANARY_X + 2) * 4, sizeof(pixel));
    return (pixel & 0xffffff) == color;
}

/* True when all is as it should be. */
static bool try_kind(unsigned index)
{
    struct qxl_item *item = kinds[index].make();
    unsigned released;
    bool drawn, right;

    qxl_item_hold(device, item);
    qxl_host_push(device, item);
    qxl_host_wait_popped(device, 5000);
    drawn = good_draw_works(0x010203u * (index + 1) & 0xffffff);
    if (item->ext.cmd.type == QXL_CMD_CURSOR) {
        /* A cursor that was accepted is kept while it is the current one. */
        qxl_host_push(device, qxl_cursor_hide());
        spice_qxl_reset_cursor(&device->qxl);
    }
    for (int i = 0; i < 20; i++) {
        pthread_mutex_lock(&device->lock);
        released = item->released;
        pthread_mutex_unlock(&device->lock);
        if (kinds[index].expected == MAYBE || released == (unsigned)kinds[index].expected)
            break;
        core_loop_until(NULL, NULL, 10);
    }
    right = drawn && (kinds[index].expected == MAYBE ? released <= 1 : released == (unsigned)kinds[index].expected);
    printf("%-34s %-14s next good one %s%s\n", kinds[index].name,
           released == 0 ? "kept" : released == 1 ? "released" : "released twice", drawn ? "drawn" : "NOT drawn",
           right ? "" : "   <- wrong");
    qxl_item_drop(device, item);
    return right;
}

static int all_in_one(int port)
{
    unsigned wrong = 0, offences;

    start(port);
    if (port) {
        char line[16];

        puts("ready");
        while (core_loop_step(50), true) {
            fd_set set;
            struct timeval none = { 0 };

            FD_ZERO(&set);
            FD_SET(0, &set);
            if (select(1, &set, NULL, NULL, &none) > 0)
                break;
        }
        if (!fgets(line, sizeof(line), stdin))
            return 2;
    }
    for (unsigned i = 0; i < KINDS; i++)
        wrong += !try_kind(i);
    spice_server_vm_stop(server);
    spice_qxl_destroy_surfaces(&device->qxl);
    spice_server_destroy(server);
    offences = qxl_host_offences(device, stdout);
    printf("%d kinds, %u wrong, %u offences\n", (int)KINDS, wrong, offences);
    return wrong || offences ? 1 : 0;
}

static int forked(void)
{
    unsigned survived = 0;

    for (unsigned i = 0; i < KINDS; i++) {
        pid_t child = fork();
        int status;

        if (child == 0) {
            alarm(20);
            start(0);
            try_kind(i);
            fflush(stdout);
            _exit(0);
        }
        waitpid(child, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            survived++;
        else
            printf("%-34s died: signal %d\n", kinds[i].name, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    }
    printf("%d kinds, %u survived\n", (int)KINDS, survived);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "forked", no_argument, NULL, 'f' }, { "port", required_argument, NULL, 'p' }, { NULL, 0, NULL, 0 },
    };
    struct rng rng;
    int option, port = 0;
    bool fork_each = false;

    setvbuf(stdout, NULL, _IOLBF, 0);
    rng_seed(&rng, 7);
    for (size_t i = 0; i < sizeof(noise) / sizeof(noise[0]); i++)
        noise[i] = rng_next(&rng);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'f')
            fork_each = true;
        else if (option == 'p')
            port = atoi(optarg);
        else
            return 2;
    }
    return fork_each ? forked() : all_in_one(port);
}
