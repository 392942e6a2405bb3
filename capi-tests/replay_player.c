/* Plays a recording of QXL traffic into the server as fast as it takes the commands.
 *
 *   replay_player FILE [--surfaces N] [--port P | --unix PATH] [--out FILE.ppm] [--linger]
 *       FILE "-" is standard input. Prints how many commands were played and released, the size of the last
 *       primary surface and the checksum of its picture; the time goes to stderr, because it is never the same.
 *       With --port or --unix clients may watch; --linger serves them after the end until stdin closes.
 *
 * The memory of the primary surface belongs to the replay, so its picture is copied by a command of our own
 * into an off-screen surface in our memory, and that is what update_area brings up to date.
 */
#include "host/host.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { QUEUE = 512, SURFACES = 1024, TIMEOUT_MS = 600000 };

struct ring {
    QXLCommandExt *commands[QUEUE];
    unsigned head, length;
    bool notify;
};

struct player {
    QXLInstance qxl; /* first: callbacks get this pointer */
    SpiceReplay *replay;
    pthread_mutex_t lock;
    pthread_cond_t taken;
    struct ring display, cursor;
    unsigned played, released, by_type[6];
    /* our own last commands: released by their address */
    QXLReleaseInfo *own[2];
    unsigned own_released;
};

static struct player *player_of(QXLInstance *qxl)
{
    return (struct player *)(void *)qxl;
}

static int take(QXLInstance *qxl, struct ring *ring, QXLCommandExt *ext)
{
    struct player *player = player_of(qxl);
    int found;

    pthread_mutex_lock(&player->lock);
    found = ring->length > 0;
    if (found) {
        *ext = *ring->commands[ring->head];
        ring->head = (ring->head + 1) % QUEUE;
        ring->length--;
        if (ring->length == QUEUE / 2 || ring->length == 0)
            pthread_cond_signal(&player->taken);
    }
    pthread_mutex_unlock(&player->lock);
    return found;
}

static int arm(QXLInstance *qxl, struct ring *ring)
{
    struct player *player = player_of(qxl);
    int empty;

    pthread_mutex_lock(&player->lock);
    empty = ring->length == 0;
    ring->notify = empty;
    pthread_mutex_unlock(&player->lock);
    return empty;
}

static int get_command(QXLInstance *qxl, struct QXLCommandExt *ext)
{
    return take(qxl, &player_of(qxl)->display, ext);
}

static int get_cursor_command(QXLInstance *qxl, struct QXLCommandExt *ext)
{
    return take(qxl, &player_of(qxl)->cursor, ext);
}

static int req_cmd_notification(QXLInstance *qxl)
{
    return arm(qxl, &player_of(qxl)->display);
}

static int req_cursor_notification(QXLInstance *qxl)
{
    return arm(qxl, &player_of(qxl)->cursor);
}

static void release_resource(QXLInstance *qxl, struct QXLReleaseInfoExt release)
{
    struct player *player = player_of(qxl);
    bool own = release.info == player->own[0] || release.info == player->own[1];

    if (!own)
        spice_replay_free_cmd(player->replay, (QXLCommandExt *)(uintptr_t)release.info->id);
    pthread_mutex_lock(&player->lock);
    if (own)
        player->own_released++;
    else
        player->released++;
    pthread_mutex_unlock(&player->lock);
}

