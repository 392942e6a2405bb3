/* One HTTP request through the folder sharing of a SPICE client: webdav CLIENT METHOD PATH DEPTH OUT
 *
 * Speaks what spice-webdavd speaks on its virtio port: frames of int64 client, uint16 size and the bytes, size 0 for the end.
 * Writes the whole answer, head and body, to OUT and prints the first line of the head and the body's size.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PORT "/dev/virtio-ports/org.spice-space.webdav.0"

static int port;
static time_t deadline;

static void transfer(uint8_t *data, size_t size, int reading)
{
    while (size) {
        ssize_t done = reading ? read(port, data, size) : write(port, data, size);
        if (done > 0) {
            data += done;
            size -= done;
            continue;
        }
        if (time(NULL) > deadline) { fprintf(stderr, "webdav: nothing comes\n"); exit(1); }
        struct pollfd polled = {port, reading ? POLLIN : POLLOUT, 0};
        poll(&polled, 1, 200);
        if (polled.revents & POLLHUP) usleep(20000);
    }
}

static void frame(int64_t client, const void *data, uint16_t size)
{
    uint8_t bytes[10 + 4096];
    memcpy(bytes, &client, 8);
    memcpy(bytes + 8, &size, 2);
    memcpy(bytes + 10, data, size);
    transfer(bytes, 10 + size, 0);
}

int main(int count, char **arguments)
{
    if (count != 6) return 2;
    int64_t client = strtoll(arguments[1], NULL, 0);
    static uint8_t answer[64 << 20];
    size_t have = 0, body = 0, whole = 0;
    char request[2048];
    port = open(PORT, O_RDWR | O_NONBLOCK);
    if (port < 0) { perror(PORT); return 1; }
    deadline = time(NULL) + 60;
    int length = snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: localhost\r\nDepth: %s\r\nContent-Length: 0\r\n\r\n",
                          arguments[2], arguments[3], arguments[4]);
    /* In two frames: the client has to put them together. */
    frame(client, request, 10);
    frame(client, request + 10, length - 10);
    while (!whole || have < whole) {
        uint8_t head[10];
        int64_t from;
        uint16_t size;
        transfer(head, 10, 1);
        memcpy(&from, head, 8);
        memcpy(&size, head + 8, 2);
        if (!size) break;
        if (have + size > sizeof answer - 1) { fprintf(stderr, "webdav: too much\n"); return 1; }
        transfer(answer + have, size, 1);
        if (from != client) continue; /* of an earlier one */
        have += size;
        answer[have] = 0;
        if (!whole) {
            char *end = strstr((char *)answer, "\r\n\r\n"), *line = strcasestr((char *)answer, "content-length:");
            if (!end) continue;
            body = end + 4 - (char *)answer;
            if (line && line < end) whole = body + strtoull(line + 15, NULL, 10);
            else if (strcasestr((char *)answer, "chunked")) whole = SIZE_MAX;
            else whole = body;
        }
        if (whole == SIZE_MAX && have > 5 && !memcmp(answer + have - 5, "0\r\n\r\n", 5)) break;
    }
    frame(client, "", 0);
    FILE *out = fopen(arguments[5], "wb");
    if (!out || fwrite(answer + body, 1, have - body, out) != have - body || fclose(out)) { perror(arguments[5]); return 1; }
    printf("%.*s; %zu bytes\n", (int)strcspn((char *)answer, "\r\n"), answer, have - body);
    return 0;
}
