/* A vdagent for tests: agent DIR
 *
 * Speaks the agent protocol on the virtio port of the real one, says that it can do what a Linux desktop can, and writes one
 * line to DIR/log for everything that the client does. Copied data goes to DIR/clip.SELECTION.TYPE, files to DIR/files/NAME.
 * The fifo DIR/commands takes lines:
 *
 *   grab SELECTION TYPE FILE    owns the clipboard; FILE is sent when somebody asks for it
 *   request SELECTION TYPE      asks the client for what it grabbed
 *   announce                    says once more what it can do
 *
 * What the client grabs is asked for at once, in the order of its types, unless DIR/lazy exists.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PORT "/dev/virtio-ports/com.redhat.spice.0"

enum {
    MONITORS_CONFIG = 2, CLIPBOARD = 4, REPLY = 3, ANNOUNCE = 6, GRAB = 7, REQUEST = 8, RELEASE = 9,
    XFER_START = 10, XFER_STATUS = 11, XFER_DATA = 12,
};
/* Mouse, monitors, replies, clipboard by demand with selections, sparse monitors, LF, positions, detailed errors. */
#define CAPS (1u << 0 | 1u << 1 | 1u << 2 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 8 | 1u << 12 | 1u << 14)
#define MESSAGE_MAX (64u << 20)

struct __attribute__((packed)) chunk { uint32_t port, size; };
struct __attribute__((packed)) message { uint32_t protocol, type; uint64_t opaque; uint32_t size; };

static const char *directory;
static int port, log_file;
static uint8_t *out;
static size_t out_size, out_room;
static struct { uint32_t id; int file; uint64_t left, size; char name[200]; } transfers[16];
static char offered[4][256]; /* file by selection */
static uint32_t offered_type[4];

static void say(const char *format, ...)
{
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    if (length > (int)sizeof line - 2) length = sizeof line - 2;
    line[length++] = '\n';
    if (write(log_file, line, length) != length) abort();
}

static void push(const void *data, size_t size)
{
    if (out_size + size > out_room) {
        out_room = 2 * (out_size + size);
        out = realloc(out, out_room);
        if (!out) abort();
    }
    memcpy(out + out_size, data, size);
    out_size += size;
}

/* One message in chunks of at most 2048 bytes, as vdagentd writes them. */
static void send_message(uint32_t type, const void *data, uint32_t size)
{
    struct message head = {1, type, 0, size};
    size_t whole = sizeof head + size;
    uint8_t *bytes = malloc(whole);
    if (!bytes) abort();
    memcpy(bytes, &head, sizeof head);
    memcpy(bytes + sizeof head, data, size);
    for (size_t at = 0; at < whole; at += 2048) {
        struct chunk chunk = {1, whole - at < 2048 ? whole - at : 2048};
        push(&chunk, sizeof chunk);
        push(bytes + at, chunk.size);
    }
    free(bytes);
}

static void announce(uint32_t ask)
{
    uint32_t data[2] = {ask, CAPS};
    send_message(ANNOUNCE, data, sizeof data);
}

static void status(uint32_t id, uint32_t result)
{
    uint32_t data[2] = {id, result};
    send_message(XFER_STATUS, data, sizeof data);
}

static void ask_for(uint8_t selection, uint32_t type)
{
    uint8_t data[8] = {selection};
    memcpy(data + 4, &type, 4);
    send_message(REQUEST, data, sizeof data);
}

static int create(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%.400s/%.600s", directory, name);
    return open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
}

static void save(const char *name, const uint8_t *data, size_t size)
{
    int file = create(name);
    for (size_t at = 0; at < size;) {
        ssize_t wrote = write(file, data + at, size - at);
        if (wrote <= 0) { say("error %s %s", name, strerror(errno)); break; }
        at += wrote;
    }
    close(file);
}

/* The file that somebody asked for, with selection and type in front. */
static void give(uint8_t selection, uint32_t type)
{
    if (selection > 3 || !offered[selection][0] || offered_type[selection] != type) {
        say("error asked for what is not there");
        return;
    }
    FILE *file = fopen(offered[selection], "rb");
    if (!file) { say("error %s", offered[selection]); return; }
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    uint8_t *data = malloc(size + 8);
    memset(data, 0, 8);
    data[0] = selection;
    memcpy(data + 4, &type, 4);
    if (fread(data + 8, 1, size, file) != (size_t)size) abort();
    fclose(file);
    send_message(CLIPBOARD, data, size + 8);
    free(data);
}

