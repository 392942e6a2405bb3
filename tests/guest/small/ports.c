/* What a program in the guest does with a virtio port:
 *
 *   ports echo PATH            writes back what it reads until it is killed
 *   ports source PATH BYTES    writes that many bytes of a fixed sequence (0: for ever), see `fill`, and stays: what the host
 *                              has not taken is lost when a port is closed
 *   ports sink PATH BYTES      reads that many, says whether they are the sequence
 */
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint8_t buffer[1 << 16];

/* The words of a linear congruential generator, little endian. */
static void fill(uint8_t *to, size_t size, uint32_t *state)
{
    for (size_t at = 0; at < size; at += 4) {
        *state = *state * 1664525u + 1013904223u;
        memcpy(to + at, state, 4);
    }
}

static void wait_for(int port, short events)
{
    struct pollfd polled = {port, events, 0};
    poll(&polled, 1, 1000);
    if (polled.revents & POLLHUP) usleep(20000);
}

static void write_all(int port, const uint8_t *data, size_t size)
{
    while (size) {
        ssize_t wrote = write(port, data, size);
        if (wrote > 0) {
            data += wrote;
            size -= wrote;
        } else {
            wait_for(port, POLLOUT);
        }
    }
}

int main(int count, char **arguments)
{
    static uint8_t expected[1 << 16];
    if (count < 3) return 2;
    int port = open(arguments[2], O_RDWR | O_NONBLOCK);
    if (port < 0) { perror(arguments[2]); return 1; }
    if (!strcmp(arguments[1], "echo")) {
        for (;;) {
            ssize_t got = read(port, buffer, sizeof buffer);
            if (got > 0) write_all(port, buffer, got);
            else wait_for(port, POLLIN);
        }
    }
    if (count < 4) return 2;
    uint64_t left = strtoull(arguments[3], NULL, 0), endless = !left;
    uint32_t state = 1;
    if (!strcmp(arguments[1], "source")) {
        while (left || endless) {
            size_t size = endless || left > sizeof buffer ? sizeof buffer : left;
            fill(buffer, sizeof buffer, &state);
            write_all(port, buffer, size);
            if (!endless) left -= size;
        }
        pause();
        return 0;
    }
    uint64_t total = 0, wrong = 0;
    while (total < left) {
        size_t have = 0, size = left - total > sizeof buffer ? sizeof buffer : left - total;
        fill(expected, sizeof expected, &state);
        while (have < size) {
            ssize_t got = read(port, buffer + have, size - have);
            if (got > 0) have += got;
            else wait_for(port, POLLIN);
        }
        wrong += memcmp(buffer, expected, size) != 0;
        total += size;
    }
    printf("%llu bytes, %llu blocks wrong\n", (unsigned long long)total, (unsigned long long)wrong);
    return wrong != 0;
}
