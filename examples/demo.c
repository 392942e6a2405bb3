/* A live desktop without a virtual machine, served over SPICE: what `make demo` starts.
 *
 * Wallpaper and windows live in off-screen surfaces, as a modern guest driver keeps them; each frame copies
 * them to the screen. The log scrolls by copy_bits, text and photo arrive as bitmaps, the clock is drawn by
 * fills. A tablet is attached, so the client's pointer is used directly and the cursor shapes change by turns.
 */
#include "../capi-tests/host/host.h"

#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    WIDTH = 1024,
    HEIGHT = 768,
    FRAME_MS = 40,
    BAR_HEIGHT = 26,      /* top bar with name and clock */
    TITLE_HEIGHT = 22,    /* title bar of a window */
    STAGE_BOTTOM = 500,   /* windows move between the top bar and here */
    MAX_BACKLOG = 64,     /* frames are skipped while the server has this many commands to take */
    MAX_UNRELEASED = 2000, /* beyond it a guest would be out of memory */
    SURFACE_WALLPAPER = 1,
    SURFACE_WINDOW = 2, /* first of NUM_WINDOWS */
    NUM_WINDOWS = 3,
    CLOCK_WINDOW = 1,
    PHOTO_WINDOW = 2,
};

struct window {
    const char *title;
    int x, y, width, height;
    int dx, dy;
    uint32_t title_color;
};

struct demo {
    SpiceServer *server;
    struct qxl_host *device;
    struct input_host input;
    SpiceCoreInterface *core;
    SpiceTimer *timer;
    struct rng rng;
    uint64_t frame;
    unsigned log_line;
    int shown_second;
    char typed[96];
    bool echo_changed;
    bool shift;
    struct window windows[NUM_WINDOWS];
};

static volatile sig_atomic_t stop_asked;
static int clients; /* main channels up; the core interface has no user pointer */

static const QXLRect log_area = { .top = 556, .left = 16, .bottom = 748, .right = 576 };
static const QXLRect echo_area = { .top = 508, .left = 16, .bottom = 532, .right = 1008 };

/* ---- pictures ---- */

static uint32_t rgb(int red, int green, int blue)
{
    red = red < 0 ? 0 : red > 255 ? 255 : red;
    green = green < 0 ? 0 : green > 255 ? 255 : green;
    blue = blue < 0 ? 0 : blue > 255 ? 255 : blue;
    return (uint32_t)red << 16 | (uint32_t)green << 8 | (uint32_t)blue;
}

static uint32_t *picture_new(int width, int height)
{
    uint32_t *pixels = calloc((size_t)width * (size_t)height, sizeof(*pixels));

    if (!pixels) {
        fputs("demo: out of memory\n", stderr);
        exit(70);
    }
    return pixels;
}

static struct qxl_source picture(const uint32_t *pixels, int width, int height)
{
    return (struct qxl_source){ .pixels = pixels, .width = width, .height = height };
}

/* Height of a ridge at x: a few sines with phases that make each ridge its own. */
static double ridge(double x, double phase, double roughness)
{
    return sin(x * 3.1 + phase) * 0.5 + sin(x * 7.3 + phase * 2.3) * 0.25 * roughness +
           sin(x * 17.9 + phase * 3.7) * 0.1 * roughness + sin(x * 41.0 + phase * 5.1) * 0.05 * roughness;
}

/* Sky, sun, three mountain ridges and water, with the grain of a camera. */
static uint32_t *landscape(struct rng *rng, int width, int height)
{
    uint32_t *pixels = picture_new(width, height);
    double phase = rng_range(rng, 0, 628) / 100.0;
    double sun_x = rng_range(rng, 20, 80) / 100.0, sun_y = 0.25;

    for (int y = 0; y < height; y++) {
        double v = (double)y / height;

        for (int x = 0; x < width; x++) {
            double u = (double)x / width;
            double distance = hypot((u - sun_x) * width / height, v - sun_y);
            double glow = exp(-distance * 5);
            double red = 90 + 130 * v + 150 * glow, green = 140 + 70 * v + 90 * glow, blue = 220 - 60 * v;
            int grain = rng_range(rng, -5, 5);

            for (int layer = 0; layer < 3; layer++) {
                double top = 0.42 + 0.13 * layer + 0.09 * ridge(u, phase + layer * 2, 1.0 + layer);

                if (v > top) {
                    double shade = (v - top) * 160;

                    red = 110 - 35 * layer + shade * 0.4;
                    green = 120 - 20 * layer + shade * 0.5;
                    blue = 150 - 45 * layer + shade * 0.2;
                }
            }
            if (v > 0.8) {
                double wave = sin(v * 240 + 3 * sin(u * 25 + phase)) * 14 * (v - 0.75) * 4;

                red = 60 + wave;
                green = 95 + wave;
                blue = 130 + wave * 1.4;
            }
            pixels[y * width + x] = rgb((int)red + grain, (int)green + grain, (int)blue + grain);
        }
    }
    return pixels;
}

