/* A client that reads and throws away: links, INIT, ACKs and PONGs as a stock client sends them, no drawing.
 *
 * It runs in a process of its own, so that its work is not charged to the server's.
 */
#include "client.h"

#include "link.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DISPLAY_MARK = 102 };
enum { COPY_BITS = 104, DRAW_FILL = 302, DRAW_COPY = 304, DRAW_COMPOSITE = 318, SURFACE_CREATE = 314, SURFACE_DESTROY = 315 };
enum { DISPLAY_INIT = 101, ATTACH_CHANNELS = 104 };

static struct shared *board;

static bool is_draw(uint16_t kind)
{
    return kind == COPY_BITS ||
           (kind >= DRAW_FILL && kind <= DRAW_COMPOSITE && kind != SURFACE_CREATE && kind != SURFACE_DESTROY);
}

/* Pixels of the box of a draw message: it starts with the surface, then top, left, bottom, right. */
static uint64_t area_of(const uint8_t *body)
{
    int32_t box[4];

    memcpy(box, body + 4, sizeof(box));
    return (uint64_t)((int64_t)(box[2] - box[0]) * (box[3] - box[1]));
}

/* Counts a draw_copy for the type of its image, which stands at an offset that follows the clip. */
static void note_image(const uint8_t *body, uint32_t size)
{
    enum { CLIP = 20, RECTS = 1, TYPE = 8 /* behind the id */ };
    uint64_t at = CLIP + 1, image;

    if (body[CLIP] == RECTS)
        at += 4 + 16 * (uint64_t)link_u32(body + at);
    if (at + 4 > LINK_BODY)
        return;
    image = (uint64_t)link_u32(body + at) + TYPE;
    if (image < LINK_BODY && image < size && body[image] < IMAGE_TYPES)
        atomic_fetch_add_explicit(&board->image_bytes[body[image]], size, memory_order_relaxed);
}

/* A message of the display has come as a whole. */
static void handle(struct link_channel *channel, uint16_t kind, const uint8_t *body, uint32_t size)
{
    atomic_store_explicit(&board->acks, channel->acks, memory_order_relaxed);
    atomic_fetch_add_explicit(&board->messages, 1, memory_order_relaxed);
    if (kind < MESSAGE_KINDS)
        atomic_fetch_add_explicit(&board->kinds[kind], 1, memory_order_relaxed);
    if (is_draw(kind)) {
        atomic_fetch_add_explicit(&board->drawn, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&board->area, area_of(body), memory_order_relaxed);
        if (kind == DRAW_COPY)
            note_image(body, size);
    }
    if (kind == DISPLAY_MARK)
        atomic_store(&board->ready, 1);
}

/* Tells a host that waits for it that enough has arrived. */
static void knock(void)
{
    unsigned long long gate = atomic_load(&board->gate);
    unsigned long long come = atomic_load(board->gate_counts_area ? &board->area : &board->drawn);
    uint64_t one = 1;

    if (gate && come >= gate && atomic_compare_exchange_strong(&board->gate, &gate, 0) &&
        write(board->gate_fd, &one, sizeof(one)) < 0)
        link_give_up("eventfd");
}

static struct link link_to(const struct client_wish *wish, uint32_t session, uint8_t type)
{
    return link_open(&(struct link_wish){ .path = wish->path,
                                          .port = wish->port,
                                          .session = session,
                                          .type = type,
                                          .capabilities = type == CHANNEL_DISPLAY ? wish->capabilities : 0 });
}

void client_run(struct shared *shared, const struct client_wish *wish)
{
    enum { STEP = 1 << 20 };
    static uint8_t buffer[STEP];
    /* pixmap cache 0 and dictionary 0 */
    uint8_t init[14] = { 0 };
    enum client_mode mode = wish->mode;
    struct link_channel main = { 0 }, display = { 0 };
    uint32_t session;

    board = shared;
    link_failed = &shared->failed;
    main.link = link_to(wish, 0, CHANNEL_MAIN);
    session = link_session(&main);
    link_message(&main.link, ATTACH_CHANNELS, NULL, 0);
    display.link = link_to(wish, session, CHANNEL_DISPLAY);
    memcpy(init + 1, &wish->cache, 8);
    memcpy(init + 10, &wish->window, 4);
    link_message(&display.link, DISPLAY_INIT, init, sizeof(init));
    atomic_store(&board->linked, 1);
    while (!atomic_load(&board->stop)) {
        bool hungry = mode != CLIENT_STALLS || !atomic_load(&board->ready);
        bool slow = mode == CLIENT_IS_SLOW && atomic_load(&board->ready);
        struct pollfd fds[2] = { { .fd = main.link.fd, .events = POLLIN },
                                 { .fd = hungry ? display.link.fd : -1, .events = POLLIN } };

        if (slow)
            usleep(10000);
        if (poll(fds, 2, 50) < 0 && errno != EINTR)
            link_give_up("poll");
        for (int i = 0; i < 2; i++) {
            struct link_channel *channel = i ? &display : &main;
            ssize_t n;

            if (!fds[i].revents)
                continue;
            n = recv(channel->link.fd, buffer, slow ? 16384 : STEP, MSG_DONTWAIT);
            if (n < 0 && (errno == EAGAIN || errno == EINTR))
                continue;
            if (n <= 0) {
                if (atomic_load(&board->stop))
                    return;
                link_give_up(i ? "display channel ended" : "main channel ended");
            }
            link_consume(channel, buffer, (size_t)n, i ? handle : NULL);
            if (i == 0)
                continue;
            atomic_fetch_add_explicit(&board->bytes, (uint64_t)n, memory_order_relaxed);
            atomic_store(&board->last_ns, clock_ns(CLOCK_MONOTONIC));
            knock();
        }
    }
}
