/* What a recording of a real guest costs: played to clients that read and throw away, over TCP.
 *
 *   traces FILE [--compression N] [--clients N] [--port P] [--commands N] [--pace gated|free] [--read-back]
 *       FILE is a recording or its .zst, N in --compression a SpiceImageCompression, --commands the number of
 *       commands after which it ends.
 *
 * Pace "gated": commands are handed over in groups of at most 32 in which none covers another one, and the next
 * group follows when every client has received what the last one draws. So neither library can leave anything out,
 * and both send the same. "free": as fast as the library takes them; what is covered before it leaves is not sent.
 *
 * --read-back asks for the pixels of the last draw after each group, as drivers do before they draw by themselves
 * (the recordings tell how often: 13158, 2314 and 405 times in terminal, office and web, but not where). Without it a
 * library that draws only when it must has less to do than with a guest.
 *
 * Prints one line of JSON. `library_ns` is the processor time of all threads but the first one, which reads the recording,
 * hands over and releases, and runs the main loop; from the first command until the clients have everything.
 */
#include "../../capi-tests/host/host.h"
#include "../client/client.h"
#include "../lean_device.h"
#include "threads.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    RING = 256,
    GROUP = 32,
    RETURNED = 1 << 18, /* commands that a recording may have */
    SURFACES = 1024,
    CLIENTS = 8,
    LATE_MS = 100, /* without a byte and without work of the library: what is missing does not come any more */
};

/* Written by the first thread, read by the worker. */
struct ring {
    QXLCommandExt *commands[RING];
    atomic_uint put, taken;
};

static struct device {
    QXLInstance qxl; /* first */
    SpiceReplay *replay;
    struct ring display, cursor;
    /* Released ones, in that order; the first thread frees them, because that is no work of the library's. */
    _Atomic(QXLCommandExt *) returned[RETURNED];
    atomic_uint num_returned;
    unsigned num_freed;
    /* What is handed over and not yet waited for. */
    QXLRect group[GROUP];
    unsigned group_length;
    bool read_back;
    unsigned played, draws, groups, late;
    uint64_t area; /* pixels of the boxes of all draws */
    struct shared *clients[CLIENTS];
    uint64_t missing[CLIENTS];
    unsigned num_clients;
} device;

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "traces: %s\n", what);
    exit(1);
}

/* ---- the device ---- */

static int take(struct ring *ring, QXLCommandExt *ext)
{
    unsigned taken = atomic_load_explicit(&ring->taken, memory_order_relaxed);

    if (taken == atomic_load_explicit(&ring->put, memory_order_acquire))
        return 0;
    *ext = *ring->commands[taken % RING];
    atomic_store_explicit(&ring->taken, taken + 1, memory_order_release);
    return 1;
}

static bool is_empty(struct ring *ring)
{
    return atomic_load(&ring->taken) == atomic_load(&ring->put);
}

static int get_command(QXLInstance *qxl, struct QXLCommandExt *ext)
{
    (void)qxl;
    return take(&device.display, ext);
}

static int get_cursor_command(QXLInstance *qxl, struct QXLCommandExt *ext)
{
    (void)qxl;
    return take(&device.cursor, ext);
}

/* Every group ends with a wake-up, so nothing has to be remembered here. */
static int req_cmd_notification(QXLInstance *qxl)
{
    (void)qxl;
    return is_empty(&device.display);
}

static int req_cursor_notification(QXLInstance *qxl)
{
    (void)qxl;
    return is_empty(&device.cursor);
}

static void release_resource(QXLInstance *qxl, struct QXLReleaseInfoExt release)
{
    unsigned at = atomic_fetch_add(&device.num_returned, 1);

    (void)qxl;
    if (at >= RETURNED)
        fail("the recording is too long");
    atomic_store_explicit(&device.returned[at], (QXLCommandExt *)(uintptr_t)release.info->id, memory_order_release);
}

static void get_init_info(QXLInstance *qxl, QXLDevInitInfo *info)
{
    lean_init_info(qxl, info);
    info->n_surfaces = SURFACES;
}

static QXLInterface interface;

/* ---- playing ---- */

static void free_returned(void)
{
    unsigned have = atomic_load(&device.num_returned);

    while (device.num_freed < have) {
        QXLCommandExt *command = atomic_load_explicit(&device.returned[device.num_freed], memory_order_acquire);

        if (!command)
            return; /* its place is taken, but not filled yet */
        spice_replay_free_cmd(device.replay, command);
        device.num_freed++;
    }
}

