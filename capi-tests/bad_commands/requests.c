/* What a guest reaches through its host's calls: memory slots, primaries, updates, monitors, restored commands. */
#include "bad.h"

static uint64_t next_cookie = 9000;

/* An asynchronous request is told to be complete, once. */
static bool completed(uint64_t cookie)
{
    return qxl_host_wait_cookie(bad_device, cookie, 5000) && qxl_host_cookie_count(bad_device, cookie) == 1;
}

/* ---- update_area ---- */

static bool update_area(uint32_t surface, QXLRect area)
{
    QXLRect dirty[4];
    uint64_t cookie = next_cookie++;

    spice_qxl_update_area(&bad_device->qxl, surface, &area, dirty, 4, 0);
    spice_qxl_update_area_async(&bad_device->qxl, surface, &area, 0, cookie);
    return completed(cookie);
}

static bool area_outside(void) { return update_area(0, qxl_rect(0, 0, BAD_WIDTH * 9, BAD_HEIGHT * 9)); }
static bool area_inverted(void) { return update_area(0, qxl_rect(50, 50, 10, 10)); }
static bool area_negative(void) { return update_area(0, qxl_rect(-9, -9, -1, -1)); }
static bool area_extreme(void) { return update_area(0, qxl_rect(INT_MIN, INT_MIN, INT_MAX, INT_MAX)); }
static bool area_of_a_missing_surface(void) { return update_area(99, qxl_rect(0, 0, 5, 5)); }
static bool area_of_a_surface_out_of_range(void) { return update_area(UINT_MAX, qxl_rect(0, 0, 5, 5)); }

/* ---- monitors ---- */

static bool monitors_at(QXLPHYSICAL address, uint32_t group)
{
    uint64_t cookie = next_cookie++;

    spice_qxl_monitors_config_async(&bad_device->qxl, address, group, cookie);
    return completed(cookie);
}

static bool monitors_of(uint16_t count, uint16_t max_allowed, QXLHead head)
{
    struct {
        QXLMonitorsConfig config;
        QXLHead heads[4];
    } monitors = { .config = { .count = count, .max_allowed = max_allowed } };

    for (int i = 0; i < 4; i++)
        monitors.heads[i] = head;
    return monitors_at(qxl_address(&monitors), 0);
}

static const QXLHead good_head = { .width = BAD_WIDTH, .height = BAD_HEIGHT };

static bool monitors_null(void) { return monitors_at(0, 0); }
static bool monitors_unmapped(void) { return monitors_at(UNMAPPED, 0); }
static bool monitors_in_no_group(void) { return monitors_at(0x10000, 9); }
static bool monitors_none(void) { return monitors_of(0, 4, good_head); }
static bool monitors_more_than_allowed(void) { return monitors_of(4, 1, good_head); }
static bool monitors_without_size(void) { return monitors_of(2, 4, (QXLHead){ 0 }); }

static bool monitors_of_everything(void)
{
    return monitors_of(4, 4, (QXLHead){ UINT_MAX, UINT_MAX, UINT_MAX, UINT_MAX, UINT_MAX, UINT_MAX, UINT_MAX });
}

/* 65535 of them, of which 4 lie in the slot. */
static bool monitors_cut_off(void)
{
    enum { SIZE = sizeof(QXLMonitorsConfig) + 4 * sizeof(QXLHead) };
    QXLMonitorsConfig config = { .count = 65535, .max_allowed = 65535 };

    memset(bad_arena_tail(SIZE), 0, SIZE);
    memcpy(bad_arena_tail(SIZE), &config, sizeof(config));
    return monitors_at(bad_arena_end(SIZE), 0);
}

/* ---- primary surfaces ---- */

/* The bad one, and then a good one again, both ways. */
static bool primary(QXLDevSurfaceCreate create)
{
    uint64_t cookie = next_cookie++;
    bool ok;

    qxl_host_destroy_primary(bad_device, 0);
    spice_qxl_create_primary_surface(&bad_device->qxl, 0, &create);
    spice_qxl_destroy_primary_surface(&bad_device->qxl, 0);
    spice_qxl_create_primary_surface_async(&bad_device->qxl, 0, &create, cookie);
    ok = completed(cookie);
    spice_qxl_destroy_primary_surface(&bad_device->qxl, 0);
    qxl_host_create_primary(bad_device, BAD_WIDTH, BAD_HEIGHT, false, 0);
    return ok;
}

static QXLDevSurfaceCreate good_primary(void)
{
    static uint32_t pixels[64 * 64];

    return (QXLDevSurfaceCreate){
        .width = 64, .height = 64, .stride = 256, .format = SPICE_SURFACE_FMT_32_xRGB, .mem = qxl_address(pixels),
    };
}

#define PRIMARY(name, field, value) \
    static bool name(void) \
    { \
        QXLDevSurfaceCreate create = good_primary(); \
        create.field = value; \
        return primary(create); \
    }

