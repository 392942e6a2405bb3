/* What spice_qxl_* calls promise: sync calls are done when they return, async ones complete exactly once and
 * in order, every command comes back once, nothing happens while the machine is stopped.
 *
 * Runs on both libraries; stdout must be the same. No client is connected.
 */
#include "host/host.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WIDTH = 320, HEIGHT = 200, DIRTY = 4000 /* more than any decomposition of the drawing here */ };

static struct qxl_host *device;
static struct rng rng;
static uint64_t next_cookie = 100;

static void section(const char *name)
{
    printf("%s\n", name);
}

static void show(const char *what, long value)
{
    printf("  %-50s %ld\n", what, value);
}

/* Waits for the cookie, then long enough for a second completion to show. */
static void show_cookie(const char *what, uint64_t cookie)
{
    bool came = qxl_host_wait_cookie(device, cookie, 10000);

    core_loop_until(NULL, NULL, 20);
    printf("  %-50s %s, %u times\n", what, came ? "completed" : "lost", qxl_host_cookie_count(device, cookie));
}

static void show_pixels(const char *what, uint32_t surface)
{
    ptrdiff_t stride;
    const uint8_t *pixels = qxl_host_pixels(device, surface, &stride);

    printf("  %-50s %08x\n", what,
           pixels_checksum(pixels, (int)device->surfaces[surface].width, (int)device->surfaces[surface].height,
                           stride));
}

static void show_offences(void)
{
    printf("  offences %u\n", qxl_host_offences(device, stdout));
}

static void fill(uint32_t surface, int left, int top, int right, int bottom, uint32_t color)
{
    qxl_host_push(device, qxl_draw_fill(surface, qxl_rect(left, top, right, bottom), color, SPICE_ROPD_OP_PUT));
}

static void random_fills(int count)
{
    for (int i = 0; i < count; i++) {
        int x = rng_range(&rng, 0, WIDTH - 2), y = rng_range(&rng, 0, HEIGHT - 2);

        fill(0, x, y, rng_range(&rng, x + 1, WIDTH), rng_range(&rng, y + 1, HEIGHT), rng_next(&rng) & 0xffffff);
    }
}

/* Rectangles may be cut differently by different servers: only their sum and hull are shown. */
static void show_dirty(const QXLRect *rects, unsigned count)
{
    QXLRect hull = { 0 };
    long area = 0;
    unsigned used = 0;

    for (unsigned i = 0; i < count; i++) {
        if (rects[i].right <= rects[i].left || rects[i].bottom <= rects[i].top)
            continue;
        area += (long)(rects[i].right - rects[i].left) * (rects[i].bottom - rects[i].top);
        if (used++ == 0)
            hull = rects[i];
        hull.left = rects[i].left < hull.left ? rects[i].left : hull.left;
        hull.top = rects[i].top < hull.top ? rects[i].top : hull.top;
        hull.right = rects[i].right > hull.right ? rects[i].right : hull.right;
        hull.bottom = rects[i].bottom > hull.bottom ? rects[i].bottom : hull.bottom;
    }
    printf("  dirty: %s, area %ld, hull %d,%d-%d,%d\n", used ? "some" : "nothing", area, hull.left, hull.top,
           hull.right, hull.bottom);
}

static void update_and_show(QXLRect area, bool clear)
{
    static QXLRect dirty[DIRTY];

    memset(dirty, 0, sizeof(dirty));
    spice_qxl_update_area(&device->qxl, 0, &area, dirty, DIRTY, clear);
    show_dirty(dirty, DIRTY);
}

static void sync_updates(void)
{
    QXLRect all = qxl_rect(0, 0, WIDTH, HEIGHT);

    section("update_area, sync");
    qxl_host_create_primary(device, WIDTH, HEIGHT, false, 0);
    show_pixels("fresh primary is black", 0);
    update_and_show(all, true);
    fill(0, 10, 20, 30, 40, 0xff0000);
    update_and_show(all, false);
    show("commands not popped after update_area", qxl_host_backlog(device));
    show_pixels("one fill", 0);
    update_and_show(all, true);
    update_and_show(all, true);
    fill(0, 100, 100, 110, 110, 0x00ff00);
    fill(0, 200, 150, 220, 160, 0x0000ff);
    update_and_show(all, true);
    random_fills(50);
    update_and_show(all, true);
    show_pixels("50 random fills", 0);
    fill(0, 0, 0, WIDTH, HEIGHT, 0x123456);
    spice_qxl_update_area(&device->qxl, 0, &all, NULL, 0, 1);
    show_pixels("dirty array NULL", 0);
}

