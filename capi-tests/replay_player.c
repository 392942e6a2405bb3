/* Plays a recording of QXL traffic into the server as fast as it takes the commands.
 *
 *   replay_player FILE [--surfaces N] [--ring N] [--port P | --unix PATH] [--compression N]
 *               [--out FILE.ppm] [--linger | --obey]
 *       FILE "-" is standard input, FILE.zst is unpacked by zstd(1). Prints how many commands were played and
 *       released, the size of the last primary surface and the checksum of its picture; the time goes to stderr,
 *       because it is never the same. With --port or --unix clients may watch; --linger serves them after the end
 *       until stdin closes; --compression is a SpiceImageCompression; --ring says how many commands may wait (512).
 *
 *   --obey plays as lines on stdin say, and serves clients in between:
 *       play N          up to the N-th command of all: "played N", with "end" behind it if there were no more
 *       loop SECONDS    the recording from its start, again and again for that time: "looped PASSES played N"
 *       picture PATH    "picture WIDTHxHEIGHT checksum X" of the primary surface, also written as PPM
 *       caps            "caps reports N present P XX", the first byte of what the guest was told last
 *       quit
 */
#include "host/host.h"
#include "host/replay_host.h"

#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct player {
    struct replay_host host;
    struct input_host input; /* the tablet is told the size of the primary surface */
    const char *path;
    int surfaces;
};

/* One line of standard input at a time, read by a watch of the main loop. */
static char typed[4096];
static size_t typed_length;
static bool input_closed;

static void input_event(int fd, int event, void *opaque)
{
    ssize_t got;

    (void)event;
    (void)opaque;
    if (typed_length == sizeof(typed) - 1)
        typed_length = 0; /* that was no line */
    got = read(fd, typed + typed_length, sizeof(typed) - 1 - typed_length);
    if (got <= 0)
        input_closed = true;
    else
        typed_length += (size_t)got;
    typed[typed_length] = '\0';
}

static bool has_line(void *arg)
{
    (void)arg;
    return input_closed || strchr(typed, '\n') != NULL;
}

static bool is_closed(void *arg)
{
    (void)arg;
    return input_closed;
}

/* The next line without its end, "quit" at the end of the input. */
static void next_line(char *line, size_t size)
{
    char *end;

    while (!core_loop_until(has_line, NULL, 1000))
        ;
    end = strchr(typed, '\n');
    if (!end) {
        snprintf(line, size, "quit");
        return;
    }
    *end = '\0';
    snprintf(line, size, "%s", typed);
    typed_length -= (size_t)(end + 1 - typed);
    memmove(typed, end + 1, typed_length + 1);
}

static FILE *open_recording(const char *path)
{
    size_t length = strlen(path);
    char command[1024];

    if (strcmp(path, "-") == 0)
        return stdin;
    if (length < 4 || strcmp(path + length - 4, ".zst") != 0 || strchr(path, '\'') || length > 900)
        return fopen(path, "rb");
    /* SIGPIPE is ignored here, and zstd would complain of the pipe when a recording is left in the middle.
     * fclose ends a stream of popen as pclose does (GNU libc). */
    snprintf(command, sizeof(command), "exec env --default-signal=PIPE zstd -dcq '%s'", path);
    return popen(command, "r");
}

static bool open_replay(struct player *player)
{
    FILE *file = open_recording(player->path);

    player->host.replay = file ? spice_replay_new(file, player->surfaces) : NULL;
    if (!player->host.replay)
        fprintf(stderr, "replay_player: %s is no recording\n", player->path);
    return player->host.replay != NULL;
}

static bool give_back(struct player *player)
{
    bool released = replay_host_reset(&player->host);

    if (!released)
        fprintf(stderr, "released %u of %u\n", player->host.released, player->host.played);
    return released;
}

static bool close_replay(struct player *player)
{
    bool released = give_back(player);

    spice_replay_free(player->host.replay);
    return released;
}

/* Prints the picture's size and checksum and writes it to `path`, if there is one. */
static bool picture(struct player *player, const char *name, const char *path)
{
    struct replay_picture picture = { .pixels = NULL };
    ptrdiff_t stride;
    bool good;

    core_loop_until(NULL, NULL, 50);
    picture.width = player->input.logical_width;
    picture.height = player->input.logical_height;
    if (picture.width <= 0 || picture.height <= 0) {
        puts("there is no primary surface");
        return false;
    }
    stride = (ptrdiff_t)picture.width * 4;
    good = replay_host_picture(&player->host, (uint32_t)player->surfaces, &picture);
    if (good && path)
        good = pixels_write_ppm(path, picture.pixels, picture.width, picture.height, stride) == 0;
    if (good)
        printf("%s %dx%d checksum %08x\n", name, picture.width, picture.height,
               pixels_checksum(picture.pixels, picture.width, picture.height, stride));
    free(picture.pixels);
    return good;
}

/* A pass that ends before this many commands may have no screen yet. */
enum { LEAST = 400 };

/* From the start, again and again; the last pass ends in the middle. */
static bool loop(struct player *player, double length)
{
    double deadline = replay_host_now() + length;
    unsigned passes = 0;
    bool end;

    do {
        if (!close_replay(player) || !open_replay(player) ||
            !replay_host_play(&player->host, UINT_MAX, deadline, &end))
            return false;
        passes++;
    } while (end && replay_host_now() < deadline);
    if (player->host.played < LEAST && !replay_host_play(&player->host, LEAST, INFINITY, &end))
        return false;
    printf("looped %u played %u\n", passes, player->host.played);
    return true;
}

