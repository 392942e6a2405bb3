/* Start-up forms, settings and their return values: only calls that the reference survives.
 *
 * Runs on both libraries; the output on stdout must be the same. Warnings go to stderr and may differ.
 */
#include "host/host.h"

#include <limits.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Deprecated calls are part of the contract. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#define SHOW(call) printf("  %-68s = %d\n", #call, (int)(call))
#define DO(call) (printf("  %s\n", #call), (void)(call))

static SpiceCoreInterface *core;

static void section(const char *name)
{
    printf("%s\n", name);
}

/* Watches and timers left behind by a destroyed server. */
static void destroy(SpiceServer *s)
{
    spice_server_destroy(s);
    core_loop_step(0);
    printf("  destroyed: %u watches, %u timers left\n", core_loop_live_watches(), core_loop_live_timers());
}

/* A TCP listener of our own, to take ports away from the server. */
static int listener(int *port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(fd, (struct sockaddr *)&address, length) || listen(fd, 1) ||
        getsockname(fd, (struct sockaddr *)&address, &length))
        exit(70);
    *port = ntohs(address.sin_port);
    return fd;
}

static void life(void)
{
    SpiceServer *s;
    SpiceCoreInterface old = *core;

    section("new, destroy");
    s = spice_server_new();
    destroy(s);

    section("new, init without listeners, destroy");
    s = spice_server_new();
    SHOW(spice_server_init(s, core));
    destroy(s);

    section("core of another major version");
    s = spice_server_new();
    old.base.major_version = 2;
    SHOW(spice_server_init(s, &old));
    destroy(s);

    section("core without type and description, as Xspice has it");
    old = *core;
    old.base.type = NULL;
    old.base.description = NULL;
    s = spice_server_new();
    SHOW(spice_server_init(s, &old));
    destroy(s);

    section("core of an older minor version, channel_event unset");
    old = *core;
    old.base.minor_version = 2;
    old.channel_event = NULL;
    s = spice_server_new();
    SHOW(spice_server_init(s, &old));
    destroy(s);

    section("two servers at a time");
    {
        SpiceServer *a = spice_server_new(), *b = spice_server_new();

        SHOW(spice_server_init(a, core));
        SHOW(spice_server_init(b, core));
        SHOW(a != b);
        spice_server_destroy(a);
        destroy(b);
    }

    section("a hundred short lives");
    for (int i = 0; i < 100; i++) {
        s = spice_server_new();
        if (spice_server_init(s, core) != 0)
            puts("  init failed");
        spice_server_destroy(s);
    }
    core_loop_step(0);
    printf("  %u watches, %u timers left\n", core_loop_live_watches(), core_loop_live_timers());
}

static void ports(void)
{
    SpiceServer *s = spice_server_new();
    int busy_port, fd;

    section("ports");
    SHOW(spice_server_set_port(s, -1));
    SHOW(spice_server_set_port(s, -2));
    SHOW(spice_server_set_port(s, 65536));
    SHOW(spice_server_set_port(s, INT_MAX));
    SHOW(spice_server_set_port(s, INT_MIN));
    SHOW(spice_server_set_port(s, 65535));
    SHOW(spice_server_set_port(s, 1));
    SHOW(spice_server_set_port(s, 0));
    DO(spice_server_set_addr(s, "127.0.0.1", 0));
    SHOW(spice_server_init(s, core));
    SHOW(core_loop_live_watches() > 0);
    destroy(s);

    section("port in use");
    fd = listener(&busy_port);
    s = spice_server_new();
    DO(spice_server_set_addr(s, "127.0.0.1", SPICE_ADDR_FLAG_IPV4_ONLY));
    SHOW(spice_server_set_port(s, busy_port));
    SHOW(spice_server_init(s, core));
    destroy(s);
    close(fd);

    section("an address that is not ours");
    s = spice_server_new();
    DO(spice_server_set_addr(s, "192.0.2.1", 0));
    SHOW(spice_server_set_port(s, 0));
    SHOW(spice_server_init(s, core));
    destroy(s);

    section("address families");
    s = spice_server_new();
    DO(spice_server_set_addr(s, "", 0));
    DO(spice_server_set_addr(s, "127.0.0.1", SPICE_ADDR_FLAG_IPV6_ONLY));
    DO(spice_server_set_addr(s, "127.0.0.1", SPICE_ADDR_FLAG_IPV4_ONLY));
    SHOW(spice_server_set_port(s, 0));
    SHOW(spice_server_init(s, core));
    destroy(s);

    section("unix socket");
    {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        snprintf(address.sun_path, sizeof(address.sun_path), "startup-%ld.sock", (long)getpid());
        s = spice_server_new();
        spice_server_set_addr(s, address.sun_path, SPICE_ADDR_FLAG_UNIX_ONLY);
        SHOW(spice_server_init(s, core));
        SHOW(connect(client, (struct sockaddr *)&address, sizeof(address)));
        close(client);
        destroy(s);
        unlink(address.sun_path);
    }

    section("unix socket in a directory that is not there");
    s = spice_server_new();
    DO(spice_server_set_addr(s, "/nowhere/at/all/socket", SPICE_ADDR_FLAG_UNIX_ONLY));
    SHOW(spice_server_init(s, core));
    destroy(s);

    section("socket of the host");
    fd = listener(&busy_port);
    s = spice_server_new();
    printf("  set_listen_socket_fd = %d\n", spice_server_set_listen_socket_fd(s, fd));
    SHOW(spice_server_init(s, core));
    SHOW(core_loop_live_watches() > 0);
    destroy(s);
    printf("  still open: %d\n", close(fd) == 0);
}

