/* Links to a SPICE server over TCP, again and again, as clients with a ticket do.
 *
 *   links_client links   PORT PASSWORD SECONDS THREADS   full links of the main channel, as many as go
 *   links_client session PORT PASSWORD COUNT             whole sessions of six channels, one after the other
 *   links_client hold    PORT PASSWORD COUNT             sessions that stay until standard input ends
 *
 * Six channels: main, inputs, and display and cursor of two devices. One line of name=value on standard output. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAIN = 1, DISPLAY = 2, INPUTS = 3, CURSOR = 4 };
enum { MAIN_INIT = 103, ATTACH_CHANNELS = 104, DISPLAY_INIT = 101 };
enum { CHANNELS = 6, MAX_SAMPLES = 1 << 20, MAX_THREADS = 16 };

static uint16_t port;
static const char *password;

static _Noreturn void give_up(const char *what)
{
    fprintf(stderr, "links_client: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void put(int fd, const void *bytes, size_t size)
{
    if (send(fd, bytes, size, MSG_NOSIGNAL) != (ssize_t)size)
        give_up("send");
}

static void get(int fd, void *bytes, size_t size)
{
    if (size && recv(fd, bytes, size, MSG_WAITALL) != (ssize_t)size)
        give_up("recv");
}

static uint32_t u32_at(const uint8_t *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, 4);
    return value;
}

static void encrypt_ticket(const uint8_t *key, uint8_t out[128])
{
    EVP_PKEY *public = d2i_PUBKEY(NULL, &key, 162);
    EVP_PKEY_CTX *context = public ? EVP_PKEY_CTX_new(public, NULL) : NULL;
    size_t size = 128;

    if (!context || EVP_PKEY_encrypt_init(context) <= 0 ||
        EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) <= 0 ||
        EVP_PKEY_encrypt(context, out, &size, (const uint8_t *)password, strlen(password) + 1) <= 0)
        give_up("ticket");
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(public);
}

/* The socket of a channel whose link was accepted. */
static int link_channel(uint32_t session, uint8_t type, uint8_t id)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    /* magic, version 2.2, size; session, then channel and id; 1 common word, none of the channel, their offset */
    uint32_t head[5] = { 0x51444552, 2, 2, 22, session }, counts[3] = { 1, 0, 18 };
    uint32_t common = 1 | 2 | 8 /* auth selection, ticket, mini header */, mechanism = 1, result;
    uint8_t bytes[38], reply[1024], answer[132];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct linger reset = { .l_onoff = 1, .l_linger = 0 };

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    /* Thousands of links a second would use up the ports otherwise. */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        give_up("connect");
    memcpy(bytes, head, 20);
    bytes[20] = type;
    bytes[21] = id;
    memcpy(bytes + 22, counts, 12);
    memcpy(bytes + 34, &common, 4);
    put(fd, bytes, sizeof(bytes));
    get(fd, reply, 16);
    if (u32_at(reply + 12) > sizeof(reply))
        give_up("link reply");
    get(fd, reply, u32_at(reply + 12));
    if (u32_at(reply) != 0)
        give_up("link refused");
    memcpy(answer, &mechanism, 4);
    encrypt_ticket(reply + 4, answer + 4);
    put(fd, answer, sizeof(answer));
    get(fd, &result, 4);
    if (result != 0)
        give_up("ticket refused");
    return fd;
}

static void message(int fd, uint16_t kind, const void *body, uint32_t size)
{
    uint8_t bytes[64];

    memcpy(bytes, &kind, 2);
    memcpy(bytes + 2, &size, 4);
    if (size)
        memcpy(bytes + 6, body, size);
    put(fd, bytes, 6 + size);
}

/* Reads messages of the main channel up to INIT; the session's id. */
static uint32_t wait_for_init(int fd)
{
    for (;;) {
        uint8_t head[6], body[65536];
        uint16_t kind;

        get(fd, head, sizeof(head));
        memcpy(&kind, head, 2);
        for (uint32_t left = u32_at(head + 2); left;) {
            uint32_t n = left < sizeof(body) ? left : sizeof(body);

            get(fd, body, n);
            left -= n;
        }
        if (kind == MAIN_INIT)
            return u32_at(body);
    }
}

