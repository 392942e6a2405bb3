/* See link.h. */
#include "link.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { SET_ACK = 3, PING = 4, MAIN_INIT = 103 };
enum { ACK_SYNC = 1, ACK = 2, PONG = 3 };

atomic_uint *link_failed;

_Noreturn void link_give_up(const char *what)
{
    fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
    if (link_failed)
        atomic_store(link_failed, 1);
    _exit(1);
}

uint32_t link_u32(const uint8_t *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, 4);
    return value;
}

void link_put(const struct link *link, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;

    while (size) {
        ssize_t n = link->tls ? SSL_write(link->tls, at, (int)size) : send(link->fd, at, size, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR && !link->tls)
            continue;
        if (n <= 0)
            link_give_up("send");
        at += n;
        size -= (size_t)n;
    }
}

void link_get(const struct link *link, void *bytes, size_t size)
{
    uint8_t *at = bytes;

    while (size) {
        ssize_t n = link->tls ? SSL_read(link->tls, at, (int)size) : recv(link->fd, at, size, 0);

        if (n < 0 && errno == EINTR && !link->tls)
            continue;
        if (n <= 0)
            link_give_up("recv");
        at += n;
        size -= (size_t)n;
    }
}

void link_message(const struct link *link, uint16_t kind, const void *body, uint32_t size)
{
    uint8_t bytes[LINK_HEADER + LINK_BODY];

    memcpy(bytes, &kind, 2);
    memcpy(bytes + 2, &size, 4);
    if (size)
        memcpy(bytes + LINK_HEADER, body, size);
    link_put(link, bytes, LINK_HEADER + size);
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
        link_give_up("ticket");
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(public);
}

static int connected(const struct link_wish *wish)
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
    link_give_up("connect");
}

static SSL *inside_tls(int fd)
{
    static SSL_CTX *context;
    SSL *tls;

    if (!context)
        context = SSL_CTX_new(TLS_client_method());
    tls = context ? SSL_new(context) : NULL;
    if (!tls || SSL_set_fd(tls, fd) != 1 || SSL_connect(tls) != 1)
        link_give_up("TLS");
    return tls;
}

struct link link_open(const struct link_wish *wish)
{
    uint8_t bytes[42], reply[1024], ticket[128];
    uint32_t common = 1 | 2 | 8 /* auth selection, ticket, mini header */;
    uint32_t words = wish->type == CHANNEL_DISPLAY && wish->capabilities ? 1 : 0;
    /* magic, version 2.2, size; session, channel, id; 1 common word, words of the channel, their offset */
    uint32_t head[5] = { 0x51444552, 2, 2, 22 + 4 * words, wish->session };
    uint32_t counts[3] = { 1, words, 18 }, mechanism = 1, result;
    struct link link = { .fd = connected(wish) };

    if (wish->tls)
        link.tls = inside_tls(link.fd);
    memcpy(bytes, head, 20);
    bytes[20] = wish->type;
    bytes[21] = wish->id;
    memcpy(bytes + 22, counts, 12);
    memcpy(bytes + 34, &common, 4);
    memcpy(bytes + 38, &wish->capabilities, 4);
    link_put(&link, bytes, 38 + 4 * words);
    link_get(&link, reply, 16);
    if (link_u32(reply + 12) > sizeof(reply))
        link_give_up("link reply");
    link_get(&link, reply, link_u32(reply + 12));
    if (link_u32(reply) != 0)
        link_give_up("link refused");
    encrypt_ticket(reply + 4, ticket);
    link_put(&link, &mechanism, 4);
    link_put(&link, ticket, sizeof(ticket));
    link_get(&link, &result, 4);
    if (result != 0)
        link_give_up("ticket refused");
    return link;
}

static void handled(struct link_channel *channel, link_handler handle)
{
    const uint8_t *body = channel->head + LINK_HEADER;
    uint16_t kind;

    memcpy(&kind, channel->head, 2);
    if (kind == PING) {
        link_message(&channel->link, PONG, body, 12);
    } else if (kind == SET_ACK) {
        channel->window = link_u32(body + 4);
        channel->unacked = 0;
        link_message(&channel->link, ACK_SYNC, body, 4);
    }
    if (channel->window && kind != SET_ACK && ++channel->unacked >= channel->window) {
        channel->unacked = 0;
        link_message(&channel->link, ACK, NULL, 0);
        channel->acks++;
    }
    if (handle)
        handle(channel, kind, body, link_u32(channel->head + 2));
}

void link_consume(struct link_channel *channel, const uint8_t *at, size_t size, link_handler handle)
{
    while (size || (channel->have == LINK_HEADER && channel->left == 0)) {
        if (channel->have < LINK_HEADER) {
            unsigned n = LINK_HEADER - channel->have;

            if (n > size)
                n = (unsigned)size;
            memcpy(channel->head + channel->have, at, n);
            channel->have += n;
            at += n;
            size -= n;
            if (channel->have == LINK_HEADER)
                channel->left = link_u32(channel->head + 2);
        } else {
            uint64_t n = channel->left < size ? channel->left : size;
            unsigned room = LINK_HEADER + LINK_BODY - channel->have;
            unsigned kept = n < room ? (unsigned)n : room;

            memcpy(channel->head + channel->have, at, kept);
            channel->have += kept;
            channel->left -= n;
            at += n;
            size -= n;
        }
        if (channel->have >= LINK_HEADER && channel->left == 0) {
            handled(channel, handle);
            channel->have = 0;
        }
    }
}

static void note_init(struct link_channel *channel, uint16_t kind, const uint8_t *body, uint32_t size)
{
    (void)size;
    if (kind == MAIN_INIT)
        *(uint32_t *)channel->opaque = link_u32(body);
}

uint32_t link_session(struct link_channel *main)
{
    uint32_t session = 0;
    void *opaque = main->opaque;
    uint8_t byte;

    main->opaque = &session;
    /* Byte by byte: what follows is somebody else's. */
    while (!session) {
        link_get(&main->link, &byte, 1);
        link_consume(main, &byte, 1, note_init);
    }
    main->opaque = opaque;
    return session;
}
