/* What a careless host may do without harm on our library; most of it kills the reference.
 *
 *   misuse             all cases in one process, a line each, "survived" at the end (for our library)
 *   misuse --forked    each case in a child: prints what became of it (to see what the reference does)
 *   misuse --port P    with cases that need a client: waits until a client's playback channel is up
 */
#include "host/host.h"

#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#pragma GCC diagnostic ignored "-Wnonnull"

static SpiceCoreInterface *core;
static SpiceServer *server;
static struct qxl_host *device;
static struct input_host input;
static SpicePlaybackInstance playback;
static SpiceRecordInstance record;
static bool playback_up;

static const SpicePlaybackInterface playback_interface = {
    .base.type = SPICE_INTERFACE_PLAYBACK,
    .base.description = "misused playback",
    .base.major_version = SPICE_INTERFACE_PLAYBACK_MAJOR,
    .base.minor_version = SPICE_INTERFACE_PLAYBACK_MINOR,
};

static const SpiceRecordInterface record_interface = {
    .base.type = SPICE_INTERFACE_RECORD,
    .base.description = "misused record",
    .base.major_version = SPICE_INTERFACE_RECORD_MAJOR,
    .base.minor_version = SPICE_INTERFACE_RECORD_MINOR,
};

static const QXLRect area = { .top = 0, .left = 0, .bottom = 16, .right = 16 };

/* ---- cases; each returns a word or number worth printing ---- */

static uint64_t cookie_of_case = 1000;

/* An async request made while something is wrong must still complete exactly once. */
static long completions(uint64_t cookie)
{
    qxl_host_wait_cookie(device, cookie, 3000);
    core_loop_until(NULL, NULL, 10);
    return qxl_host_cookie_count(device, cookie);
}

static long init_core_null(void)
{
    SpiceServer *s = spice_server_new();
    int result = spice_server_init(s, NULL);

    spice_server_destroy(s);
    return result;
}

static long init_twice(void)
{
    return spice_server_init(server, core);
}

static long calls_after_failed_init(void)
{
    SpiceServer *s = spice_server_new();
    SpiceCoreInterface wrong = *core;
    struct input_host other;
    int result;

    wrong.base.major_version = 9;
    spice_server_init(s, &wrong);
    input_host_init(&other);
    result = spice_server_add_interface(s, &other.keyboard.base);
    spice_server_vm_start(s);
    spice_server_vm_stop(s);
    spice_server_set_agent_mouse(s, 0);
    spice_server_set_ticket(s, "x", 1, 1, 1);
    spice_server_destroy(s);
    return result;
}

static long calls_before_init(void)
{
    SpiceServer *s = spice_server_new();
    struct input_host other;
    int result;

    input_host_init(&other);
    result = spice_server_add_interface(s, &other.keyboard.base);
    spice_server_vm_start(s);
    spice_server_vm_stop(s);
    spice_server_add_client(s, -1, 0);
    spice_server_destroy(s);
    return result;
}

static long null_server(void)
{
    long sum = 0;

    sum += spice_server_init(NULL, core);
    sum += spice_server_set_port(NULL, 5900);
    spice_server_set_addr(NULL, "127.0.0.1", 0);
    sum += spice_server_set_noauth(NULL);
    sum += spice_server_set_ticket(NULL, "x", 0, 0, 0);
    sum += spice_server_set_tls(NULL, 5901, "a", "b", "c", NULL, NULL, NULL);
    sum += spice_server_add_client(NULL, -1, 0);
    sum += spice_server_add_ssl_client(NULL, -1, 0);
    sum += spice_server_add_interface(NULL, &input.keyboard.base);
    spice_server_set_image_compression(NULL, SPICE_IMAGE_COMPRESSION_OFF);
    spice_server_get_image_compression(NULL);
    sum += spice_server_set_jpeg_compression(NULL, SPICE_WAN_COMPRESSION_AUTO);
    sum += spice_server_set_streaming_video(NULL, 1);
    sum += spice_server_set_video_codecs(NULL, "spice:mjpeg");
    sum += spice_server_get_video_codecs(NULL) != NULL;
    spice_server_free_video_codecs(NULL, NULL);
    sum += spice_server_set_agent_mouse(NULL, 1);
    sum += spice_server_is_server_mouse(NULL);
    spice_server_set_name(NULL, "x");
    spice_server_set_uuid(NULL, (const uint8_t *)"0123456789abcdef");
    spice_server_vm_start(NULL);
    spice_server_vm_stop(NULL);
    spice_server_set_seamless_migration(NULL, 1);
    sum += spice_server_migrate_connect(NULL, "h", 1, 2, NULL);
    sum += spice_server_migrate_start(NULL);
    sum += spice_server_migrate_end(NULL, 1);
    spice_server_destroy(NULL);
    return sum;
}

