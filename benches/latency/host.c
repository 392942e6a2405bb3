/* Latencies through one library: a small draw from the guest's ring to the client's socket, a key from the client to the callback.
 *
 *   latency --what draw|key|idle --port N [--count N] [--gap-us LOW HIGH] [--wake direct|notify] [--ahead N]
 *           [--scrolling] [--photos] [--loop-work] [--tls FOLDER]
 *
 * draw: a thread of the host, the guest, puts a picture of 8x16 pixels, as drivers send text, every LOW to HIGH us, behind --ahead scrolls of 640x368 in the
 *   same ring, and calls spice_qxl_wakeup: always (direct), or only if the worker has asked for it since (notify), as a
 *   driver kicks. From before the command is in the ring until the kernel has it in the client's receive queue.
 * key: the client presses a key every LOW us; from before its send to the keyboard's callback. All must come, in order.
 * idle: says "ready", and runs until standard input ends; who is interested looks into /proc.
 * --scrolling: the guest puts such scrolls into the ring all the time, whenever there is room.
 * --photos: a second display has photos of 1280x720 without end, which the client reads.
 * --loop-work: the main loop has work of its own, 0.4 ms in each ms.
 * --tls: everything inside TLS with FOLDER/{ca.pem,cert.pem,key.pem}; only for keys.
 *
 * The result is one line of JSON: delays in us, what was lost, photos a second that came meanwhile.
 */
#include "latency.h"

#include "../../capi-tests/host/host.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOST_MAX = 10 }; /* draws that did not come in 2 s: the others are not waited for */

enum what { DRAW, KEY, IDLE };

static struct {
    enum what what;
    unsigned count, low, high, ahead;
    bool notify, photos, loop_work, scrolling;
    const char *tls;
    int port;
} wish = { .count = 200, .low = 5000, .high = 15000 };

static struct board *board;
static struct device *device, *busy;
static struct input_host input;
static double delays[KEYS];
static unsigned lost, wrong, wakes;
static atomic_bool over;

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "host: %s\n", what);
    exit(1);
}

/* ---- draws ---- */

static void wake(void)
{
    if (device_asked(device) || !wish.notify) {
        spice_qxl_wakeup(&device->qxl);
        wakes++;
    }
}

/* Scrolls as fast as the ring has room, if that is wished for. */
static void go_on_for(unsigned us)
{
    uint64_t until = now_ns() + (uint64_t)us * 1000;

    if (!wish.scrolling) {
        usleep(us);
        return;
    }
    while (now_ns() < until) {
        while (device_has_room(device))
            device_scroll(device);
        wake();
        usleep(20);
    }
}

static bool has_come(unsigned number)
{
    for (int tries = 0; tries < 2000; tries++) {
        if (atomic_load(&board->came[number]))
            return true;
        go_on_for(1000);
    }
    return false;
}

static void *guest(void *arg)
{
    struct rng rng;

    (void)arg;
    rng_seed(&rng, 11);
    for (unsigned i = 0; i < wish.count; i++) {
        uint64_t pushed, came;

        go_on_for((unsigned)rng_range(&rng, (int)wish.low, (int)wish.high));
        while (wish.scrolling && !device_has_room(device)) {
            wake();
            usleep(1); /* it is among the last of a full ring */
        }
        for (unsigned n = 0; n < wish.ahead; n++)
            device_scroll(device);
        pushed = now_ns();
        device_copy(device, i);
        wake();
        if (!has_come(i)) {
            lost++;
            if (lost == LOST_MAX) {
                wish.count = i + 1;
                break;
            }
            continue;
        }
        came = atomic_load(&board->came[i]);
        delays[i - lost] = (double)(int64_t)(came - pushed) / 1000;
    }
    atomic_store(&over, true);
    return NULL;
}

/* ---- keys ---- */