/* A whole session as stock clients make it: main, then all others. */
static void session(int fds[CHANNELS], uint8_t cache)
{
    static const uint8_t others[CHANNELS - 1][2] = {
        { DISPLAY, 0 }, { CURSOR, 0 }, { INPUTS, 0 }, { DISPLAY, 1 }, { CURSOR, 1 }
    };
    uint32_t id;

    fds[0] = link_channel(0, MAIN, 0);
    id = wait_for_init(fds[0]);
    message(fds[0], ATTACH_CHANNELS, NULL, 0);
    for (int i = 0; i < CHANNELS - 1; i++) {
        fds[i + 1] = link_channel(id, others[i][0], others[i][1]);
        if (others[i][0] == DISPLAY) {
            uint8_t init[14] = { cache };
            int64_t pixels = 20 << 20;
            int32_t window = 16 << 20;

            memcpy(init + 1, &pixels, 8);
            init[9] = cache;
            memcpy(init + 10, &window, 4);
            message(fds[i + 1], DISPLAY_INIT, init, sizeof(init));
        }
    }
}

struct loop {
    pthread_t thread;
    uint64_t until, links;
    uint32_t *samples;
};

static void *links(void *opaque)
{
    struct loop *loop = opaque;

    for (uint64_t start = now_ns(); start < loop->until; loop->links++) {
        uint64_t end;

        close(link_channel(0, MAIN, 0));
        end = now_ns();
        if (loop->links < MAX_SAMPLES)
            loop->samples[loop->links] = (uint32_t)((end - start) / 1000);
        start = end;
    }
    return NULL;
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void run_links(double seconds, int threads)
{
    struct loop loops[MAX_THREADS] = { 0 };
    uint32_t *all = calloc(MAX_THREADS, MAX_SAMPLES * sizeof(*all));
    uint64_t start = now_ns(), count = 0, kept = 0;
    double took;

    for (int i = 0; i < threads; i++) {
        loops[i].until = start + (uint64_t)(seconds * 1e9);
        loops[i].samples = all + (size_t)i * MAX_SAMPLES;
        if (pthread_create(&loops[i].thread, NULL, links, &loops[i]) != 0)
            give_up("thread");
    }
    for (int i = 0; i < threads; i++)
        pthread_join(loops[i].thread, NULL);
    took = (double)(now_ns() - start) / 1e9;
    for (int i = 0; i < threads; i++) {
        uint64_t n = loops[i].links < MAX_SAMPLES ? loops[i].links : MAX_SAMPLES;

        memmove(all + kept, loops[i].samples, n * sizeof(*all));
        kept += n;
        count += loops[i].links;
    }
    qsort(all, kept, sizeof(*all), ascending);
    printf("links=%llu seconds=%.2f rate=%.0f p50_us=%u p99_us=%u\n", (unsigned long long)count, took,
           (double)count / took, all[kept / 2], all[kept * 99 / 100]);
    free(all);
}

static void run_sessions(int count)
{
    uint32_t *times = calloc((size_t)count, sizeof(*times));

    for (int i = 0; i < count; i++) {
        int fds[CHANNELS];
        uint64_t start = now_ns();

        session(fds, 1);
        times[i] = (uint32_t)((now_ns() - start) / 1000);
        for (int c = CHANNELS; c-- > 0;)
            close(fds[c]);
        usleep(50000); /* the server has ended the old session */
    }
    qsort(times, (size_t)count, sizeof(*times), ascending);
    printf("sessions=%d median_us=%u worst_us=%u\n", count, times[count / 2], times[count - 1]);
    free(times);
}

static void run_hold(int count)
{
    struct pollfd *all = calloc((size_t)count * CHANNELS + 1, sizeof(*all));
    char bytes[65536];

    all[0] = (struct pollfd){ .fd = 0, .events = POLLIN };
    for (int i = 0; i < count; i++) {
        int fds[CHANNELS];

        session(fds, (uint8_t)(i + 1));
        for (int c = 0; c < CHANNELS; c++)
            all[1 + i * CHANNELS + c] = (struct pollfd){ .fd = fds[c], .events = POLLIN };
    }
    for (bool said = false;;) {
        int n = poll(all, (nfds_t)count * CHANNELS + 1, said ? -1 : 500);

        if (n == 0) {
            printf("held=%d\n", count);
            fflush(stdout);
            said = true;
        }
        if (all[0].revents)
            return;
        for (int i = 1; i <= count * CHANNELS; i++)
            if (all[i].revents && recv(all[i].fd, bytes, sizeof(bytes), 0) <= 0)
                give_up("a held connection");
    }
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    port = (uint16_t)atoi(argv[2]);
    password = argv[3];
    if (strcmp(argv[1], "links") == 0 && argc == 6 && atoi(argv[5]) <= MAX_THREADS)
        run_links(atof(argv[4]), atoi(argv[5]));
    else if (strcmp(argv[1], "session") == 0)
        run_sessions(atoi(argv[4]));
    else if (strcmp(argv[1], "hold") == 0)
        run_hold(atoi(argv[4]));
    else
        return 2;
    return 0;
}