static void tls(void)
{
    SpiceServer *s = spice_server_new(), *secure;

    section("tls");
    SHOW(spice_server_set_tls(s, 0, "ca", "cert", "key", NULL, NULL, NULL));
    SHOW(spice_server_set_tls(s, -1, "ca", "cert", "key", NULL, NULL, NULL));
    SHOW(spice_server_set_tls(s, 65536, "ca", "cert", "key", NULL, NULL, NULL));
    SHOW(spice_server_set_tls(s, 5901, NULL, "cert", "key", NULL, NULL, NULL));
    SHOW(spice_server_set_tls(s, 5901, "ca", NULL, "key", NULL, NULL, NULL));
    SHOW(spice_server_set_tls(s, 5901, "ca", "cert", NULL, NULL, NULL, NULL));
    destroy(s);

    section("tls files that are not there");
    secure = spice_server_new();
    SHOW(spice_server_set_tls(secure, 65000, "/nowhere/ca", "/nowhere/cert", "/nowhere/key", NULL, NULL, NULL));
    DO(spice_server_set_addr(secure, "127.0.0.1", 0));
    SHOW(spice_server_init(secure, core));
    destroy(secure);
}

static void compression(SpiceServer *s)
{
    static const int values[] = { 1, 2, 3, 4, 5, 6, 7, 0, 8, 1000, -1 };

    SHOW(spice_server_get_image_compression(s));
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        int result = spice_server_set_image_compression(s, (SpiceImageCompression)values[i]);

        printf("  set_image_compression(%d) = %d, get = %d\n", values[i], result,
               (int)spice_server_get_image_compression(s));
    }
    SHOW(spice_server_set_jpeg_compression(s, SPICE_WAN_COMPRESSION_AUTO));
    SHOW(spice_server_set_jpeg_compression(s, SPICE_WAN_COMPRESSION_ALWAYS));
    SHOW(spice_server_set_jpeg_compression(s, SPICE_WAN_COMPRESSION_NEVER));
    SHOW(spice_server_set_zlib_glz_compression(s, SPICE_WAN_COMPRESSION_AUTO));
    SHOW(spice_server_set_zlib_glz_compression(s, SPICE_WAN_COMPRESSION_ALWAYS));
    SHOW(spice_server_set_zlib_glz_compression(s, SPICE_WAN_COMPRESSION_NEVER));
    SHOW(spice_server_set_streaming_video(s, SPICE_STREAM_VIDEO_OFF));
    SHOW(spice_server_set_streaming_video(s, SPICE_STREAM_VIDEO_ALL));
    SHOW(spice_server_set_streaming_video(s, SPICE_STREAM_VIDEO_FILTER));
    SHOW(spice_server_set_streaming_video(s, SPICE_STREAM_VIDEO_INVALID));
    SHOW(spice_server_set_streaming_video(s, 4));
    SHOW(spice_server_set_streaming_video(s, -1));
    SHOW(spice_server_set_playback_compression(s, 0));
    SHOW(spice_server_set_playback_compression(s, 1));
    SHOW(spice_server_set_playback_compression(s, 17));
}

