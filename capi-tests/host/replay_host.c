/* The device of replay_host.h: two rings between the player and the server's worker. */
#include "replay_host.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TIMEOUT_MS = 600000, RELEASE_MS = 5000 };

static struct replay_host *host_of(QXLInstance *qxl)
{
    return (struct replay_host *)(void *)qxl;
}

static int take(QXLInstance *qxl, struct replay_ring *ring, QXLCommandExt *ext)
{
    struct replay_host *host = host_of(qxl);
    int found;

    pthread_mutex_lock(&host->lock);
    found = ring->length > 0;
    if (found) {
        *ext = *ring->commands[ring->head];
        ring->head = (ring->head + 1) % REPLAY_QUEUE;
        ring->length--;
        if (ring->length == host->room / 2 || ring->length == 0)
            pthread_cond_signal(&host->taken);
    }
    pthread_mutex_unlock(&host->lock);
    return found;
}

static int arm(QXLInstance *qxl, struct replay_ring *ring)
{
    struct replay_host *host = host_of(qxl);
    int empty;

    pthread_mutex_lock(&host->lock);
    empty = ring->length == 0;
    ring->notify = empty;
    pthread_mutex_unlock(&host->lock);
    return empty;
}

static int get_command(QXLInstance *qxl, struct QXLCommandExt *ext)
{
    return take(qxl, &host_of(qxl)->display, ext);
}

static int get_cursor_command(QXLInstance *qxl, struct QXLCommandExt *ext)
{
    return take(qxl, &host_of(qxl)->cursor, ext);
}

static int req_cmd_notification(QXLInstance *qxl)
{
    return arm(qxl, &host_of(qxl)->display);
}

static int req_cursor_notification(QXLInstance *qxl)
{
    return arm(qxl, &host_of(qxl)->cursor);
}

/* The replay puts an address into its commands' id; ours have 0. */
static void release_resource(QXLInstance *qxl, struct QXLReleaseInfoExt release)
{
    struct replay_host *host = host_of(qxl);
    QXLCommandExt *command = (QXLCommandExt *)(uintptr_t)release.info->id;

    if (command)
        spice_replay_free_cmd(host->replay, command);
    pthread_mutex_lock(&host->lock);
    if (command)
        host->released++;
    else
        host->own_released++;
    pthread_mutex_unlock(&host->lock);
}

static void get_init_info(QXLInstance *qxl, QXLDevInitInfo *info)
{
    (void)qxl;
    memset(info, 0, sizeof(*info));
    info->num_memslots_groups = 1;
    info->num_memslots = 1;
    info->memslot_id_bits = 1;
    info->memslot_gen_bits = 1;
    info->n_surfaces = REPLAY_SURFACES;
    info->qxl_ram_size = 64 << 20;
}

static void attached_worker(QXLInstance *qxl)
{
    (void)qxl;
}

static void set_compression_level(QXLInstance *qxl, int level)
{
    (void)qxl;
    (void)level;
}

static void notify_update(QXLInstance *qxl, uint32_t update_id)
{
    (void)qxl;
    (void)update_id;
}

static int flush_resources(QXLInstance *qxl)
{
    (void)qxl;
    return 0;
}

static void async_complete(QXLInstance *qxl, uint64_t cookie)
{
    (void)qxl;
    (void)cookie;
}

static void update_area_complete(QXLInstance *qxl, uint32_t surface_id, struct QXLRect *rects, uint32_t count)
{
    (void)qxl;
    (void)surface_id;
    (void)rects;
    (void)count;
}

static void set_client_capabilities(QXLInstance *qxl, uint8_t present, uint8_t caps[SPICE_CAPABILITIES_SIZE])
{
    struct replay_host *host = host_of(qxl);

    pthread_mutex_lock(&host->lock);
    host->reports++;
    host->client_present = present;
    memcpy(host->client_caps, caps, SPICE_CAPABILITIES_SIZE);
    pthread_mutex_unlock(&host->lock);
}

static int client_monitors_config(QXLInstance *qxl, VDAgentMonitorsConfig *config)
{
    (void)qxl;
    (void)config;
    return 0;
}

