/* Compressed images: types that a guest must not send, and QUIC streams that are not what they say. */
#include "bad.h"

/* 7x5 pixels of 32 bits; words of a header: magic, version, type, width, height. */
static const uint8_t good_stream[128] = {
    0x51, 0x55, 0x49, 0x43, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00, 0x05, 0x00,
    0x00, 0x00, 0xce, 0x3a, 0x3c, 0x2e, 0xe4, 0xe8, 0xd6, 0xd4, 0x03, 0xeb, 0xf3, 0xce, 0xc2, 0xa5, 0x9b, 0x87,
    0x53, 0xd7, 0xb2, 0xbe, 0x5b, 0xd7, 0x66, 0x37, 0x3b, 0xf1, 0x70, 0x83, 0xd7, 0x6b, 0xe6, 0xa5, 0xea, 0x73,
    0x5b, 0x80, 0xfb, 0x62, 0x53, 0xb1, 0x0d, 0x22, 0x62, 0x52, 0x3f, 0xfd, 0x68, 0x3a, 0x1c, 0x7f, 0x8d, 0x46,
    0x94, 0xb9, 0x92, 0x37, 0xe8, 0xee, 0xfa, 0x86, 0xda, 0xa9, 0xd0, 0xe8, 0x35, 0xf6, 0x5b, 0xc5, 0x62, 0xa1,
    0xb2, 0x99, 0x6e, 0xc9, 0xca, 0xf2, 0x9e, 0x9e, 0x14, 0xcb, 0x7a, 0x71, 0xa7, 0x02, 0x6c, 0xc4, 0xd8, 0xb9,
    0x7d, 0x51, 0xc9, 0x50, 0xb1, 0xd9, 0x8d, 0x8d, 0x46, 0xc8, 0x94, 0xf0, 0x00, 0x98, 0xb6, 0xb7,
};

enum { STREAM_WIDTH = 7, STREAM_HEIGHT = 5, BODY = 20 };
enum { MAGIC, VERSION, TYPE, WIDTH, HEIGHT };

/* A copy of the good stream, of which so many bytes are there and as many are announced. */
static struct qxl_item *stream(uint32_t bytes, uint32_t announced, QXLDataChunk **chunk)
{
    struct qxl_item *item = bad_copy();
    QXLImage *image = qxl_item_alloc(
        item, sizeof(QXLImageDescriptor) + sizeof(QXLQUICData) + sizeof(QXLDataChunk) + sizeof(good_stream));
    QXLDataChunk *first = (QXLDataChunk *)(void *)image->quic.data;

    image->descriptor = bad_image(item)->descriptor;
    image->descriptor.type = SPICE_IMAGE_TYPE_QUIC;
    image->descriptor.width = STREAM_WIDTH;
    image->descriptor.height = STREAM_HEIGHT;
    image->quic.data_size = announced;
    first->data_size = bytes;
    memcpy(first->data, good_stream, sizeof(good_stream));
    bad_drawable(item)->u.copy.src_bitmap = qxl_address(image);
    bad_drawable(item)->u.copy.src_area = qxl_rect(0, 0, STREAM_WIDTH, STREAM_HEIGHT);
    if (chunk)
        *chunk = first;
    return item;
}

static struct qxl_item *with_word(unsigned index, uint32_t value)
{
    QXLDataChunk *chunk;
    struct qxl_item *item = stream(sizeof(good_stream), sizeof(good_stream), &chunk);

    memcpy(chunk->data + index * 4, &value, sizeof(value));
    return item;
}

BAD(quic_magic_wrong) { return with_word(MAGIC, 0x43495552); }
BAD(quic_version_wrong) { return with_word(VERSION, 0x00010000); }
BAD(quic_type_0) { return with_word(TYPE, 0); }
BAD(quic_type_unknown) { return with_word(TYPE, 6); }
BAD(quic_type_huge) { return with_word(TYPE, UINT_MAX); }
BAD(quic_of_another_type) { return with_word(TYPE, 5); }
BAD(quic_width_0) { return with_word(WIDTH, 0); }
BAD(quic_height_0) { return with_word(HEIGHT, 0); }
BAD(quic_width_wrong) { return with_word(WIDTH, 8); }
BAD(quic_height_huge) { return with_word(HEIGHT, UINT_MAX); }
BAD(quic_empty) { return stream(0, 0, NULL); }
BAD(quic_of_one_byte) { return stream(1, 1, NULL); }
BAD(quic_header_alone) { return stream(BODY, BODY, NULL); }
BAD(quic_header_cut_off) { return stream(BODY - 1, BODY - 1, NULL); }
BAD(quic_body_cut_off) { return stream(64, 64, NULL); }
BAD(quic_size_of_no_words) { return stream(127, 127, NULL); }
BAD(quic_size_lies) { return stream(sizeof(good_stream), sizeof(good_stream) + 1, NULL); }
BAD(quic_size_huge) { return stream(sizeof(good_stream), UINT_MAX, NULL); }
BAD(quic_size_0) { return stream(sizeof(good_stream), 0, NULL); }

BAD(quic_chunks_circular)
{
    QXLDataChunk *chunk;
    struct qxl_item *item = stream(sizeof(good_stream), sizeof(good_stream), &chunk);

    chunk->next_chunk = qxl_address(chunk);
    return item;
}