static void behaviour(SpiceServer *s)
{
    static const char *const channels[] = {
        "main", "display", "inputs", "cursor", "playback", "record", "tunnel", "smartcard", "usbredir",
        "port", "webdav", "", "Main", "video", "agent",
    };
    const uint8_t uuid[16] = { 1, 2, 3 };

    SHOW(spice_server_set_agent_mouse(s, 0));
    SHOW(spice_server_set_agent_mouse(s, 1));
    SHOW(spice_server_set_agent_copypaste(s, 0));
    SHOW(spice_server_set_agent_copypaste(s, 1));
    SHOW(spice_server_set_agent_file_xfer(s, 0));
    SHOW(spice_server_set_agent_file_xfer(s, 1));
    SHOW(spice_server_set_exit_on_disconnect(s, 0));
    SHOW(spice_server_is_server_mouse(s));
    SHOW(spice_server_set_compat_version(s, SPICE_COMPAT_VERSION_0_4));
    SHOW(spice_server_set_compat_version(s, SPICE_COMPAT_VERSION_0_6));
    SHOW(spice_server_set_compat_version(s, (spice_compat_version_t)7));
    SHOW(spice_get_current_compat_version());
    SHOW(spice_server_add_renderer(s, "sw"));
    SHOW(spice_server_add_renderer(s, "sw"));
    SHOW(spice_server_add_renderer(s, "oglpbuf"));
    SHOW(spice_server_add_renderer(s, ""));
    SHOW(spice_server_set_channel_security(s, NULL, SPICE_CHANNEL_SECURITY_NONE));
    SHOW(spice_server_set_channel_security(s, NULL, SPICE_CHANNEL_SECURITY_NONE | SPICE_CHANNEL_SECURITY_SSL));
    for (size_t i = 0; i < sizeof(channels) / sizeof(channels[0]); i++)
        printf("  set_channel_security(\"%s\") = %d\n", channels[i],
               spice_server_set_channel_security(s, channels[i], SPICE_CHANNEL_SECURITY_NONE));
    DO(spice_server_set_name(s, "a name"));
    DO(spice_server_set_name(s, NULL));
    DO(spice_server_set_name(s, "another"));
    DO(spice_server_set_uuid(s, uuid));
    DO(spice_server_set_seamless_migration(s, 1));
    DO(spice_server_set_seamless_migration(s, 0));
}

static void authentication(SpiceServer *s)
{
    char longest[61], too_long[62];

    memset(longest, 'x', sizeof(longest));
    memset(too_long, 'x', sizeof(too_long));
    longest[60] = too_long[61] = '\0';
    SHOW(spice_server_set_ticket(s, "secret", 0, 0, 0));
    SHOW(spice_server_set_ticket(s, "", 0, 0, 0));
    SHOW(spice_server_set_ticket(s, NULL, 0, 0, 0));
    SHOW(spice_server_set_ticket(s, "secret", 10, 1, 0));
    SHOW(spice_server_set_ticket(s, "secret", 10, 0, 1));
    SHOW(spice_server_set_ticket(s, "secret", INT_MAX, 1, 1));
    SHOW(spice_server_set_ticket(s, "secret", -5, 0, 0));
    SHOW(spice_server_set_ticket(s, longest, 0, 0, 0));
    SHOW(spice_server_set_ticket(s, too_long, 0, 0, 0));
    SHOW(spice_server_set_noauth(s));
    SHOW(spice_server_set_noauth(s));
    SHOW(spice_server_set_sasl(s, 1));
    SHOW(spice_server_set_sasl(s, 0));
    SHOW(spice_server_set_sasl_appname(s, "qemu"));
    SHOW(spice_server_set_sasl_appname(s, NULL));
}

