/* A matrix of drawing: every operation with every raster operation, brush, clip, mask, image format and scale on every
 * surface format, one line per case with the checksum of what it drew.
 *
 *   draw_matrix [--seed S] [--count N] [--class C] [--kind K] [--only N] [--all] [--show]
 *       prints a line per case, then what was left out and why; the same program on any library, so that the lines can
 *       be compared (compare_matrix.py)
 *   draw_matrix --unix PATH [--seed S] [--all]
 *       serves and obeys lines on stdin: "screen KIND FIRST" draws a screen of tiles, "dump FILE", "quit"
 *
 * --show prints the pixels of each case before and after.
 * --all runs the cases too that spice-server does not survive or makes of them whatever lies in its memory. Cases run in
 * a child: one that dies or does not come back costs its own line only.
 *
 * A line is `case KIND/NUMBER CLASS what... = COLOURS BYTES`. COLOURS is over the bits that mean something on a surface
 * of this format. BYTES is over all bits and over the bytes between rows; a screen has none, since nobody can see them.
 */
#include "matrix/matrix.h"

#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    COLUMNS = 6, /* tiles of a batch on a screen */
    SCREEN_COLUMNS = 8,
    SCREEN_ROWS = 15,
    SECONDS = 20,  /* for a batch */
    ATTEMPTS = 60, /* to find a case that may be run */
};

/* What the children tell the parent. */
static struct progress {
    unsigned done, excluded[RULES], begun;
    unsigned run[MATRIX_KINDS][MATRIX_SLOTS];
    char text[MATRIX_TEXT]; /* of the last case that was made */
} *progress;

static struct {
    uint64_t seed;
    unsigned count;
    const char *class, *kind, *path, *quic;
    int only, port, compression;
    bool all, show;
    struct qxl_host *device;
    SpiceServer *server;
    SpiceCoreInterface *core;
    uint32_t screen_format;
} matrix = { .seed = 1, .count = 2400, .only = -1, .quic = "fuzz/seeds/quic_decode" };

static void start(void)
{
    matrix.server = spice_server_new();
    matrix.core = core_loop_start();
    spice_server_set_noauth(matrix.server);
    spice_server_set_streaming_video(matrix.server, SPICE_STREAM_VIDEO_OFF);
    if (matrix.compression)
        spice_server_set_image_compression(matrix.server, (SpiceImageCompression)matrix.compression);
    if (matrix.path) {
        spice_server_set_addr(matrix.server, matrix.path, SPICE_ADDR_FLAG_UNIX_ONLY);
    } else if (matrix.port) {
        spice_server_set_addr(matrix.server, "127.0.0.1", 0);
        spice_server_set_port(matrix.server, matrix.port);
    }
    if (spice_server_init(matrix.server, matrix.core) != 0) {
        fputs("draw_matrix: init failed\n", stderr);
        exit(1);
    }
    matrix.device = qxl_host_new(0);
    qxl_host_attach(matrix.device, matrix.server);
}

static unsigned stop(void)
{
    unsigned offences;
    bool released;

    spice_server_vm_stop(matrix.server);
    spice_qxl_destroy_surfaces(&matrix.device->qxl);
    released = qxl_host_wait_released(matrix.device, 3000);
    if (!released)
        fprintf(stderr, "released %u of %u\n", matrix.device->released, matrix.device->pushed);
    spice_server_destroy(matrix.server);
    offences = qxl_host_offences(matrix.device, stderr);
    qxl_host_free(matrix.device);
    return offences + !released;
}

static void wait_popped(void)
{
    while (qxl_host_backlog(matrix.device))
        if (!qxl_host_wait_popped(matrix.device, 10000))
            exit(3);
}

/* Slot, kind and number of a case of the whole count. */
static void place_of(unsigned index, unsigned *kind, unsigned *number)
{
    unsigned round = index / MATRIX_SLOTS;

    *kind = round % MATRIX_KINDS;
    *number = round / MATRIX_KINDS * MATRIX_SLOTS + index % MATRIX_SLOTS;
}

static bool wanted(unsigned kind, unsigned number)
{
    return (!matrix.class || strcmp(matrix.class, matrix_class_name(number % MATRIX_SLOTS)) == 0) &&
           (!matrix.kind || strcmp(matrix.kind, matrix_kinds[kind].name) == 0) &&
           (matrix.only < 0 || (unsigned)matrix.only == number);
}

