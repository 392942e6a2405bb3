/* Surface commands: shapes that cannot be, memory that is not there, ids used twice or never. */
#include "bad.h"

enum { SIDE = 64, ID = 20 };

static QXLSurfaceCmd *command_of(struct qxl_item *item)
{
    return qxl_item_command(item);
}

/* A good surface whose numbers can be made bad; its memory lives with the command. */
static struct qxl_item *create(uint32_t id, uint32_t width, uint32_t height, int32_t stride, uint32_t format)
{
    struct qxl_item *item = qxl_item_new(QXL_CMD_SURFACE, sizeof(QXLSurfaceCmd));
    QXLSurfaceCmd *command = command_of(item);

    command->surface_id = id;
    command->type = QXL_SURFACE_CMD_CREATE;
    command->u.surface_create.width = width;
    command->u.surface_create.height = height;
    command->u.surface_create.stride = stride;
    command->u.surface_create.format = format;
    command->u.surface_create.data = qxl_address(qxl_item_alloc(item, SIDE * SIDE * 4));
    return item;
}

static struct qxl_item *shaped(uint32_t width, uint32_t height, int32_t stride, uint32_t format)
{
    return create(ID, width, height, stride, format);
}

enum { XRGB = SPICE_SURFACE_FMT_32_xRGB };

BAD(surface_id_primary) { return create(0, SIDE, SIDE, 256, XRGB); }
BAD(surface_id_just_out_of_range) { return create(QXL_MAX_SURFACES, SIDE, SIDE, 256, XRGB); }
BAD(surface_id_highest) { return create(UINT_MAX, SIDE, SIDE, 256, XRGB); }
BAD(surface_format_0) { return shaped(SIDE, SIDE, 256, 0); }
BAD(surface_format_unknown) { return shaped(SIDE, SIDE, 256, 33); }
BAD(surface_format_highest) { return shaped(SIDE, SIDE, 256, UINT_MAX); }
BAD(surface_width_0) { return shaped(0, SIDE, 256, XRGB); }
BAD(surface_height_0) { return shaped(SIDE, 0, 256, XRGB); }
BAD(surface_stride_0) { return shaped(SIDE, SIDE, 0, XRGB); }
BAD(surface_stride_short) { return shaped(SIDE, SIDE, 252, XRGB); }
BAD(surface_stride_short_upwards) { return shaped(SIDE, SIDE, -252, XRGB); }
BAD(surface_stride_of_no_words) { return shaped(SIDE - 1, SIDE - 1, 255, XRGB); }
BAD(surface_stride_extreme) { return shaped(SIDE, SIDE, INT_MIN, XRGB); }
BAD(surface_row_wraps) { return shaped(0x40000001, SIDE, 4, XRGB); }
BAD(surface_size_wraps) { return shaped(SIDE, 0x01000001, 256, XRGB); }
BAD(surface_huge) { return shaped(0x20000000, 0x20000000, 0x7ffffffc, XRGB); }
BAD(surface_width_negative) { return shaped(UINT_MAX, SIDE, 256, XRGB); }
BAD(surface_height_negative) { return shaped(SIDE, UINT_MAX, 256, XRGB); }

static struct qxl_item *in_memory(QXLPHYSICAL data)
{
    struct qxl_item *item = shaped(SIDE, SIDE, 256, XRGB);

    command_of(item)->u.surface_create.data = data;
    return item;
}

BAD(surface_memory_null) { return in_memory(0); }
BAD(surface_memory_unmapped) { return in_memory(UNMAPPED); }
BAD(surface_memory_a_byte_past_its_slot) { return in_memory(bad_arena_end(SIDE * SIDE * 4 - 1)); }

BAD(surface_command_unknown)
{
    struct qxl_item *item = shaped(SIDE, SIDE, 256, XRGB);

    command_of(item)->type = 9;
    return item;
}

static struct qxl_item *destroy(uint32_t id)
{
    struct qxl_item *item = qxl_item_new(QXL_CMD_SURFACE, sizeof(QXLSurfaceCmd));

    command_of(item)->surface_id = id;
    command_of(item)->type = QXL_SURFACE_CMD_DESTROY;
    return item;
}

BAD(destroy_of_a_missing_surface) { return destroy(55); }
BAD(destroy_out_of_range) { return destroy(UINT_MAX); }
BAD(destroy_of_the_primary_by_command) { return destroy(0); }

BAD(destroy_twice)
{
    qxl_host_push(bad_device, qxl_surface_create(bad_device, ID, SIDE, SIDE));
    qxl_host_push(bad_device, qxl_surface_destroy(bad_device, ID));
    return destroy(ID);
}

/* ---- kinds that leave a surface behind ---- */

static void destroy_again(void)
{
    qxl_host_push(bad_device, destroy(ID));
}

static void destroy_with_memory(void)
{
    qxl_host_push(bad_device, qxl_surface_destroy(bad_device, ID));
}

BAD(surface_created_twice)
{
    qxl_host_push(bad_device, qxl_surface_create(bad_device, ID, SIDE, SIDE));
    return shaped(SIDE, SIDE, 256, XRGB);
}

BAD(surface_created_twice_of_another_size)
{
    qxl_host_push(bad_device, qxl_surface_create(bad_device, ID, 8, 8));
    return shaped(SIDE, SIDE, 256, SPICE_SURFACE_FMT_8_A);
}