static void deprecated(SpiceServer *s)
{
    struct sockaddr address = { 0 };
    socklen_t length = sizeof(address);

    SHOW(spice_server_get_sock_info(s, &address, &length));
    SHOW(spice_server_get_peer_info(s, &address, &length));
    printf("  addresses untouched: %d\n", length == sizeof(address) && address.sa_family == 0);
    SHOW(spice_server_get_num_clients(s));
}

static void show_codecs(SpiceServer *s)
{
    const char *codecs = spice_server_get_video_codecs(s);

    printf("  video codecs: %s\n", codecs ? codecs : "(null)");
    spice_server_free_video_codecs(s, codecs);
}

static void video_codecs(SpiceServer *s)
{
    section("video codecs");
    show_codecs(s);
    SHOW(spice_server_set_video_codecs(s, "spice:mjpeg"));
    show_codecs(s);
    SHOW(spice_server_set_video_codecs(s, "nobody:mjpeg"));
    show_codecs(s);
    SHOW(spice_server_set_video_codecs(s, "spice:nothing"));
    SHOW(spice_server_set_video_codecs(s, "nobody:nothing;spice:mjpeg"));
    show_codecs(s);
    SHOW(spice_server_set_video_codecs(s, ""));
    show_codecs(s);
    DO(spice_server_free_video_codecs(s, NULL));
}

static void interfaces(SpiceServer *s)
{
    struct input_host first, second;
    struct qxl_host *device = qxl_host_new(0), *same = qxl_host_new(0), *negative = qxl_host_new(-1),
                    *other = qxl_host_new(3);
    SpiceBaseInterface unknown_interface = { .type = "teapot", .major_version = 1 };
    SpiceBaseInstance unknown = { .sif = &unknown_interface };
    SpiceKbdInterface newer;
    SpiceKbdInstance newer_keyboard = { .base.sif = &newer.base };

    section("interfaces");
    input_host_init(&first);
    input_host_init(&second);
    newer = *(const SpiceKbdInterface *)(const void *)first.keyboard.base.sif;
    newer.base.minor_version = 99;
    SHOW(spice_server_add_interface(s, &newer_keyboard.base));
    newer.base.minor_version = 0;
    newer.base.major_version = 99;
    SHOW(spice_server_add_interface(s, &newer_keyboard.base));
    SHOW(spice_server_add_interface(s, &unknown));
    SHOW(spice_server_add_interface(s, &first.keyboard.base));
    SHOW(spice_server_add_interface(s, &second.keyboard.base));
    SHOW(spice_server_add_interface(s, &first.mouse.base));
    SHOW(spice_server_add_interface(s, &second.mouse.base));
    SHOW(spice_server_is_server_mouse(s));
    SHOW(spice_server_add_interface(s, &first.tablet.base));
    SHOW(spice_server_add_interface(s, &second.tablet.base));
    SHOW(spice_server_is_server_mouse(s));
    SHOW(spice_server_kbd_leds(&first.keyboard, 7));
    SHOW(spice_server_kbd_leds(&first.keyboard, 0));
    SHOW(spice_server_add_interface(s, &device->qxl.base));
    printf("  callbacks inside: init info %d, attached %u, compression level %d\n", device->init_infos > 0,
           device->attached, device->compression_levels > 0);
    printf("  state set: %d\n", device->qxl.st != NULL);
    SHOW(spice_server_add_interface(s, &same->qxl.base));
    SHOW(spice_server_add_interface(s, &negative->qxl.base));
    SHOW(spice_server_add_interface(s, &other->qxl.base));
    SHOW(spice_server_remove_interface(NULL));
    SHOW(spice_server_remove_interface(&first.keyboard.base));
    SHOW(spice_server_remove_interface(&first.mouse.base));
    SHOW(spice_server_remove_interface(&first.tablet.base));
    SHOW(first.tablet.st == NULL);
    SHOW(spice_server_is_server_mouse(s));
    SHOW(spice_server_add_interface(s, &second.tablet.base));
    SHOW(spice_server_remove_interface(&second.tablet.base));
    SHOW(spice_server_remove_interface(&other->qxl.base));
    SHOW(other->qxl.st == NULL);
    SHOW(spice_server_add_interface(s, &other->qxl.base));
    DO(spice_server_vm_start(s));
    DO(spice_server_vm_start(s));
    DO(spice_server_vm_stop(s));
    DO(spice_server_vm_stop(s));
    DO(spice_server_vm_start(s));
    SHOW(spice_server_set_image_compression(s, SPICE_IMAGE_COMPRESSION_QUIC));
    SHOW(spice_server_set_streaming_video(s, SPICE_STREAM_VIDEO_OFF));
    SHOW(device->compression_level);
    SHOW(spice_server_set_image_compression(s, SPICE_IMAGE_COMPRESSION_LZ));
    SHOW(device->compression_level);
    destroy(s);
    printf("  offences: %u\n", qxl_host_offences(device, stdout) + qxl_host_offences(other, stdout));
    qxl_host_free(device);
    qxl_host_free(same);
    qxl_host_free(negative);
    qxl_host_free(other);
}

