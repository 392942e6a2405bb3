/*
 * What can be asked without a server. Every line names the function it is about.
 */

#include <stdio.h>

#include <spice.h>

int main(void)
{
    SpiceBaseInstance *nothing = NULL;

    printf("spice_get_current_compat_version %u\n", spice_get_current_compat_version());
    for (const char **name = spice_server_char_device_recognized_subtypes(); *name; name++) {
        printf("spice_server_char_device_recognized_subtypes %s\n", *name);
    }
    printf("spice_server_get_best_playback_rate %u\n", spice_server_get_best_playback_rate(NULL));
    printf("spice_server_get_best_record_rate %u\n", spice_server_get_best_record_rate(NULL));
    printf("spice_server_get_num_clients %d\n", spice_server_get_num_clients(NULL));
    printf("spice_server_remove_interface %d\n", spice_server_remove_interface(nothing));
    printf("spice_server_get_sock_info %d\n", spice_server_get_sock_info(NULL, NULL, NULL));
    printf("spice_server_get_peer_info %d\n", spice_server_get_peer_info(NULL, NULL, NULL));
    spice_server_free_video_codecs(NULL, NULL);
    return 0;
}