static long null_strings(void)
{
    SpiceServer *s = spice_server_new();
    long sum = 0;

    spice_server_set_addr(s, NULL, 0);
    spice_server_set_name(s, NULL);
    spice_server_set_uuid(s, NULL);
    sum += spice_server_set_video_codecs(s, NULL);
    sum += spice_server_add_renderer(s, NULL);
    sum += spice_server_add_interface(s, NULL);
    spice_server_destroy(s);
    return sum;
}

static long null_instances(void)
{
    uint32_t *samples, frames, count = 1;
    long sum = 0;

    sum += spice_server_kbd_leds(NULL, 7);
    spice_server_playback_start(NULL);
    spice_server_playback_get_buffer(NULL, &samples, &count);
    spice_server_playback_put_samples(NULL, NULL);
    spice_server_playback_stop(NULL);
    spice_server_record_start(NULL);
    sum += spice_server_record_get_samples(NULL, &frames, 1);
    spice_server_record_stop(NULL);
    spice_server_playback_set_volume(NULL, 0, NULL);
    spice_server_playback_set_mute(NULL, 1);
    spice_server_set_playback_rate(NULL, 48000);
    spice_server_set_record_rate(NULL, 48000);
    spice_server_char_device_wakeup(NULL);
    spice_server_port_event(NULL, 0);
    return sum;
}

static long null_qxl(void)
{
    QXLRect rect = area;

    spice_qxl_wakeup(NULL);
    spice_qxl_oom(NULL);
    spice_qxl_start(NULL);
    spice_qxl_stop(NULL);
    spice_qxl_update_area(NULL, 0, &rect, NULL, 0, 0);
    spice_qxl_add_memslot(NULL, NULL);
    spice_qxl_del_memslot(NULL, 0, 0);
    spice_qxl_reset_memslots(NULL);
    spice_qxl_destroy_surfaces(NULL);
    spice_qxl_destroy_primary_surface(NULL, 0);
    spice_qxl_create_primary_surface(NULL, 0, NULL);
    spice_qxl_reset_image_cache(NULL);
    spice_qxl_reset_cursor(NULL);
    spice_qxl_loadvm_commands(NULL, NULL, 0);
    spice_qxl_flush_surfaces_async(NULL, 1);
    spice_qxl_set_device_info(NULL, NULL, 0, 0);
    spice_qxl_gl_scanout(NULL, -1, 0, 0, 0, 0, 0);
    return 0;
}

static long qxl_null_arguments(void)
{
    QXLRect dirty[2];
    uint64_t cookie = cookie_of_case++;

    spice_qxl_update_area(&device->qxl, 0, NULL, dirty, 2, 0);
    spice_qxl_add_memslot(&device->qxl, NULL);
    spice_qxl_create_primary_surface(&device->qxl, 0, NULL);
    spice_qxl_loadvm_commands(&device->qxl, NULL, 3);
    spice_qxl_set_device_info(&device->qxl, NULL, 0, 1);
    spice_qxl_update_area_async(&device->qxl, 0, NULL, 0, cookie);
    return completions(cookie);
}

static long jpeg_compression_invalid(void)
{
    return spice_server_set_jpeg_compression(server, SPICE_WAN_COMPRESSION_INVALID);
}

static long zlib_glz_compression_invalid(void)
{
    return spice_server_set_zlib_glz_compression(server, SPICE_WAN_COMPRESSION_INVALID);
}

static long jpeg_compression_out_of_range(void)
{
    return spice_server_set_jpeg_compression(server, (spice_wan_compression_t)99);
}

static long memslot_deleted_out_of_range(void)
{
    spice_qxl_del_memslot(&device->qxl, 99, 0);
    spice_qxl_del_memslot(&device->qxl, 0, 99);
    spice_qxl_del_memslot(&device->qxl, UINT_MAX, UINT_MAX);
    spice_qxl_reset_image_cache(&device->qxl); /* waits for the above */
    return 0;
}

static long memslot_added_out_of_range(void)
{
    QXLDevMemSlot slot = { .slot_group_id = 1, .slot_id = 0, .virt_end = 4096 };
    uint64_t cookie = cookie_of_case++;

    spice_qxl_add_memslot(&device->qxl, &slot);
    slot.slot_group_id = 0;
    slot.slot_id = 77;
    spice_qxl_add_memslot_async(&device->qxl, &slot, cookie);
    return completions(cookie);
}

