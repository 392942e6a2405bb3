/* What the host and the guest of the ring tests share: where things lie in the memory, and the steps on a ring.
 *
 * The memory is one memfd: the primary surface, then resources of 4 KiB (a command and what it points to), then the
 * RAM header. One slot covers all of it, and guest addresses are offsets with the slot's number on top.
 */
#ifndef RING_SHARED_H
#define RING_SHARED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <spice/enums.h>
#include <spice/qxl_dev.h>

enum {
    WIDTH = 1024,
    HEIGHT = 768,
    SURFACE_BYTES = WIDTH * HEIGHT * 4,
    RESOURCE_BYTES = 4096,
    RESOURCES = 4096,
    HEADER = SURFACE_BYTES + RESOURCE_BYTES * RESOURCES,
    MEMORY_BYTES = HEADER + 8192,
    SLOT = 1,
    GROUP = 1,
};

/* As devices of 8 bits of slot and 8 of generation have it. */
static inline uint64_t guest_address(uint64_t offset)
{
    return (uint64_t)SLOT << 56 | offset;
}

static inline uint64_t resource_offset(uint32_t number)
{
    return SURFACE_BYTES + (uint64_t)number * RESOURCE_BYTES;
}

static inline QXLRam *ram_header(uint8_t *memory)
{
    return (QXLRam *)(void *)(memory + HEADER);
}

/* Words of a ring, by their address: members of packed structures must not be pointed to as they are. */
static inline _Atomic uint32_t *word_at(uint8_t *memory, size_t offset)
{
    return (_Atomic uint32_t *)(void *)(memory + HEADER + offset);
}

struct ring {
    _Atomic uint32_t *prod, *notify_on_prod, *cons, *notify_on_cons;
    uint8_t *items;
    uint32_t size;
};

static inline struct ring ring_at(uint8_t *memory, size_t offset, uint32_t size)
{
    return (struct ring){
        .prod = word_at(memory, offset + 4),
        .notify_on_prod = word_at(memory, offset + 8),
        .cons = word_at(memory, offset + 12),
        .notify_on_cons = word_at(memory, offset + 16),
        .items = memory + HEADER + offset + 20,
        .size = size,
    };
}

static inline struct ring command_ring(uint8_t *memory)
{
    return ring_at(memory, offsetof(QXLRam, cmd_ring), QXL_COMMAND_RING_SIZE);
}

static inline struct ring cursor_ring(uint8_t *memory)
{
    return ring_at(memory, offsetof(QXLRam, cursor_ring), QXL_CURSOR_RING_SIZE);
}

static inline struct ring release_ring(uint8_t *memory)
{
    return ring_at(memory, offsetof(QXLRam, release_ring), QXL_RELEASE_RING_SIZE);
}

static inline void ring_reset(struct ring ring)
{
    atomic_store(ring.prod, 0);
    atomic_store(ring.cons, 0);
    atomic_store(ring.notify_on_prod, 1);
    atomic_store(ring.notify_on_cons, 0);
}

/* Producer: true if there is room; if not, the consumer tells when there is. */
static inline bool ring_has_room(struct ring ring)
{
    if (atomic_load(ring.prod) - atomic_load(ring.cons) < ring.size)
        return true;
    atomic_store(ring.notify_on_cons, atomic_load(ring.cons) + 1);
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load(ring.prod) - atomic_load(ring.cons) < ring.size;
}

/* Producer: hands the item over that was written to ring_item(prod). True if the consumer wants to be told. */
static inline bool ring_push(struct ring ring)
{
    uint32_t prod = atomic_load(ring.prod) + 1;

    atomic_store_explicit(ring.prod, prod, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load(ring.notify_on_prod) == prod;
}

/* Consumer: true if there is something; if not, the producer tells when there is. */
static inline bool ring_has_items(struct ring ring)
{
    if (atomic_load(ring.prod) != atomic_load(ring.cons))
        return true;
    atomic_store(ring.notify_on_prod, atomic_load(ring.cons) + 1);
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load(ring.prod) != atomic_load(ring.cons);
}

/* Consumer: done with the item at ring_item(cons). True if the producer wants to be told. */
static inline bool ring_pop(struct ring ring)
{
    uint32_t cons = atomic_load(ring.cons) + 1;

    atomic_store_explicit(ring.cons, cons, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load(ring.notify_on_cons) == cons;
}

static inline uint8_t *ring_item(struct ring ring, uint32_t index, size_t size)
{
    return ring.items + (index % ring.size) * size;
}

#endif
