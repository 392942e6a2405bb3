/*
 * Character devices and sound of a server without clients: added, used, removed.
 */

#include <stdio.h>

#include "core_loop.h"

#define SHOW(call) printf("%s = %d\n", #call, (int)(call))

static void device_state(SpiceCharDeviceInstance *sin, int connected)
{
    printf("state of %s %d\n", sin->subtype, connected);
}

static int device_write(SpiceCharDeviceInstance *sin, const uint8_t *buf, int len)
{
    (void)sin;
    (void)buf;
    return len;
}

static int device_read(SpiceCharDeviceInstance *sin, uint8_t *buf, int len)
{
    (void)sin;
    (void)buf;
    (void)len;
    return 0;
}

#define BASE(kind, major, minor)                                                                   \
    {.type = kind, .description = "test", .major_version = major, .minor_version = minor}

static SpiceCharDeviceInterface char_interface = {
    .base = BASE("char_device", 1, 3),
    .state = device_state,
    .write = device_write,
    .read = device_read,
    .flags = SPICE_CHAR_DEVICE_NOTIFY_WRITABLE,
};
static SpicePlaybackInterface playback_interface = {BASE("playback", 1, 3)};
static SpiceRecordInterface record_interface = {BASE("record", 2, 3)};

static int add(SpiceServer *s, void *instance)
{
    return spice_server_add_interface(s, instance);
}

static int take_away(void *instance)
{
    return spice_server_remove_interface(instance);
}

static void devices(SpiceServer *s)
{
    SpiceCharDeviceInstance port = {
        .base.sif = &char_interface.base, .subtype = "port", .portname = "org.example.port.0"};
    SpiceCharDeviceInstance unknown = {.base.sif = &char_interface.base, .subtype = "nothing"};
    SpiceCharDeviceInstance agent = {.base.sif = &char_interface.base, .subtype = "vdagent"};
    SpicePlaybackInstance playback = {.base.sif = &playback_interface.base};
    SpiceRecordInstance record = {.base.sif = &record_interface.base};
    uint32_t *samples = (uint32_t *)&samples;
    uint32_t count = 77;

    SHOW(add(s, &unknown));
    printf("unknown device %s\n", unknown.st ? "has a state" : "has no state");
    SHOW(add(s, &port));
    printf("port %s\n", port.st ? "has a state" : "has no state");
    spice_server_char_device_wakeup(&port);
    spice_server_port_event(&port, 0);
    SHOW(take_away(&port));
    printf("port %s\n", port.st ? "has a state" : "has no state");
    SHOW(take_away(&port));
    SHOW(add(s, &agent));
    SHOW(take_away(&agent));

    SHOW(add(s, &playback));
    spice_server_set_playback_rate(&playback, 48000);
    spice_server_playback_set_mute(&playback, 1);
    spice_server_playback_set_volume(&playback, 2, (uint16_t[]){1000, 2000});
    spice_server_playback_start(&playback);
    spice_server_playback_get_buffer(&playback, &samples, &count);
    printf("buffer %s, %u samples\n", samples ? "given" : "refused", count);
    spice_server_playback_stop(&playback);
    SHOW(add(s, &record));
    spice_server_set_record_rate(&record, 48000);
    spice_server_record_start(&record);
    SHOW(spice_server_record_get_samples(&record, (uint32_t[4]){0}, 4));
    spice_server_record_stop(&record);
    SHOW(take_away(&playback));
    SHOW(take_away(&record));
}

int main(void)
{
    SpiceServer *s = spice_server_new();
    if (!s) {
        printf("no server\n");
        return 1;
    }
    spice_server_set_addr(s, "127.0.0.1", 0);
    SHOW(spice_server_set_port(s, 0));
    SHOW(spice_server_set_noauth(s));
    SHOW(spice_server_init(s, &core));
    spice_server_vm_start(s);
    devices(s);
    for (int i = 0; i < 4; i++) {
        turn();
    }
    spice_server_vm_stop(s);
    spice_server_destroy(s);
    printf("left: %d timers, %d watches\n", timer_count(), watch_count());
    return 0;
}
