/* Malformed guest commands, one kind after another, each followed by a good draw over the whole screen. The
 * kinds are in bad_commands/, a file per area.
 *
 *   bad_commands            all kinds in one process: prints whether the bad command came back and whether the
 *                           next good one was drawn, to the pixel; exit 1 if anything was not right
 *   bad_commands --forked   each kind in a child, several at once: also prints which signal ended it, and the score
 *   bad_commands --list     the names of the kinds
 *   bad_commands --unix PATH  serves there and obeys lines on stdin: "bad N" tries the next N kinds and does not cover
 *                           with a good picture what they drew, "dump FILE", "quit"; so that a client can watch
 *   bad_commands ... NAME   only the kinds whose name or area begins like that
 *
 * A command whose header cannot be read cannot be released: "kept" is right for those, and only for those.
 */
#include "bad_commands/bad.h"

#include <getopt.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN = 4, CHILD_SECONDS = 20 };

struct qxl_host *bad_device;
uint32_t bad_noise[BAD_NOISE * BAD_NOISE];
uint8_t *bad_arena;

static const struct bad_table *const tables[] = {
    &bad_headers, &bad_chunks, &bad_drawables, &bad_sources, &bad_bitmaps, &bad_streams, &bad_paths,
    &bad_texts, &bad_composites, &bad_surfaces, &bad_cursors, &bad_compat, &bad_requests, &bad_races,
};

enum { MOST_KINDS = 1000 };

static const struct bad_kind *kinds[MOST_KINDS];
static unsigned num_kinds;
static SpiceServer *server;
static struct rng picture_rng;

struct qxl_source bad_source(void)
{
    return (struct qxl_source){ .pixels = bad_noise, .width = BAD_NOISE, .height = BAD_NOISE };
}

struct qxl_item *bad_copy(void)
{
    const QXLRect all = { .right = BAD_NOISE, .bottom = BAD_NOISE };

    return qxl_draw_copy(0, all, bad_source(), all, SPICE_ROPD_OP_PUT);
}

static void start(const char *path)
{
    /* Not from 0 on: a guest's slot never begins there, and a null pointer must be seen to be one. */
    QXLDevMemSlot all = { .virt_start = 0x10000, .virt_end = ~(uintptr_t)0 };
    QXLDevMemSlot arena = { .slot_id = 1 };
    SpiceCoreInterface *core = core_loop_start();

    server = spice_server_new();
    spice_server_set_noauth(server);
    if (path)
        spice_server_set_addr(server, path, SPICE_ADDR_FLAG_UNIX_ONLY);
    if (spice_server_init(server, core) != 0)
        exit(2);
    bad_arena = calloc(1, BAD_ARENA);
    arena.virt_start = arena.addr_delta = (uintptr_t)bad_arena;
    arena.virt_end = arena.virt_start + BAD_ARENA;
    bad_device = qxl_host_new(0);
    bad_device->memslots = 3;
    bad_device->memslot_bits = 2;
    qxl_host_attach(bad_device, server);
    spice_qxl_add_memslot(&bad_device->qxl, &all);
    spice_qxl_add_memslot(&bad_device->qxl, &arena);
    qxl_host_create_primary(bad_device, BAD_WIDTH, BAD_HEIGHT, false, 0);
    spice_server_vm_start(server);
}

/* Draws a new picture over everything and compares every pixel. */
static bool good_draw_is_exact(void)
{
    static uint32_t picture[BAD_WIDTH * BAD_HEIGHT];
    const QXLRect all = { .right = BAD_WIDTH, .bottom = BAD_HEIGHT };
    struct qxl_source source = { .pixels = picture, .width = BAD_WIDTH, .height = BAD_HEIGHT };
    const uint8_t *pixels;
    ptrdiff_t stride;

    for (int i = 0; i < BAD_WIDTH * BAD_HEIGHT; i++)
        picture[i] = rng_next(&picture_rng) & 0xffffff;
    qxl_host_push(bad_device, qxl_draw_copy(0, all, source, all, SPICE_ROPD_OP_PUT));
    qxl_host_render(bad_device, 0);
    pixels = qxl_host_pixels(bad_device, 0, &stride);
    for (int y = 0; y < BAD_HEIGHT; y++) {
        for (int x = 0; x < BAD_WIDTH; x++) {
            uint32_t pixel;

            memcpy(&pixel, pixels + y * stride + x * 4, sizeof(pixel));
            if ((pixel & 0xffffff) != picture[y * BAD_WIDTH + x])
                return false;
        }
    }
    return true;
}