static void pressed(struct input_host *host, uint8_t code)
{
    unsigned number = host->num_scancodes - 1;

    if (number >= wish.count)
        return;
    if (code != key_code(number))
        wrong++;
    delays[number] = (double)(int64_t)(now_ns() - atomic_load(&board->pressed[number])) / 1000;
    if (number + 1 == wish.count)
        atomic_store(&over, true);
}

static void work(int fd, int event, void *opaque)
{
    uint64_t count, until = now_ns() + 400000;

    (void)event;
    (void)opaque;
    if (read(fd, &count, sizeof(count)) != sizeof(count))
        return;
    while (now_ns() < until)
        ;
}

static void add_work(SpiceCoreInterface *core)
{
    struct itimerspec every = { .it_interval.tv_nsec = 1000000, .it_value.tv_nsec = 1000000 };
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

    if (fd < 0 || timerfd_settime(fd, 0, &every, NULL) != 0)
        fail("timerfd");
    core->watch_add(fd, SPICE_WATCH_EVENT_READ, work, NULL);
}

/* ---- the run ---- */

static bool has_client(void *arg)
{
    (void)arg;
    if (atomic_load(&board->failed))
        fail("the client gave up");
    return atomic_load(&board->linked) && (atomic_load(&board->pictures) & 1);
}

static void measure_draws(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, guest, NULL) != 0)
        fail("no thread");
    while (!atomic_load(&over))
        core_loop_step(100);
    pthread_join(thread, NULL);
}

static void measure_keys(void)
{
    uint64_t end = core_loop_now_ms() + (uint64_t)wish.count * wish.low / 1000 + 5000;

    input.num_scancodes = 0;
    atomic_store(&board->press_gap_us, wish.low);
    atomic_store(&board->press, wish.count);
    while (!atomic_load(&over) && core_loop_now_ms() < end)
        core_loop_step(100);
    lost = wish.count - (input.num_scancodes < wish.count ? input.num_scancodes : wish.count);
}

static void end_of_input(int fd, int event, void *opaque)
{
    char bytes[64];

    (void)event;
    (void)opaque;
    if (read(fd, bytes, sizeof(bytes)) <= 0)
        atomic_store(&over, true);
}

static void be_idle(SpiceCoreInterface *core)
{
    core->watch_add(0, SPICE_WATCH_EVENT_READ, end_of_input, NULL);
    puts("ready");
    fflush(stdout);
    while (!atomic_load(&over))
        core_loop_step(3600 * 1000);
}

static void report(double seconds, uint64_t photos, uint64_t taken)
{
    unsigned kept = wish.count - lost;

    printf("{\"lost\": %u, \"wrong\": %u, \"wakes\": %u, \"photos_s\": %.1f, \"taken_s\": %.1f, \"delays\": [", lost, wrong, wakes,
           (double)photos / (WIDTH * HEIGHT) / seconds, (double)taken / seconds);
    for (unsigned i = 0; i < kept; i++)
        printf("%s%.1f", i ? ", " : "", delays[i]);
    puts("]}");
}

static void parse(int argc, char **argv)
{
    static const char *const whats[] = { "draw", "key", "idle" };

    for (int i = 1; i < argc; i++) {
        const char *option = argv[i];

        if (!strcmp(option, "--photos")) {
            wish.photos = true;
        } else if (!strcmp(option, "--scrolling")) {
            wish.scrolling = true;
        } else if (!strcmp(option, "--loop-work")) {
            wish.loop_work = true;
        } else if (i + 1 == argc) {
            fail("an option without its value");
        } else if (!strcmp(option, "--what")) {
            i++;
            for (int n = 0; n < 3; n++) {
                if (!strcmp(argv[i], whats[n]))
                    wish.what = (enum what)n;
            }
        } else if (!strcmp(option, "--wake")) {
            wish.notify = !strcmp(argv[++i], "notify");
        } else if (!strcmp(option, "--tls")) {
            wish.tls = argv[++i];
        } else if (!strcmp(option, "--port")) {
            wish.port = atoi(argv[++i]);
        } else if (!strcmp(option, "--count")) {
            wish.count = (unsigned)atoi(argv[++i]);
        } else if (!strcmp(option, "--ahead")) {
            wish.ahead = (unsigned)atoi(argv[++i]);
        } else if (!strcmp(option, "--gap-us") && i + 2 < argc) {
            wish.low = (unsigned)atoi(argv[++i]);
            wish.high = (unsigned)atoi(argv[++i]);
        } else {
            fail("unknown option");
        }
    }
    if (!wish.port || !wish.count || wish.count > (wish.what == KEY ? KEYS : DRAWS) || wish.high < wish.low || wish.ahead >= RING)
        fail("options make no sense");
}