/* Makes a case; tries until it is one that may be run, unless all may. False if there is none. */
static bool make(struct matrix_case *c, unsigned kind, unsigned number)
{
    for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++) {
        rng_seed(&c->rng, matrix.seed * 1000003u + number * 10007u + kind * 101u + attempt * 15485863u);
        /* The first numbers of near seeds are alike. */
        for (int i = 0; i < 8; i++)
            rng_next(&c->rng);
        matrix_case_make(c, number % MATRIX_SLOTS);
        if (!c->broken || matrix.all) {
            for (unsigned rule = 0; rule < RULES; rule++)
                if (c->broken >> rule & 1)
                    matrix_say(c, " !%s", matrix_rules[rule].name);
            memcpy(progress->text, c->text, sizeof(c->text));
            return true;
        }
        for (unsigned rule = 0; rule < RULES; rule++)
            progress->excluded[rule] += c->broken >> rule & 1;
        qxl_item_drop(matrix.device, c->item);
    }
    return false;
}

/* ---- without a client ---- */

static uint64_t mixed_seed(unsigned kind, unsigned number)
{
    return matrix.seed * 7919u + number * 31u + kind;
}

static void show(const struct matrix_case *c, const char *when)
{
    QXLRect tile = qxl_rect(c->x, c->y, c->x + c->width, c->y + c->height);

    if (matrix.show) {
        printf("%s%s:\n", c->text, when);
        matrix_print(matrix.device, c->surface, c->kind->format, tile);
    }
}

/* Cases `first` to `end`, all of one kind: all drawn before the first is looked at. */
static void batch(unsigned first, unsigned end)
{
    struct matrix_case cases[MATRIX_SLOTS];
    QXLRect tiles[MATRIX_SLOTS];
    unsigned numbers[MATRIX_SLOTS], n = 0, kind, number;
    const struct matrix_kind *on;
    struct rng rng;

    place_of(first, &kind, &number);
    on = &matrix_kinds[kind];
    rng_seed(&rng, mixed_seed(kind, number / MATRIX_SLOTS));
    if (on->primary)
        matrix_primary(matrix.device, &rng, on->format, COLUMNS * TILE_WIDTH,
                       (MATRIX_SLOTS + COLUMNS - 1) / COLUMNS * TILE_HEIGHT, number / MATRIX_SLOTS % 2);
    for (unsigned index = first; index < end; index++) {
        struct matrix_case *c = &cases[n];

        place_of(index, &kind, &number);
        if (!wanted(kind, number))
            continue;
        *c = (struct matrix_case){
            .device = matrix.device,
            .kind = on,
            .width = TILE_WIDTH,
            .height = TILE_HEIGHT,
            .source_first = SOURCE_FIRST + n * CASE_SOURCES,
        };
        if (on->primary) {
            c->x = (int)(number % MATRIX_SLOTS % COLUMNS) * TILE_WIDTH;
            c->y = (int)(number % MATRIX_SLOTS / COLUMNS) * TILE_HEIGHT;
        } else {
            rng_seed(&rng, mixed_seed(kind, number) + 3);
            c->width = rng_range(&rng, 1, 3) > 1 ? TILE_WIDTH : rng_range(&rng, 1, TILE_WIDTH);
            c->height = rng_range(&rng, 1, 3) > 1 ? TILE_HEIGHT : rng_range(&rng, 1, TILE_HEIGHT);
            c->surface = CASE_FIRST + n;
            qxl_host_push(matrix.device, matrix_surface(matrix.device, &rng, c->surface, on->format, c->width,
                                                        c->height, rng_range(&rng, 0, 1)));
        }
        if (!make(c, kind, number)) {
            if (!on->primary)
                qxl_host_push(matrix.device, qxl_surface_destroy(matrix.device, c->surface));
            continue;
        }
        tiles[n] = qxl_rect(c->x, c->y, c->x + c->width, c->y + c->height);
        numbers[n++] = number;
        show(c, " before");
        matrix_make_sources(matrix.device, c);
        qxl_host_push(matrix.device, c->item);
    }
    wait_popped();
    for (unsigned i = 0; i < n; i++) {
        struct matrix_case *c = &cases[i];
        uint32_t colors, bytes;

        qxl_host_render(matrix.device, c->surface);
        show(c, " after");
        matrix_checksum(matrix.device, c->surface, on->format, tiles[i], &colors, &bytes);
        printf("case %s/%u %s%s = %08x ", on->name, numbers[i], matrix_class_name(numbers[i] % MATRIX_SLOTS), c->text,
               colors);
        printf(on->primary ? "-\n" : "%08x\n", bytes);
        progress->run[kind][numbers[i] % MATRIX_SLOTS]++;
        matrix_end_sources(matrix.device, c);
        if (!on->primary)
            qxl_host_push(matrix.device, qxl_surface_destroy(matrix.device, c->surface));
    }
    wait_popped();
    fflush(stdout);
}