static uint64_t others_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID) - clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* When bytes came or the library worked last. */
struct sign_of_life {
    uint64_t at_ns, cpu_ns;
};

static bool is_still(void *arg)
{
    struct sign_of_life *sign = arg;
    uint64_t now = clock_ns(CLOCK_MONOTONIC), cpu = others_ns();

    for (unsigned i = 0; i < device.num_clients; i++) {
        uint64_t last = atomic_load(&device.clients[i]->last_ns);

        if (last > sign->at_ns)
            sign->at_ns = last;
    }
    if (cpu > sign->cpu_ns + 2000000) {
        sign->at_ns = now;
        sign->cpu_ns = cpu;
    }
    return now > sign->at_ns + LATE_MS * 1000000ull;
}

/* The clients have what was drawn, or nothing comes any more. */
static bool has_arrived(void *arg)
{
    bool all = true;

    for (unsigned i = 0; i < device.num_clients; i++) {
        struct shared *client = device.clients[i];

        if (atomic_load(&client->failed))
            fail("a client gave up");
        if (atomic_load(&client->area) + device.missing[i] < device.area)
            all = false;
    }
    return all || is_still(arg);
}

static void wait_for_clients(void)
{
    struct sign_of_life sign = { .at_ns = clock_ns(CLOCK_MONOTONIC), .cpu_ns = others_ns() };
    bool late = false, more = false;

    for (unsigned i = 0; i < device.num_clients; i++)
        atomic_store(&device.clients[i]->gate, device.area - device.missing[i]);
    if (!core_loop_until(has_arrived, &sign, 120000))
        fail("the clients get no picture");
    for (unsigned i = 0; i < device.num_clients; i++)
        more |= atomic_load(&device.clients[i]->area) + device.missing[i] > device.area;
    /* A new surface comes with its picture. */
    if (more && !core_loop_until(is_still, &sign, 120000))
        fail("the library has no end");
    for (unsigned i = 0; i < device.num_clients; i++) {
        uint64_t have = atomic_load(&device.clients[i]->area) + device.missing[i];

        atomic_store(&device.clients[i]->gate, 0);
        late |= have < device.area;
        device.missing[i] += device.area - have;
    }
    device.late += late;
}

static void end_group(bool gated)
{
    uint64_t start = clock_ns(CLOCK_MONOTONIC);
    QXLRect dirty;

    spice_qxl_wakeup(&device.qxl);
    if (gated && device.num_clients)
        wait_for_clients();
    /* Commands outside of a group, or nobody to wait for. */
    while (!is_empty(&device.display) || !is_empty(&device.cursor)) {
        core_loop_step(0);
        usleep(50);
        if (clock_ns(CLOCK_MONOTONIC) > start + 60000000000u)
            fail("the library takes no commands any more");
    }
    if (device.read_back && device.group_length)
        spice_qxl_update_area(&device.qxl, 0, &device.group[device.group_length - 1], &dirty, 1, 0);
    device.group_length = 0;
    device.groups++;
    free_returned();
}

static bool covers(const QXLRect *one, const QXLRect *other)
{
    return one->left <= other->left && one->top <= other->top && one->right >= other->right &&
           one->bottom >= other->bottom;
}

/* False if the command would cover one of the group. */
static bool fits_group(const QXLRect *box)
{
    for (unsigned i = 0; i < device.group_length; i++) {
        if (covers(box, &device.group[i]))
            return false;
    }
    return device.group_length < GROUP;
}

static void put(struct ring *ring, QXLCommandExt *command)
{
    unsigned at = atomic_load_explicit(&ring->put, memory_order_relaxed);

    ring->commands[at % RING] = command;
    atomic_store_explicit(&ring->put, at + 1, memory_order_release);
}