static long update_while_stopped(void)
{
    QXLRect rect = area;
    uint64_t cookie = cookie_of_case++;
    long count;

    spice_server_vm_stop(server);
    spice_qxl_update_area(&device->qxl, 0, &rect, NULL, 0, 1);
    spice_qxl_update_area_async(&device->qxl, 0, &rect, 1, cookie);
    count = completions(cookie);
    spice_server_vm_start(server);
    return count;
}

static long oom_while_stopped(void)
{
    spice_server_vm_stop(server);
    spice_qxl_oom(&device->qxl);
    spice_qxl_reset_image_cache(&device->qxl);
    spice_server_vm_start(server);
    return 0;
}

static long async_while_stopped(void)
{
    QXLDevMemSlot slot = { .virt_end = ~(uintptr_t)0 };
    uint64_t first = cookie_of_case;
    long sum = 0;

    spice_server_vm_stop(server);
    spice_qxl_flush_surfaces_async(&device->qxl, cookie_of_case++);
    spice_qxl_add_memslot_async(&device->qxl, &slot, cookie_of_case++);
    spice_qxl_destroy_surface_async(&device->qxl, 5, cookie_of_case++);
    spice_qxl_monitors_config_async(&device->qxl, 0, 0, cookie_of_case++);
    for (uint64_t cookie = first; cookie < cookie_of_case; cookie++)
        sum += completions(cookie);
    spice_server_vm_start(server);
    return sum;
}

static long update_of_missing_surface(void)
{
    QXLRect rect = area, dirty[4];
    uint64_t cookie = cookie_of_case++;

    spice_qxl_update_area(&device->qxl, 500, &rect, dirty, 4, 1);
    spice_qxl_update_area(&device->qxl, UINT_MAX, &rect, dirty, 4, 1);
    spice_qxl_update_area_async(&device->qxl, UINT_MAX, &rect, 1, cookie);
    return completions(cookie);
}

static long update_of_wild_areas(void)
{
    static const QXLRect areas[] = {
        { .top = -5, .left = -5, .bottom = 5, .right = 5 },
        { .top = 50, .left = 50, .bottom = 10, .right = 10 },
        { .top = 0, .left = 0, .bottom = 100000, .right = 100000 },
        { .top = INT_MIN, .left = INT_MIN, .bottom = INT_MAX, .right = INT_MAX },
        { .top = 3, .left = 3, .bottom = 3, .right = 3 },
    };
    long sum = 0;

    for (size_t i = 0; i < sizeof(areas) / sizeof(areas[0]); i++) {
        QXLRect rect = areas[i];
        uint64_t cookie = cookie_of_case++;

        spice_qxl_update_area(&device->qxl, 0, &rect, NULL, 0, 0);
        spice_qxl_update_area_async(&device->qxl, 0, &rect, 0, cookie);
        sum += completions(cookie);
    }
    return sum;
}

static long destroy_wait_of_another_surface(void)
{
    spice_qxl_destroy_surface_wait(&device->qxl, 5);
    spice_qxl_destroy_surface_wait(&device->qxl, UINT_MAX);
    return 0;
}

static long destroy_async_out_of_range(void)
{
    uint64_t cookie = cookie_of_case++;

    spice_qxl_destroy_surface_async(&device->qxl, UINT_MAX, cookie);
    return completions(cookie);
}

static long primary_other_than_zero(void)
{
    uint64_t cookie = cookie_of_case++;

    spice_qxl_destroy_primary_surface(&device->qxl, 3);
    spice_qxl_destroy_primary_surface_async(&device->qxl, 3, cookie);
    return completions(cookie);
}

static long primary_with_bad_parameters(void)
{
    QXLDevSurfaceCreate good = {
        .width = 16, .height = 16, .stride = 64, .format = SPICE_SURFACE_FMT_32_xRGB, .mem = qxl_address(&device),
    };
    QXLDevSurfaceCreate bad[7];
    long sum = 0;

    for (int i = 0; i < 7; i++)
        bad[i] = good;
    bad[0].stride = 8;
    bad[1].stride = INT_MIN;
    bad[2].format = 77;
    bad[3].width = UINT_MAX;
    bad[4].height = UINT_MAX;
    bad[5].group_id = 9;
    bad[6].mem = 1ull << 63;
    qxl_host_destroy_primary(device, 0);
    for (int i = 0; i < 7; i++) {
        uint64_t cookie = cookie_of_case++;

        spice_qxl_create_primary_surface_async(&device->qxl, 0, &bad[i], cookie);
        sum += completions(cookie);
    }
    qxl_host_create_primary(device, 64, 64, false, 0);
    return sum;
}