static const QXLInterface qxl_interface = {
    .base.type = SPICE_INTERFACE_QXL,
    .base.description = "replay",
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

void replay_host_attach(struct replay_host *host, SpiceServer *server)
{
    QXLDevMemSlot slot = { .virt_end = ~(uintptr_t)0 };

    pthread_mutex_init(&host->lock, NULL);
    pthread_cond_init(&host->taken, NULL);
    host->display.notify = host->cursor.notify = true;
    if (host->room == 0 || host->room > REPLAY_QUEUE)
        host->room = REPLAY_QUEUE;
    host->qxl.base.sif = &qxl_interface.base;
    spice_server_add_interface(server, &host->qxl.base);
    spice_qxl_add_memslot(&host->qxl, &slot);
}

double replay_host_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Lock held. Waits until the ring has at most `length` commands, with the main loop running in between. */
static bool wait_length(struct replay_host *host, struct replay_ring *ring, unsigned length)
{
    double end = replay_host_now() + TIMEOUT_MS / 1000.0;

    while (ring->length > length) {
        struct timespec until;

        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 2000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        pthread_cond_timedwait(&host->taken, &host->lock, &until);
        pthread_mutex_unlock(&host->lock);
        core_loop_step(0);
        pthread_mutex_lock(&host->lock);
        if (replay_host_now() > end)
            return false;
    }
    return true;
}

static bool push(struct replay_host *host, QXLCommandExt *command)
{
    struct replay_ring *ring = command->cmd.type == QXL_CMD_CURSOR ? &host->cursor : &host->display;
    bool wake = false, room;

    pthread_mutex_lock(&host->lock);
    room = ring->length < host->room || wait_length(host, ring, host->room / 2);
    if (room) {
        ring->commands[(ring->head + ring->length++) % REPLAY_QUEUE] = command;
        wake = ring->notify;
        ring->notify = false;
    }
    pthread_mutex_unlock(&host->lock);
    if (wake)
        spice_qxl_wakeup(&host->qxl);
    return room;
}

static bool drain(struct replay_host *host)
{
    bool done;

    pthread_mutex_lock(&host->lock);
    done = wait_length(host, &host->display, 0) && wait_length(host, &host->cursor, 0);
    pthread_mutex_unlock(&host->lock);
    return done;
}

bool replay_host_play(struct replay_host *host, unsigned until, double deadline, bool *end)
{
    *end = false;
    while (host->played < until && replay_host_now() < deadline) {
        QXLCommandExt *command = spice_replay_next_cmd(host->replay, &host->qxl);

        if (!command) {
            *end = true;
            break;
        }
        host->by_type[command->cmd.type < REPLAY_COMMAND_TYPES ? command->cmd.type : 0]++;
        /* Counted first: the release may come at once. */
        pthread_mutex_lock(&host->lock);
        host->played++;
        pthread_mutex_unlock(&host->lock);
        if (!push(host, command))
            return false;
        if (host->played % 64 == 0)
            core_loop_step(0);
    }
    return drain(host);
}

static bool all_released(void *arg)
{
    struct replay_host *host = arg;
    bool done;

    pthread_mutex_lock(&host->lock);
    done = host->released == host->played && host->own_released == host->own_played;
    pthread_mutex_unlock(&host->lock);
    return done;
}

static bool own_released(void *arg)
{
    struct replay_host *host = arg;
    bool done;

    pthread_mutex_lock(&host->lock);
    done = host->own_released == host->own_played;
    pthread_mutex_unlock(&host->lock);
    return done;
}

bool replay_host_picture(struct replay_host *host, uint32_t surface_id, struct replay_picture *picture)
{
    QXLRect area = qxl_rect(0, 0, picture->width, picture->height);
    QXLSurfaceCmd create = { .surface_id = surface_id, .type = QXL_SURFACE_CMD_CREATE };
    QXLSurfaceCmd destroy = { .surface_id = surface_id, .type = QXL_SURFACE_CMD_DESTROY };
    QXLImage image = { .descriptor.type = SPICE_IMAGE_TYPE_SURFACE };
    QXLDrawable draw = { .surface_id = surface_id, .type = QXL_DRAW_COPY, .effect = QXL_EFFECT_OPAQUE };
    QXLCommandExt commands[3] = {
        { .cmd = { .data = qxl_address(&create), .type = QXL_CMD_SURFACE } },
        { .cmd = { .data = qxl_address(&draw), .type = QXL_CMD_DRAW } },
        { .cmd = { .data = qxl_address(&destroy), .type = QXL_CMD_SURFACE } },
    };

    picture->pixels = calloc((size_t)picture->height, (size_t)picture->width * 4);
    if (!picture->pixels)
        exit(70);
    create.u.surface_create.format = SPICE_SURFACE_FMT_32_xRGB;
    create.u.surface_create.width = image.descriptor.width = (uint32_t)picture->width;
    create.u.surface_create.height = image.descriptor.height = (uint32_t)picture->height;
    create.u.surface_create.stride = picture->width * 4;
    create.u.surface_create.data = qxl_address(picture->pixels);
    draw.bbox = draw.surfaces_rects[0] = draw.u.copy.src_area = area;
    draw.surfaces_dest[1] = draw.surfaces_dest[2] = -1;
    draw.u.copy.src_bitmap = qxl_address(&image);
    draw.u.copy.rop_descriptor = SPICE_ROPD_OP_PUT;
    host->own_played += 3;
    if (!push(host, &commands[0]) || !push(host, &commands[1]))
        return false;
    spice_qxl_update_area(&host->qxl, surface_id, &area, NULL, 0, 1);
    /* The structures are on this stack: nobody may look at them any more when we return. */
    return push(host, &commands[2]) && core_loop_until(own_released, host, TIMEOUT_MS);
}

bool replay_host_reset(struct replay_host *host)
{
    spice_qxl_destroy_surfaces(&host->qxl);
    spice_qxl_reset_cursor(&host->qxl);
    return core_loop_until(all_released, host, RELEASE_MS);
}
