/*
 * Settings of a server that is never started: results, defaults, bad arguments. Every line names
 * the function it is about.
 */

#include <limits.h>
#include <stdio.h>

#include <spice.h>

#define SHOW(call) printf("%s = %d\n", #call, (int)(call))

static void codecs(SpiceServer *s, const char *when)
{
    const char *list = spice_server_get_video_codecs(s);
    printf("spice_server_get_video_codecs %s: \"%s\"\n", when, list ? list : "NULL");
    spice_server_free_video_codecs(s, list);
}

int main(void)
{
    SpiceServer *s = spice_server_new();
    if (!s) {
        printf("no server\n");
        return 1;
    }

    for (int version = 0; version <= 2; version++) {
        printf("spice_server_set_compat_version(s, %d) = %d\n", version,
               spice_server_set_compat_version(s, (spice_compat_version_t)version));
    }

    SHOW(spice_server_set_port(s, -2));
    SHOW(spice_server_set_port(s, -1));
    SHOW(spice_server_set_port(s, 0));
    SHOW(spice_server_set_port(s, 65535));
    SHOW(spice_server_set_port(s, 65536));
    SHOW(spice_server_set_port(s, INT_MAX));
    spice_server_set_addr(s, "", 0);
    spice_server_set_addr(s, "127.0.0.1", SPICE_ADDR_FLAG_IPV4_ONLY);
    SHOW(spice_server_set_listen_socket_fd(s, -1));
    SHOW(spice_server_set_exit_on_disconnect(s, 0));

    SHOW(spice_server_set_ticket(s, "secret", 0, 0, 0));
    SHOW(spice_server_set_ticket(s, "secret", 60, 1, 0));
    SHOW(spice_server_set_ticket(s, "secret", INT_MAX, 0, 1));
    SHOW(spice_server_set_ticket(s, "", 0, 0, 0));
    SHOW(spice_server_set_ticket(s, NULL, 0, 0, 0));
    /* The longest that fits into an encrypted ticket, and one more. */
    const char *longest = "012345678901234567890123456789012345678901234567890123456789";
    const char *longer = "0123456789012345678901234567890123456789012345678901234567890";
    SHOW(spice_server_set_ticket(s, longest, 0, 0, 0));
    SHOW(spice_server_set_ticket(s, longer, 0, 0, 0));
    SHOW(spice_server_set_noauth(s));
    SHOW(spice_server_set_sasl(s, 0));
    SHOW(spice_server_set_sasl_appname(s, "qemu"));
    SHOW(spice_server_set_sasl_appname(s, NULL));

    SHOW(spice_server_set_tls(s, 0, "ca", "cert", "key", NULL, NULL, NULL));
    SHOW(spice_server_set_tls(s, -1, "ca", "cert", "key", NULL, NULL, NULL));
    SHOW(spice_server_set_tls(s, 65536, "ca", "cert", "key", NULL, NULL, NULL));
    SHOW(spice_server_set_tls(s, 5901, NULL, "cert", "key", NULL, NULL, NULL));
    SHOW(spice_server_set_tls(s, 5901, "ca", NULL, "key", NULL, NULL, NULL));
    SHOW(spice_server_set_tls(s, 5901, "ca", "cert", NULL, NULL, NULL, NULL));

    SHOW(spice_server_set_channel_security(s, NULL, SPICE_CHANNEL_SECURITY_NONE));
    SHOW(spice_server_set_channel_security(s, "main", SPICE_CHANNEL_SECURITY_SSL));
    SHOW(spice_server_set_channel_security(s, "display", 3));
    SHOW(spice_server_set_channel_security(s, "inputs", 3));
    SHOW(spice_server_set_channel_security(s, "cursor", 3));
    SHOW(spice_server_set_channel_security(s, "playback", 3));
    SHOW(spice_server_set_channel_security(s, "record", 3));
    SHOW(spice_server_set_channel_security(s, "tunnel", 3));
    SHOW(spice_server_set_channel_security(s, "smartcard", 3));
    SHOW(spice_server_set_channel_security(s, "usbredir", 3));
    SHOW(spice_server_set_channel_security(s, "port", 3));
    SHOW(spice_server_set_channel_security(s, "webdav", 3));
    SHOW(spice_server_set_channel_security(s, "Main", 3));
    SHOW(spice_server_set_channel_security(s, "no-such-channel", 3));
    SHOW(spice_server_set_channel_security(s, "", 3));

    SHOW(spice_server_get_image_compression(s));
    for (int comp = 0; comp <= 8; comp++) {
        int result = spice_server_set_image_compression(s, (SpiceImageCompression)comp);
        printf("spice_server_set_image_compression(s, %d) = %d, now %d\n", comp, result,
               (int)spice_server_get_image_compression(s));
    }
    for (int comp = 1; comp <= 3; comp++) {
        printf("spice_server_set_jpeg_compression(s, %d) = %d\n", comp,
               spice_server_set_jpeg_compression(s, (spice_wan_compression_t)comp));
        printf("spice_server_set_zlib_glz_compression(s, %d) = %d\n", comp,
               spice_server_set_zlib_glz_compression(s, (spice_wan_compression_t)comp));
    }
    for (int value = -1; value <= 4; value++) {
        printf("spice_server_set_streaming_video(s, %d) = %d\n", value,
               spice_server_set_streaming_video(s, value));
    }
    codecs(s, "at first");
    SHOW(spice_server_set_video_codecs(s, "spice:mjpeg"));
    codecs(s, "after one");
    SHOW(spice_server_set_video_codecs(s, "no:such;codec"));
    codecs(s, "after none");

    SHOW(spice_server_add_renderer(s, "gl"));
    SHOW(spice_server_add_renderer(s, "sw"));
    SHOW(spice_server_add_renderer(s, "sw"));
    SHOW(spice_server_is_server_mouse(s));
    SHOW(spice_server_get_num_clients(s));
    SHOW(spice_server_get_sock_info(s, NULL, NULL));
    SHOW(spice_server_migrate_start(s));
    SHOW(spice_server_set_playback_compression(s, 0));
    SHOW(spice_server_set_playback_compression(s, 1));
    SHOW(spice_server_set_agent_mouse(s, 0));
    SHOW(spice_server_set_agent_mouse(s, 1));
    SHOW(spice_server_set_agent_copypaste(s, 0));
    SHOW(spice_server_set_agent_file_xfer(s, 0));
    spice_server_set_seamless_migration(s, 1);
    spice_server_set_name(s, "name");
    spice_server_set_name(s, NULL);
    spice_server_set_uuid(s, (const uint8_t[16]){1, 2, 3});

    spice_server_destroy(s);
    printf("destroyed\n");
    return 0;
}
