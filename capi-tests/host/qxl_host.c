/* A QXL device without a guest: queues instead of rings, host pointers instead of guest memory.
 *
 * The worker thread of the server pops and releases; the main thread pushes. A released command stays for a
 * while in a graveyard, overwritten with a pattern: a server that still reads it shows wrong pixels, and one
 * that releases it twice is caught.
 */
#include "host.h"

#include <stdlib.h>
#include <string.h>

enum { POISON = 0xdd };

static const uint64_t ITEM_MAGIC = 0x6d6574696c7871ull;

struct qxl_block {
    struct qxl_block *next;
    size_t size;
    _Alignas(16) uint8_t data[];
};

/* ---- memory of commands ---- */

static void out_of_memory(void)
{
    fputs("host: out of memory\n", stderr);
    exit(70);
}

struct qxl_block *qxl_block_new(size_t size)
{
    struct qxl_block *block = calloc(1, sizeof(*block) + size);

    if (!block)
        out_of_memory();
    block->size = size;
    return block;
}

void *qxl_block_data(struct qxl_block *block)
{
    return block->data;
}

void qxl_item_adopt(struct qxl_item *item, struct qxl_block *block)
{
    block->next = item->blocks;
    item->blocks = block;
}

void *qxl_item_alloc(struct qxl_item *item, size_t size)
{
    struct qxl_block *block = qxl_block_new(size);

    qxl_item_adopt(item, block);
    return block->data;
}

struct qxl_item *qxl_item_new(uint32_t command_type, size_t command_size)
{
    struct qxl_item *item = calloc(1, sizeof(*item));

    if (!item)
        out_of_memory();
    item->magic = ITEM_MAGIC;
    item->refs = 1;
    item->info = qxl_item_alloc(item, command_size);
    item->info->id = (uintptr_t)item;
    item->ext.cmd.data = qxl_address(item->info);
    item->ext.cmd.type = command_type;
    return item;
}

void *qxl_item_command(struct qxl_item *item)
{
    return item->info;
}

/* Lock held. */
static void drop_locked(struct qxl_host *host, struct qxl_item *item)
{
    if (--item->refs)
        return;
    if (item->all_prev)
        item->all_prev->all_next = item->all_next;
    else if (host->all == item)
        host->all = item->all_next;
    if (item->all_next)
        item->all_next->all_prev = item->all_prev;
    while (item->blocks) {
        struct qxl_block *next = item->blocks->next;

        free(item->blocks);
        item->blocks = next;
    }
    item->magic = 0;
    free(item);
}

void qxl_item_hold(struct qxl_host *host, struct qxl_item *item)
{
    pthread_mutex_lock(&host->lock);
    item->refs++;
    pthread_mutex_unlock(&host->lock);
}

void qxl_item_drop(struct qxl_host *host, struct qxl_item *item)
{
    pthread_mutex_lock(&host->lock);
    drop_locked(host, item);
    pthread_mutex_unlock(&host->lock);
}

static void poison(struct qxl_item *item)
{
    for (struct qxl_block *block = item->blocks; block; block = block->next) {
        /* The release info stays readable: a second release must be recognised. */
        size_t keep = block->data == (uint8_t *)item->info ? sizeof(QXLReleaseInfo) : 0;

        memset(block->data + keep, POISON, block->size - keep);
    }
}

/* Lock held. */
static void bury(struct qxl_host *host, struct qxl_item *item)
{
    poison(item);
    item->next = NULL;
    if (host->grave_tail)
        host->grave_tail->next = item;
    else
        host->grave_head = item;
    host->grave_tail = item;
    if (++host->grave_length > QXL_GRAVEYARD) {
        struct qxl_item *oldest = host->grave_head;

        host->grave_head = oldest->next;
        host->grave_length--;
        drop_locked(host, oldest);
    }
}

/* ---- callbacks ---- */

static struct qxl_host *host_of(QXLInstance *qxl)
{
    return (struct qxl_host *)(void *)qxl;
}

/* Every worker callback begins here: takes the lock and checks the thread rules. */
static struct qxl_host *enter(QXLInstance *qxl)
{
    struct qxl_host *host = host_of(qxl);

    bool overlap = atomic_exchange(&host->in_callback, true);

    pthread_mutex_lock(&host->lock);
    host->overlaps += overlap;
    if (!host->worker_known) {
        host->worker_known = true;
        host->worker = pthread_self();
    } else if (!pthread_equal(host->worker, pthread_self())) {
        host->worker_changes++;
        host->worker = pthread_self();
    }
    return host;
}

