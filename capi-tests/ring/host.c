/* Serves a guest process that draws through QXL rings in shared memory, in either of two ways.
 *
 *   serve_ring --unix PATH --guest PROGRAM [--way ring|callbacks]
 *
 * ring: the memory goes to cayenne_qxl_attach_ring (found by dlsym: the program also starts on other libraries).
 * callbacks: this program reads the rings in its QXL callbacks, as QEMU does.
 * Lines on standard input:
 *   round COUNT SEED       starts a guest, waits for its end and brings the picture up to date
 *   hostile SECONDS SEED   starts a guest that lies and ends it with SIGKILL; resets the device
 *   hand-over              detaches and attaches again where the rings stood, as a restarted hypervisor would
 *   write FILE             the screen as a PPM file
 *   quit
 * Answers begin with the same word; "guest STATUS picture CHECKSUM calls N descriptors N" behind it: the guest's exit
 * status, the screen, callbacks that stand for a command, descriptors that this process has open.
 */
#include "../host/host.h"
#include "shared.h"

#include <cayenne.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
    QXLInstance qxl; /* first */
    uint8_t *memory;
    int memory_fd, kick_fd, interrupt_fd;
    struct ring commands, cursors, releases;
    bool by_ring;
    /* The open chain of the release ring; the worker's. */
    uint8_t *last_release;
    unsigned open_releases;
    atomic_ulong calls;
} device;

static int (*attach_ring)(QXLInstance *, const CayenneRing *);
static int (*detach_ring)(QXLInstance *, CayenneRingState *);
static CayenneRingPosition position;
static bool quit_asked;

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "serve_ring: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- the device by callbacks ---- */

static void interrupt(uint32_t bits)
{
    uint32_t before = atomic_fetch_or(word_at(device.memory, offsetof(QXLRam, int_pending)), bits);
    uint64_t one = 1;

    if ((before & bits) != bits && (atomic_load(word_at(device.memory, offsetof(QXLRam, int_mask))) & bits) &&
        write(device.interrupt_fd, &one, sizeof(one)) < 0)
        fputs("serve_ring: an interrupt was not taken\n", stderr);
}

static int pop(struct ring ring, QXLCommandExt *command, uint32_t bit)
{
    atomic_fetch_add(&device.calls, 1);
    if (atomic_load(ring.prod) == atomic_load(ring.cons))
        return 0;
    memcpy(&command->cmd, ring_item(ring, atomic_load(ring.cons), sizeof(QXLCommand)), sizeof(QXLCommand));
    command->group_id = GROUP;
    command->flags = 0;
    if (ring_pop(ring))
        interrupt(bit);
    return 1;
}

static int get_command(QXLInstance *qxl, QXLCommandExt *command)
{
    (void)qxl;
    return pop(device.commands, command, QXL_INTERRUPT_DISPLAY);
}

static int get_cursor_command(QXLInstance *qxl, QXLCommandExt *command)
{
    (void)qxl;
    return pop(device.cursors, command, QXL_INTERRUPT_CURSOR);
}

static int req_cursor_notification(QXLInstance *qxl)
{
    (void)qxl;
    return !ring_has_items(device.cursors);
}

static int flush_resources(QXLInstance *qxl);

static int req_cmd_notification(QXLInstance *qxl)
{
    (void)qxl;
    return !ring_has_items(device.commands);
}

static int flush_resources(QXLInstance *qxl)
{
    uint32_t prod = atomic_load(device.releases.prod);
    uint64_t none = 0;
    int count = (int)device.open_releases;

    (void)qxl;
    if (!device.last_release || prod - atomic_load(device.releases.cons) + 1 >= QXL_RELEASE_RING_SIZE)
        return 0;
    memcpy(ring_item(device.releases, prod + 1, 8), &none, 8);
    device.last_release = NULL;
    device.open_releases = 0;
    if (ring_push(device.releases))
        interrupt(QXL_INTERRUPT_DISPLAY);
    return count;
}

static void release_resource(QXLInstance *qxl, QXLReleaseInfoExt release)
{
    uint8_t *info = (uint8_t *)release.info;
    uint64_t id, none = 0;

    atomic_fetch_add(&device.calls, 1);
    memcpy(&id, info, 8);
    memcpy(info, &none, 8);
    memcpy(device.last_release ? device.last_release : ring_item(device.releases, atomic_load(device.releases.prod), 8), &id, 8);
    device.last_release = info;
    /* A device that is looked at by the guest whenever it runs dry: small chains, as QEMU has them. */
    if (++device.open_releases >= 32)
        flush_resources(qxl);
}

static void attached(QXLInstance *qxl)
{
    (void)qxl;
}

static void nothing_int(QXLInstance *qxl, int value)
{
    (void)qxl;
    (void)value;
}

static void nothing_update(QXLInstance *qxl, uint32_t id)
{
    (void)qxl;
    (void)id;
}

static void nothing_cookie(QXLInstance *qxl, uint64_t cookie)
{
    (void)qxl;
    (void)cookie;
}

