/* Rings, command types, groups, slots and generations; commands that leave their slot. */
#include "bad.h"

static struct qxl_item *command_type(uint32_t type)
{
    struct qxl_item *item = bad_copy();

    item->ext.cmd.type = type;
    return item;
}

BAD(unknown_command_type)
{
    return command_type(99);
}

BAD(huge_command_type)
{
    return command_type(UINT_MAX);
}

BAD(nop_command)
{
    return command_type(QXL_CMD_NOP);
}

BAD(draw_on_the_cursor_ring)
{
    struct qxl_item *item = bad_copy();

    item->other_ring = true;
    return item;
}

BAD(surface_on_the_cursor_ring)
{
    struct qxl_item *item = qxl_surface_destroy(bad_device, 9);

    item->other_ring = true;
    return item;
}

BAD(cursor_on_the_display_ring)
{
    struct qxl_item *item = qxl_cursor_hide();

    item->other_ring = true;
    return item;
}

static struct qxl_item *addressed(QXLPHYSICAL address)
{
    struct qxl_item *item = bad_copy();

    item->ext.cmd.data = address;
    return item;
}

BAD(null_address)
{
    return addressed(0);
}

BAD(address_in_the_first_page)
{
    return addressed(4000);
}

BAD(address_all_ones)
{
    return addressed(~0ull);
}

BAD(slot_not_added)
{
    struct qxl_item *item = bad_copy();

    item->ext.cmd.data |= UNMAPPED;
    return item;
}

BAD(slot_out_of_range)
{
    struct qxl_item *item = bad_copy();

    item->ext.cmd.data |= 3ull << BAD_SLOT_SHIFT;
    return item;
}

BAD(wrong_generation)
{
    struct qxl_item *item = bad_copy();

    item->ext.cmd.data |= 1ull << BAD_GENERATION_SHIFT;
    return item;
}

BAD(wrong_group)
{
    struct qxl_item *item = bad_copy();

    item->ext.group_id = 7;
    return item;
}

/* One past the last: the check that was off by one (CVE-2019-3813). */
BAD(group_just_out_of_range)
{
    struct qxl_item *item = bad_copy();

    item->ext.group_id = 1;
    return item;
}

BAD(huge_group)
{
    struct qxl_item *item = bad_copy();

    item->ext.group_id = UINT_MAX;
    return item;
}

BAD(unknown_command_flags)
{
    struct qxl_item *item = bad_copy();

    item->ext.flags = ~3u;
    return item;
}

BAD(release_info_garbage)
{
    struct qxl_item *item = bad_copy();

    item->info->id = 0xdeadbeefdeadbeefull;
    return item;
}

/* A command of `type` whose structure begins `left` bytes before its slot ends. */
static struct qxl_item *cut_off(uint32_t type, unsigned left)
{
    struct qxl_item *item = qxl_item_new(type, 256);

    memset(bad_arena_tail(left), 0, left);
    item->ext.cmd.data = bad_arena_end(left);
    return item;
}

BAD(drawable_past_its_slot)
{
    return cut_off(QXL_CMD_DRAW, 0);
}

BAD(drawable_a_byte_past_its_slot)
{
    return cut_off(QXL_CMD_DRAW, sizeof(QXLDrawable) - 1);
}

BAD(compat_drawable_a_byte_past_its_slot)
{
    struct qxl_item *item = cut_off(QXL_CMD_DRAW, sizeof(QXLCompatDrawable) - 1);

    item->ext.flags = QXL_COMMAND_FLAG_COMPAT;
    return item;
}

BAD(update_a_byte_past_its_slot)
{
    return cut_off(QXL_CMD_UPDATE, sizeof(QXLUpdateCmd) - 1);
}

BAD(surface_a_byte_past_its_slot)
{
    return cut_off(QXL_CMD_SURFACE, sizeof(QXLSurfaceCmd) - 1);
}

BAD(cursor_a_byte_past_its_slot)
{
    return cut_off(QXL_CMD_CURSOR, sizeof(QXLCursorCmd) - 1);
}

BAD(message_a_byte_past_its_slot)
{
    return cut_off(QXL_CMD_MESSAGE, sizeof(QXLMessage) - 1);
}

