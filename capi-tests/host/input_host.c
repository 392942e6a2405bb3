/* Keyboard, mouse and tablet of the test hosts: they record, and print if asked. */
#include "host.h"

#include <string.h>

static struct input_host *of_keyboard(SpiceKbdInstance *keyboard)
{
    return (struct input_host *)(void *)((char *)keyboard - offsetof(struct input_host, keyboard));
}

static struct input_host *of_mouse(SpiceMouseInstance *mouse)
{
    return (struct input_host *)(void *)((char *)mouse - offsetof(struct input_host, mouse));
}

static struct input_host *of_tablet(SpiceTabletInstance *tablet)
{
    return (struct input_host *)(void *)((char *)tablet - offsetof(struct input_host, tablet));
}

static void pointer_changed(struct input_host *input)
{
    if (input->on_pointer)
        input->on_pointer(input);
}

static void push_scancode(SpiceKbdInstance *keyboard, uint8_t code)
{
    struct input_host *input = of_keyboard(keyboard);

    if (input->num_scancodes < INPUT_LOG)
        input->scancodes[input->num_scancodes] = code;
    input->num_scancodes++;
    if (input->print)
        printf("key %02x\n", code);
    if (input->on_scancode)
        input->on_scancode(input, code);
}

static uint8_t get_leds(SpiceKbdInstance *keyboard)
{
    return of_keyboard(keyboard)->leds;
}

static void mouse_motion(SpiceMouseInstance *mouse, int dx, int dy, int dz, uint32_t buttons)
{
    struct input_host *input = of_mouse(mouse);

    input->motions++;
    input->dx += dx;
    input->dy += dy;
    input->buttons = buttons;
    if (input->print)
        printf("mouse motion %d %d %d buttons %x\n", dx, dy, dz, buttons);
    pointer_changed(input);
}

static void mouse_buttons(SpiceMouseInstance *mouse, uint32_t buttons)
{
    struct input_host *input = of_mouse(mouse);

    input->presses++;
    input->buttons = buttons;
    if (input->print)
        printf("mouse buttons %x\n", buttons);
    pointer_changed(input);
}

static void tablet_size(SpiceTabletInstance *tablet, int width, int height)
{
    struct input_host *input = of_tablet(tablet);

    input->logical_width = width;
    input->logical_height = height;
    if (input->print)
        printf("tablet size %dx%d\n", width, height);
}

static void tablet_position(SpiceTabletInstance *tablet, int x, int y, uint32_t buttons)
{
    struct input_host *input = of_tablet(tablet);

    input->positions++;
    input->x = x;
    input->y = y;
    input->buttons = buttons;
    if (input->print)
        printf("tablet position %d %d buttons %x\n", x, y, buttons);
    pointer_changed(input);
}

static void tablet_wheel(SpiceTabletInstance *tablet, int motion, uint32_t buttons)
{
    struct input_host *input = of_tablet(tablet);

    input->wheels++;
    input->buttons = buttons;
    if (input->print)
        printf("tablet wheel %d buttons %x\n", motion, buttons);
    pointer_changed(input);
}

static void tablet_buttons(SpiceTabletInstance *tablet, uint32_t buttons)
{
    struct input_host *input = of_tablet(tablet);

    input->presses++;
    input->buttons = buttons;
    if (input->print)
        printf("tablet buttons %x\n", buttons);
    pointer_changed(input);
}

static const SpiceKbdInterface keyboard_interface = {
    .base.type = SPICE_INTERFACE_KEYBOARD,
    .base.description = "test keyboard",
    .base.major_version = SPICE_INTERFACE_KEYBOARD_MAJOR,
    .base.minor_version = SPICE_INTERFACE_KEYBOARD_MINOR,
    .push_scan_freg = push_scancode,
    .get_leds = get_leds,
};

static const SpiceMouseInterface mouse_interface = {
    .base.type = SPICE_INTERFACE_MOUSE,
    .base.description = "test mouse",
    .base.major_version = SPICE_INTERFACE_MOUSE_MAJOR,
    .base.minor_version = SPICE_INTERFACE_MOUSE_MINOR,
    .motion = mouse_motion,
    .buttons = mouse_buttons,
};

static const SpiceTabletInterface tablet_interface = {
    .base.type = SPICE_INTERFACE_TABLET,
    .base.description = "test tablet",
    .base.major_version = SPICE_INTERFACE_TABLET_MAJOR,
    .base.minor_version = SPICE_INTERFACE_TABLET_MINOR,
    .set_logical_size = tablet_size,
    .position = tablet_position,
    .wheel = tablet_wheel,
    .buttons = tablet_buttons,
};

void input_host_init(struct input_host *input)
{
    memset(input, 0, sizeof(*input));
    input->keyboard.base.sif = &keyboard_interface.base;
    input->mouse.base.sif = &mouse_interface.base;
    input->tablet.base.sif = &tablet_interface.base;
}

int input_host_attach(struct input_host *input, SpiceServer *server, bool with_tablet)
{
    int result = spice_server_add_interface(server, &input->keyboard.base);

    if (result == 0)
        result = spice_server_add_interface(server, &input->mouse.base);
    if (result == 0 && with_tablet)
        result = spice_server_add_interface(server, &input->tablet.base);
    return result;
}