static long primary_twice(void)
{
    struct qxl_surface old = device->surfaces[0];
    uint64_t cookie = cookie_of_case++;

    /* The old memory must stay: nobody destroyed the surface. */
    memset(&device->surfaces[0], 0, sizeof(device->surfaces[0]));
    qxl_host_create_primary(device, 64, 64, false, cookie);
    completions(cookie);
    qxl_host_destroy_primary(device, 0);
    qxl_host_create_primary(device, 64, 64, false, 0);
    free(old.memory);
    return qxl_host_cookie_count(device, cookie);
}

static long draw_async_on_caller_stack(void)
{
    uint64_t cookie = cookie_of_case++;
    unsigned before = qxl_host_count(device, &device->worker_changes);

    spice_qxl_reset_image_cache(&device->qxl);
    spice_qxl_gl_draw_async(&device->qxl, 0, 0, 10, 10, cookie);
    completions(cookie);
    return (long)(qxl_host_count(device, &device->worker_changes) - before);
}

static long gl_draw_twice(void)
{
    uint64_t first = cookie_of_case++, second = cookie_of_case++;

    spice_qxl_gl_scanout(&device->qxl, dup(0), 16, 16, 64, 0x34325258, 0);
    spice_qxl_gl_draw_async(&device->qxl, 0, 0, 16, 16, first);
    spice_qxl_gl_draw_async(&device->qxl, 0, 0, 16, 16, second);
    spice_qxl_gl_scanout(&device->qxl, -1, 0, 0, 0, 0, 0);
    return completions(first) + completions(second);
}

static long device_info_too_long(void)
{
    char address[400];

    memset(address, 'a', sizeof(address));
    address[sizeof(address) - 1] = '\0';
    spice_qxl_set_device_info(&device->qxl, address, 0, 1);
    spice_qxl_set_device_info(&device->qxl, "pci/0000/02.0", 0, 17);
    spice_qxl_set_device_info(&device->qxl, "pci/0000/02.0", UINT_MAX, 16);
    spice_qxl_set_device_info(&device->qxl, "pci/0000/02.0", 0, 0);
    spice_qxl_set_max_monitors(&device->qxl, 0);
    spice_qxl_set_max_monitors(&device->qxl, UINT_MAX);
    return 0;
}

static long monitors_config_unmapped(void)
{
    long sum = 0;
    const QXLPHYSICAL addresses[] = { 0, 1ull << 63, ~0ull };

    for (int i = 0; i < 3; i++) {
        uint64_t cookie = cookie_of_case++;

        spice_qxl_monitors_config_async(&device->qxl, addresses[i], i == 2 ? -1 : 0, cookie);
        sum += completions(cookie);
    }
    return sum;
}

static long loadvm_garbage(void)
{
    QXLCommandExt commands[3];

    memset(commands, 0, sizeof(commands));
    commands[0].cmd.type = 99;
    commands[1].cmd.type = QXL_CMD_CURSOR;
    commands[1].cmd.data = 1ull << 63;
    commands[2].cmd.type = QXL_CMD_SURFACE;
    commands[2].group_id = 44;
    spice_qxl_loadvm_commands(&device->qxl, commands, 3);
    return 0;
}

static long migrate_without_interface(void)
{
    long sum = 0;

    sum += spice_server_migrate_connect(server, "localhost", 5900, -1, NULL);
    sum += spice_server_migrate_connect(server, NULL, -1, -1, NULL);
    sum += spice_server_migrate_start(server);
    sum += spice_server_migrate_end(server, 0);
    sum += spice_server_migrate_end(server, 1);
    return sum;
}

static long migrate_info_and_switch(void)
{
    return spice_server_migrate_info(server, NULL, 0, 0, NULL) + spice_server_migrate_switch(server);
}

static long playback_buffer_before_start(void)
{
    uint32_t dummy, *samples = &dummy, count = 99;

    spice_server_playback_get_buffer(&playback, &samples, &count);
    if (samples && samples != &dummy)
        spice_server_playback_put_samples(&playback, samples);
    return samples == NULL && count == 0;
}