static void leave(struct qxl_host *host)
{
    pthread_mutex_unlock(&host->lock);
    atomic_store(&host->in_callback, false);
}

static void attached_worker(QXLInstance *qxl)
{
    host_of(qxl)->attached++;
}

static void set_compression_level(QXLInstance *qxl, int level)
{
    host_of(qxl)->compression_levels++;
    host_of(qxl)->compression_level = level;
}

static void get_init_info(QXLInstance *qxl, QXLDevInitInfo *info)
{
    host_of(qxl)->init_infos++;
    memset(info, 0, sizeof(*info));
    info->num_memslots_groups = 1;
    info->num_memslots = host_of(qxl)->memslots;
    info->memslot_id_bits = host_of(qxl)->memslot_bits;
    info->memslot_gen_bits = 1;
    info->n_surfaces = QXL_MAX_SURFACES;
    info->qxl_ram_size = 64 << 20;
}

static int pop(QXLInstance *qxl, struct qxl_queue *queue, QXLCommandExt *ext)
{
    struct qxl_host *host = enter(qxl);
    struct qxl_item *item = queue->head;

    if (host->stopped)
        host->while_stopped++;
    if (item) {
        queue->head = item->next;
        if (!queue->head)
            queue->tail = NULL;
        queue->length--;
        host->popped++;
        item->next = NULL;
        item->popped = true;
        *ext = item->ext;
    }
    leave(host);
    return item != NULL;
}

static int arm(QXLInstance *qxl, struct qxl_queue *queue)
{
    struct qxl_host *host = enter(qxl);
    int armed = queue->head == NULL;

    queue->notify = armed;
    leave(host);
    return armed;
}

static int get_command(QXLInstance *qxl, struct QXLCommandExt *ext)
{
    return pop(qxl, &host_of(qxl)->commands, ext);
}

static int req_cmd_notification(QXLInstance *qxl)
{
    return arm(qxl, &host_of(qxl)->commands);
}

static int get_cursor_command(QXLInstance *qxl, struct QXLCommandExt *ext)
{
    return pop(qxl, &host_of(qxl)->cursors, ext);
}

static int req_cursor_notification(QXLInstance *qxl)
{
    return arm(qxl, &host_of(qxl)->cursors);
}

static void release_resource(QXLInstance *qxl, struct QXLReleaseInfoExt release)
{
    struct qxl_host *host = enter(qxl);
    struct qxl_item *item = host->all;

    /* Looking the pointer up makes a wild release harmless; the list is short. */
    while (item && item->info != release.info)
        item = item->all_next;
    if (host->stopped)
        host->while_stopped++;
    if (!item || item->magic != ITEM_MAGIC || release.group_id != item->ext.group_id) {
        host->unknown_releases++;
    } else if (++item->released > 1) {
        host->double_releases++;
    } else {
        host->released++;
        bury(host, item);
    }
    leave(host);
}

static void notify_update(QXLInstance *qxl, uint32_t update_id)
{
    struct qxl_host *host = enter(qxl);

    (void)update_id;
    host->updates_notified++;
    leave(host);
}

static int flush_resources(QXLInstance *qxl)
{
    struct qxl_host *host = enter(qxl);

    host->flushes++;
    leave(host);
    return 0;
}

static void async_complete(QXLInstance *qxl, uint64_t cookie)
{
    struct qxl_host *host = enter(qxl);

    if (host->num_completions < QXL_COMPLETIONS)
        host->completions[host->num_completions++] = cookie;
    leave(host);
}

static void update_area_complete(QXLInstance *qxl, uint32_t surface_id, struct QXLRect *rects, uint32_t count)
{
    struct qxl_host *host = enter(qxl);

    host->num_dirty_reports++;
    host->dirty.surface_id = surface_id;
    host->dirty.num_rects = count;
    host->dirty.bounds = qxl_rect(0, 0, 0, 0);
    for (uint32_t i = 0; i < count; i++) {
        QXLRect *bounds = &host->dirty.bounds;

        if (i == 0)
            *bounds = rects[0];
        if (rects[i].left < bounds->left)
            bounds->left = rects[i].left;
        if (rects[i].top < bounds->top)
            bounds->top = rects[i].top;
        if (rects[i].right > bounds->right)
            bounds->right = rects[i].right;
        if (rects[i].bottom > bounds->bottom)
            bounds->bottom = rects[i].bottom;
    }
    leave(host);
}