BAD(surface_flags_unknown)
{
    struct qxl_item *item = shaped(SIDE, SIDE, 256, XRGB);

    command_of(item)->flags = UINT_MAX;
    return item;
}

/* Formats that spice-server takes and cannot read back: the picture is asked for by another draw. */
static struct qxl_item *read_back(uint32_t format)
{
    struct qxl_source source = { .width = SIDE, .height = SIDE, .surface_id = ID };

    qxl_host_push(bad_device, shaped(SIDE, SIDE, 256, format));
    qxl_host_push(bad_device, qxl_draw_fill(ID, qxl_rect(0, 0, SIDE, SIDE), ~0u, SPICE_ROPD_OP_PUT));
    return qxl_draw_copy(0, qxl_rect(0, 0, SIDE, SIDE), source, qxl_rect(0, 0, SIDE, SIDE), SPICE_ROPD_OP_PUT);
}

BAD(surface_of_1_bit_as_source) { return read_back(SPICE_SURFACE_FMT_1_A); }
BAD(surface_of_8_bits_as_source) { return read_back(SPICE_SURFACE_FMT_8_A); }
BAD(surface_of_555_as_source) { return read_back(SPICE_SURFACE_FMT_16_555); }
BAD(surface_of_565_as_source) { return read_back(SPICE_SURFACE_FMT_16_565); }

/* The surface as a source of itself: a copy of it has to be made. */
static struct qxl_item *own_source(uint32_t format)
{
    struct qxl_item *item =
        qxl_draw_opaque(ID, qxl_rect(0, 0, SIDE, SIDE), bad_source(), qxl_rect(0, 0, 32, 32), 9, SPICE_ROPD_OP_XOR);

    qxl_host_push(bad_device, shaped(SIDE, SIDE, 256, format));
    bad_drawable(item)->u.opaque.src_bitmap = 0;
    bad_drawable(item)->self_bitmap = 1;
    bad_drawable(item)->self_bitmap_area = qxl_rect(0, 0, SIDE, SIDE);
    return item;
}

BAD(surface_of_1_bit_as_its_own_source) { return own_source(SPICE_SURFACE_FMT_1_A); }
BAD(surface_of_8_bits_as_its_own_source) { return own_source(SPICE_SURFACE_FMT_8_A); }
BAD(surface_of_565_as_its_own_source) { return own_source(SPICE_SURFACE_FMT_16_565); }

/* ---- no primary surface ---- */

static void without_primary(void)
{
    qxl_host_destroy_primary(bad_device, 0);
}

static void with_primary(void)
{
    qxl_host_create_primary(bad_device, BAD_WIDTH, BAD_HEIGHT, false, 0);
}

BAD(draw_without_primary)
{
    without_primary();
    return bad_copy();
}

BAD(copy_bits_without_primary)
{
    without_primary();
    return qxl_draw_copy_bits(0, qxl_rect(0, 0, 50, 50), 10, 10);
}

BAD(source_is_the_missing_primary)
{
    struct qxl_source source = { .width = 8, .height = 8 };

    without_primary();
    return qxl_draw_copy(0, qxl_rect(0, 0, 8, 8), source, qxl_rect(0, 0, 8, 8), SPICE_ROPD_OP_PUT);
}

BAD(update_without_primary)
{
    struct qxl_item *item = qxl_item_new(QXL_CMD_UPDATE, sizeof(QXLUpdateCmd));

    ((QXLUpdateCmd *)qxl_item_command(item))->area = qxl_rect(0, 0, 50, 50);
    without_primary();
    return item;
}

static const struct bad_kind kinds[] = {
    KIND(surface_id_primary), KIND(surface_id_just_out_of_range), KIND(surface_id_highest),
    KIND(surface_format_0), KIND(surface_format_unknown), KIND(surface_format_highest), KIND(surface_width_0),
    KIND(surface_height_0), KIND(surface_stride_0), KIND(surface_stride_short),
    KIND(surface_stride_short_upwards), KIND(surface_stride_of_no_words), KIND(surface_stride_extreme),
    KIND(surface_row_wraps), KIND(surface_size_wraps), KIND(surface_huge), KIND(surface_width_negative),
    KIND(surface_height_negative), KIND(surface_memory_null), KIND(surface_memory_unmapped),
    KIND(surface_memory_a_byte_past_its_slot), KIND(surface_command_unknown), KIND(destroy_of_a_missing_surface),
    KIND(destroy_out_of_range), KIND(destroy_of_the_primary_by_command), KIND(destroy_twice),
    AFTER(surface_created_twice, destroy_with_memory),
    AFTER(surface_created_twice_of_another_size, destroy_with_memory),
    AFTER(surface_flags_unknown, destroy_again), AFTER(surface_of_1_bit_as_source, destroy_again),
    AFTER(surface_of_8_bits_as_source, destroy_again), AFTER(surface_of_555_as_source, destroy_again),
    AFTER(surface_of_565_as_source, destroy_again), AFTER(surface_of_1_bit_as_its_own_source, destroy_again),
    AFTER(surface_of_8_bits_as_its_own_source, destroy_again),
    AFTER(surface_of_565_as_its_own_source, destroy_again), AFTER(draw_without_primary, with_primary),
    AFTER(copy_bits_without_primary, with_primary), AFTER(source_is_the_missing_primary, with_primary),
    AFTER(update_without_primary, with_primary),
};

TABLE(bad_surfaces, kinds);