/* Which part of what was drawn is reported, and forgotten, when only a part is asked for. */
static void partial_updates(void)
{
    QXLRect all = qxl_rect(0, 0, WIDTH, HEIGHT), left = qxl_rect(0, 0, 50, HEIGHT), one[2], both[16];

    section("update_area of a part");
    update_and_show(all, true);
    fill(0, 10, 10, 20, 20, 0x111111);
    fill(0, 100, 10, 120, 20, 0x222222);
    /* Whether the second one is reported now or later depends on when it is drawn, but it is, and once. */
    memset(both, 0, sizeof(both));
    spice_qxl_update_area(&device->qxl, 0, &left, both, 8, 1);
    spice_qxl_update_area(&device->qxl, 0, &all, both + 8, 8, 1);
    show_dirty(both, 16);
    fill(0, 40, 30, 60, 40, 0x333333); /* half of it outside */
    update_and_show(left, true);
    update_and_show(all, true);
    show_pixels("all of it", 0);
    fill(0, 0, 0, 1, 1, 0x444444);
    spice_qxl_update_area(&device->qxl, 0, &all, NULL, 0, 0);
    update_and_show(all, true);
    fill(0, 0, 0, 1, 1, 0x555555);
    memset(one, 0, sizeof(one));
    spice_qxl_update_area(&device->qxl, 0, &all, one, 1, 1);
    show_dirty(one, 2);
    update_and_show(all, true);
    qxl_host_push(device, qxl_draw_copy_bits(0, qxl_rect(30, 30, 60, 60), 0, 0));
    update_and_show(all, true);
    qxl_host_push(device, qxl_draw_plain(0, QXL_DRAW_INVERS, qxl_rect(30, 30, 60, 60)));
    qxl_host_push(device, qxl_draw_plain(0, QXL_DRAW_INVERS, qxl_rect(30, 30, 60, 60)));
    update_and_show(all, true);
    show_pixels("inverted twice", 0);
}

static void off_screen_updates(void)
{
    QXLRect all = qxl_rect(0, 0, 64, 64), dirty[8];
    uint64_t cookie = next_cookie++;

    section("update_area off the screen");
    qxl_host_push(device, qxl_surface_create(device, 3, 64, 64));
    memset(dirty, 0, sizeof(dirty));
    spice_qxl_update_area(&device->qxl, 3, &all, dirty, 8, 1);
    show_dirty(dirty, 8);
    fill(3, 5, 5, 9, 9, 0x123);
    memset(dirty, 0, sizeof(dirty));
    spice_qxl_update_area(&device->qxl, 3, &all, dirty, 8, 0);
    show_dirty(dirty, 8);
    spice_qxl_update_area_async(&device->qxl, 3, &all, 1, cookie);
    show_cookie("update_area_async", cookie);
    printf("  reported %u of surface %u\n", device->dirty.num_rects, device->dirty.surface_id);
    cookie = next_cookie++;
    spice_qxl_update_area_async(&device->qxl, 3, &all, 1, cookie);
    show_cookie("once more", cookie);
    printf("  reported %u of surface %u\n", device->dirty.num_rects, device->dirty.surface_id);
    qxl_host_push(device, qxl_surface_destroy(device, 3));
}

static void async_updates(void)
{
    QXLRect area = qxl_rect(0, 0, WIDTH, HEIGHT);
    uint64_t cookie = next_cookie++;
    unsigned reports = device->num_dirty_reports;

    section("update_area, async");
    fill(0, 5, 6, 50, 60, 0xabcdef);
    spice_qxl_update_area_async(&device->qxl, 0, &area, 1, cookie);
    memset(&area, 0xff, sizeof(area)); /* copied at call time */
    show_cookie("update_area_async", cookie);
    show("update_area_complete calls", qxl_host_count(device, &device->num_dirty_reports) - reports);
    printf("  reported %d,%d-%d,%d of surface %u\n", device->dirty.bounds.left, device->dirty.bounds.top,
           device->dirty.bounds.right, device->dirty.bounds.bottom, device->dirty.surface_id);
    show_pixels("after it", 0);
    random_fills(20);
    cookie = next_cookie++;
    spice_qxl_flush_surfaces_async(&device->qxl, cookie);
    show_cookie("flush_surfaces_async", cookie);
    show_pixels("after 20 fills and flush", 0);
    show("commands not popped", qxl_host_backlog(device));
}

