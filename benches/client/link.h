/* How a client of the benchmarks comes to a channel: TCP or a unix socket, perhaps TLS, link message, ticket. */
#ifndef BENCH_LINK_H
#define BENCH_LINK_H

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { CHANNEL_MAIN = 1, CHANNEL_DISPLAY = 2, CHANNEL_INPUTS = 3, CHANNEL_CURSOR = 4 };
/* Messages are as long as this at most when a client sends them, and the mini header before them. */
enum { LINK_HEADER = 6, LINK_BODY = 128 };

struct link {
    int fd;
    SSL *tls; /* NULL: none */
};

struct link_wish {
    const char *path; /* unix socket; NULL: TCP on loopback, `port` */
    uint16_t port;
    bool tls;         /* whatever the certificate is */
    uint32_t session; /* 0: a new one */
    uint8_t type, id;
    uint32_t capabilities; /* of the channel; 0: the word is left out */
};

/* Set to 1 before the process ends because something went wrong; may be NULL. */
extern atomic_uint *link_failed;

_Noreturn void link_give_up(const char *what);

/* Connects, however long the server takes to be there (10 s at most), and is through when the ticket was taken. */
struct link link_open(const struct link_wish *wish);

void link_put(const struct link *link, const void *bytes, size_t size);
void link_get(const struct link *link, void *bytes, size_t size);
/* A message with the mini header. */
void link_message(const struct link *link, uint16_t kind, const void *body, uint32_t size);

uint32_t link_u32(const uint8_t *bytes);

/* A channel and the message that is coming in. */
struct link_channel {
    struct link link;
    unsigned have;                          /* bytes of `head` */
    uint8_t head[LINK_HEADER + LINK_BODY];  /* header and the start of the body */
    uint64_t left;                          /* bytes of the body that are still to come */
    uint32_t window, unacked;
    uint64_t acks;                          /* sent */
    void *opaque;                           /* whoever made it */
};

/* A whole message; of its `size` bytes the first LINK_BODY are there. */
typedef void (*link_handler)(struct link_channel *channel, uint16_t kind, const uint8_t *body, uint32_t size);

/* Takes messages apart, answers PING and SET_ACK and acknowledges; `handle`, which may be NULL, hears of each one. */
void link_consume(struct link_channel *channel, const uint8_t *at, size_t size, link_handler handle);

/* Reads the main channel up to its INIT and returns the number of the session; what follows stays in the socket. */
uint32_t link_session(struct link_channel *main);

#endif /* BENCH_LINK_H */