static void push(struct demo *demo, struct qxl_item *item)
{
    qxl_host_push(demo->device, item);
}

static void draw_text(struct demo *demo, uint32_t surface, int x, int y, int width, const char *text,
                      uint32_t color, uint32_t paper)
{
    uint32_t *pixels = picture_new(width, FONT_HEIGHT);

    for (int i = 0; i < width * FONT_HEIGHT; i++)
        pixels[i] = paper;
    font_draw(pixels, width, FONT_HEIGHT, 0, 0, text, color);
    push(demo, qxl_draw_copy(surface, qxl_rect(x, y, x + width, y + FONT_HEIGHT),
                             picture(pixels, width, FONT_HEIGHT), qxl_rect(0, 0, width, FONT_HEIGHT),
                             SPICE_ROPD_OP_PUT));
    free(pixels);
}

static void fill(struct demo *demo, uint32_t surface, int left, int top, int right, int bottom, uint32_t color)
{
    push(demo, qxl_draw_fill(surface, qxl_rect(left, top, right, bottom), color, SPICE_ROPD_OP_PUT));
}

static void copy_surface(struct demo *demo, uint32_t target, QXLRect bbox, uint32_t from, int src_x, int src_y)
{
    struct qxl_source source = {
        .surface_id = from,
        .width = (int)demo->device->surfaces[from].width,
        .height = (int)demo->device->surfaces[from].height,
    };
    QXLRect area = qxl_rect(src_x, src_y, src_x + bbox.right - bbox.left, src_y + bbox.bottom - bbox.top);

    push(demo, qxl_draw_copy(target, bbox, source, area, SPICE_ROPD_OP_PUT));
}

/* ---- the desktop's parts ---- */

static void make_wallpaper(struct demo *demo)
{
    enum { STEPS = 48 };

    push(demo, qxl_surface_create(demo->device, SURFACE_WALLPAPER, WIDTH, HEIGHT));
    for (int i = 0; i < STEPS; i++)
        fill(demo, SURFACE_WALLPAPER, 0, HEIGHT * i / STEPS, WIDTH, HEIGHT * (i + 1) / STEPS,
             rgb(24 + i, 60 + i, 92 + i * 2));
    fill(demo, SURFACE_WALLPAPER, 0, 0, WIDTH, BAR_HEIGHT, 0x20262c);
    draw_text(demo, SURFACE_WALLPAPER, 10, 5, 400, "Cayenne: a SPICE server in Rust", 0xffffff, 0x20262c);
    /* Frames of the two text areas. */
    fill(demo, SURFACE_WALLPAPER, echo_area.left - 2, echo_area.top - 2, echo_area.right + 2,
         echo_area.bottom + 2, 0xc0c8d0);
    fill(demo, SURFACE_WALLPAPER, log_area.left - 2, log_area.top - 2, log_area.right + 2, log_area.bottom + 2,
         0xc0c8d0);
    fill(demo, SURFACE_WALLPAPER, echo_area.left, echo_area.top, echo_area.right, echo_area.bottom, 0xf6f4ec);
    fill(demo, SURFACE_WALLPAPER, log_area.left, log_area.top, log_area.right, log_area.bottom, 0x101418);
    copy_surface(demo, 0, qxl_rect(0, 0, WIDTH, HEIGHT), SURFACE_WALLPAPER, 0, 0);
}