BAD(offset_far_past_its_slot)
{
    struct qxl_item *item = cut_off(QXL_CMD_DRAW, 0);

    item->ext.cmd.data = 1ull << BAD_SLOT_SHIFT | ((1ull << BAD_GENERATION_SHIFT) - 64);
    return item;
}

/* ---- messages ---- */

static struct qxl_item *message(const char *text, size_t size)
{
    struct qxl_item *item = qxl_item_new(QXL_CMD_MESSAGE, sizeof(QXLMessage) + size);
    QXLMessage *command = qxl_item_command(item);

    memcpy(command->data, text, size);
    return item;
}

BAD(message_with_conversions)
{
    return message("%s%s%s%n%n%1000000d\n", sizeof("%s%s%s%n%n%1000000d\n"));
}

BAD(message_of_control_characters)
{
    static const char text[] = "\x1b[2J\x1b]0;mine\x07\x9b\xff\xc0\xaf\r\n";

    return message(text, sizeof(text));
}

BAD(message_without_end)
{
    enum { SIZE = 200 * 1024 };
    static char text[SIZE];

    memset(text, 'A', sizeof(text));
    return message(text, sizeof(text));
}

BAD(message_empty)
{
    return message("", 1);
}

/* ---- update ---- */

static struct qxl_item *update(QXLRect area, uint32_t surface)
{
    struct qxl_item *item = qxl_item_new(QXL_CMD_UPDATE, sizeof(QXLUpdateCmd));
    QXLUpdateCmd *command = qxl_item_command(item);

    command->area = area;
    command->update_id = UINT_MAX;
    command->surface_id = surface;
    return item;
}

BAD(update_outside)
{
    return update(qxl_rect(0, 0, BAD_WIDTH * 2, BAD_HEIGHT * 2), 0);
}

BAD(update_inverted)
{
    return update(qxl_rect(50, 50, 10, 10), 0);
}

BAD(update_negative)
{
    return update(qxl_rect(-10, -10, 10, 10), 0);
}

BAD(update_extreme)
{
    return update(qxl_rect(INT_MIN, INT_MIN, INT_MAX, INT_MAX), 0);
}

BAD(update_empty)
{
    return update(qxl_rect(7, 7, 7, 7), 0);
}

BAD(update_of_missing_surface)
{
    return update(qxl_rect(0, 0, 10, 10), 44);
}

BAD(update_of_surface_out_of_range)
{
    return update(qxl_rect(0, 0, 10, 10), UINT_MAX);
}

static const struct bad_kind kinds[] = {
    LOOSE(unknown_command_type),
    LOOSE(huge_command_type),
    LOOSE(nop_command),
    LOOSE(draw_on_the_cursor_ring),
    LOOSE(surface_on_the_cursor_ring),
    LOOSE(cursor_on_the_display_ring),
    KEPT(null_address),
    KEPT(address_in_the_first_page),
    KEPT(address_all_ones),
    KEPT(slot_not_added),
    KEPT(slot_out_of_range),
    KEPT(wrong_generation),
    KEPT(wrong_group),
    KEPT(group_just_out_of_range),
    KEPT(huge_group),
    KIND(unknown_command_flags),
    KIND(release_info_garbage),
    KEPT(drawable_past_its_slot),
    KEPT(drawable_a_byte_past_its_slot),
    KEPT(compat_drawable_a_byte_past_its_slot),
    KEPT(update_a_byte_past_its_slot),
    KEPT(surface_a_byte_past_its_slot),
    KEPT(cursor_a_byte_past_its_slot),
    KEPT(message_a_byte_past_its_slot),
    KEPT(offset_far_past_its_slot),
    KIND(message_with_conversions),
    KIND(message_of_control_characters),
    KIND(message_without_end),
    KIND(message_empty),
    KIND(update_outside),
    KIND(update_inverted),
    KIND(update_negative),
    KIND(update_extreme),
    KIND(update_empty),
    KIND(update_of_missing_surface),
    KIND(update_of_surface_out_of_range),
};

TABLE(bad_headers, kinds);