static bool obey(struct player *player)
{
    char line[sizeof(typed)];
    bool end, good = true;

    puts("ready");
    while (good) {
        next_line(line, sizeof(line));
        if (strncmp(line, "play ", 5) == 0) {
            good = replay_host_play(&player->host, (unsigned)strtoul(line + 5, NULL, 10), INFINITY, &end);
            printf("played %u%s\n", player->host.played, end ? " end" : "");
        } else if (strncmp(line, "loop ", 5) == 0) {
            good = loop(player, strtod(line + 5, NULL));
        } else if (strncmp(line, "picture ", 8) == 0) {
            good = picture(player, "picture", line + 8);
        } else if (strcmp(line, "caps") == 0) {
            pthread_mutex_lock(&player->host.lock);
            printf("caps reports %u present %u %02x\n", player->host.reports, player->host.client_present,
                   player->host.client_caps[0]);
            pthread_mutex_unlock(&player->host.lock);
        } else if (strcmp(line, "quit") == 0) {
            return true;
        } else {
            printf("unknown: %s\n", line);
        }
    }
    return false;
}

/* All of it, then the figures. */
static bool play_once(struct player *player, const char *out)
{
    struct replay_host *host = &player->host;
    double start = replay_host_now();
    bool end;

    if (!replay_host_play(host, UINT_MAX, INFINITY, &end)) {
        fputs("replay_player: the server takes no commands any more\n", stderr);
        return false;
    }
    fprintf(stderr, "%.3f seconds\n", replay_host_now() - start);
    printf("commands %u: draw %u update %u cursor %u message %u surface %u\n", host->played,
           host->by_type[QXL_CMD_DRAW], host->by_type[QXL_CMD_UPDATE], host->by_type[QXL_CMD_CURSOR],
           host->by_type[QXL_CMD_MESSAGE], host->by_type[QXL_CMD_SURFACE]);
    return picture(player, "primary", out);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "surfaces", required_argument, NULL, 's' }, { "port", required_argument, NULL, 'p' },
        { "unix", required_argument, NULL, 'u' },     { "out", required_argument, NULL, 'o' },
        { "ring", required_argument, NULL, 'n' },     { "compression", required_argument, NULL, 'r' },
        { "linger", no_argument, NULL, 'l' },         { "obey", no_argument, NULL, 'c' },
        { "jpeg", required_argument, NULL, 'j' },
        { "zlib", required_argument, NULL, 'z' },
        { NULL, 0, NULL, 0 },
    };
    static struct player player = { .surfaces = REPLAY_SURFACES - 1 };
    const char *out = NULL, *path = NULL;
    bool linger = false, obeys = false, good;
    int port = 0, compression = 0, jpeg = 0, zlib = 0, option;
    SpiceCoreInterface *core = core_loop_start();
    SpiceWatch *watch = NULL;
    SpiceServer *server;

    setvbuf(stdout, NULL, _IOLBF, 0);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 's': player.surfaces = atoi(optarg); break;
        case 'p': port = atoi(optarg); break;
        case 'u': path = optarg; break;
        case 'o': out = optarg; break;
        case 'r': compression = atoi(optarg); break;
        case 'j': jpeg = atoi(optarg); break;
        case 'z': zlib = atoi(optarg); break;
        case 'l': linger = true; break;
        case 'c': obeys = true; break;
        case 'n': player.host.room = (unsigned)strtoul(optarg, NULL, 10); break;
        default: return 2;
        }
    }
    if (optind + 1 != argc || player.surfaces < 1 || player.surfaces >= REPLAY_SURFACES) {
        fputs("usage: replay_player FILE [--surfaces N] [--ring N] [--port P | --unix PATH] [--compression N]"
              " [--jpeg N] [--zlib N]"
              " [--out PPM] [--linger | --obey]\n", stderr);
        return 2;
    }
    player.path = argv[optind];
    if (!open_replay(&player))
        return 1;
    server = spice_server_new();
    spice_server_set_noauth(server);
    /* No lossy video where pictures are compared. */
    spice_server_set_streaming_video(server, SPICE_STREAM_VIDEO_OFF);
    if (compression)
        spice_server_set_image_compression(server, (SpiceImageCompression)compression);
    if (zlib)
        spice_server_set_zlib_glz_compression(server, (spice_wan_compression_t)zlib);
    if (jpeg)
        spice_server_set_jpeg_compression(server, (spice_wan_compression_t)jpeg);
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
    input_host_init(&player.input);
    input_host_attach(&player.input, server, true);
    replay_host_attach(&player.host, server);
    spice_server_vm_start(server);

    if (linger || obeys)
        watch = core->watch_add(0, SPICE_WATCH_EVENT_READ, input_event, NULL);
    good = obeys ? obey(&player) : play_once(&player, out);
    if (good && linger) {
        puts("ready");
        while (!core_loop_until(is_closed, NULL, 1000))
            ;
    }
    if (watch)
        core->watch_remove(watch);
    spice_server_vm_stop(server);
    if (!give_back(&player))
        good = false;
    printf("released %s\n", player.host.released == player.host.played ? "all" : "not all");
    spice_server_destroy(server);
    /* Last: on one of the libraries this destroys the screen, which a recording would show. */
    spice_replay_free(player.host.replay);
    return good ? 0 : 1;
}