static void async_order(void)
{
    QXLRect area = qxl_rect(0, 0, 64, 64);
    uint64_t first = next_cookie;
    unsigned before, inversions = 0;

    section("a hundred async requests in a row");
    pthread_mutex_lock(&device->lock);
    before = device->num_completions;
    pthread_mutex_unlock(&device->lock);
    for (int i = 0; i < 100; i++) {
        fill(0, i, i, i + 10, i + 10, (uint32_t)i * 0x020202);
        if (i % 2)
            spice_qxl_flush_surfaces_async(&device->qxl, next_cookie++);
        else
            spice_qxl_update_area_async(&device->qxl, 0, &area, 0, next_cookie++);
    }
    show_cookie("the last one", next_cookie - 1);
    pthread_mutex_lock(&device->lock);
    show("completions", device->num_completions - before);
    for (unsigned i = before; i < device->num_completions; i++)
        inversions += device->completions[i] != first + i - before;
    pthread_mutex_unlock(&device->lock);
    show("out of order", inversions);
    show_pixels("pixels", 0);
}

static void primary_async(void)
{
    uint64_t cookie;

    section("primary surface, async");
    cookie = next_cookie++;
    qxl_host_destroy_primary(device, cookie);
    show_cookie("destroy_primary_surface_async", cookie);
    qxl_host_forget_primary(device);
    cookie = next_cookie++;
    spice_qxl_destroy_primary_surface_async(&device->qxl, 0, cookie);
    show_cookie("destroying it again", cookie);
    cookie = next_cookie++;
    qxl_host_create_primary(device, WIDTH, HEIGHT, true, cookie);
    show_cookie("create_primary_surface_async, bottom-up", cookie);
    fill(0, 0, 0, WIDTH, 10, 0xffffff);
    random_fills(20);
    qxl_host_render(device, 0);
    show_pixels("drawn bottom-up", 0);
    qxl_host_destroy_primary(device, 0);
    spice_qxl_destroy_primary_surface(&device->qxl, 0);
    puts("  destroyed twice, sync");
    qxl_host_create_primary(device, WIDTH, HEIGHT, false, 0);
    random_fills(20);
    qxl_host_render(device, 0);
    show_pixels("a new one", 0);
}

static void other_async(void)
{
    struct {
        QXLMonitorsConfig config;
        QXLHead heads[2];
    } monitors = { .config.count = 1, .config.max_allowed = 2 };
    QXLDevMemSlot slot = { .virt_end = ~(uintptr_t)0 };
    uint64_t cookie;

    section("other async requests");
    monitors.heads[0].width = WIDTH;
    monitors.heads[0].height = HEIGHT;
    cookie = next_cookie++;
    spice_qxl_monitors_config_async(&device->qxl, qxl_address(&monitors), 0, cookie);
    show_cookie("monitors_config_async", cookie);
    monitors.config.count = 0;
    cookie = next_cookie++;
    spice_qxl_monitors_config_async(&device->qxl, qxl_address(&monitors), 0, cookie);
    show_cookie("monitors_config_async, no heads", cookie);
    monitors.config.count = 9;
    cookie = next_cookie++;
    spice_qxl_monitors_config_async(&device->qxl, qxl_address(&monitors), 0, cookie);
    show_cookie("monitors_config_async, more than allowed", cookie);
    cookie = next_cookie++;
    spice_qxl_add_memslot_async(&device->qxl, &slot, cookie);
    show_cookie("add_memslot_async", cookie);
    spice_qxl_driver_unload(&device->qxl);
    spice_qxl_reset_image_cache(&device->qxl);
    spice_qxl_reset_cursor(&device->qxl);
}