/* Runs from `first` on, `step` cases at a time, in this process. */
static void run(unsigned first, unsigned end, unsigned step)
{
    struct rng rng;
    unsigned failed;

    start();
    rng_seed(&rng, matrix.seed);
    matrix_primary(matrix.device, &rng, SPICE_SURFACE_FMT_32_xRGB, TILE_WIDTH, TILE_HEIGHT, false);
    spice_server_vm_start(matrix.server);
    while (first < end) {
        unsigned next = (first / step + 1) * step;

        progress->begun = first;
        alarm(SECONDS);
        batch(first, next < end ? next : end);
        progress->done = first = next;
    }
    alarm(SECONDS);
    failed = stop();
    _exit(failed ? 4 : 0);
}

/* Cases from `first` on in a child; the one after the last that was done. */
static unsigned attempt(unsigned first, unsigned end, unsigned step, int *status)
{
    pid_t child;

    fflush(stdout);
    progress->done = first;
    child = fork();
    if (child == 0)
        run(first, end, step);
    waitpid(child, status, 0);
    return progress->done;
}

static int supervise(void)
{
    unsigned at = 0, died = 0, total = 0;
    int status, failed = 0;

    while (at < matrix.count) {
        at = attempt(at, matrix.count, MATRIX_SLOTS, &status);
        if (status == 0)
            break;
        if (at >= matrix.count) {
            printf("end: status %x\n", (unsigned)status);
            failed = 1;
            break;
        }
        /* Somewhere in this batch: one by one. */
        for (unsigned end = at + MATRIX_SLOTS < matrix.count ? at + MATRIX_SLOTS : matrix.count; at < end;) {
            unsigned kind, number;

            at = attempt(at, end, 1, &status);
            if (at >= end)
                break;
            place_of(at, &kind, &number);
            printf("case %s/%u %s%s died of %s\n", matrix_kinds[kind].name, number,
                   matrix_class_name(number % MATRIX_SLOTS), progress->text,
                   WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "its exit");
            died++;
            at++;
        }
    }
    for (unsigned rule = 0; rule < RULES; rule++)
        if (progress->excluded[rule])
            printf("excluded %s: %s\n", matrix_rules[rule].name, matrix_rules[rule].why);
    for (unsigned kind = 0; kind < MATRIX_KINDS; kind++)
        for (unsigned slot = 0; slot < MATRIX_SLOTS; slot++)
            total += progress->run[kind][slot];
    printf("cases %u, died %u\n", total, died);
    return failed || died;
}

/* ---- with a client ---- */

static uint32_t screen_format(const struct matrix_kind *on)
{
    return on->format == SPICE_SURFACE_FMT_16_555 || on->format == SPICE_SURFACE_FMT_16_565 || on->primary
               ? on->format
               : SPICE_SURFACE_FMT_32_xRGB;
}

/* One case with its tile on the screen; what is drawn off the screen is brought there. */
static void draw_tile(const struct matrix_kind *on, unsigned kind, unsigned number, unsigned tile)
{
    struct matrix_case c = {
        .device = matrix.device,
        .kind = on,
        .width = TILE_WIDTH,
        .height = TILE_HEIGHT,
        /* Few ids, so that they are soon used again. */
        .source_first = SOURCE_FIRST + tile % 8 * CASE_SOURCES,
    };
    int x = (int)(tile % SCREEN_COLUMNS) * 2 * TILE_WIDTH, y = (int)(tile / SCREEN_COLUMNS) * TILE_HEIGHT;
    struct rng rng;

    if (on->primary) {
        c.x = x;
        c.y = y;
    } else {
        rng_seed(&rng, mixed_seed(kind, number) + 3);
        c.surface = CASE_FIRST + tile % 8;
        qxl_host_push(matrix.device, matrix_surface(matrix.device, &rng, c.surface, on->format, TILE_WIDTH,
                                                    TILE_HEIGHT, rng_range(&rng, 0, 1)));
    }
    if (make(&c, kind, number)) {
        printf("tile %u %s/%u %s%s\n", tile, on->name, number, matrix_class_name(number % MATRIX_SLOTS), c.text);
        matrix_make_sources(matrix.device, &c);
        qxl_host_push(matrix.device, c.item);
        matrix_end_sources(matrix.device, &c);
    }
    if (!on->primary) {
        matrix_bring(matrix.device, c.surface, on->format, x, y);
        qxl_host_push(matrix.device, qxl_surface_destroy(matrix.device, c.surface));
    }
}