static unsigned releases(struct qxl_item *item)
{
    unsigned released;

    pthread_mutex_lock(&bad_device->lock);
    released = item->released;
    pthread_mutex_unlock(&bad_device->lock);
    return released;
}

static bool was_released(void *item)
{
    return releases(item) > 0;
}

/* Whether a command that was tried came back as often as it should. */
static bool came_back(const struct bad_kind *kind, struct qxl_item *item)
{
    if (kind->expected == MAYBE)
        return releases(item) <= 1;
    if (kind->expected == NO)
        return releases(item) == 0;
    return core_loop_until(was_released, item, 2000) && releases(item) == 1;
}

/* True when all is as it should be. */
static bool try_kind(const struct bad_kind *kind, bool then_draw)
{
    struct qxl_item *item = NULL;
    bool exact = true, right;
    const char *what = "";

    if (kind->run) {
        right = kind->run();
        what = right ? "done" : "not done";
    } else {
        item = kind->make();
        qxl_item_hold(bad_device, item);
        qxl_host_push(bad_device, item);
        right = qxl_host_wait_popped(bad_device, 10000);
        if (kind->after)
            kind->after();
    }
    /* Whatever it left to be drawn is drawn now, and not covered by the next picture before. */
    qxl_host_render(bad_device, 0);
    if (then_draw)
        exact = good_draw_is_exact();
    if (item) {
        unsigned times;

        if (item->ext.cmd.type == QXL_CMD_CURSOR) {
            /* A cursor that was accepted is kept while it is the current one. */
            qxl_host_push(bad_device, qxl_cursor_hide());
            qxl_host_wait_popped(bad_device, 5000);
            spice_qxl_reset_cursor(&bad_device->qxl);
        }
        right &= came_back(kind, item);
        times = releases(item);
        what = times == 0 ? "kept" : times == 1 ? "released" : "released twice";
        qxl_item_drop(bad_device, item);
    }
    right &= exact;
    printf("%-38s %-14s next picture %s%s\n", kind->name, what, exact ? "exact" : "NOT exact",
           right ? "" : "   <- wrong");
    return right;
}

static int end(unsigned wrong)
{
    unsigned offences;

    spice_server_vm_stop(server);
    spice_qxl_destroy_surfaces(&bad_device->qxl);
    spice_server_destroy(server);
    offences = qxl_host_offences(bad_device, stdout);
    printf("%u kinds, %u wrong, %u offences\n", num_kinds, wrong, offences);
    return wrong || offences ? 1 : 0;
}

static int all_in_one(void)
{
    unsigned wrong = 0;

    start(NULL);
    for (unsigned i = 0; i < num_kinds; i++)
        wrong += !try_kind(kinds[i], true);
    return end(wrong);
}

static bool line_is_there(void *unused)
{
    struct timeval none = { 0 };
    fd_set set;

    (void)unused;
    FD_ZERO(&set);
    FD_SET(0, &set);
    return select(1, &set, NULL, NULL, &none) > 0;
}

static int watched(const char *path)
{
    unsigned next = 0, wrong = 0;
    char line[1024];

    start(path);
    good_draw_is_exact();
    printf("ready %u\n", num_kinds);
    for (;;) {
        while (!core_loop_until(line_is_there, NULL, 1000))
            ;
        if (!fgets(line, sizeof(line), stdin) || strncmp(line, "quit", 4) == 0)
            return end(wrong);
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, "bad ", 4) == 0) {
            unsigned until = next + (unsigned)atoi(line + 4);

            for (; next < num_kinds && next < until; next++)
                wrong += !try_kind(kinds[next], false);
            printf("tried %u\n", next);
        } else if (strncmp(line, "dump ", 5) == 0) {
            ptrdiff_t stride;
            const uint8_t *pixels = qxl_host_pixels(bad_device, 0, &stride);

            qxl_host_render(bad_device, 0);
            puts(pixels_write_ppm(line + 5, pixels, BAD_WIDTH, BAD_HEIGHT, stride) == 0 ? "dumped" : "dump failed");
        }
    }
}