static void xfer_start(const uint8_t *data, uint32_t size)
{
    char text[2048] = "", name[200] = "", path[256];
    unsigned long long bytes = 0;
    uint32_t id;
    memcpy(&id, data, 4);
    memcpy(text, data + 4, size - 4 < sizeof text - 1 ? size - 4 : sizeof text - 1);
    char *line = strstr(text, "name=");
    if (line) sscanf(line, "name=%199[^\n]", name);
    line = strstr(text, "size=");
    if (line) sscanf(line, "size=%llu", &bytes);
    if (!name[0] || strchr(name, '/')) { say("error start %u", id); return; }
    for (int i = 0; i < 16; i++) {
        if (transfers[i].id) continue;
        snprintf(path, sizeof path, "files/%s", name);
        transfers[i].id = id;
        transfers[i].left = transfers[i].size = bytes;
        snprintf(transfers[i].name, sizeof transfers[i].name, "%s", name);
        transfers[i].file = create(path);
        say("start %u %s %llu", id, name, bytes);
        status(id, 0);
        return;
    }
    say("error too many transfers");
}

static void xfer_data(const uint8_t *data, uint32_t size)
{
    uint32_t id;
    uint64_t length;
    memcpy(&id, data, 4);
    memcpy(&length, data + 4, 8);
    for (int i = 0; i < 16; i++) {
        if (transfers[i].id != id) continue;
        if (length != size - 12 || length > transfers[i].left) { say("error data %u", id); return; }
        for (uint64_t at = 0; at < length;) {
            ssize_t wrote = write(transfers[i].file, data + 12 + at, length - at);
            if (wrote <= 0) { say("error write %s", strerror(errno)); status(id, 2); transfers[i].id = 0; return; }
            at += wrote;
        }
        transfers[i].left -= length;
        if (!transfers[i].left) {
            close(transfers[i].file);
            transfers[i].id = 0;
            say("file %u %s %llu", id, transfers[i].name, (unsigned long long)transfers[i].size);
            status(id, 3);
        }
        return;
    }
    /* Data of a transfer that this agent never heard of: as vdagent, no answer. */
}

static void handle(uint32_t type, const uint8_t *data, uint32_t size)
{
    char text[700], path[512];
    int used = 0;
    uint32_t words[2] = {0};
    switch (type) {
    case ANNOUNCE:
        memcpy(words, data, size < 8 ? size : 8);
        say("caps %u %x", words[0], words[1]);
        if (words[0]) announce(0);
        break;
    case MONITORS_CONFIG:
        memcpy(words, data, 8);
        used = snprintf(text, sizeof text, "monitors %u", words[0]);
        for (uint32_t i = 0; i < words[0] && 8 + 20 * (i + 1) <= size && i < 16; i++) {
            int32_t m[5];
            memcpy(m, data + 8 + 20 * i, 20);
            used += snprintf(text + used, sizeof text - used, " %dx%d+%d+%d", m[1], m[0], m[3], m[4]);
        }
        say("%s", text);
        words[0] = MONITORS_CONFIG, words[1] = 1;
        send_message(REPLY, words, 8);
        break;
    case GRAB:
        used = snprintf(text, sizeof text, "grab %u", data[0]);
        for (uint32_t at = 4; at + 4 <= size && at < 4 + 4 * 16; at += 4) {
            memcpy(words, data + at, 4);
            used += snprintf(text + used, sizeof text - used, " %u", words[0]);
            snprintf(path, sizeof path, "%.480s/lazy", directory);
            if (access(path, F_OK)) ask_for(data[0], words[0]);
        }
        say("%s", text);
        break;
    case CLIPBOARD:
        memcpy(words, data + 4, 4);
        snprintf(path, 40, "clip.%u.%u", data[0], words[0]);
        save(path, data + 8, size - 8);
        say("clipboard %u %u %u", data[0], words[0], size - 8);
        break;
    case REQUEST:
        memcpy(words, data + 4, 4);
        say("request %u %u", data[0], words[0]);
        give(data[0], words[0]);
        break;
    case RELEASE: say("release %u", size ? data[0] : 0); break;
    case XFER_START: xfer_start(data, size); break;
    case XFER_DATA: xfer_data(data, size); break;
    case XFER_STATUS:
        memcpy(words, data, 8);
        say("status %u %u", words[0], words[1]);
        for (int i = 0; i < 16; i++) if (transfers[i].id == words[0]) transfers[i].id = 0;
        break;
    case 1: break; /* mouse */
    default: say("message %u %u", type, size);
    }
}