static void play(unsigned commands, bool gated)
{
    while (device.played < commands) {
        QXLCommandExt *command = spice_replay_next_cmd(device.replay, &device.qxl);

        if (!command)
            break;
        device.played++;
        if (command->cmd.type == QXL_CMD_DRAW) {
            const QXLDrawable *drawable = (const QXLDrawable *)(uintptr_t)command->cmd.data;
            QXLRect box = drawable->bbox;

            if (!fits_group(&box))
                end_group(gated);
            device.group[device.group_length++] = box;
            device.draws++;
            device.area += (uint64_t)((int64_t)(box.right - box.left) * (box.bottom - box.top));
            put(&device.display, command);
        } else {
            /* Surfaces come and go alone; cursors are drawn by the clients. */
            if (command->cmd.type != QXL_CMD_CURSOR)
                end_group(gated);
            put(command->cmd.type == QXL_CMD_CURSOR ? &device.cursor : &device.display, command);
            end_group(gated);
        }
    }
    end_group(gated);
}

/* ---- clients ---- */

static void knocked(int fd, int event, void *opaque)
{
    uint64_t count;

    (void)event;
    (void)opaque;
    if (read(fd, &count, sizeof(count)) != sizeof(count))
        fail("eventfd");
}

static bool is_linked(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < device.num_clients; i++) {
        if (!atomic_load(&device.clients[i]->linked))
            return false;
    }
    return true;
}

/* Nothing has come for 300 ms. */
static bool is_quiet(void *arg)
{
    uint64_t now = clock_ns(CLOCK_MONOTONIC);

    (void)arg;
    for (unsigned i = 0; i < device.num_clients; i++) {
        if (now - atomic_load(&device.clients[i]->last_ns) < 300000000u)
            return false;
    }
    return true;
}

/* Before the server: its process shall have nothing of ours but this. */
static pid_t start_client(uint16_t port, int gate_fd)
{
    /* sized streams, monitors, composite, A8 surfaces, LZ4; caches as spice-gtk has them */
    struct client_wish wish = { .port = port, .capabilities = 1 | 2 | 4 | 8 | 32, .cache = 20 << 20, .window = 16 << 20 };
    struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child;

    if (shared == MAP_FAILED)
        fail("out of memory");
    shared->gate_counts_area = true;
    shared->gate_fd = gate_fd;
    device.clients[device.num_clients++] = shared;
    child = fork();
    if (child == 0) {
        client_run(shared, &wish);
        _exit(0);
    }
    return child;
}

/* ---- figures ---- */

static void print_client(const struct shared *client, uint64_t missing)
{
    const char *comma = "";

    printf("{\"bytes\": %llu, \"messages\": %llu, \"drawn\": %llu, \"area\": %llu, \"missing\": %" PRId64
           ", \"acks\": %llu, \"image_bytes\": {",
           atomic_load(&client->bytes), atomic_load(&client->messages), atomic_load(&client->drawn),
           atomic_load(&client->area), (int64_t)missing, atomic_load(&client->acks));
    for (int i = 0; i < IMAGE_TYPES; i++) {
        if (atomic_load(&client->image_bytes[i])) {
            printf("%s\"%d\": %llu", comma, i, atomic_load(&client->image_bytes[i]));
            comma = ", ";
        }
    }
    printf("}, \"kinds\": {");
    comma = "";
    for (int i = 0; i < MESSAGE_KINDS; i++) {
        if (atomic_load(&client->kinds[i])) {
            printf("%s\"%d\": %llu", comma, i, atomic_load(&client->kinds[i]));
            comma = ", ";
        }
    }
    printf("}}");
}