static void set_client_capabilities(QXLInstance *qxl, uint8_t present, uint8_t caps[SPICE_CAPABILITIES_SIZE])
{
    struct qxl_host *host = enter(qxl);

    (void)caps;
    host->capability_reports++;
    host->client_present = present;
    leave(host);
}

static int client_monitors_config(QXLInstance *qxl, VDAgentMonitorsConfig *config)
{
    struct qxl_host *host = host_of(qxl);

    host->foreign_monitors += !core_loop_is_mine();
    return host->on_client_monitors ? host->on_client_monitors(host, config) : 0;
}

static const QXLInterface qxl_interface = {
    .base.type = SPICE_INTERFACE_QXL,
    .base.description = "test device",
    .base.major_version = SPICE_INTERFACE_QXL_MAJOR,
    .base.minor_version = SPICE_INTERFACE_QXL_MINOR,
    .attached_worker = attached_worker,
    .set_compression_level = set_compression_level,
    .get_init_info = get_init_info,
    .get_command = get_command,
    .req_cmd_notification = req_cmd_notification,
    .release_resource = release_resource,
    .get_cursor_command = get_cursor_command,
    .req_cursor_notification = req_cursor_notification,
    .notify_update = notify_update,
    .flush_resources = flush_resources,
    .async_complete = async_complete,
    .update_area_complete = update_area_complete,
    .set_client_capabilities = set_client_capabilities,
    .client_monitors_config = client_monitors_config,
};

/* ---- the device ---- */

struct qxl_host *qxl_host_new(int id)
{
    struct qxl_host *host = calloc(1, sizeof(*host));

    if (!host)
        out_of_memory();
    host->qxl.base.sif = &qxl_interface.base;
    host->qxl.id = id;
    host->memslots = 1;
    host->memslot_bits = 1;
    pthread_mutex_init(&host->lock, NULL);
    host->commands.notify = true; /* as the rings of a fresh device */
    host->cursors.notify = true;
    return host;
}

int qxl_host_attach(struct qxl_host *host, SpiceServer *server)
{
    QXLDevMemSlot slot = { .virt_end = ~(uintptr_t)0 };
    int result = spice_server_add_interface(server, &host->qxl.base);

    host->server = server;
    if (result == 0)
        spice_qxl_add_memslot(&host->qxl, &slot);
    return result;
}

void qxl_host_free(struct qxl_host *host)
{
    while (host->all) {
        host->all->refs = 1;
        drop_locked(host, host->all);
    }
    for (unsigned i = 0; i < QXL_MAX_SURFACES; i++)
        free(host->surfaces[i].memory);
    pthread_mutex_destroy(&host->lock);
    free(host);
}

void qxl_host_create_primary(struct qxl_host *host, int width, int height, bool bottom_up, uint64_t cookie)
{
    struct qxl_surface *primary = &host->surfaces[0];
    QXLDevSurfaceCreate create = {
        .width = (uint32_t)width,
        .height = (uint32_t)height,
        .stride = bottom_up ? -width * 4 : width * 4,
        .format = SPICE_SURFACE_FMT_32_xRGB,
        .mouse_mode = 1,
        .type = QXL_SURF_TYPE_PRIMARY,
    };

    qxl_host_forget_primary(host);
    primary->memory = qxl_block_new((size_t)width * (size_t)height * 4);
    primary->width = create.width;
    primary->height = create.height;
    primary->stride = create.stride;
    create.mem = qxl_address(primary->memory->data);
    if (cookie)
        spice_qxl_create_primary_surface_async(&host->qxl, 0, &create, cookie);
    else
        spice_qxl_create_primary_surface(&host->qxl, 0, &create);
}

void qxl_host_destroy_primary(struct qxl_host *host, uint64_t cookie)
{
    if (cookie) {
        spice_qxl_destroy_primary_surface_async(&host->qxl, 0, cookie);
    } else {
        spice_qxl_destroy_primary_surface(&host->qxl, 0);
        qxl_host_forget_primary(host);
    }
}

void qxl_host_forget_primary(struct qxl_host *host)
{
    free(host->surfaces[0].memory);
    memset(&host->surfaces[0], 0, sizeof(host->surfaces[0]));
}

const uint8_t *qxl_host_pixels(const struct qxl_host *host, uint32_t surface_id, ptrdiff_t *stride)
{
    const struct qxl_surface *surface = &host->surfaces[surface_id];
    const uint8_t *data = surface->memory->data;

    *stride = surface->stride;
    if (surface->stride < 0)
        data += -(ptrdiff_t)surface->stride * (ptrdiff_t)(surface->height - 1);
    return data;
}