static long playback_stop_twice(void)
{
    spice_server_playback_start(&playback);
    spice_server_playback_start(&playback);
    spice_server_playback_stop(&playback);
    spice_server_playback_stop(&playback);
    spice_server_record_start(&record);
    spice_server_record_start(&record);
    spice_server_record_stop(&record);
    spice_server_record_stop(&record);
    return 0;
}

static long playback_put_wild(void)
{
    uint32_t samples[480 * 2];

    spice_server_playback_put_samples(&playback, NULL);
    spice_server_playback_put_samples(&playback, samples);
    return 0;
}

static long playback_put_twice(void)
{
    uint32_t *samples = NULL, count = 0;

    spice_server_playback_start(&playback);
    spice_server_playback_get_buffer(&playback, &samples, &count);
    spice_server_playback_put_samples(&playback, samples);
    spice_server_playback_put_samples(&playback, samples);
    spice_server_playback_stop(&playback);
    return 0;
}

static long playback_null_outputs(void)
{
    spice_server_playback_get_buffer(&playback, NULL, NULL);
    spice_server_playback_set_volume(&playback, 2, NULL);
    return (long)spice_server_record_get_samples(&record, NULL, 10);
}

static long removed_twice(void)
{
    SpicePlaybackInstance other = { .base.sif = &playback_interface.base };
    struct input_host unused;
    struct qxl_host *absent = qxl_host_new(9);
    long sum = 0;

    input_host_init(&unused);
    sum += spice_server_remove_interface(&unused.tablet.base);
    sum += spice_server_remove_interface(&absent->qxl.base);
    sum += spice_server_remove_interface(&other.base);
    qxl_host_free(absent);
    return sum;
}

static long calls_on_a_removed_device(void)
{
    struct qxl_host *gone = qxl_host_new(8);
    QXLRect rect = area;

    qxl_host_attach(gone, server);
    spice_server_remove_interface(&gone->qxl.base);
    spice_qxl_wakeup(&gone->qxl);
    spice_qxl_update_area(&gone->qxl, 0, &rect, NULL, 0, 0);
    spice_qxl_reset_cursor(&gone->qxl);
    qxl_host_free(gone);
    return 0;
}

static long char_devices_never_added(void)
{
    static const SpiceCharDeviceInterface interface = {
        .base.type = SPICE_INTERFACE_CHAR_DEVICE,
        .base.description = "nothing",
        .base.major_version = SPICE_INTERFACE_CHAR_DEVICE_MAJOR,
        .base.minor_version = SPICE_INTERFACE_CHAR_DEVICE_MINOR,
    };
    SpiceCharDeviceInstance lost = { .base.sif = &interface.base, .subtype = "teapot" };
    SpiceCharDeviceInstance nameless = { .base.sif = &interface.base, .subtype = NULL };
    long sum = spice_server_add_interface(server, &lost.base);

    sum += spice_server_add_interface(server, &nameless.base);
    spice_server_char_device_wakeup(&lost);
    spice_server_port_event(&lost, 99);
    return sum + spice_server_remove_interface(&lost.base);
}

static long add_client_bad_fd(void)
{
    return spice_server_add_client(server, -1, 0) + spice_server_add_client(server, 9999, 1) +
           spice_server_add_ssl_client(server, -1, 0);
}

static long replay_of_nothing(void)
{
    FILE *empty = tmpfile();
    SpiceReplay *replay = spice_replay_new(empty, 10);
    long opened = replay != NULL;

    if (replay)
        spice_replay_free(replay);
    return opened;
}

static long replay_nulls(void)
{
    spice_replay_free_cmd(NULL, NULL);
    spice_replay_free(NULL);
    spice_replay_next_cmd(NULL, NULL);
    return spice_replay_new(NULL, 1) != NULL;
}

static long channel_security_before_init(void)
{
    SpiceServer *s = spice_server_new();
    long result = spice_server_set_channel_security(s, "nonsense", 77);

    spice_server_destroy(s);
    return result;
}

#define CASE(name) { #name, name }