PRIMARY(primary_width_0, width, 0)
PRIMARY(primary_width_wraps, width, 0x40000010)
PRIMARY(primary_height_0, height, 0)
PRIMARY(primary_height_huge, height, UINT_MAX)
PRIMARY(primary_stride_0, stride, 0)
PRIMARY(primary_stride_short, stride, 252)
PRIMARY(primary_stride_extreme, stride, INT_MIN)
PRIMARY(primary_format_unknown, format, 77)
PRIMARY(primary_memory_null, mem, 0)
PRIMARY(primary_memory_unmapped, mem, UNMAPPED)
PRIMARY(primary_group_unknown, group_id, 9)
PRIMARY(primary_type_and_flags_unknown, type, UINT_MAX)

static bool primary_memory_cut_off(void)
{
    QXLDevSurfaceCreate create = good_primary();

    create.mem = bad_arena_end(64 * 256 - 1);
    return primary(create);
}

static bool primary_created_twice(void)
{
    QXLDevSurfaceCreate create = good_primary();

    spice_qxl_create_primary_surface(&bad_device->qxl, 0, &create);
    qxl_host_destroy_primary(bad_device, 0);
    qxl_host_create_primary(bad_device, BAD_WIDTH, BAD_HEIGHT, false, 0);
    return true;
}

/* ---- commands that are restored ---- */

/* Held by the device as if it had been popped before. Right if it came back as often as it should. */
static bool restored(struct qxl_item *item, unsigned times)
{
    bool right;

    qxl_item_hold(bad_device, item);
    qxl_host_adopt(bad_device, item);
    spice_qxl_loadvm_commands(&bad_device->qxl, &item->ext, 1);
    pthread_mutex_lock(&bad_device->lock);
    right = item->released == times;
    pthread_mutex_unlock(&bad_device->lock);
    qxl_item_drop(bad_device, item);
    return right;
}

static bool restored_draw(void) { return restored(bad_copy(), 0); }

static bool restored_at_null(void)
{
    struct qxl_item *item = bad_copy();

    item->ext.cmd.type = QXL_CMD_SURFACE;
    item->ext.cmd.data = 0;
    return restored(item, 0);
}

static bool restored_unmapped_cursor(void)
{
    struct qxl_item *item = qxl_cursor_hide();

    item->ext.cmd.data |= UNMAPPED;
    return restored(item, 0);
}

static bool restored_surface_of_no_size(void)
{
    struct qxl_item *item = qxl_item_new(QXL_CMD_SURFACE, sizeof(QXLSurfaceCmd));

    ((QXLSurfaceCmd *)qxl_item_command(item))->surface_id = 5;
    return restored(item, 1);
}

static bool restored_cursor_without_shape(void)
{
    struct qxl_item *item = qxl_cursor_hide();

    ((QXLCursorCmd *)qxl_item_command(item))->type = QXL_CURSOR_SET;
    return restored(item, 1);
}

/* ---- slots ---- */

/* The slot of a surface's commands goes while they are on their way. */
static bool slot_deleted_under_commands(void)
{
    QXLDevMemSlot slot = { .virt_start = 0x10000, .virt_end = ~(uintptr_t)0 };
    struct qxl_item *item = bad_copy();
    bool right;

    qxl_item_hold(bad_device, item);
    spice_qxl_del_memslot(&bad_device->qxl, 0, 0);
    qxl_host_push(bad_device, item);
    right = qxl_host_wait_popped(bad_device, 5000);
    spice_qxl_add_memslot(&bad_device->qxl, &slot);
    pthread_mutex_lock(&bad_device->lock);
    right &= item->released == 0;
    pthread_mutex_unlock(&bad_device->lock);
    qxl_item_drop(bad_device, item);
    return right;
}

static const struct bad_kind kinds[] = {
    RUN(area_outside), RUN(area_inverted), RUN(area_negative), RUN(area_extreme), RUN(area_of_a_missing_surface),
    RUN(area_of_a_surface_out_of_range), RUN(monitors_null), RUN(monitors_unmapped), RUN(monitors_in_no_group),
    RUN(monitors_none), RUN(monitors_more_than_allowed), RUN(monitors_without_size), RUN(monitors_of_everything),
    RUN(monitors_cut_off), RUN(primary_width_0), RUN(primary_width_wraps), RUN(primary_height_0),
    RUN(primary_height_huge), RUN(primary_stride_0), RUN(primary_stride_short), RUN(primary_stride_extreme),
    RUN(primary_format_unknown), RUN(primary_memory_null), RUN(primary_memory_unmapped),
    RUN(primary_group_unknown), RUN(primary_type_and_flags_unknown), RUN(primary_memory_cut_off),
    RUN(primary_created_twice), RUN(restored_draw), RUN(restored_at_null), RUN(restored_unmapped_cursor),
    RUN(restored_surface_of_no_size), RUN(restored_cursor_without_shape), RUN(slot_deleted_under_commands),
};

TABLE(bad_requests, kinds);