static void surfaces(void)
{
    struct qxl_source from_one = { .surface_id = 1, .width = 64, .height = 64 };
    uint64_t cookie;

    section("off-screen surfaces");
    qxl_host_push(device, qxl_surface_create(device, 1, 64, 64));
    fill(1, 0, 0, 64, 64, 0x445566);
    fill(1, 8, 8, 20, 20, 0xffeedd);
    qxl_host_push(device, qxl_draw_copy(0, qxl_rect(100, 50, 164, 114), from_one, qxl_rect(0, 0, 64, 64),
                                        SPICE_ROPD_OP_PUT));
    fill(1, 30, 30, 60, 60, 0x00aa00); /* after the copy: must not show on the primary */
    qxl_host_render(device, 0);
    show_pixels("primary after a copy from it", 0);
    qxl_host_render(device, 1);
    show_pixels("the surface itself", 1);
    qxl_host_push(device, qxl_surface_destroy(device, 1));
    qxl_host_push(device, qxl_surface_create(device, 1, 32, 16));
    fill(1, 0, 0, 32, 16, 0x777777);
    qxl_host_render(device, 0);
    qxl_host_render(device, 1);
    show_pixels("the id used again for another size", 1);
    cookie = next_cookie++;
    spice_qxl_destroy_surface_async(&device->qxl, 1, cookie);
    show_cookie("destroy_surface_async", cookie);
    qxl_host_push(device, qxl_surface_destroy(device, 1));
    qxl_host_wait_popped(device, 5000);
    cookie = next_cookie++;
    spice_qxl_destroy_surface_async(&device->qxl, 7, cookie);
    show_cookie("destroy_surface_async of none", cookie);
    spice_qxl_destroy_surface_wait(&device->qxl, 0);
    cookie = next_cookie++;
    spice_qxl_destroy_surfaces_async(&device->qxl, cookie);
    show_cookie("destroy_surfaces_async", cookie);
    qxl_host_forget_primary(device);
    show("all released", qxl_host_wait_released(device, 3000));
}

static void small_commands(void)
{
    struct qxl_item *item;
    QXLUpdateCmd *update;
    QXLMessage *message;
    uint32_t arrow[16 * 16];

    section("update, message and cursor commands");
    memset(arrow, 0x80, sizeof(arrow));
    qxl_host_create_primary(device, WIDTH, HEIGHT, false, 0);
    fill(0, 1, 1, 9, 9, 0x999999);
    item = qxl_item_new(QXL_CMD_UPDATE, sizeof(*update));
    update = qxl_item_command(item);
    update->area = qxl_rect(0, 0, WIDTH, HEIGHT);
    update->update_id = 77;
    qxl_host_push(device, item);
    item = qxl_item_new(QXL_CMD_MESSAGE, sizeof(*message) + 8);
    message = qxl_item_command(item);
    memcpy(message->data, "hello\n", 7);
    qxl_host_push(device, item);
    qxl_host_push(device, qxl_cursor_set(3, 4, SPICE_CURSOR_TYPE_ALPHA, 16, 16, 0, 0, arrow, sizeof(arrow)));
    qxl_host_push(device, qxl_cursor_move(10, 10));
    qxl_host_push(device, qxl_cursor_hide());
    qxl_host_push(device, qxl_cursor_set(5, 6, SPICE_CURSOR_TYPE_ALPHA, 16, 16, 0, 0, arrow, sizeof(arrow)));
    show("all popped", qxl_host_wait_popped(device, 5000));
    core_loop_until(NULL, NULL, 50);
    show("notify_update calls", qxl_host_count(device, &device->updates_notified));
    show_pixels("the update command rendered", 0);
    show("commands kept (the current cursor)", device->pushed - qxl_host_count(device, &device->released));
    spice_qxl_reset_cursor(&device->qxl);
    core_loop_until(NULL, NULL, 50);
    show("kept after reset_cursor", device->pushed - qxl_host_count(device, &device->released));
}

static void stopped(void)
{
    unsigned popped;

    section("stop and start");
    random_fills(30);
    spice_server_vm_stop(device->server);
    popped = qxl_host_count(device, &device->popped);
    pthread_mutex_lock(&device->lock);
    device->stopped = true;
    pthread_mutex_unlock(&device->lock);
    fill(0, 0, 0, WIDTH, HEIGHT, 0x00ffff);
    spice_qxl_wakeup(&device->qxl);
    core_loop_until(NULL, NULL, 200);
    show("popped while stopped", qxl_host_count(device, &device->popped) - popped);
    pthread_mutex_lock(&device->lock);
    device->stopped = false;
    pthread_mutex_unlock(&device->lock);
    spice_server_vm_start(device->server);
    show("popped after start", qxl_host_wait_popped(device, 5000));
    qxl_host_render(device, 0);
    show_pixels("drawn after start", 0);
    show_offences();
}

