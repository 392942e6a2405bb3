/* What the machine alone needs: a thread that sleeps in epoll_wait is woken through an eventfd and sends 512 bytes over TCP on loopback.
 *
 *   floor --count N --gap-us LOW HIGH
 *
 * From before the write to the eventfd until the kernel has the bytes in the receiver's queue (SO_TIMESTAMPNS), as host.c measures a small draw.
 * No server that is woken by its host can be faster than this. One line of JSON.
 */
#include "latency.h"

#include "../../capi-tests/host/host.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

static int event, sender, receiver;

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "floor: %s\n", what);
    exit(1);
}

static void connect_both(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    receiver = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0 ||
        connect(receiver, (struct sockaddr *)&address, size) != 0)
        fail("no connection");
    sender = accept(listener, NULL, NULL);
    setsockopt(sender, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(receiver, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on));
}

static void *serve(void *arg)
{
    struct epoll_event wish = { .events = EPOLLIN | EPOLLET }, got;
    int epoll = epoll_create1(0);
    char bytes[512] = { 0 };

    (void)arg;
    epoll_ctl(epoll, EPOLL_CTL_ADD, event, &wish);
    while (epoll_wait(epoll, &got, 1, -1) == 1)
        send(sender, bytes, sizeof(bytes), MSG_NOSIGNAL);
    return NULL;
}

static uint64_t receive(void)
{
    char bytes[512], control[256];
    struct iovec part = { .iov_base = bytes, .iov_len = sizeof(bytes) };
    struct msghdr head = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
    struct timespec stamp = { 0 };

    if (recvmsg(receiver, &head, MSG_WAITALL) != sizeof(bytes))
        fail("nothing came");
    for (struct cmsghdr *at = CMSG_FIRSTHDR(&head); at; at = CMSG_NXTHDR(&head, at)) {
        if (at->cmsg_level == SOL_SOCKET && at->cmsg_type == SO_TIMESTAMPNS)
            memcpy(&stamp, CMSG_DATA(at), sizeof(stamp));
    }
    return (uint64_t)stamp.tv_sec * 1000000000u + (uint64_t)stamp.tv_nsec;
}

int main(int argc, char **argv)
{
    unsigned count = 200, low = 5000, high = 15000;
    uint64_t one = 1;
    pthread_t thread;
    struct rng rng;

    for (int i = 1; i + 1 < argc; i++) {
        if (!strcmp(argv[i], "--count"))
            count = (unsigned)atoi(argv[++i]);
        else if (!strcmp(argv[i], "--gap-us") && i + 2 < argc) {
            low = (unsigned)atoi(argv[++i]);
            high = (unsigned)atoi(argv[++i]);
        }
    }
    rng_seed(&rng, 11);
    event = eventfd(0, EFD_NONBLOCK);
    connect_both();
    if (pthread_create(&thread, NULL, serve, NULL) != 0)
        fail("no thread");
    printf("{\"lost\": 0, \"wrong\": 0, \"wakes\": %u, \"photos_s\": 0, \"taken_s\": 0, \"delays\": [", count);
    for (unsigned i = 0; i < count; i++) {
        uint64_t begin;

        usleep((unsigned)rng_range(&rng, (int)low, (int)high));
        begin = now_ns();
        if (write(event, &one, sizeof(one)) != sizeof(one))
            fail("eventfd");
        printf("%s%.1f", i ? ", " : "", (double)(int64_t)(receive() - begin) / 1000);
    }
    puts("]}");
    return 0;
}