static FILE *open_recording(const char *path)
{
    size_t length = strlen(path);
    char command[1024];

    if (length < 4 || strcmp(path + length - 4, ".zst") != 0)
        return fopen(path, "rb");
    if (strchr(path, '\'') || length > 900)
        return NULL;
    snprintf(command, sizeof(command), "exec env --default-signal=PIPE zstd -dcq '%s'", path);
    return popen(command, "r");
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "compression", required_argument, NULL, 'r' }, { "clients", required_argument, NULL, 'c' },
        { "port", required_argument, NULL, 'p' },        { "commands", required_argument, NULL, 'n' },
        { "pace", required_argument, NULL, 'a' },        { "read-back", no_argument, NULL, 'b' },
        { NULL, 0, NULL, 0 },
    };
    int compression = SPICE_IMAGE_COMPRESSION_OFF, option, gate_fd = eventfd(0, EFD_NONBLOCK);
    unsigned clients = 1, commands = UINT32_MAX;
    bool gated = true;
    uint16_t port = 59300;
    struct thread_times before;
    QXLDevMemSlot memslot = { .virt_end = ~(uintptr_t)0 };
    pid_t children[CLIENTS];
    uint64_t start, end, library;
    SpiceCoreInterface *core;
    SpiceServer *server;
    FILE *file;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'r': compression = atoi(optarg); break;
        case 'c': clients = (unsigned)atoi(optarg); break;
        case 'p': port = (uint16_t)atoi(optarg); break;
        case 'n': commands = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'b': device.read_back = true; break;
        case 'a': gated = strcmp(optarg, "free") != 0; break;
        default: return 2;
        }
    }
    if (optind + 1 != argc || clients > CLIENTS)
        return 2;
    for (unsigned i = 0; i < clients; i++)
        children[i] = start_client(port, gate_fd);
    core = core_loop_start();
    server = spice_server_new();
    spice_server_set_noauth(server);
    spice_server_set_addr(server, "127.0.0.1", SPICE_ADDR_FLAG_IPV4_ONLY);
    spice_server_set_port(server, port);
    spice_server_set_image_compression(server, (SpiceImageCompression)compression);
    spice_server_set_jpeg_compression(server, SPICE_WAN_COMPRESSION_NEVER);
    spice_server_set_zlib_glz_compression(server, SPICE_WAN_COMPRESSION_NEVER);
    spice_server_set_streaming_video(server, SPICE_STREAM_VIDEO_OFF);
    if (spice_server_init(server, core) != 0)
        fail("spice_server_init failed");
    interface = lean_interface("traces");
    interface.get_init_info = get_init_info;
    interface.get_command = get_command;
    interface.req_cmd_notification = req_cmd_notification;
    interface.release_resource = release_resource;
    interface.get_cursor_command = get_cursor_command;
    interface.req_cursor_notification = req_cursor_notification;
    device.qxl.base.sif = &interface.base;
    if (spice_server_add_interface(server, &device.qxl.base) != 0)
        fail("spice_server_add_interface failed");
    spice_qxl_add_memslot(&device.qxl, &memslot);
    spice_server_vm_start(server);
    core->watch_add(gate_fd, SPICE_WATCH_EVENT_READ, knocked, NULL);
    file = open_recording(argv[optind]);
    device.replay = file ? spice_replay_new(file, SURFACES - 1) : NULL;
    if (!device.replay)
        fail("that is no recording");
    if (!core_loop_until(is_linked, NULL, 20000))
        fail("no client in 20 s");
    /* Until the threads of the start have done their work: keys are made then. */
    core_loop_until(NULL, NULL, 1000);
    if (!core_loop_until(is_still, &(struct sign_of_life){ .at_ns = clock_ns(CLOCK_MONOTONIC) }, 60000))
        fail("the library does not come to rest");
    for (unsigned i = 0; i < clients; i++) {
        struct shared *client = device.clients[i];

        client->messages = client->bytes = client->drawn = client->area = client->acks = 0;
        for (int kind = 0; kind < MESSAGE_KINDS; kind++)
            client->kinds[kind] = 0;
    }

    threads_read(&before);
    start = clock_ns(CLOCK_MONOTONIC);
    library = others_ns();
    play(commands, gated);
    core_loop_until(is_quiet, NULL, 60000);
    library = others_ns() - library;
    end = start;
    for (unsigned i = 0; i < clients; i++) {
        if (atomic_load(&device.clients[i]->last_ns) > end)
            end = atomic_load(&device.clients[i]->last_ns);
    }
    printf("{\"commands\": %u, \"draws\": %u, \"area\": %" PRIu64 ", \"groups\": %u, \"late\": %u, \"seconds\": %.4f, "
           "\"library_ns\": %" PRIu64 ", \"threads\": {",
           device.played, device.draws, device.area, device.groups, device.late, (double)(end - start) / 1e9, library);
    threads_print_since(&before);
    printf("}, \"clients\": [");
    for (unsigned i = 0; i < clients; i++) {
        if (i)
            printf(", ");
        print_client(device.clients[i], device.missing[i]);
    }
    printf("]}\n");
    fflush(stdout);
    for (unsigned i = 0; i < clients; i++)
        atomic_store(&device.clients[i]->stop, 1);
    /* Nothing is measured any more, and the replay's memory belongs to commands that the library may still have. */
    for (unsigned i = 0; i < clients; i++)
        waitpid(children[i], NULL, 0);
    _exit(0);
}