static SpiceServer *make_server(SpiceCoreInterface *core)
{
    SpiceServer *server = spice_server_new();
    char files[3][256];
    static const char *const names[3] = { "ca.pem", "cert.pem", "key.pem" };

    spice_server_set_noauth(server);
    spice_server_set_addr(server, "127.0.0.1", SPICE_ADDR_FLAG_IPV4_ONLY);
    if (wish.tls) {
        for (int i = 0; i < 3; i++)
            snprintf(files[i], sizeof(files[i]), "%s/%s", wish.tls, names[i]);
        if (spice_server_set_tls(server, wish.port, files[0], files[1], files[2], NULL, NULL, NULL) != 0)
            fail("spice_server_set_tls failed");
    } else {
        spice_server_set_port(server, wish.port);
    }
    spice_server_set_image_compression(server, SPICE_IMAGE_COMPRESSION_AUTO_GLZ);
    spice_server_set_jpeg_compression(server, SPICE_WAN_COMPRESSION_NEVER);
    spice_server_set_zlib_glz_compression(server, SPICE_WAN_COMPRESSION_NEVER);
    spice_server_set_streaming_video(server, SPICE_STREAM_VIDEO_OFF);
    if (spice_server_init(server, core) != 0)
        fail("spice_server_init failed");
    return server;
}

int main(int argc, char **argv)
{
    SpiceCoreInterface *core;
    SpiceServer *server;
    pid_t child;
    uint64_t begin, photos, taken = 0;

    parse(argc, argv);
    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED)
        fail("out of memory");
    child = fork();
    if (child == 0) {
        client_run(board, &(struct client_wish){
                              .port = (uint16_t)wish.port, .tls = wish.tls != NULL, .photos = wish.photos });
        _exit(0);
    }
    core = core_loop_start();
    server = make_server(core);
    input_host_init(&input);
    input.on_scancode = pressed;
    if (input_host_attach(&input, server, false) != 0)
        fail("no keyboard");
    device = device_new(server, 0, false);
    if (wish.photos)
        busy = device_new(server, 1, true);
    spice_server_vm_start(server);
    atomic_store(&board->ready, 1);
    if (!core_loop_until(has_client, NULL, 20000))
        fail("no client in 20 s");
    if (wish.what != KEY)
        atomic_store(&board->linked, 2); /* it may sleep */
    core_loop_until(NULL, NULL, 1500); /* until the work of the start is done: keys are made then */
    if (wish.loop_work)
        add_work(core);
    if (busy) {
        atomic_store(&busy->endless, true);
        spice_qxl_wakeup(&busy->qxl);
        core_loop_until(NULL, NULL, 500);
        taken = atomic_load(&busy->taken);
    }
    begin = now_ns();
    photos = atomic_load(&board->photos);
    if (wish.what == IDLE)
        be_idle(core);
    else if (wish.what == DRAW)
        measure_draws();
    else
        measure_keys();
    if (wish.what != IDLE)
        report((double)(now_ns() - begin) / 1e9, atomic_load(&board->photos) - photos,
               busy ? atomic_load(&busy->taken) - taken : 0);
    fflush(stdout);
    if (busy)
        atomic_store(&busy->endless, false);
    atomic_store(&board->stop, 1);
    spice_server_destroy(server);
    waitpid(child, NULL, 0);
    return 0;
}
