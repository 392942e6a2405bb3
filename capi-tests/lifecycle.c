/*
 * A server without clients: start, interfaces added and removed, double calls, end.
 */

#include <stdio.h>

#include "core_loop.h"

#define SHOW(call) printf("%s = %d\n", #call, (int)(call))

static void push_scan_freg(SpiceKbdInstance *sin, uint8_t frag)
{
    (void)sin;
    printf("scan code %u\n", frag);
}

static uint8_t get_leds(SpiceKbdInstance *sin)
{
    (void)sin;
    return 0;
}

static void motion(SpiceMouseInstance *sin, int dx, int dy, int dz, uint32_t buttons)
{
    (void)sin;
    printf("motion %d %d %d %u\n", dx, dy, dz, buttons);
}

static void mouse_buttons(SpiceMouseInstance *sin, uint32_t buttons)
{
    (void)sin;
    printf("mouse buttons %u\n", buttons);
}

static void logical_size(SpiceTabletInstance *sin, int width, int height)
{
    (void)sin;
    (void)width;
    (void)height;
}

static void position(SpiceTabletInstance *sin, int x, int y, uint32_t buttons)
{
    (void)sin;
    printf("position %d %d %u\n", x, y, buttons);
}

static void wheel(SpiceTabletInstance *sin, int turn, uint32_t buttons)
{
    (void)sin;
    printf("wheel %d %u\n", turn, buttons);
}

static void tablet_buttons(SpiceTabletInstance *sin, uint32_t buttons)
{
    (void)sin;
    printf("tablet buttons %u\n", buttons);
}

#define BASE(kind, major, minor)                                                                   \
    {.type = kind, .description = "test", .major_version = major, .minor_version = minor}

static SpiceKbdInterface kbd_interface = {BASE("keyboard", 1, 1), push_scan_freg, get_leds};
static SpiceMouseInterface mouse_interface = {BASE("mouse", 1, 1), motion, mouse_buttons};
static SpiceTabletInterface tablet_interface = {
    BASE("tablet", 1, 1), logical_size, position, wheel, tablet_buttons};
static int add(SpiceServer *s, void *instance)
{
    return spice_server_add_interface(s, instance);
}

static int take_away(void *instance)
{
    return spice_server_remove_interface(instance);
}

/* An interface of this kind and version, with nothing behind its head; never accepted. */
static int add_version(SpiceServer *s, const char *kind, uint32_t major, uint32_t minor)
{
    static SpiceBaseInterface interface;
    static struct {
        SpiceBaseInstance base;
        void *st[4];
    } instance;

    interface = (SpiceBaseInterface)BASE(kind, major, minor);
    instance.base.sif = &interface;
    return add(s, &instance);
}

static void inputs(SpiceServer *s)
{
    SpiceKbdInstance kbd = {.base.sif = &kbd_interface.base}, second_kbd = kbd;
    SpiceMouseInstance mouse = {.base.sif = &mouse_interface.base}, second_mouse = mouse;
    SpiceTabletInstance tablet = {.base.sif = &tablet_interface.base}, second_tablet = tablet;
    static SpiceKbdInstance kept_kbd;
    static SpiceMouseInstance kept_mouse;

    kept_kbd = kbd;
    kept_mouse = mouse;
    SHOW(add_version(s, "keyboard", 0, 1));
    SHOW(add_version(s, "keyboard", 2, 0));
    SHOW(add_version(s, "keyboard", 1, 2));
    SHOW(add_version(s, "mouse", 2, 1));
    SHOW(add_version(s, "tablet", 1, 2));
    SHOW(add_version(s, "char_device", 1, 4));
    SHOW(add_version(s, "playback", 2, 0));
    SHOW(add_version(s, "record", 1, 3));
    SHOW(add_version(s, "qxl", 2, 0));
    SHOW(add_version(s, "qxl", 3, 4));
    SHOW(add_version(s, "no such kind", 1, 1));
    SHOW(add(s, &kept_kbd));
    SHOW(add(s, &second_kbd));
    SHOW(add(s, &kept_mouse));
    SHOW(add(s, &second_mouse));
    SHOW(add(s, &tablet));
    SHOW(add(s, &second_tablet));
    SHOW(spice_server_kbd_leds(&kept_kbd, 7));
    SHOW(take_away(&kept_kbd));
    SHOW(take_away(&kept_mouse));
    SHOW(take_away(&tablet));
    printf("tablet state %s\n", tablet.st ? "kept" : "reset");
    SHOW(add(s, &second_tablet));
    SHOW(take_away(&second_tablet));
}

int main(void)
{
    SpiceServer *s = spice_server_new();
    if (!s) {
        printf("no server\n");
        return 1;
    }
    SpiceCoreInterface other = core;

    other.base.major_version = 2;
    SHOW(spice_server_init(s, &other));
    spice_server_destroy(s);

    s = spice_server_new();
    spice_server_set_addr(s, "127.0.0.1", 0);
    SHOW(spice_server_set_port(s, 0));
    SHOW(spice_server_set_noauth(s));
    SHOW(spice_server_init(s, &core));
    SHOW(spice_server_get_num_clients(s));
    SHOW(spice_server_is_server_mouse(s));
    inputs(s);
    spice_server_vm_start(s);
    spice_server_vm_start(s);
    for (int i = 0; i < 4; i++) {
        turn();
    }
    spice_server_vm_stop(s);
    spice_server_vm_stop(s);
    SHOW(spice_server_set_ticket(s, "secret", 60, 0, 1));
    SHOW(spice_server_add_client(s, -1, 0));
    spice_server_destroy(s);
    printf("left: %d timers, %d watches\n", timer_count(), watch_count());
    return 0;
}