static struct qxl_item *filled(uint8_t value)
{
    QXLDataChunk *chunk;
    struct qxl_item *item = stream(sizeof(good_stream), sizeof(good_stream), &chunk);

    memset(chunk->data + BODY, value, sizeof(good_stream) - BODY);
    return item;
}

BAD(quic_body_of_zeros) { return filled(0); }
BAD(quic_body_of_ones) { return filled(0xff); }

BAD(quic_body_changed)
{
    QXLDataChunk *chunk;
    struct qxl_item *item = stream(sizeof(good_stream), sizeof(good_stream), &chunk);

    for (unsigned i = BODY; i < sizeof(good_stream); i += 7)
        chunk->data[i] ^= 0x55;
    return item;
}

BAD(quic_all_garbage)
{
    QXLDataChunk *chunk;
    struct qxl_item *item = stream(sizeof(good_stream), sizeof(good_stream), &chunk);

    memset(chunk->data, 0xa5, sizeof(good_stream));
    return item;
}

/* 65535x65535 pixels in 128 bytes. */
BAD(quic_bomb)
{
    QXLDataChunk *chunk;
    struct qxl_item *item = stream(sizeof(good_stream), sizeof(good_stream), &chunk);
    const uint32_t side = 65535;

    memcpy(chunk->data + WIDTH * 4, &side, sizeof(side));
    memcpy(chunk->data + HEIGHT * 4, &side, sizeof(side));
    bad_image(item)->descriptor.width = bad_image(item)->descriptor.height = side;
    return item;
}

BAD(quic_size_and_descriptor_differ)
{
    struct qxl_item *item = stream(sizeof(good_stream), sizeof(good_stream), NULL);

    bad_image(item)->descriptor.width = bad_image(item)->descriptor.height = 64;
    return item;
}

BAD(quic_area_outside)
{
    struct qxl_item *item = stream(sizeof(good_stream), sizeof(good_stream), NULL);

    bad_drawable(item)->u.copy.src_area = qxl_rect(0, 0, 64, 64);
    return item;
}

BAD(quic_as_mask)
{
    struct qxl_item *item = stream(sizeof(good_stream), sizeof(good_stream), NULL);

    bad_drawable(item)->u.copy.mask.bitmap = bad_drawable(item)->u.copy.src_bitmap;
    return item;
}

/* ---- types that only servers send ---- */

static struct qxl_item *of_type(uint8_t type)
{
    struct qxl_item *item = stream(sizeof(good_stream), sizeof(good_stream), NULL);

    bad_image(item)->descriptor.type = type;
    return item;
}

BAD(image_type_unknown) { return of_type(200); }
BAD(image_type_2) { return of_type(2); }
BAD(image_type_lz_palette) { return of_type(SPICE_IMAGE_TYPE_LZ_PLT); }
BAD(image_type_lz) { return of_type(SPICE_IMAGE_TYPE_LZ_RGB); }
BAD(image_type_glz) { return of_type(SPICE_IMAGE_TYPE_GLZ_RGB); }
BAD(image_type_from_cache) { return of_type(SPICE_IMAGE_TYPE_FROM_CACHE); }
BAD(image_type_jpeg) { return of_type(SPICE_IMAGE_TYPE_JPEG); }
BAD(image_type_from_cache_lossless) { return of_type(SPICE_IMAGE_TYPE_FROM_CACHE_LOSSLESS); }
BAD(image_type_zlib_glz) { return of_type(SPICE_IMAGE_TYPE_ZLIB_GLZ_RGB); }
BAD(image_type_jpeg_alpha) { return of_type(SPICE_IMAGE_TYPE_JPEG_ALPHA); }
BAD(image_type_lz4) { return of_type(SPICE_IMAGE_TYPE_LZ4); }

static const struct bad_kind kinds[] = {
    KIND(quic_magic_wrong), KIND(quic_version_wrong), KIND(quic_type_0), KIND(quic_type_unknown),
    KIND(quic_type_huge), KIND(quic_of_another_type), KIND(quic_width_0), KIND(quic_height_0),
    KIND(quic_width_wrong), KIND(quic_height_huge), KIND(quic_empty), KIND(quic_of_one_byte),
    KIND(quic_header_alone), KIND(quic_header_cut_off), KIND(quic_body_cut_off), KIND(quic_size_of_no_words),
    KIND(quic_size_lies), KIND(quic_size_huge), KIND(quic_size_0), KIND(quic_chunks_circular),
    KIND(quic_body_of_zeros), KIND(quic_body_of_ones), KIND(quic_body_changed), KIND(quic_all_garbage),
    KIND(quic_bomb), KIND(quic_size_and_descriptor_differ), KIND(quic_area_outside), KIND(quic_as_mask),
    KIND(image_type_unknown), KIND(image_type_2), KIND(image_type_lz_palette), KIND(image_type_lz),
    KIND(image_type_glz), KIND(image_type_from_cache), KIND(image_type_jpeg),
    KIND(image_type_from_cache_lossless), KIND(image_type_zlib_glz), KIND(image_type_jpeg_alpha),
    KIND(image_type_lz4),
};

TABLE(bad_streams, kinds);