static void reset(void)
{
    QXLDevMemSlot slot = { .virt_end = ~(uintptr_t)0 };
    QXLCommandExt commands[2];
    struct qxl_item *surface, *cursor;
    uint32_t arrow[16 * 16];

    section("reset as a hypervisor does it, then restored commands");
    memset(arrow, 0x40, sizeof(arrow));
    random_fills(10);
    qxl_host_wait_popped(device, 5000); /* a hypervisor's reset empties the rings itself */
    spice_server_vm_stop(device->server);
    spice_qxl_reset_cursor(&device->qxl);
    spice_qxl_reset_image_cache(&device->qxl);
    spice_qxl_destroy_surfaces(&device->qxl);
    qxl_host_forget_primary(device);
    spice_qxl_reset_memslots(&device->qxl);
    spice_qxl_add_memslot(&device->qxl, &slot);
    spice_qxl_driver_unload(&device->qxl);
    show("all released that were popped",
         qxl_host_count(device, &device->released) == qxl_host_count(device, &device->popped));
    qxl_host_create_primary(device, WIDTH, HEIGHT, false, 0);
    /* loadvm: the commands are not on a ring, the server reads them in place. */
    surface = qxl_surface_create(device, 2, 40, 40);
    cursor = qxl_cursor_set(1, 2, SPICE_CURSOR_TYPE_ALPHA, 16, 16, 0, 0, arrow, sizeof(arrow));
    memset(qxl_block_data(device->surfaces[2].memory), 0x5a, 40 * 40 * 4);
    commands[0] = surface->ext;
    commands[1] = cursor->ext;
    qxl_host_adopt(device, surface);
    qxl_host_adopt(device, cursor);
    spice_qxl_loadvm_commands(&device->qxl, commands, 2);
    spice_server_vm_start(device->server);
    {
        struct qxl_source source = { .surface_id = 2, .width = 40, .height = 40 };

        qxl_host_push(device, qxl_draw_copy(0, qxl_rect(0, 0, 40, 40), source, qxl_rect(0, 0, 40, 40),
                                            SPICE_ROPD_OP_PUT));
    }
    qxl_host_render(device, 0);
    show_pixels("restored surface copied to the primary", 0);
}

static void memory_full(void)
{
    unsigned flushes = qxl_host_count(device, &device->flushes);

    section("out of memory");
    random_fills(40);
    spice_qxl_oom(&device->qxl);
    core_loop_until(NULL, NULL, 200);
    show("flush_resources called", qxl_host_count(device, &device->flushes) > flushes);
    qxl_host_render(device, 0);
    show_pixels("pixels", 0);
}

int main(void)
{
    SpiceCoreInterface *core = core_loop_start();
    SpiceServer *server = spice_server_new();

    setvbuf(stdout, NULL, _IOLBF, 0);
    rng_seed(&rng, 42);
    spice_server_set_noauth(server);
    if (spice_server_init(server, core) != 0)
        return 1;
    device = qxl_host_new(0);
    qxl_host_attach(device, server);
    spice_server_vm_start(server);
    sync_updates();
    partial_updates();
    off_screen_updates();
    async_updates();
    async_order();
    primary_async();
    other_async();
    surfaces();
    small_commands();
    stopped();
    reset();
    memory_full();
    section("end");
    spice_server_vm_stop(server);
    spice_qxl_destroy_surfaces(&device->qxl);
    spice_qxl_reset_cursor(&device->qxl);
    show("released", qxl_host_wait_released(device, 3000));
    show_offences();
    show("remove_interface", spice_server_remove_interface(&device->qxl.base));
    spice_server_destroy(server);
    core_loop_step(0);
    show("watches left", core_loop_live_watches());
    show("timers left", core_loop_live_timers());
    show_offences();
    qxl_host_free(device);
    return 0;
}