static void make_window(struct demo *demo, int index)
{
    struct window *window = &demo->windows[index];
    uint32_t surface = SURFACE_WINDOW + (uint32_t)index;

    push(demo, qxl_surface_create(demo->device, surface, window->width, window->height));
    fill(demo, surface, 0, 0, window->width, window->height, 0x404850);
    fill(demo, surface, 1, 1, window->width - 1, TITLE_HEIGHT, window->title_color);
    draw_text(demo, surface, 8, 3, window->width - 40, window->title, 0xffffff, window->title_color);
    fill(demo, surface, window->width - 20, 5, window->width - 8, 17, 0xe05040);
    fill(demo, surface, 1, TITLE_HEIGHT, window->width - 1, window->height - 1, 0xeeeeea);
}

static void fill_text_window(struct demo *demo)
{
    static const char *const lines[] = {
        "This desktop is drawn by a C", "program through the library's", "plain C interface:", "",
        " * fills, copies, copy_bits", " * off-screen surfaces", " * three kinds of cursor", " * keyboard and tablet",
        "", "Type something, move the mouse.",
    };

    for (int i = 0; i < (int)(sizeof(lines) / sizeof(lines[0])); i++)
        draw_text(demo, SURFACE_WINDOW, 10, TITLE_HEIGHT + 8 + i * FONT_HEIGHT, 270, lines[i], 0x202020, 0xeeeeea);
}

static void fill_photo_window(struct demo *demo)
{
    const struct window *window = &demo->windows[PHOTO_WINDOW];
    int width = window->width - 2, height = window->height - TITLE_HEIGHT - 1;
    uint32_t *photo = landscape(&demo->rng, width, height);

    push(demo, qxl_draw_copy(SURFACE_WINDOW + PHOTO_WINDOW,
                             qxl_rect(1, TITLE_HEIGHT, 1 + width, TITLE_HEIGHT + height),
                             picture(photo, width, height), qxl_rect(0, 0, width, height), SPICE_ROPD_OP_PUT));
    free(photo);
}

/* One digit of seven segments, as fills; bits a..g from the top clockwise, the middle last. */
static void draw_digit(struct demo *demo, uint32_t surface, int x, int y, int digit)
{
    static const uint8_t lit[10] = { 0x3f, 0x06, 0x5b, 0x4f, 0x66, 0x6d, 0x7d, 0x07, 0x7f, 0x6f };
    static const int8_t boxes[7][4] = {
        { 4, 0, 24, 4 },  { 24, 4, 28, 24 }, { 24, 28, 28, 48 }, { 4, 48, 24, 52 },
        { 0, 28, 4, 48 }, { 0, 4, 4, 24 },   { 4, 24, 24, 28 },
    };

    for (int i = 0; i < 7; i++) {
        uint32_t color = lit[digit] >> i & 1 ? 0x30e060 : 0x18301c;

        fill(demo, surface, x + boxes[i][0], y + boxes[i][1], x + boxes[i][2], y + boxes[i][3], color);
    }
}

static void draw_clock(struct demo *demo)
{
    uint32_t surface = SURFACE_WINDOW + CLOCK_WINDOW;
    time_t now = time(NULL);
    struct tm parts;
    int digits[6];

    localtime_r(&now, &parts);
    if (parts.tm_sec == demo->shown_second)
        return;
    demo->shown_second = parts.tm_sec;
    digits[0] = parts.tm_hour / 10;
    digits[1] = parts.tm_hour % 10;
    digits[2] = parts.tm_min / 10;
    digits[3] = parts.tm_min % 10;
    digits[4] = parts.tm_sec / 10;
    digits[5] = parts.tm_sec % 10;
    fill(demo, surface, 1, TITLE_HEIGHT, 259, 101, 0x101810);
    for (int i = 0; i < 6; i++)
        draw_digit(demo, surface, 14 + i * 36 + i / 2 * 14, TITLE_HEIGHT + 13, digits[i]);
    for (int i = 0; i < 2; i++) {
        fill(demo, surface, 89 + i * 86, TITLE_HEIGHT + 28, 94 + i * 86, TITLE_HEIGHT + 33, 0x30e060);
        fill(demo, surface, 89 + i * 86, TITLE_HEIGHT + 46, 94 + i * 86, TITLE_HEIGHT + 51, 0x30e060);
    }
}

