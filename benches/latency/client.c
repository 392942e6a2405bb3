/* The client: a thread for each channel, so that nothing that comes waits for something else; keys on demand.
 *
 * When a draw came the kernel says (SO_TIMESTAMPNS), so it does not matter when this process runs. Inside TLS there are no such stamps, and
 * displays are only drained.
 */
#include "latency.h"

#include "../client/link.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DISPLAY_MARK = 102, DRAW_COPY = 304 };
enum { DISPLAY_INIT = 101, ATTACH_CHANNELS = 104, KEY_DOWN = 101 };

static struct board *board;

struct reader {
    struct link_channel channel; /* first */
    uint8_t id;
    uint64_t stamp; /* of what is being taken apart */
    uint8_t buffer[1 << 20];
};

static void note(struct link_channel *channel, uint16_t kind, const uint8_t *body, uint32_t size)
{
    struct reader *reader = (struct reader *)(void *)channel;
    int32_t box[4]; /* top, left, bottom, right */

    if (kind == DISPLAY_MARK)
        atomic_fetch_or(&board->pictures, 1u << reader->id);
    if (kind != DRAW_COPY)
        return;
    memcpy(box, body + 4, sizeof(box));
    if (reader->id == 0 && box[0] >= CELL_TOP && box[2] - box[0] == CELL_HEIGHT && box[3] - box[1] == CELL_WIDTH) {
        unsigned number = (unsigned)((box[0] - CELL_TOP) / CELL_HEIGHT * CELLS_ACROSS + box[1] / CELL_WIDTH);

        if (number < DRAWS)
            atomic_store(&board->came[number], reader->stamp);
    } else {
        atomic_fetch_add(&board->photos, (uint64_t)((int64_t)(box[2] - box[0]) * (box[3] - box[1])));
        atomic_fetch_add(&board->photo_bytes, size);
    }
}

static ssize_t receive(struct reader *reader)
{
    struct iovec part = { .iov_base = reader->buffer, .iov_len = sizeof(reader->buffer) };
    _Alignas(struct cmsghdr) uint8_t control[256];
    struct msghdr head = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
    ssize_t n;

    if (reader->channel.link.tls)
        return SSL_read(reader->channel.link.tls, reader->buffer, sizeof(reader->buffer));
    n = recvmsg(reader->channel.link.fd, &head, 0);
    reader->stamp = now_ns();
    for (struct cmsghdr *part_of = CMSG_FIRSTHDR(&head); part_of; part_of = CMSG_NXTHDR(&head, part_of)) {
        if (part_of->cmsg_level == SOL_SOCKET && part_of->cmsg_type == SO_TIMESTAMPNS) {
            struct timespec stamp;

            memcpy(&stamp, CMSG_DATA(part_of), sizeof(stamp));
            reader->stamp = (uint64_t)stamp.tv_sec * 1000000000u + (uint64_t)stamp.tv_nsec;
        }
    }
    return n;
}

static void *read_on(void *arg)
{
    struct reader *reader = arg;

    for (;;) {
        ssize_t n = receive(reader);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            if (atomic_load(&board->stop))
                return NULL;
            link_give_up("a channel ended");
        }
        link_consume(&reader->channel, reader->buffer, (size_t)n, note);
    }
}

static struct link open_channel(const struct client_wish *wish, uint32_t session, uint8_t type, uint8_t id)
{
    return link_open(&(struct link_wish){
        .port = wish->port, .tls = wish->tls, .session = session, .type = type, .id = id });
}

static struct reader *reader_of(struct link link, uint8_t id)
{
    struct reader *reader = calloc(1, sizeof(*reader));
    int on = 1;

    if (!reader)
        link_give_up("memory");
    reader->channel.link = link;
    reader->id = id;
    setsockopt(link.fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on));
    return reader;
}

static void start(struct reader *reader)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, read_on, reader) != 0)
        link_give_up("thread");
}

static void start_display(const struct client_wish *wish, uint32_t session, uint8_t id)
{
    /* pixmap cache and dictionary as spice-gtk has them */
    uint8_t init[14] = { 1 };
    int64_t cache = 20 << 20;
    int32_t window = 16 << 20;
    struct reader *reader = reader_of(open_channel(wish, session, CHANNEL_DISPLAY, id), id);

    memcpy(init + 1, &cache, 8);
    init[9] = 1;
    memcpy(init + 10, &window, 4);
    link_message(&reader->channel.link, DISPLAY_INIT, init, sizeof(init));
    start(reader);
}

static void sleep_until(struct timespec *due, unsigned gap_us)
{
    due->tv_nsec += (long)gap_us * 1000;
    while (due->tv_nsec >= 1000000000) {
        due->tv_nsec -= 1000000000;
        due->tv_sec++;
    }
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, due, NULL);
}

static void press_keys(const struct link *inputs)
{
    unsigned wanted = atomic_load(&board->press), gap = atomic_load(&board->press_gap_us);
    struct timespec due;

    clock_gettime(CLOCK_MONOTONIC, &due);
    for (unsigned i = 0; i < wanted && !atomic_load(&board->stop); i++) {
        uint32_t code = key_code(i);

        sleep_until(&due, gap);
        atomic_store(&board->pressed[i], now_ns());
        link_message(inputs, KEY_DOWN, &code, sizeof(code));
    }
    atomic_store(&board->press, 0);
}

void client_run(struct board *shared, const struct client_wish *wish)
{
    struct reader *main = calloc(1, sizeof(*main));
    struct link inputs;
    uint32_t session;

    board = shared;
    link_failed = &board->failed;
    if (!main)
        link_give_up("memory");
    while (!atomic_load(&board->ready))
        usleep(2000);
    main->channel.link = open_channel(wish, 0, CHANNEL_MAIN, 0);
    main->id = 31;
    session = link_session(&main->channel);
    link_message(&main->channel.link, ATTACH_CHANNELS, NULL, 0);
    start(main);
    inputs = open_channel(wish, session, CHANNEL_INPUTS, 0);
    start(reader_of(open_channel(wish, session, CHANNEL_CURSOR, 0), 30));
    start_display(wish, session, 0);
    if (wish->photos)
        start_display(wish, session, 1);
    atomic_store(&board->linked, 1);
    while (!atomic_load(&board->stop)) {
        if (atomic_load(&board->press))
            press_keys(&inputs);
        usleep(atomic_load(&board->linked) > 1 ? 500000 : 2000);
    }
}
