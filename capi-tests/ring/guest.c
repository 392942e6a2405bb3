/* A guest that draws through QXL rings in shared memory, in a process of its own: what a driver does, without a machine.
 *
 *   ring_guest MEMORY_FD KICK_FD INTERRUPT_FD COUNT SEED [hostile]
 *
 * Sends COUNT commands (solid fills, and copies of bitmaps of 16x16 pixels), and every hundredth time a movement of the
 * pointer; waits as drivers wait, for interrupts that it asked for. Every resource has to come back exactly once.
 * The last line on standard output is "sent N cursors N kicks N interrupts N waits N seconds S"; exit code 1 and a line on
 * standard error if a resource came back twice, one is missing, or nothing happens for ten seconds.
 * With "hostile" it lies: random numbers in rings, commands and resources, until it is ended.
 */
#include "shared.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static uint8_t *memory;
static int kick_fd, interrupt_fd;
static struct ring commands, cursors, releases;
static uint32_t free_list[RESOURCES], free_count;
static bool out[RESOURCES];
static uint64_t kicks, interrupts, waits;
static uint64_t random_state;

static uint32_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32);
}

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "ring_guest: %s (command ring %u/%u, release ring %u/%u, %u free)\n", what, *commands.prod,
            *commands.cons, *releases.prod, *releases.cons, free_count);
    exit(1);
}

static void kick(void)
{
    uint64_t one = 1;

    kicks++;
    if (write(kick_fd, &one, sizeof(one)) != sizeof(one))
        fail("the kick was not taken");
}

/* The guest's memory is out, as a driver says it with a port: who serves by callbacks looks here when it is kicked. */
static void say_out_of_memory(void)
{
    atomic_store(word_at(memory, offsetof(QXLRam, log_buf)), 1);
    kick();
}

/* Sleeps until an interrupt comes; the caller has asked for it. False if none comes for so long. */
static bool interrupt_comes(int milliseconds)
{
    struct pollfd ready = { .fd = interrupt_fd, .events = POLLIN };
    uint64_t count;

    waits++;
    if (poll(&ready, 1, milliseconds) != 1)
        return false;
    if (read(interrupt_fd, &count, sizeof(count)) == sizeof(count))
        interrupts++;
    atomic_store(word_at(memory, offsetof(QXLRam, int_pending)), 0);
    return true;
}

/* Takes every chain that was published. */
static void collect(void)
{
    while (ring_has_items(releases)) {
        uint32_t cons = atomic_load(releases.cons);
        uint64_t id;

        memcpy(&id, ring_item(releases, cons, 8), 8);
        ring_pop(releases);
        while (id) {
            uint32_t number = (uint32_t)(id - 1);

            if (number >= RESOURCES || !out[number])
                fail("a resource came back that was not out");
            out[number] = false;
            free_list[free_count++] = number;
            memcpy(&id, memory + resource_offset(number), 8);
        }
    }
}

/* Returns when more than so many are free. Says that memory is out, again and again, as drivers do. */
static void wait_for_resources(uint32_t free_now)
{
    for (int patience = 0; collect(), free_count <= free_now; patience++) {
        if (patience == 100)
            fail("no resource came back");
        say_out_of_memory();
        if (interrupt_comes(100))
            patience = -1;
    }
}

static uint32_t take_resource(void)
{
    uint32_t number;

    if (free_count == 0)
        collect();
    if (free_count == 0)
        wait_for_resources(0);
    number = free_list[--free_count];
    out[number] = true;
    return number;
}

static void push(struct ring ring, uint32_t number, uint32_t type)
{
    QXLCommand command = { .data = guest_address(resource_offset(number)), .type = type };

    while (!ring_has_room(ring)) {
        if (!interrupt_comes(10000))
            fail("the ring is not read");
    }
    memcpy(ring_item(ring, atomic_load(ring.prod), sizeof(command)), &command, sizeof(command));
    if (ring_push(ring))
        kick();
}

/* Writes a fill or a copy into a resource. */
static void make_drawable(uint32_t number)
{
    uint64_t at = resource_offset(number);
    QXLDrawable *draw = (QXLDrawable *)(void *)(memory + at);
    uint32_t look = next_random();
    int32_t left = (int32_t)(look % (WIDTH - 32)), top = (int32_t)((look >> 12) % (HEIGHT - 32));
    int32_t width = 16, height = 16;

    memset(draw, 0, sizeof(*draw));
    draw->release_info.id = number + 1;
    draw->effect = QXL_EFFECT_OPAQUE;
    draw->clip.type = SPICE_CLIP_TYPE_NONE;
    for (int i = 0; i < 3; i++)
        draw->surfaces_dest[i] = -1;
    if (look >> 30) {
        width = 1 + (int32_t)(look >> 24 & 31);
        height = 1 + (int32_t)(look >> 20 & 31);
        draw->type = QXL_DRAW_FILL;
        draw->u.fill.brush.type = SPICE_BRUSH_TYPE_SOLID;
        draw->u.fill.brush.u.color = next_random() & 0xffffff;
        draw->u.fill.rop_descriptor = SPICE_ROPD_OP_PUT;
    } else {
        uint64_t image_at = at + 256, data_at = at + 512;
        QXLImage *image = (QXLImage *)(void *)(memory + image_at);
        QXLDataChunk *chunk = (QXLDataChunk *)(void *)(memory + data_at);
        uint32_t colour = next_random();

        memset(image, 0, sizeof(*image));
        QXL_SET_IMAGE_ID(image, QXL_IMAGE_GROUP_DRIVER_DONT_CACHE, number);
        image->descriptor.type = SPICE_IMAGE_TYPE_BITMAP;
        image->descriptor.width = 16;
        image->descriptor.height = 16;
        image->bitmap.format = SPICE_BITMAP_FMT_32BIT;
        image->bitmap.flags = QXL_BITMAP_TOP_DOWN;
        image->bitmap.x = 16;
        image->bitmap.y = 16;
        image->bitmap.stride = 64;
        image->bitmap.data = guest_address(data_at);
        chunk->data_size = 16 * 64;
        chunk->prev_chunk = chunk->next_chunk = 0;
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t pixel = (colour + i * 0x010305) & 0xffffff;

            memcpy(chunk->data + 4 * i, &pixel, 4);
        }
        draw->type = QXL_DRAW_COPY;
        draw->u.copy.src_bitmap = guest_address(image_at);
        draw->u.copy.src_area = (QXLRect){ .right = 16, .bottom = 16 };
        draw->u.copy.rop_descriptor = SPICE_ROPD_OP_PUT;
    }
    draw->bbox = (QXLRect){ .left = left, .top = top, .right = left + width, .bottom = top + height };
}