/* Bytes of the port, cut into chunks and those put together to messages. */
static void feed(const uint8_t *data, size_t size)
{
    static union { struct chunk head; uint8_t bytes[8]; } chunk;
    static size_t have, room, chunk_have;
    static uint8_t *message;
    while (size) {
        if (chunk_have < 8) {
            chunk.bytes[chunk_have++] = *data++;
            size--;
            continue;
        }
        size_t take = chunk.head.size < size ? chunk.head.size : size;
        if (have + take > room) {
            room = 2 * (have + take);
            message = realloc(message, room);
            if (!message) abort();
        }
        memcpy(message + have, data, take);
        have += take, data += take, size -= take, chunk.head.size -= take;
        struct message head;
        while (have >= sizeof head) {
            memcpy(&head, message, sizeof head);
            if (head.size > MESSAGE_MAX || head.protocol != 1) { say("error header %u %u", head.protocol, head.size); exit(1); }
            size_t whole = sizeof head + head.size;
            if (have < whole) break;
            handle(head.type, message + sizeof head, head.size);
            memmove(message, message + whole, have - whole);
            have -= whole;
        }
        if (!chunk.head.size) chunk_have = 0;
    }
}

static void command(char *line)
{
    unsigned selection, type;
    char path[256];
    if (sscanf(line, "grab %u %u %255s", &selection, &type, path) == 3 && selection < 4) {
        uint32_t data[2] = {selection, type};
        strcpy(offered[selection], path);
        offered_type[selection] = type;
        send_message(GRAB, data, 8);
    } else if (sscanf(line, "request %u %u", &selection, &type) == 2) {
        ask_for(selection, type);
    } else if (!strcmp(line, "announce")) {
        announce(0);
    } else {
        say("error command %s", line);
    }
}

int main(int count, char **arguments)
{
    static uint8_t buffer[1 << 16];
    static char lines[4096], path[512];
    size_t lines_have = 0;
    if (count != 2) return 2;
    directory = arguments[1];
    snprintf(path, sizeof path, "%s/files", directory);
    mkdir(directory, 0755);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/log", directory);
    log_file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    snprintf(path, sizeof path, "%s/commands", directory);
    mkfifo(path, 0644);
    int commands = open(path, O_RDWR | O_NONBLOCK);
    port = open(PORT, O_RDWR | O_NONBLOCK);
    if (port < 0) { say("error open %s", strerror(errno)); return 1; }
    say("opened");
    announce(1);
    for (;;) {
        struct pollfd polled[2] = {{port, POLLIN | (out_size ? POLLOUT : 0), 0}, {commands, POLLIN, 0}};
        poll(polled, 2, 1000);
        if (polled[0].revents & POLLHUP) usleep(20000); /* nobody at the other end */
        if (polled[0].revents & POLLIN) {
            ssize_t got = read(port, buffer, sizeof buffer);
            if (got > 0) feed(buffer, got);
        }
        if (out_size) {
            ssize_t wrote = write(port, out, out_size < 32768 ? out_size : 32768);
            if (wrote > 0) {
                memmove(out, out + wrote, out_size - wrote);
                out_size -= wrote;
            }
        }
        if (polled[1].revents & POLLIN) {
            ssize_t got = read(commands, lines + lines_have, sizeof lines - 1 - lines_have);
            if (got <= 0) continue;
            lines[lines_have += got] = 0;
            for (char *end; (end = strchr(lines, '\n'));) {
                *end = 0;
                command(lines);
                lines_have -= end + 1 - lines;
                memmove(lines, end + 1, lines_have + 1);
            }
        }
    }
}