void qxl_host_render(struct qxl_host *host, uint32_t surface_id)
{
    const struct qxl_surface *surface = &host->surfaces[surface_id];
    QXLRect area = qxl_rect(0, 0, (int)surface->width, (int)surface->height);

    spice_qxl_update_area(&host->qxl, surface_id, &area, NULL, 0, 1);
}

/* Lock held. */
static void register_item(struct qxl_host *host, struct qxl_item *item)
{
    item->next = NULL;
    item->all_next = host->all;
    if (host->all)
        host->all->all_prev = item;
    host->all = item;
    host->pushed++;
}

void qxl_host_adopt(struct qxl_host *host, struct qxl_item *item)
{
    pthread_mutex_lock(&host->lock);
    register_item(host, item);
    host->popped++;
    item->popped = true;
    pthread_mutex_unlock(&host->lock);
}

void qxl_host_push(struct qxl_host *host, struct qxl_item *item)
{
    bool cursor = (item->ext.cmd.type == QXL_CMD_CURSOR) != item->other_ring;
    struct qxl_queue *queue = cursor ? &host->cursors : &host->commands;
    bool wake;

    pthread_mutex_lock(&host->lock);
    register_item(host, item);
    if (queue->tail)
        queue->tail->next = item;
    else
        queue->head = item;
    queue->tail = item;
    queue->length++;
    wake = queue->notify;
    queue->notify = false;
    pthread_mutex_unlock(&host->lock);
    if (wake)
        spice_qxl_wakeup(&host->qxl);
}

unsigned qxl_host_backlog(struct qxl_host *host)
{
    unsigned length;

    pthread_mutex_lock(&host->lock);
    length = host->commands.length + host->cursors.length;
    pthread_mutex_unlock(&host->lock);
    return length;
}

unsigned qxl_host_count(struct qxl_host *host, const unsigned *counter)
{
    unsigned value;

    pthread_mutex_lock(&host->lock);
    value = *counter;
    pthread_mutex_unlock(&host->lock);
    return value;
}

static bool all_popped(void *arg)
{
    return qxl_host_backlog(arg) == 0;
}

static bool all_released(void *arg)
{
    struct qxl_host *host = arg;
    bool done;

    pthread_mutex_lock(&host->lock);
    done = host->released == host->pushed;
    pthread_mutex_unlock(&host->lock);
    return done;
}

bool qxl_host_wait_popped(struct qxl_host *host, int timeout_ms)
{
    return core_loop_until(all_popped, host, timeout_ms);
}

bool qxl_host_wait_released(struct qxl_host *host, int timeout_ms)
{
    return core_loop_until(all_released, host, timeout_ms);
}

struct cookie_wait {
    struct qxl_host *host;
    uint64_t cookie;
};

static bool cookie_seen(void *arg)
{
    struct cookie_wait *wait = arg;

    return qxl_host_cookie_count(wait->host, wait->cookie) > 0;
}

bool qxl_host_wait_cookie(struct qxl_host *host, uint64_t cookie, int timeout_ms)
{
    struct cookie_wait wait = { .host = host, .cookie = cookie };

    return core_loop_until(cookie_seen, &wait, timeout_ms);
}

unsigned qxl_host_cookie_count(struct qxl_host *host, uint64_t cookie)
{
    unsigned count = 0;

    pthread_mutex_lock(&host->lock);
    for (unsigned i = 0; i < host->num_completions; i++)
        count += host->completions[i] == cookie;
    pthread_mutex_unlock(&host->lock);
    return count;
}

unsigned qxl_host_offences(struct qxl_host *host, FILE *out)
{
    const struct {
        const char *what;
        unsigned count;
    } kinds[] = {
        { "double releases", qxl_host_count(host, &host->double_releases) },
        { "releases of unknown commands", qxl_host_count(host, &host->unknown_releases) },
        { "overlapping worker callbacks", qxl_host_count(host, &host->overlaps) },
        { "changes of the worker thread", qxl_host_count(host, &host->worker_changes) },
        { "ring or release calls while stopped", qxl_host_count(host, &host->while_stopped) },
        { "core calls from a foreign thread", core_loop_foreign_calls() },
        { "monitors of clients on a foreign thread", qxl_host_count(host, &host->foreign_monitors) },
    };
    unsigned total = 0;

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        total += kinds[i].count;
        if (kinds[i].count && out)
            fprintf(out, "offence: %u %s\n", kinds[i].count, kinds[i].what);
    }
    return total;
}
