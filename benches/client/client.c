/* A client that reads and throws away: links, INIT, ACKs and PONGs as a stock client sends them, no drawing.
 *
 * It runs in a process of its own, so that its work is not charged to the server's.
 */
#include "client.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAIN = 1, DISPLAY = 2 };
enum { SET_ACK = 3, PING = 4, MAIN_INIT = 103, DISPLAY_MARK = 102 };
enum { COPY_BITS = 104, DRAW_FILL = 302, DRAW_COPY = 304, DRAW_COMPOSITE = 318, SURFACE_CREATE = 314, SURFACE_DESTROY = 315 };
enum { ACK_SYNC = 1, ACK = 2, PONG = 3, DISPLAY_INIT = 101, ATTACH_CHANNELS = 104 };
enum { HEADER = 6, KEPT = 128 };

/* A channel and the message that is coming in. */
struct channel {
    int fd;
    unsigned have;           /* bytes of `head` */
    uint8_t head[HEADER + KEPT]; /* header and the start of the body */
    uint64_t left;           /* bytes of the body that are still to come */
    uint32_t window, unacked;
};

static struct shared *board;

static _Noreturn void give_up(const char *what)
{
    fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
    atomic_store(&board->failed, 1);
    _exit(1);
}

static void put(int fd, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;

    while (size) {
        ssize_t n = send(fd, at, size, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            give_up("send");
        at += n;
        size -= (size_t)n;
    }
}

static void get(int fd, void *bytes, size_t size)
{
    uint8_t *at = bytes;

    while (size) {
        ssize_t n = recv(fd, at, size, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            give_up("recv");
        at += n;
        size -= (size_t)n;
    }
}

static uint32_t u32_at(const uint8_t *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, 4);
    return value;
}

static void message(int fd, uint16_t kind, const void *body, uint32_t size)
{
    uint8_t bytes[HEADER + KEPT];

    memcpy(bytes, &kind, 2);
    memcpy(bytes + 2, &size, 4);
    if (size)
        memcpy(bytes + HEADER, body, size);
    put(fd, bytes, HEADER + size);
}

/* An empty password for the key of the link reply. */
static void encrypt_ticket(const uint8_t *key, uint8_t out[128])
{
    EVP_PKEY *public = d2i_PUBKEY(NULL, &key, 162);
    EVP_PKEY_CTX *context = public ? EVP_PKEY_CTX_new(public, NULL) : NULL;
    size_t size = 128;

    if (!context || EVP_PKEY_encrypt_init(context) <= 0 ||
        EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) <= 0 ||
        EVP_PKEY_encrypt(context, out, &size, (const uint8_t *)"", 1) <= 0)
        give_up("ticket");
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(public);
}