static void make_movement(uint32_t number)
{
    QXLCursorCmd *move = (QXLCursorCmd *)(void *)(memory + resource_offset(number));

    memset(move, 0, sizeof(*move));
    move->release_info.id = number + 1;
    move->type = QXL_CURSOR_MOVE;
    move->u.position.x = (int16_t)(next_random() % WIDTH);
    move->u.position.y = (int16_t)(next_random() % HEIGHT);
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Numbers where they hurt most, and a kick now and then. */
static _Noreturn void lie(void)
{
    static const size_t words[] = { 4, 8, 12, 16 };
    static const size_t rings[] = { offsetof(QXLRam, cmd_ring), offsetof(QXLRam, cursor_ring), offsetof(QXLRam, release_ring) };

    for (uint32_t turn = 0;; turn++) {
        uint32_t what = next_random();

        if (what % 4 == 0) {
            /* Something that can be read, so that what follows is looked at as well. */
            uint32_t number = next_random() % RESOURCES;

            make_drawable(number);
            for (int i = next_random() % 3; i > 0; i--)
                memory[resource_offset(number) + next_random() % 768] = (uint8_t)next_random();
            memcpy(ring_item(commands, atomic_load(commands.prod), 16),
                   &(QXLCommand){ .data = guest_address(resource_offset(number)), .type = 1 + next_random() % 5 }, 16);
            /* An impossible index would be the end of this ring: seldom enough that much is read before. */
            if (atomic_load(commands.prod) - atomic_load(commands.cons) < 32 || next_random() % 100000 == 0)
                atomic_fetch_add(commands.prod, 1);
        } else if (what % 4 == 1) {
            uint32_t value = next_random();

            atomic_store(word_at(memory, rings[what >> 8 & 1 ? 2 : 1] + words[what >> 4 & 3]), value >> (what >> 16 & 31));
        } else if (what % 4 == 2) {
            size_t at = next_random() % sizeof(QXLRam);
            bool spared = at - offsetof(QXLRam, cmd_ring) < 20 && next_random() % 10000;

            if (!spared)
                memory[HEADER + at] ^= (uint8_t)(1 << (what >> 8 & 7));
        } else {
            memory[next_random() % HEADER] = (uint8_t)what;
        }
        if (turn % 16 == 0) {
            uint64_t one = 1;

            if (write(kick_fd, &one, sizeof(one)) < 0)
                usleep(100);
        }
    }
}

int main(int argc, char **argv)
{
    uint64_t count, moved = 0;
    double start;

    if (argc < 6) {
        fputs("ring_guest MEMORY_FD KICK_FD INTERRUPT_FD COUNT SEED [hostile]\n", stderr);
        return 2;
    }
    memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(argv[1]), 0);
    if (memory == MAP_FAILED)
        return 2;
    kick_fd = atoi(argv[2]);
    interrupt_fd = atoi(argv[3]);
    count = strtoull(argv[4], NULL, 10);
    random_state = strtoull(argv[5], NULL, 10) * 2 + 1;
    commands = command_ring(memory);
    cursors = cursor_ring(memory);
    releases = release_ring(memory);
    atomic_store(word_at(memory, offsetof(QXLRam, int_mask)), QXL_INTERRUPT_DISPLAY | QXL_INTERRUPT_CURSOR);
    if (argc > 6)
        lie();
    for (uint32_t i = 0; i < RESOURCES; i++)
        free_list[free_count++] = RESOURCES - 1 - i;
    start = seconds();
    for (uint64_t sent = 0; sent < count; sent++) {
        uint32_t number = take_resource();

        make_drawable(number);
        push(commands, number, QXL_CMD_DRAW);
        if (sent % 100 == 99) {
            number = take_resource();
            make_movement(number);
            push(cursors, number, QXL_CMD_CURSOR);
            moved++;
        }
    }
    wait_for_resources(RESOURCES - 1);
    printf("sent %llu cursors %llu kicks %llu interrupts %llu waits %llu seconds %.3f\n", (unsigned long long)count,
           (unsigned long long)moved, (unsigned long long)kicks, (unsigned long long)interrupts,
           (unsigned long long)waits, seconds() - start);
    return 0;
}