/* ---- a child for each kind ---- */

struct child {
    pid_t pid;
    unsigned kind;
    FILE *out;
};

static void child_start(struct child *child, unsigned kind)
{
    fflush(stdout);
    child->kind = kind;
    child->out = tmpfile();
    if (!child->out)
        exit(2);
    child->pid = fork();
    if (child->pid == 0) {
        const struct rlimit no_core = { 0, 0 };
        bool right;

        setrlimit(RLIMIT_CORE, &no_core);
        alarm(CHILD_SECONDS);
        dup2(fileno(child->out), 1);
        start(NULL);
        right = try_kind(kinds[kind], true);
        fflush(stdout);
        _exit(right ? 0 : 1);
    }
}

struct score {
    unsigned survived, right;
};

static void child_end(struct child *child, int status, struct score *score)
{
    const char *name = kinds[child->kind]->name;
    char line[256];

    if (WIFEXITED(status)) {
        score->survived++;
        score->right += WEXITSTATUS(status) == 0;
        rewind(child->out);
        /* The library may have printed something as well. */
        while (fgets(line, sizeof(line), child->out))
            if (strncmp(line, name, strlen(name)) == 0)
                fputs(line, stdout);
    } else {
        printf("%-38s died of %s\n", name,
               WTERMSIG(status) == SIGALRM ? "waiting" : strsignal(WTERMSIG(status)));
    }
    fclose(child->out);
    child->pid = 0;
}

/* In the order of the list, whichever child ends first. */
static int forked(void)
{
    static struct child children[MOST_KINDS];
    struct score score = { 0 };
    unsigned started = 0;

    for (unsigned i = 0; i < num_kinds; i++) {
        int status;

        for (; started < num_kinds && started < i + CHILDREN; started++)
            child_start(&children[started], started);
        waitpid(children[i].pid, &status, 0);
        child_end(&children[i], status, &score);
    }
    printf("%u kinds, %u survived, %u right\n", num_kinds, score.survived, score.right);
    return score.right == num_kinds ? 0 : 1;
}

/* ---- which ---- */

static bool begins_like(const char *text, int argc, char **argv)
{
    bool any = argc == 0;

    for (int i = 0; i < argc; i++)
        any |= strncmp(text, argv[i], strlen(argv[i])) == 0;
    return any;
}

static void choose(int argc, char **argv)
{
    for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
        bool area = begins_like(tables[t]->area + strlen("bad_"), argc, argv);

        for (size_t k = 0; k < tables[t]->count && num_kinds < MOST_KINDS; k++) {
            if (area || begins_like(tables[t]->kinds[k].name, argc, argv))
                kinds[num_kinds++] = &tables[t]->kinds[k];
        }
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "forked", no_argument, NULL, 'f' },
        { "list", no_argument, NULL, 'l' },
        { "unix", required_argument, NULL, 'u' },
        { NULL, 0, NULL, 0 },
    };
    struct rng rng;
    const char *path = NULL;
    int option;
    bool fork_each = false, list = false;

    setvbuf(stdout, NULL, _IOLBF, 0);
    rng_seed(&rng, 7);
    rng_seed(&picture_rng, 8);
    for (size_t i = 0; i < sizeof(bad_noise) / sizeof(bad_noise[0]); i++)
        bad_noise[i] = rng_next(&rng);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'f')
            fork_each = true;
        else if (option == 'l')
            list = true;
        else if (option == 'u')
            path = optarg;
        else
            return 2;
    }
    choose(argc - optind, argv + optind);
    if (list) {
        for (unsigned i = 0; i < num_kinds; i++)
            puts(kinds[i]->name);
        return 0;
    }
    if (path)
        return watched(path);
    return fork_each ? forked() : all_in_one();
}