static const struct {
    const char *name;
    long (*run)(void);
} cases[] = {
    CASE(init_core_null), CASE(init_twice), CASE(calls_after_failed_init), CASE(calls_before_init),
    CASE(null_server), CASE(null_strings), CASE(null_instances), CASE(null_qxl), CASE(qxl_null_arguments),
    CASE(jpeg_compression_invalid), CASE(zlib_glz_compression_invalid), CASE(jpeg_compression_out_of_range),
    CASE(memslot_deleted_out_of_range), CASE(memslot_added_out_of_range), CASE(update_while_stopped),
    CASE(oom_while_stopped), CASE(async_while_stopped), CASE(update_of_missing_surface),
    CASE(update_of_wild_areas), CASE(destroy_wait_of_another_surface), CASE(destroy_async_out_of_range),
    CASE(primary_other_than_zero), CASE(primary_with_bad_parameters), CASE(primary_twice),
    CASE(draw_async_on_caller_stack), CASE(gl_draw_twice), CASE(device_info_too_long),
    CASE(monitors_config_unmapped), CASE(loadvm_garbage), CASE(migrate_without_interface),
    CASE(migrate_info_and_switch), CASE(playback_buffer_before_start), CASE(playback_stop_twice),
    CASE(playback_put_wild), CASE(playback_put_twice), CASE(playback_null_outputs), CASE(removed_twice),
    CASE(calls_on_a_removed_device), CASE(char_devices_never_added), CASE(add_client_bad_fd),
    CASE(replay_of_nothing), CASE(replay_nulls), CASE(channel_security_before_init),
};

enum { CASES = sizeof(cases) / sizeof(cases[0]) };

static void channel_changed(const struct channel_record *event)
{
    if (event->type == SPICE_CHANNEL_PLAYBACK)
        playback_up = event->event == SPICE_CHANNEL_EVENT_INITIALIZED;
}

static void start(int port)
{
    core = core_loop_start();
    core_loop_on_channel_event(channel_changed);
    server = spice_server_new();
    spice_server_set_noauth(server);
    if (port) {
        spice_server_set_addr(server, "127.0.0.1", 0);
        spice_server_set_port(server, port);
    }
    if (spice_server_init(server, core) != 0)
        exit(2);
    input_host_init(&input);
    input_host_attach(&input, server, true);
    device = qxl_host_new(0);
    qxl_host_attach(device, server);
    playback.base.sif = &playback_interface.base;
    record.base.sif = &record_interface.base;
    spice_server_add_interface(server, &playback.base);
    spice_server_add_interface(server, &record.base);
    qxl_host_create_primary(device, 64, 64, false, 0);
    spice_server_vm_start(server);
}

/* After each case the server must still draw. */
static bool still_works(void)
{
    ptrdiff_t stride;
    const uint8_t *pixels;
    uint32_t pixel;
    static uint32_t color;

    color += 0x010305;
    qxl_host_push(device, qxl_draw_fill(0, qxl_rect(0, 0, 64, 64), color, SPICE_ROPD_OP_PUT));
    qxl_host_render(device, 0);
    pixels = qxl_host_pixels(device, 0, &stride);
    memcpy(&pixel, pixels, sizeof(pixel));
    return (pixel & 0xffffff) == color;
}

static bool try_case(unsigned index)
{
    long result = cases[index].run();
    bool works = still_works();

    printf("%-34s result %ld%s\n", cases[index].name, result, works ? "" : "   <- does not draw any more");
    return works;
}

static int forked(void)
{
    unsigned survived = 0;

    for (unsigned i = 0; i < CASES; i++) {
        pid_t child = fork();
        int status;

        if (child == 0) {
            bool works;

            alarm(20);
            start(0);
            works = try_case(i);
            fflush(stdout);
            _exit(!works);
        }
        waitpid(child, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            survived++;
        else
            printf("%-34s died: signal %d\n", cases[i].name, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    }
    printf("%d cases, %u survived\n", (int)CASES, survived);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "forked", no_argument, NULL, 'f' }, { "port", required_argument, NULL, 'p' }, { NULL, 0, NULL, 0 },
    };
    unsigned wrong = 0, offences;
    int option, port = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'f')
            return forked();
        if (option != 'p')
            return 2;
        port = atoi(optarg);
    }
    start(port);
    if (port) {
        puts("ready");
        while (!playback_up)
            core_loop_step(100);
        core_loop_until(NULL, NULL, 500);
        puts("playback client is there");
    }
    for (unsigned i = 0; i < CASES; i++) {
        wrong += !try_case(i);
        core_loop_step(0);
    }
    spice_server_vm_stop(server);
    spice_server_destroy(server);
    core_loop_step(0);
    offences = qxl_host_offences(device, stdout);
    printf("%u watches, %u timers left\n", core_loop_live_watches(), core_loop_live_timers());
    printf("survived %d cases, %u wrong, %u offences\n", (int)CASES, wrong, offences);
    qxl_host_free(device);
    return wrong || offences ? 1 : 0;
}