static QXLRect window_box(const struct window *window)
{
    return qxl_rect(window->x, window->y, window->x + window->width, window->y + window->height);
}

static void move_windows(struct demo *demo)
{
    for (int i = 0; i < NUM_WINDOWS; i++) {
        struct window *window = &demo->windows[i];
        QXLRect old = window_box(window);

        window->x += window->dx;
        window->y += window->dy;
        if (window->x < 0 || window->x + window->width > WIDTH) {
            window->dx = -window->dx;
            window->x += 2 * window->dx;
        }
        if (window->y < BAR_HEIGHT || window->y + window->height > STAGE_BOTTOM) {
            window->dy = -window->dy;
            window->y += 2 * window->dy;
        }
        copy_surface(demo, 0, old, SURFACE_WALLPAPER, old.left, old.top);
    }
    for (int i = 0; i < NUM_WINDOWS; i++)
        copy_surface(demo, 0, window_box(&demo->windows[i]), SURFACE_WINDOW + (uint32_t)i, 0, 0);
}

static void scroll_log(struct demo *demo)
{
    QXLRect upper = log_area;
    char line[80];

    upper.bottom -= FONT_HEIGHT;
    push(demo, qxl_draw_copy_bits(0, upper, log_area.left, log_area.top + FONT_HEIGHT));
    snprintf(line, sizeof(line), " %05u  pushed %u  released %u  waiting %u  clients %d", demo->log_line++,
             qxl_host_count(demo->device, &demo->device->pushed),
             qxl_host_count(demo->device, &demo->device->released), qxl_host_backlog(demo->device), clients);
    draw_text(demo, 0, log_area.left, log_area.bottom - FONT_HEIGHT, log_area.right - log_area.left, line,
              demo->log_line % 10 ? 0xa0d0a0 : 0xffd060, 0x101418);
}

static void draw_echo(struct demo *demo)
{
    char line[128];

    snprintf(line, sizeof(line), " mouse %4d,%4d buttons %02x   keys: %.80s_", demo->input.x, demo->input.y,
             demo->input.buttons, demo->typed);
    draw_text(demo, 0, echo_area.left, echo_area.top + 4, echo_area.right - echo_area.left, line, 0x203050,
              0xf6f4ec);
    demo->echo_changed = false;
}

/* ---- cursor shapes ---- */

static void set_arrow_cursor(struct demo *demo)
{
    enum { SIZE = 24 };
    uint32_t pixels[SIZE * SIZE] = { 0 };

    /* Premultiplied ARGB: a white arrow with a dark edge and a half-transparent shadow. */
    for (int y = 0; y < SIZE; y++) {
        for (int x = 0; x < SIZE; x++) {
            if (x <= y * 3 / 4 && y < 20)
                pixels[y * SIZE + x] = x == 0 || x == y * 3 / 4 || y == 19 ? 0xff202020 : 0xffffffff;
            else if (x >= 2 && x <= y * 3 / 4 + 2 && y < 22)
                pixels[y * SIZE + x] = 0x60000000;
        }
    }
    push(demo, qxl_cursor_set(demo->input.x, demo->input.y, SPICE_CURSOR_TYPE_ALPHA, SIZE, SIZE, 0, 0, pixels,
                              sizeof(pixels)));
}

static void set_cross_cursor(struct demo *demo)
{
    enum { SIZE = 32, ROW = SIZE / 8 };
    uint8_t masks[2 * SIZE * ROW]; /* AND mask, then XOR mask */

    memset(masks, 0xff, SIZE * ROW);
    memset(masks + SIZE * ROW, 0, SIZE * ROW);
    for (int i = 0; i < SIZE; i++) {
        if (i >= 14 && i <= 17)
            continue;
        /* AND 1 with XOR 1 inverts the screen, so that the cross is seen on any ground. */
        masks[SIZE * ROW + 16 * ROW + i / 8] |= (uint8_t)(0x80 >> i % 8);
        masks[SIZE * ROW + i * ROW + 16 / 8] |= 0x80;
    }
    push(demo, qxl_cursor_set(demo->input.x, demo->input.y, SPICE_CURSOR_TYPE_MONO, SIZE, SIZE, 16, 16, masks,
                              sizeof(masks)));
}