static void nothing_area(QXLInstance *qxl, uint32_t surface, QXLRect *rects, uint32_t count)
{
    (void)qxl;
    (void)surface;
    (void)rects;
    (void)count;
}

static void init_info(QXLInstance *qxl, QXLDevInitInfo *info)
{
    (void)qxl;
    *info = (QXLDevInitInfo){ .num_memslots_groups = 2, .num_memslots = 8, .memslot_gen_bits = 8,
                              .memslot_id_bits = 8, .n_surfaces = 1024 };
}

static const QXLInterface interface = {
    .base = { .type = SPICE_INTERFACE_QXL, .description = "rings", .major_version = 3, .minor_version = 1 },
    .attached_worker = attached,
    .set_compression_level = nothing_int,
    .get_init_info = init_info,
    .get_command = get_command,
    .req_cmd_notification = req_cmd_notification,
    .release_resource = release_resource,
    .get_cursor_command = get_cursor_command,
    .req_cursor_notification = req_cursor_notification,
    .notify_update = nothing_update,
    .flush_resources = flush_resources,
    .async_complete = nothing_cookie,
    .update_area_complete = nothing_area,
};

/* ---- the memory ---- */

static void make_memory(void)
{
    device.memory_fd = memfd_create("qxl", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (device.memory_fd < 0 || ftruncate(device.memory_fd, MEMORY_BYTES) < 0 ||
        fcntl(device.memory_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
        fail("memory");
    device.memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, device.memory_fd, 0);
    device.kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    device.interrupt_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (device.memory == MAP_FAILED || device.kick_fd < 0 || device.interrupt_fd < 0)
        fail("memory");
    device.commands = command_ring(device.memory);
    device.cursors = cursor_ring(device.memory);
    device.releases = release_ring(device.memory);
}

/* As a device after its reset. */
static void reset_rings(void)
{
    uint64_t none = 0;

    memset(ram_header(device.memory), 0, sizeof(QXLRam));
    ram_header(device.memory)->magic = QXL_RAM_MAGIC;
    ring_reset(device.commands);
    ring_reset(device.cursors);
    ring_reset(device.releases);
    memcpy(ring_item(device.releases, 0, 8), &none, 8);
    device.last_release = NULL;
    device.open_releases = 0;
    position = (CayenneRingPosition){ 0 };
}

static void attach(void)
{
    CayenneRingSlot slot = { .id = SLOT, .size = MEMORY_BYTES };
    CayenneRing ring = {
        .size = sizeof(ring), .memory_fd = device.memory_fd, .memory_size = MEMORY_BYTES, .ram_offset = HEADER,
        .group = GROUP, .num_slots = 1, .slots = &slot, .kick_fd = device.kick_fd,
        .interrupt_fd = device.interrupt_fd, .position = position,
    };
    QXLDevMemSlot plain = {
        .slot_group_id = GROUP, .slot_id = SLOT, .virt_start = (uintptr_t)device.memory,
        .virt_end = (uintptr_t)device.memory + MEMORY_BYTES, .addr_delta = (uintptr_t)device.memory,
    };

    if (!device.by_ring)
        spice_qxl_add_memslot(&device.qxl, &plain);
    else if (attach_ring(&device.qxl, &ring) != 0)
        fail("the ring was not attached");
}

static void detach(void)
{
    static uint64_t surfaces[1024], dirty[MEMORY_BYTES / 4096 / 64 + 1];
    CayenneRingState state = { .size = sizeof(state), .num_surfaces = 1024, .surfaces = surfaces,
                               .num_dirty = sizeof(dirty) / 8, .dirty = dirty };

    if (!device.by_ring)
        return;
    if (detach_ring(&device.qxl, &state) != 0)
        fail("the ring was not detached");
    position = state.position;
    if (!(dirty[0] & 1) || !(dirty[HEADER / 4096 / 64] >> (HEADER / 4096 % 64) & 1))
        fail("the log of pages knows nothing of the screen or the rings");
}

static void create_primary(bool keep)
{
    QXLDevSurfaceCreate create = {
        .width = WIDTH, .height = HEIGHT, .stride = WIDTH * 4, .format = SPICE_SURFACE_FMT_32_xRGB, .mouse_mode = 1,
        .mem = guest_address(0), .group_id = GROUP, .flags = keep ? QXL_SURF_FLAG_KEEP_DATA : 0,
    };

    spice_qxl_create_primary_surface(&device.qxl, 0, &create);
}

/* ---- guests ---- */

static void kicked(int fd, int event, void *opaque)
{
    uint64_t count;

    (void)event;
    (void)opaque;
    if (read(fd, &count, sizeof(count)) != sizeof(count))
        return;
    spice_qxl_wakeup(&device.qxl);
    if (atomic_exchange(word_at(device.memory, offsetof(QXLRam, log_buf)), 0))
        spice_qxl_oom(&device.qxl);
}

static pid_t start_guest(const char *program, const char *count, unsigned seed, bool hostile)
{
    char numbers[4][16];
    int inherited[] = { device.memory_fd, device.kick_fd, device.interrupt_fd };
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    for (int i = 0; i < 3; i++) {
        fcntl(inherited[i], F_SETFD, 0);
        snprintf(numbers[i], sizeof(numbers[i]), "%d", inherited[i]);
    }
    snprintf(numbers[3], sizeof(numbers[3]), "%u", seed);
    execl(program, program, numbers[0], numbers[1], numbers[2], count, numbers[3], hostile ? "hostile" : NULL, NULL);
    _exit(127);
}

static bool guest_ended(void *arg)
{
    int *status = arg;

    return waitpid(status[0], &status[1], WNOHANG) == status[0];
}

static unsigned open_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    unsigned count = 0;

    while (directory && readdir(directory))
        count++;
    if (directory)
        closedir(directory);
    return count;
}

static uint32_t picture(void)
{
    QXLRect all = { .right = WIDTH, .bottom = HEIGHT };

    spice_qxl_update_area(&device.qxl, 0, &all, NULL, 0, 1);
    return pixels_checksum(device.memory, WIDTH, HEIGHT, WIDTH * 4);
}

static const char *guest_program;
static SpiceServer *server;

static void answer(const char *word, int status)
{
    printf("%s guest %d picture %08x calls %lu descriptors %u\n", word, status, picture(), atomic_load(&device.calls),
           open_descriptors());
}

static int end_of_guest(int pid)
{
    int status[2] = { pid, 0 };

    /* Guests give up by themselves when nothing goes on. */
    if (!core_loop_until(guest_ended, status, 600000))
        fail("the guest does not end");
    return status[1];
}

static void hand_over(bool reset)
{
    spice_server_vm_stop(server);
    detach();
    if (reset)
        reset_rings();
    attach();
    create_primary(!reset);
    spice_server_vm_start(server);
}

static void obey_line(const char *line, void *opaque)
{
    char word[4096];
    unsigned seed;
    double seconds;

    (void)opaque;
    if (sscanf(line, "round %31s %u", word, &seed) == 2) {
        answer("round", end_of_guest(start_guest(guest_program, word, seed, false)));
    } else if (sscanf(line, "hostile %lf %u", &seconds, &seed) == 2) {
        int pid = start_guest(guest_program, "0", seed, true);

        core_loop_until(NULL, NULL, (int)(seconds * 1000));
        kill(pid, SIGKILL);
        answer("hostile", end_of_guest(pid));
        hand_over(true);
    } else if (strcmp(line, "hand-over") == 0) {
        hand_over(false);
        answer("hand-over", 0);
    } else if (sscanf(line, "write %4095s", word) == 1) {
        picture();
        puts(pixels_write_ppm(word, device.memory, WIDTH, HEIGHT, WIDTH * 4) == 0 ? "write" : "not written");
    } else if (strcmp(line, "quit") == 0) {
        quit_asked = true;
    }
}

static void obey(int fd, int event, void *opaque)
{
    (void)event;
    (void)opaque;
    if (!core_loop_read_lines(fd, obey_line, NULL))
        quit_asked = true;
}

static bool is_asked(void *arg)
{
    (void)arg;
    return quit_asked;
}

int main(int argc, char **argv)
{
    const char *path = NULL, *way = "ring";
    SpiceCoreInterface *core = core_loop_start();

    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--unix") == 0)
            path = argv[i + 1];
        else if (strcmp(argv[i], "--guest") == 0)
            guest_program = argv[i + 1];
        else if (strcmp(argv[i], "--way") == 0)
            way = argv[i + 1];
    }
    if (!path || !guest_program)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    device.by_ring = strcmp(way, "ring") == 0;
    attach_ring = (int (*)(QXLInstance *, const CayenneRing *))dlsym(RTLD_DEFAULT, "cayenne_qxl_attach_ring");
    detach_ring = (int (*)(QXLInstance *, CayenneRingState *))dlsym(RTLD_DEFAULT, "cayenne_qxl_detach_ring");
    if (device.by_ring && (!attach_ring || !detach_ring)) {
        fputs("serve_ring: this library has no cayenne_qxl_attach_ring\n", stderr);
        return 3;
    }
    server = spice_server_new();
    spice_server_set_noauth(server);
    spice_server_set_addr(server, path, SPICE_ADDR_FLAG_UNIX_ONLY);
    if (spice_server_init(server, core) != 0)
        return 1;
    make_memory();
    reset_rings();
    device.qxl.base.sif = &interface.base;
    if (spice_server_add_interface(server, &device.qxl.base) != 0)
        return 1;
    attach();
    create_primary(false);
    spice_server_vm_start(server);
    if (!device.by_ring)
        core->watch_add(device.kick_fd, SPICE_WATCH_EVENT_READ, kicked, NULL);
    core->watch_add(0, SPICE_WATCH_EVENT_READ, obey, NULL);
    puts("ready");
    while (!quit_asked)
        core_loop_until(is_asked, NULL, 60000);
    spice_server_remove_interface(&device.qxl.base);
    spice_server_destroy(server);
    return 0;
}