/* As many cases of a kind as tiles fit, and where the next ones begin. */
static void draw_screen(const char *name, unsigned first)
{
    unsigned kind = 0;

    while (kind < MATRIX_KINDS && strcmp(matrix_kinds[kind].name, name) != 0)
        kind++;
    if (kind == MATRIX_KINDS) {
        puts("drawn nothing");
        return;
    }
    if (matrix.screen_format != screen_format(&matrix_kinds[kind])) {
        struct rng rng;

        matrix.screen_format = screen_format(&matrix_kinds[kind]);
        rng_seed(&rng, matrix.seed + kind);
        matrix_primary(matrix.device, &rng, matrix.screen_format, SCREEN_COLUMNS * 2 * TILE_WIDTH,
                       SCREEN_ROWS * TILE_HEIGHT, kind % 2);
    }
    for (unsigned tile = 0; tile < SCREEN_COLUMNS * SCREEN_ROWS; tile++) {
        unsigned number = first + tile;

        if (!matrix.class || strcmp(matrix.class, matrix_class_name(number % MATRIX_SLOTS)) == 0)
            draw_tile(&matrix_kinds[kind], kind, number, tile);
        if (tile % 8 == 7) {
            wait_popped();
            core_loop_step(0);
        }
    }
    wait_popped();
    printf("drawn %u\n", first + SCREEN_COLUMNS * SCREEN_ROWS);
}

static bool quit_asked;

static void obey_line(const char *line, void *opaque)
{
    char name[32];
    unsigned first;

    (void)opaque;
    if (sscanf(line, "screen %31s %u", name, &first) == 2) {
        draw_screen(name, first);
    } else if (strncmp(line, "dump ", 5) == 0) {
        qxl_host_render(matrix.device, 0);
        puts(matrix_write_ppm(matrix.device, matrix.screen_format, line + 5) == 0 ? "dumped" : "dump failed");
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

static int serve(void)
{
    SpiceWatch *input;
    struct rng rng;

    start();
    rng_seed(&rng, matrix.seed);
    matrix.screen_format = SPICE_SURFACE_FMT_32_xRGB;
    matrix_primary(matrix.device, &rng, matrix.screen_format, SCREEN_COLUMNS * 2 * TILE_WIDTH,
                   SCREEN_ROWS * TILE_HEIGHT, false);
    spice_server_vm_start(matrix.server);
    input = matrix.core->watch_add(0, SPICE_WATCH_EVENT_READ, obey, NULL);
    puts("ready");
    while (!quit_asked)
        core_loop_step(1000);
    matrix.core->watch_remove(input);
    return stop() ? 1 : 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "seed", required_argument, NULL, 's' },  { "count", required_argument, NULL, 'c' },
        { "class", required_argument, NULL, 'C' }, { "kind", required_argument, NULL, 'k' },
        { "only", required_argument, NULL, 'o' },  { "all", no_argument, NULL, 'a' },
        { "show", no_argument, NULL, 'w' },        { "unix", required_argument, NULL, 'u' },
        { "quic", required_argument, NULL, 'q' },  { "port", required_argument, NULL, 'p' },
        { "compression", required_argument, NULL, 'r' },
        { NULL, 0, NULL, 0 },
    };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 's': matrix.seed = strtoull(optarg, NULL, 0); break;
        case 'c': matrix.count = (unsigned)atoi(optarg); break;
        case 'C': matrix.class = optarg; break;
        case 'k': matrix.kind = optarg; break;
        case 'o': matrix.only = atoi(optarg); break;
        case 'a': matrix.all = true; break;
        case 'w': matrix.show = true; break;
        case 'u': matrix.path = optarg; break;
        case 'p': matrix.port = atoi(optarg); break;
        case 'r': matrix.compression = atoi(optarg); break;
        case 'q': matrix.quic = optarg; break;
        default: return 2;
        }
    }
    progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (progress == MAP_FAILED || !matrix_load_quic(matrix.quic)) {
        fprintf(stderr, "draw_matrix: no QUIC streams in %s\n", matrix.quic);
        return 2;
    }
    setvbuf(stdout, NULL, matrix.path || matrix.port ? _IOLBF : _IOFBF, 0);
    return matrix.path || matrix.port ? serve() : supervise();
}