static void set_disc_cursor(struct demo *demo)
{
    enum { SIZE = 32, ROW = SIZE / 8 };
    uint8_t data[SIZE * SIZE * 4 + SIZE * ROW]; /* xRGB pixels, then the AND mask */

    memset(data, 0, sizeof(data));
    for (int y = 0; y < SIZE; y++) {
        for (int x = 0; x < SIZE; x++) {
            int distance = (x - 16) * (x - 16) + (y - 16) * (y - 16);
            uint32_t color = rgb(255 - distance, 80 + distance / 2, 40);

            if (distance <= 196)
                memcpy(data + (y * SIZE + x) * 4, &color, sizeof(color));
            else
                data[SIZE * SIZE * 4 + y * ROW + x / 8] |= (uint8_t)(0x80 >> x % 8);
        }
    }
    push(demo, qxl_cursor_set(demo->input.x, demo->input.y, SPICE_CURSOR_TYPE_COLOR32, SIZE, SIZE, 16, 16, data,
                              sizeof(data)));
}

static void change_cursor(struct demo *demo)
{
    static void (*const shapes[])(struct demo *) = { set_arrow_cursor, set_cross_cursor, set_disc_cursor };

    shapes[demo->frame / 100 % 3](demo);
}

/* ---- events ---- */

/* Letters of a US keyboard by set-1 code. */
static const char plain[] = "\0\0331234567890-=\b\tqwertyuiop[]\n\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
static const char shifted[] = "\0\033!@#$%^&*()_+\b\tQWERTYUIOP{}\n\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";

static void key_arrived(struct input_host *input, uint8_t code)
{
    struct demo *demo = (struct demo *)(void *)((char *)input - offsetof(struct demo, input));
    uint8_t key = code & 0x7f;
    size_t length = strlen(demo->typed);
    char letter;

    demo->echo_changed = true;
    if (key == 0x2a || key == 0x36)
        demo->shift = code == key;
    if (code != key || key >= sizeof(plain) - 1)
        return;
    letter = demo->shift ? shifted[key] : plain[key];
    if (letter == '\b' && length > 0) {
        demo->typed[length - 1] = '\0';
    } else if (letter == '\n') {
        demo->typed[0] = '\0';
    } else if (letter >= ' ') {
        if (length >= 60) {
            memmove(demo->typed, demo->typed + 1, length);
            length--;
        }
        demo->typed[length] = letter;
        demo->typed[length + 1] = '\0';
    }
}

static void pointer_moved(struct input_host *input)
{
    struct demo *demo = (struct demo *)(void *)((char *)input - offsetof(struct demo, input));

    demo->echo_changed = true;
}

static void channel_changed(const struct channel_record *record)
{
    if (record->type != SPICE_CHANNEL_MAIN)
        return;
    if (record->event == SPICE_CHANNEL_EVENT_INITIALIZED)
        clients++;
    else if (record->event == SPICE_CHANNEL_EVENT_DISCONNECTED && clients > 0)
        clients--;
}

static void draw_frame(void *opaque)
{
    struct demo *demo = opaque;
    unsigned unreleased = qxl_host_count(demo->device, &demo->device->pushed) -
                          qxl_host_count(demo->device, &demo->device->released);

    demo->core->timer_start(demo->timer, FRAME_MS);
    if (unreleased > MAX_UNRELEASED)
        spice_qxl_oom(&demo->device->qxl);
    if (qxl_host_backlog(demo->device) > MAX_BACKLOG)
        return;
    draw_clock(demo);
    if (demo->frame % 150 == 149)
        fill_photo_window(demo);
    move_windows(demo);
    if (demo->frame % 12 == 0)
        scroll_log(demo);
    if (demo->echo_changed || demo->frame == 0)
        draw_echo(demo);
    if (demo->frame % 100 == 0)
        change_cursor(demo);
    demo->frame++;
}

static void stop(int signal_number)
{
    (void)signal_number;
    stop_asked = 1;
}

/* ---- life ---- */