static int connected(const struct client_wish *wish)
{
    struct sockaddr_un local = { .sun_family = AF_UNIX };
    struct sockaddr_in loopback = {
        .sin_family = AF_INET, .sin_port = htons(wish->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    int fd = socket(wish->path ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    if (wish->path)
        snprintf(local.sun_path, sizeof(local.sun_path), "%s", wish->path);
    else
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    for (int tries = 0; tries < 5000; tries++) {
        if (connect(fd, wish->path ? (struct sockaddr *)&local : (struct sockaddr *)&loopback,
                    wish->path ? sizeof(local) : sizeof(loopback)) == 0)
            return fd;
        usleep(2000); /* the server is not there yet */
    }
    give_up("connect");
}

static int link_channel(const struct client_wish *wish, uint32_t session, uint8_t type)
{
    uint8_t bytes[42], reply[1024], ticket[128];
    uint32_t common = 1 | 2 | 8 /* auth selection, ticket, mini header */;
    uint32_t words = type == DISPLAY && wish->capabilities ? 1 : 0;
    /* magic, version 2.2, size; session, channel, id; 1 common word, words of the channel, their offset */
    uint32_t head[5] = { 0x51444552, 2, 2, 22 + 4 * words, session };
    uint32_t counts[3] = { 1, words, 18 }, mechanism = 1, result;
    int fd = connected(wish);

    memcpy(bytes, head, 20);
    bytes[20] = type;
    bytes[21] = 0;
    memcpy(bytes + 22, counts, 12);
    memcpy(bytes + 34, &common, 4);
    memcpy(bytes + 38, &wish->capabilities, 4);
    put(fd, bytes, 38 + 4 * words);
    get(fd, reply, 16);
    if (u32_at(reply + 12) > sizeof(reply))
        give_up("link reply");
    get(fd, reply, u32_at(reply + 12));
    if (u32_at(reply) != 0)
        give_up("link refused");
    encrypt_ticket(reply + 4, ticket);
    put(fd, &mechanism, 4);
    put(fd, ticket, sizeof(ticket));
    get(fd, &result, 4);
    if (result != 0)
        give_up("ticket refused");
    return fd;
}

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
        at += 4 + 16 * (uint64_t)u32_at(body + at);
    if (at + 4 > KEPT)
        return;
    image = (uint64_t)u32_at(body + at) + TYPE;
    if (image < KEPT && image < size && body[image] < IMAGE_TYPES)
        atomic_fetch_add_explicit(&board->image_bytes[body[image]], size, memory_order_relaxed);
}

/* A message has come as a whole; `head` holds its start. */
static void handle(struct channel *channel, bool display)
{
    uint16_t kind;

    memcpy(&kind, channel->head, 2);
    if (kind == PING) {
        message(channel->fd, PONG, channel->head + HEADER, 12);
    } else if (kind == SET_ACK) {
        channel->window = u32_at(channel->head + HEADER + 4);
        channel->unacked = 0;
        message(channel->fd, ACK_SYNC, channel->head + HEADER, 4);
    }
    if (channel->window && kind != SET_ACK && ++channel->unacked >= channel->window) {
        channel->unacked = 0;
        message(channel->fd, ACK, NULL, 0);
        if (display)
            atomic_fetch_add_explicit(&board->acks, 1, memory_order_relaxed);
    }
    if (!display)
        return;
    atomic_fetch_add_explicit(&board->messages, 1, memory_order_relaxed);
    if (kind < MESSAGE_KINDS)
        atomic_fetch_add_explicit(&board->kinds[kind], 1, memory_order_relaxed);
    if (is_draw(kind)) {
        atomic_fetch_add_explicit(&board->drawn, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&board->area, area_of(channel->head + HEADER), memory_order_relaxed);
        if (kind == DRAW_COPY)
            note_image(channel->head + HEADER, u32_at(channel->head + 2));
    }
    if (kind == DISPLAY_MARK)
        atomic_store(&board->ready, 1);
}

/* Takes messages apart; the body beyond its first bytes is skipped. */
static void consume(struct channel *channel, const uint8_t *at, size_t size, bool display)
{
    while (size || (channel->have == HEADER && channel->left == 0)) {
        if (channel->have < HEADER) {
            unsigned n = HEADER - channel->have;

            if (n > size)
                n = (unsigned)size;
            memcpy(channel->head + channel->have, at, n);
            channel->have += n;
            at += n;
            size -= n;
            if (channel->have == HEADER)
                channel->left = u32_at(channel->head + 2);
        } else {
            uint64_t n = channel->left < size ? channel->left : size;
            unsigned room = HEADER + KEPT - channel->have;
            unsigned kept = n < room ? (unsigned)n : room;

            memcpy(channel->head + channel->have, at, kept);
            channel->have += kept;
            channel->left -= n;
            at += n;
            size -= n;
        }
        if (channel->have >= HEADER && channel->left == 0) {
            handle(channel, display);
            channel->have = 0;
        }
    }
}

/* Tells a host that waits for it that enough has arrived. */
static void knock(void)
{
    unsigned long long gate = atomic_load(&board->gate);
    unsigned long long come = atomic_load(board->gate_counts_area ? &board->area : &board->drawn);
    uint64_t one = 1;

    if (gate && come >= gate && atomic_compare_exchange_strong(&board->gate, &gate, 0) &&
        write(board->gate_fd, &one, sizeof(one)) < 0)
        give_up("eventfd");
}

static void wait_for_init(struct channel *main, uint32_t *session)
{
    uint8_t byte;

    /* Byte by byte until the message is there: what follows stays in the socket. */
    for (;;) {
        get(main->fd, main->head, HEADER);
        main->left = u32_at(main->head + 2);
        for (uint64_t i = 0; i < main->left; i++) {
            get(main->fd, &byte, 1);
            if (i < KEPT)
                main->head[HEADER + i] = byte;
        }
        main->left = 0;
        uint16_t kind;
        memcpy(&kind, main->head, 2);
        if (kind == MAIN_INIT) {
            *session = u32_at(main->head + HEADER);
            return;
        }
        handle(main, false);
    }
}

void client_run(struct shared *shared, const struct client_wish *wish)
{
    enum { STEP = 1 << 20 };
    static uint8_t buffer[STEP];
    /* pixmap cache 0 and dictionary 0 */
    uint8_t init[14] = { 0 };
    enum client_mode mode = wish->mode;
    struct channel main = { 0 }, display = { 0 };
    uint32_t session;

    board = shared;
    main.fd = link_channel(wish, 0, MAIN);
    wait_for_init(&main, &session);
    message(main.fd, ATTACH_CHANNELS, NULL, 0);
    display.fd = link_channel(wish, session, DISPLAY);
    memcpy(init + 1, &wish->cache, 8);
    memcpy(init + 10, &wish->window, 4);
    message(display.fd, DISPLAY_INIT, init, sizeof(init));
    atomic_store(&board->linked, 1);
    while (!atomic_load(&board->stop)) {
        bool hungry = mode != CLIENT_STALLS || !atomic_load(&board->ready);
        bool slow = mode == CLIENT_IS_SLOW && atomic_load(&board->ready);
        struct pollfd fds[2] = { { .fd = main.fd, .events = POLLIN },
                                 { .fd = hungry ? display.fd : -1, .events = POLLIN } };

        if (slow)
            usleep(10000);
        if (poll(fds, 2, 50) < 0 && errno != EINTR)
            give_up("poll");
        for (int i = 0; i < 2; i++) {
            struct channel *channel = i ? &display : &main;
            ssize_t n;

            if (!fds[i].revents)
                continue;
            n = recv(channel->fd, buffer, slow ? 16384 : STEP, MSG_DONTWAIT);
            if (n < 0 && (errno == EAGAIN || errno == EINTR))
                continue;
            if (n <= 0) {
                if (atomic_load(&board->stop))
                    return;
                give_up(i ? "display channel ended" : "main channel ended");
            }
            consume(channel, buffer, (size_t)n, i == 1);
            if (i == 0)
                continue;
            atomic_fetch_add_explicit(&board->bytes, (uint64_t)n, memory_order_relaxed);
            atomic_store(&board->last_ns, clock_ns(CLOCK_MONOTONIC));
            knock();
        }
    }
}