static void sound(SpiceServer *s)
{
    static const SpicePlaybackInterface playback_interface = {
        .base.type = SPICE_INTERFACE_PLAYBACK,
        .base.description = "test playback",
        .base.major_version = SPICE_INTERFACE_PLAYBACK_MAJOR,
        .base.minor_version = SPICE_INTERFACE_PLAYBACK_MINOR,
    };
    static const SpiceRecordInterface record_interface = {
        .base.type = SPICE_INTERFACE_RECORD,
        .base.description = "test record",
        .base.major_version = SPICE_INTERFACE_RECORD_MAJOR,
        .base.minor_version = SPICE_INTERFACE_RECORD_MINOR,
    };
    static const char *const *subtypes;
    SpicePlaybackInstance playback = { .base.sif = &playback_interface.base };
    SpiceRecordInstance record = { .base.sif = &record_interface.base };
    uint16_t volume[2] = { 1000, 2000 };
    uint32_t *samples = (uint32_t *)(void *)&volume, count = 99, buffer[16];

    section("sound without clients");
    SHOW(spice_server_get_best_playback_rate(NULL));
    SHOW(spice_server_get_best_record_rate(NULL));
    SHOW(spice_server_add_interface(s, &playback.base));
    SHOW(spice_server_add_interface(s, &record.base));
    SHOW(spice_server_get_best_playback_rate(&playback));
    SHOW(spice_server_get_best_record_rate(&record));
    DO(spice_server_set_playback_rate(&playback, 48000));
    DO(spice_server_set_record_rate(&record, 48000));
    DO(spice_server_playback_set_volume(&playback, 2, volume));
    DO(spice_server_playback_set_mute(&playback, 1));
    DO(spice_server_record_set_volume(&record, 2, volume));
    DO(spice_server_record_set_mute(&record, 0));
    DO(spice_server_playback_start(&playback));
    DO(spice_server_playback_get_buffer(&playback, &samples, &count));
    printf("  buffer %s, %u frames\n", samples ? "given" : "none", count);
    DO(spice_server_playback_stop(&playback));
    DO(spice_server_record_start(&record));
    SHOW(spice_server_record_get_samples(&record, buffer, 16));
    DO(spice_server_record_stop(&record));
    SHOW(spice_server_remove_interface(&playback.base));
    SHOW(spice_server_remove_interface(&record.base));
    section("character device types");
    subtypes = (const char *const *)spice_server_char_device_recognized_subtypes();
    for (int i = 0; subtypes[i]; i++)
        printf("  %s\n", subtypes[i]);
}

int main(void)
{
    SpiceServer *s;

    core = core_loop_start();
    setvbuf(stdout, NULL, _IOLBF, 0);
    life();
    ports();
    tls();

    s = spice_server_new();
    section("settings before init");
    show_codecs(s);
    compression(s);
    behaviour(s);
    authentication(s);
    deprecated(s);
    SHOW(spice_server_init(s, core));
    section("settings after init");
    compression(s);
    behaviour(s);
    authentication(s);
    deprecated(s);
    video_codecs(s);
    sound(s);
    interfaces(s);
    section("no server");
    SHOW(spice_server_get_num_clients(NULL));
    printf("foreign core calls %u\n", core_loop_foreign_calls());
    return 0;
}