static void start_desktop(struct demo *demo)
{
    rng_seed(&demo->rng, 4711);
    demo->shown_second = -1;
    demo->windows[0] = (struct window){ "Welcome", 40, 60, 290, 210, 3, 2, 0x3060a0 };
    demo->windows[CLOCK_WINDOW] = (struct window){ "Clock", 600, 90, 260, 102, -2, 3, 0x306050 };
    demo->windows[PHOTO_WINDOW] = (struct window){ "Photo", 360, 220, 322, 263, 2, -1, 0x804060 };
    make_wallpaper(demo);
    for (int i = 0; i < NUM_WINDOWS; i++)
        make_window(demo, i);
    fill_text_window(demo);
    fill_photo_window(demo);
}

static void usage(const char *name)
{
    printf("usage: %s [--addr ADDRESS] [--port PORT] [--ticket PASSWORD] [--seconds N] [--no-tablet]\n", name);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "addr", required_argument, NULL, 'a' },    { "port", required_argument, NULL, 'p' },
        { "ticket", required_argument, NULL, 't' },  { "seconds", required_argument, NULL, 's' },
        { "no-tablet", no_argument, NULL, 'n' },     { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    static struct demo demo; /* zeroed; too large for some stacks */
    const char *address = "127.0.0.1", *ticket = NULL;
    int port = 5900, seconds = 0, option;
    bool tablet = true;
    uint64_t start;
    unsigned offences;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'a': address = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 't': ticket = optarg; break;
        case 's': seconds = atoi(optarg); break;
        case 'n': tablet = false; break;
        case 'h': usage(argv[0]); return 0;
        default: usage(argv[0]); return 2;
        }
    }
    signal(SIGINT, stop);
    signal(SIGTERM, stop);

    demo.core = core_loop_start();
    core_loop_on_channel_event(channel_changed);
    demo.server = spice_server_new();
    spice_server_set_addr(demo.server, address, 0);
    spice_server_set_name(demo.server, "Cayenne demo");
    if (ticket)
        spice_server_set_ticket(demo.server, ticket, 0, 0, 0);
    else
        spice_server_set_noauth(demo.server);
    if (spice_server_set_port(demo.server, port) != 0 || spice_server_init(demo.server, demo.core) != 0) {
        fprintf(stderr, "demo: cannot listen on %s:%d\n", address, port);
        spice_server_destroy(demo.server);
        return 1;
    }
    input_host_init(&demo.input);
    demo.input.on_scancode = key_arrived;
    demo.input.on_pointer = pointer_moved;
    demo.device = qxl_host_new(0);
    if (input_host_attach(&demo.input, demo.server, tablet) != 0 || qxl_host_attach(demo.device, demo.server) != 0) {
        fputs("demo: the server refused a device\n", stderr);
        return 1;
    }
    qxl_host_create_primary(demo.device, WIDTH, HEIGHT, false, 0);
    spice_server_vm_start(demo.server);
    start_desktop(&demo);
    demo.timer = demo.core->timer_add(draw_frame, &demo);
    demo.core->timer_start(demo.timer, FRAME_MS);

    printf("serving %dx%d on %s:%d%s; connect with one of\n"
           "  remote-viewer spice://%s:%d\n"
           "  spicy -h %s -p %d%s%s\n"
           "stop with Ctrl-C\n",
           WIDTH, HEIGHT, address, port, ticket ? " (with a ticket)" : "", address, port, address, port,
           ticket ? " -w " : "", ticket ? ticket : "");
    fflush(stdout);
    start = core_loop_now_ms();
    while (!stop_asked && (!seconds || core_loop_now_ms() - start < (uint64_t)seconds * 1000))
        core_loop_step(100);

    demo.core->timer_remove(demo.timer);
    spice_server_vm_stop(demo.server);
    qxl_host_destroy_primary(demo.device, 0);
    spice_qxl_destroy_surfaces(&demo.device->qxl);
    printf("stopped after %llu frames, %u commands, %u released\n", (unsigned long long)demo.frame,
           qxl_host_count(demo.device, &demo.device->pushed), qxl_host_count(demo.device, &demo.device->released));
    spice_server_destroy(demo.server);
    offences = qxl_host_offences(demo.device, stdout);
    qxl_host_free(demo.device);
    return offences ? 1 : 0;
}
