/* Data in pieces: lengths that lie, circles, pieces outside of guest memory. */
#include "bad.h"

enum { PIXELS = BAD_NOISE * BAD_NOISE * 4 };

static QXLDataChunk *new_chunk(struct qxl_item *item, uint32_t size)
{
    QXLDataChunk *chunk = qxl_item_alloc(item, sizeof(*chunk) + PIXELS);

    chunk->data_size = size;
    return chunk;
}

/* A copy whose pixels are in pieces, the first of which says `size`. */
static struct qxl_item *chunked(uint32_t size, QXLDataChunk **first)
{
    struct qxl_item *item = bad_copy();
    QXLDataChunk *chunk = new_chunk(item, size);

    bad_image(item)->bitmap.flags &= (uint8_t)~QXL_BITMAP_DIRECT;
    bad_image(item)->bitmap.data = qxl_address(chunk);
    if (first)
        *first = chunk;
    return item;
}

BAD(chunks_too_short)
{
    return chunked(100, NULL);
}

BAD(chunks_too_long)
{
    return chunked(PIXELS + 4, NULL);
}

BAD(chunks_without_data)
{
    return chunked(0, NULL);
}

BAD(chunk_size_huge)
{
    return chunked(UINT_MAX, NULL);
}

BAD(chunk_size_largest_signed)
{
    return chunked(INT_MAX, NULL);
}

BAD(chunks_circular_empty)
{
    QXLDataChunk *chunk;
    struct qxl_item *item = chunked(0, &chunk);

    chunk->next_chunk = qxl_address(chunk);
    return item;
}

BAD(chunks_circular_with_data)
{
    QXLDataChunk *chunk;
    struct qxl_item *item = chunked(4, &chunk);

    chunk->next_chunk = qxl_address(chunk);
    return item;
}

BAD(chunks_circle_of_two)
{
    QXLDataChunk *chunk, *second;
    struct qxl_item *item = chunked(PIXELS / 2, &chunk);

    second = new_chunk(item, PIXELS / 2);
    chunk->next_chunk = qxl_address(second);
    second->next_chunk = qxl_address(chunk);
    return item;
}

static struct qxl_item *followed_by(uint32_t first_size, QXLPHYSICAL next)
{
    QXLDataChunk *chunk;
    struct qxl_item *item = chunked(first_size, &chunk);

    chunk->next_chunk = next;
    return item;
}

BAD(next_chunk_unmapped)
{
    return followed_by(PIXELS, UNMAPPED);
}

BAD(next_chunk_all_ones)
{
    return followed_by(PIXELS, ~0ull);
}

BAD(next_chunk_in_the_first_page)
{
    return followed_by(PIXELS, 8);
}

BAD(next_chunk_header_cut_off)
{
    memset(bad_arena_tail(sizeof(QXLDataChunk) - 1), 0, sizeof(QXLDataChunk) - 1);
    return followed_by(PIXELS, bad_arena_end(sizeof(QXLDataChunk) - 1));
}

BAD(next_chunk_data_cut_off)
{
    QXLDataChunk chunk = { .data_size = PIXELS / 2 };

    memcpy(bad_arena_tail(sizeof(chunk) + 100), &chunk, sizeof(chunk));
    return followed_by(PIXELS / 2, bad_arena_end(sizeof(chunk) + 100));
}

/* 2^32 more bytes than there should be. */
BAD(chunk_sizes_wrap)
{
    QXLDataChunk *chunk, *second, *third;
    struct qxl_item *item = chunked(PIXELS, &chunk);

    second = new_chunk(item, 0x80000000u);
    third = new_chunk(item, 0x80000000u);
    chunk->next_chunk = qxl_address(second);
    second->next_chunk = qxl_address(third);
    return item;
}

/* Headers close to each other, all over the same megabyte: few bytes that stand for very many. */
static QXLDataChunk *overlapping(struct qxl_item *item, unsigned count)
{
    enum { STEP = 32, SIZE = 1 << 20 };
    uint8_t *memory = qxl_item_alloc(item, (size_t)count * STEP + sizeof(QXLDataChunk) + SIZE);

    for (unsigned i = 0; i < count; i++) {
        QXLDataChunk chunk = { .data_size = SIZE };

        if (i + 1 < count)
            chunk.next_chunk = qxl_address(memory + (i + 1) * STEP);
        memcpy(memory + i * STEP, &chunk, sizeof(chunk));
    }
    return (QXLDataChunk *)(void *)memory;
}

BAD(chunks_overlapping)
{
    struct qxl_item *item = chunked(0, NULL);

    bad_image(item)->bitmap.data = qxl_address(overlapping(item, 2000));
    return item;
}

/* The numbers agree: 512 MiB of pixels out of one. */
BAD(chunks_overlapping_as_announced)
{
    struct qxl_item *item = chunked(0, NULL);

    bad_image(item)->bitmap.data = qxl_address(overlapping(item, 512));
    bad_image(item)->bitmap.x = 1 << 14;
    bad_image(item)->bitmap.y = 1 << 13;
    bad_image(item)->bitmap.stride = 1 << 16;
    return item;
}

BAD(chunk_before_is_garbage)
{
    QXLDataChunk *chunk;
    struct qxl_item *item = chunked(PIXELS, &chunk);

    chunk->prev_chunk = 0xdeadbeefdeadbeefull;
    return item;
}

/* More pieces than any driver makes, all of them good. */
BAD(chunks_of_one_byte)
{
    enum { STEP = sizeof(QXLDataChunk) + 1 };
    struct qxl_item *item = chunked(0, NULL);
    uint8_t *memory = qxl_item_alloc(item, (size_t)PIXELS * STEP);

    for (unsigned i = 0; i < PIXELS; i++) {
        QXLDataChunk chunk = { .data_size = 1 };

        if (i + 1 < PIXELS)
            chunk.next_chunk = qxl_address(memory + (i + 1) * STEP);
        memcpy(memory + i * STEP, &chunk, sizeof(chunk));
    }
    bad_image(item)->bitmap.data = qxl_address(memory);
    return item;
}

static const struct bad_kind kinds[] = {
    KIND(chunks_too_short),
    KIND(chunks_too_long),
    KIND(chunks_without_data),
    KIND(chunk_size_huge),
    KIND(chunk_size_largest_signed),
    KIND(chunks_circular_empty),
    KIND(chunks_circular_with_data),
    KIND(chunks_circle_of_two),
    KIND(next_chunk_unmapped),
    KIND(next_chunk_all_ones),
    KIND(next_chunk_in_the_first_page),
    KIND(next_chunk_header_cut_off),
    KIND(next_chunk_data_cut_off),
    KIND(chunk_sizes_wrap),
    KIND(chunks_overlapping),
    KIND(chunks_overlapping_as_announced),
    KIND(chunk_before_is_garbage),
    KIND(chunks_of_one_byte),
};

TABLE(bad_chunks, kinds);