static void get_init_info(QXLInstance *qxl, QXLDevInitInfo *info)
{
    (void)qxl;
    memset(info, 0, sizeof(*info));
    info->num_memslots_groups = 1;
    info->num_memslots = 1;
    info->memslot_id_bits = 1;
    info->memslot_gen_bits = 1;
    info->n_surfaces = SURFACES;
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
    (void)qxl;
    (void)present;
    (void)caps;
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

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Lock held. Waits until the ring has at most `length` commands, with the main loop running in between. */
static bool wait_length(struct player *player, struct ring *ring, unsigned length)
{
    double end = seconds() + TIMEOUT_MS / 1000.0;

    while (ring->length > length) {
        struct timespec until;

        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 2000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        pthread_cond_timedwait(&player->taken, &player->lock, &until);
        pthread_mutex_unlock(&player->lock);
        core_loop_step(0);
        pthread_mutex_lock(&player->lock);
        if (seconds() > end)
            return false;
    }
    return true;
}

static bool push(struct player *player, QXLCommandExt *command)
{
    struct ring *ring = command->cmd.type == QXL_CMD_CURSOR ? &player->cursor : &player->display;
    bool wake = false, room;

    pthread_mutex_lock(&player->lock);
    room = ring->length < QUEUE || wait_length(player, ring, QUEUE / 2);
    if (room) {
        ring->commands[(ring->head + ring->length++) % QUEUE] = command;
        wake = ring->notify;
        ring->notify = false;
    }
    pthread_mutex_unlock(&player->lock);
    if (wake)
        spice_qxl_wakeup(&player->qxl);
    return room;
}

static bool drain(struct player *player)
{
    bool done;

    pthread_mutex_lock(&player->lock);
    done = wait_length(player, &player->display, 0) && wait_length(player, &player->cursor, 0);
    pthread_mutex_unlock(&player->lock);
    return done;
}

static bool all_released(void *arg)
{
    struct player *player = arg;
    bool done;

    pthread_mutex_lock(&player->lock);
    done = player->released == player->played && player->own_released == 2;
    pthread_mutex_unlock(&player->lock);
    return done;
}

struct picture {
    QXLSurfaceCmd create;
    QXLDrawable draw;
    QXLImage image;
    QXLCommandExt commands[2];
    uint8_t *pixels;
    uint32_t width, height;
};

/* Copies the primary surface into memory of ours. */
static void take_picture(struct player *player, struct picture *picture, uint32_t surface_id)
{
    QXLRect area = qxl_rect(0, 0, (int)picture->width, (int)picture->height);
    QXLSurfaceCmd *create = &picture->create;
    QXLDrawable *draw = &picture->draw;

    picture->pixels = calloc(picture->height, (size_t)picture->width * 4);
    if (!picture->pixels)
        exit(70);
    create->surface_id = surface_id;
    create->type = QXL_SURFACE_CMD_CREATE;
    create->u.surface_create.format = SPICE_SURFACE_FMT_32_xRGB;
    create->u.surface_create.width = picture->width;
    create->u.surface_create.height = picture->height;
    create->u.surface_create.stride = (int32_t)picture->width * 4;
    create->u.surface_create.data = qxl_address(picture->pixels);
    picture->image.descriptor.type = SPICE_IMAGE_TYPE_SURFACE;
    picture->image.descriptor.width = picture->width;
    picture->image.descriptor.height = picture->height;
    draw->surface_id = surface_id;
    draw->type = QXL_DRAW_COPY;
    draw->effect = QXL_EFFECT_OPAQUE;
    draw->bbox = area;
    draw->surfaces_dest[1] = draw->surfaces_dest[2] = -1;
    draw->surfaces_rects[0] = area;
    draw->u.copy.src_bitmap = qxl_address(&picture->image);
    draw->u.copy.src_area = area;
    draw->u.copy.rop_descriptor = SPICE_ROPD_OP_PUT;
    picture->commands[0] = (QXLCommandExt){ .cmd = { .data = qxl_address(create), .type = QXL_CMD_SURFACE } };
    picture->commands[1] = (QXLCommandExt){ .cmd = { .data = qxl_address(draw), .type = QXL_CMD_DRAW } };
    player->own[0] = &create->release_info;
    player->own[1] = &draw->release_info;
    push(player, &picture->commands[0]);
    push(player, &picture->commands[1]);
    spice_qxl_update_area(&player->qxl, surface_id, &area, NULL, 0, 1);
}

static bool input_closed;

static void input_event(int fd, int event, void *opaque)
{
    char bytes[64];

    (void)event;
    (void)opaque;
    input_closed = read(fd, bytes, sizeof(bytes)) <= 0;
}

static bool is_closed(void *arg)
{
    (void)arg;
    return input_closed;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "surfaces", required_argument, NULL, 's' }, { "port", required_argument, NULL, 'p' },
        { "unix", required_argument, NULL, 'u' },     { "out", required_argument, NULL, 'o' },
        { "linger", no_argument, NULL, 'l' },         { NULL, 0, NULL, 0 },
    };
    static struct player player;
    static struct input_host input;
    static struct picture picture;
    const char *out = NULL, *path = NULL;
    int surfaces = SURFACES - 1, port = 0, option;
    bool linger = false, released;
    QXLDevMemSlot slot = { .virt_end = ~(uintptr_t)0 };
    SpiceCoreInterface *core = core_loop_start();
    SpiceServer *server;
    QXLCommandExt *command;
    double start;
    FILE *file;

    setvbuf(stdout, NULL, _IOLBF, 0);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 's': surfaces = atoi(optarg); break;
        case 'p': port = atoi(optarg); break;
        case 'u': path = optarg; break;
        case 'o': out = optarg; break;
        case 'l': linger = true; break;
        default: return 2;
        }
    }
    if (optind + 1 != argc || surfaces < 1 || surfaces >= SURFACES) {
        fputs("usage: replay_player FILE [--surfaces N] [--port P | --unix PATH] [--out PPM] [--linger]\n", stderr);
        return 2;
    }
    file = strcmp(argv[optind], "-") == 0 ? stdin : fopen(argv[optind], "rb");
    if (!file) {
        perror(argv[optind]);
        return 1;
    }
    player.replay = spice_replay_new(file, surfaces);
    if (!player.replay) {
        fputs("replay_player: this is no recording\n", stderr);
        return 1;
    }
    server = spice_server_new();
    spice_server_set_noauth(server);
    /* No lossy video where pictures are compared. */
    spice_server_set_streaming_video(server, SPICE_STREAM_VIDEO_OFF);
    if (path) {
        spice_server_set_addr(server, path, SPICE_ADDR_FLAG_UNIX_ONLY);
    } else if (port) {
        spice_server_set_addr(server, "127.0.0.1", 0);
        spice_server_set_port(server, port);
    }
    if (spice_server_init(server, core) != 0) {
        fputs("replay_player: init failed\n", stderr);
        return 1;
    }
    pthread_mutex_init(&player.lock, NULL);
    pthread_cond_init(&player.taken, NULL);
    player.display.notify = player.cursor.notify = true;
    player.qxl.base.sif = &qxl_interface.base;
    /* The tablet is told the size of the primary surface. */
    input_host_init(&input);
    input_host_attach(&input, server, true);
    spice_server_add_interface(server, &player.qxl.base);
    spice_qxl_add_memslot(&player.qxl, &slot);
    spice_server_vm_start(server);

    start = seconds();
    while ((command = spice_replay_next_cmd(player.replay, &player.qxl)) != NULL) {
        player.by_type[command->cmd.type < 6 ? command->cmd.type : 0]++;
        /* Counted first: the release may come at once. */
        pthread_mutex_lock(&player.lock);
        player.played++;
        pthread_mutex_unlock(&player.lock);
        if (!push(&player, command)) {
            fputs("replay_player: the server takes no commands any more\n", stderr);
            return 1;
        }
        if (player.played % 64 == 0)
            core_loop_step(0);
    }
    if (!drain(&player)) {
        fputs("replay_player: the server leaves commands\n", stderr);
        return 1;
    }
    fprintf(stderr, "%.3f seconds\n", seconds() - start);
    core_loop_until(NULL, NULL, 50);
    picture.width = (uint32_t)input.logical_width;
    picture.height = (uint32_t)input.logical_height;
    if (picture.width == 0 || picture.height == 0) {
        fputs("replay_player: there is no primary surface\n", stderr);
        return 1;
    }
    take_picture(&player, &picture, (uint32_t)surfaces);
    printf("commands %u: draw %u update %u cursor %u message %u surface %u\n", player.played,
           player.by_type[QXL_CMD_DRAW], player.by_type[QXL_CMD_UPDATE], player.by_type[QXL_CMD_CURSOR],
           player.by_type[QXL_CMD_MESSAGE], player.by_type[QXL_CMD_SURFACE]);
    printf("primary %ux%u checksum %08x\n", picture.width, picture.height,
           pixels_checksum(picture.pixels, (int)picture.width, (int)picture.height, (ptrdiff_t)picture.width * 4));
    if (out)
        pixels_write_ppm(out, picture.pixels, (int)picture.width, (int)picture.height,
                         (ptrdiff_t)picture.width * 4);
    if (linger) {
        SpiceWatch *watch = core->watch_add(0, SPICE_WATCH_EVENT_READ, input_event, NULL);

        puts("ready");
        while (!is_closed(NULL))
            core_loop_until(is_closed, NULL, 1000);
        core->watch_remove(watch);
    }
    spice_server_vm_stop(server);
    spice_qxl_destroy_surfaces(&player.qxl);
    spice_qxl_reset_cursor(&player.qxl);
    released = core_loop_until(all_released, &player, 5000);
    printf("released %s\n", released ? "all" : "not all");
    if (!released)
        fprintf(stderr, "released %u of %u\n", player.released, player.played);
    spice_server_destroy(server);
    spice_replay_free(player.replay);
    free(picture.pixels);
    return released ? 0 : 1;
}
