/*
 * What a C compiler makes of the public header: every size, offset, value, text and function type.
 *
 * Compiled once against include/spice-server and, where it is installed, once against the header
 * of spice-server 0.15.1; tests/abi.rs wants the same output of both. Function types are checked
 * while compiling. Nothing is linked against.
 */

#include <stddef.h>
#include <stdio.h>

#include <spice.h>

#define SIZE(type) printf("sizeof %s %zu\n", #type, sizeof(type))

#define MEMBER(type, member)                                                                       \
    printf("offset %s.%s %zu size %zu\n", #type, #member, offsetof(type, member),                  \
           sizeof(((type *)0)->member))

#define VALUE(name) printf("value %s %lld\n", #name, (long long)(name))

#define TEXT(name) printf("text %s %s %zu\n", #name, name, sizeof(name))

#define CALLBACK(type, member, result, ...)                                                        \
    do {                                                                                           \
        _Static_assert(                                                                            \
            __builtin_types_compatible_p(__typeof__(((type *)0)->member), result (*)(__VA_ARGS__)),\
            #type "." #member);                                                                    \
        printf("callback %s.%s\n", #type, #member);                                                \
    } while (0)

#define FUNCTION(name, result, ...)                                                                \
    do {                                                                                           \
        _Static_assert(__builtin_types_compatible_p(__typeof__(&name), result (*)(__VA_ARGS__)),   \
                       #name);                                                                     \
        printf("function %s\n", #name);                                                            \
    } while (0)

/* Hosts define these two themselves. */
struct SpiceTimer {
    int unused;
};
struct SpiceWatch {
    int unused;
};

/* Member names as hosts write them. */
static void attached(QXLInstance *qin)
{
    (void)qin;
}
static const QXLInterface qxl_by_name = {
    .base = {
        .type = SPICE_INTERFACE_QXL,
        .description = "device",
        .major_version = SPICE_INTERFACE_QXL_MAJOR,
        .minor_version = SPICE_INTERFACE_QXL_MINOR,
    },
    .attached_worker = attached,
};

static void structures(void)
{
    SIZE(SpiceBaseInterface);
    MEMBER(SpiceBaseInterface, type);
    MEMBER(SpiceBaseInterface, description);
    MEMBER(SpiceBaseInterface, major_version);
    MEMBER(SpiceBaseInterface, minor_version);
    SIZE(SpiceBaseInstance);
    MEMBER(SpiceBaseInstance, sif);
    SIZE(SpiceCoreInterface);
    MEMBER(SpiceCoreInterface, base);
    MEMBER(SpiceCoreInterface, timer_add);
    MEMBER(SpiceCoreInterface, timer_start);
    MEMBER(SpiceCoreInterface, timer_cancel);
    MEMBER(SpiceCoreInterface, timer_remove);
    MEMBER(SpiceCoreInterface, watch_add);
    MEMBER(SpiceCoreInterface, watch_update_mask);
    MEMBER(SpiceCoreInterface, watch_remove);
    MEMBER(SpiceCoreInterface, channel_event);
    SIZE(SpiceChannelEventInfo);
    MEMBER(SpiceChannelEventInfo, connection_id);
    MEMBER(SpiceChannelEventInfo, type);
    MEMBER(SpiceChannelEventInfo, id);
    MEMBER(SpiceChannelEventInfo, flags);
    MEMBER(SpiceChannelEventInfo, laddr);
    MEMBER(SpiceChannelEventInfo, paddr);
    MEMBER(SpiceChannelEventInfo, llen);
    MEMBER(SpiceChannelEventInfo, plen);
    MEMBER(SpiceChannelEventInfo, laddr_ext);
    MEMBER(SpiceChannelEventInfo, paddr_ext);
    MEMBER(SpiceChannelEventInfo, llen_ext);
    MEMBER(SpiceChannelEventInfo, plen_ext);
    SIZE(SpiceMigrateInterface);
    MEMBER(SpiceMigrateInterface, base);
    MEMBER(SpiceMigrateInterface, migrate_connect_complete);
    MEMBER(SpiceMigrateInterface, migrate_end_complete);
    SIZE(SpiceMigrateInstance);
    MEMBER(SpiceMigrateInstance, base);
    MEMBER(SpiceMigrateInstance, st);
    SIZE(SpicePlaybackInterface);
    MEMBER(SpicePlaybackInterface, base);
    SIZE(SpicePlaybackInstance);
    MEMBER(SpicePlaybackInstance, base);
    MEMBER(SpicePlaybackInstance, st);
    SIZE(SpiceRecordInterface);
    MEMBER(SpiceRecordInterface, base);
    SIZE(SpiceRecordInstance);
    MEMBER(SpiceRecordInstance, base);
    MEMBER(SpiceRecordInstance, st);
    SIZE(SpiceCharDeviceInterface);
    MEMBER(SpiceCharDeviceInterface, base);
    MEMBER(SpiceCharDeviceInterface, state);
    MEMBER(SpiceCharDeviceInterface, write);
    MEMBER(SpiceCharDeviceInterface, read);
    MEMBER(SpiceCharDeviceInterface, event);
    MEMBER(SpiceCharDeviceInterface, flags);
    SIZE(SpiceCharDeviceInstance);
    MEMBER(SpiceCharDeviceInstance, base);
    MEMBER(SpiceCharDeviceInstance, subtype);
    MEMBER(SpiceCharDeviceInstance, st);
    MEMBER(SpiceCharDeviceInstance, portname);
    SIZE(SpiceKbdInterface);
    MEMBER(SpiceKbdInterface, base);
    MEMBER(SpiceKbdInterface, push_scan_freg);
    MEMBER(SpiceKbdInterface, get_leds);
    SIZE(SpiceKbdInstance);
    MEMBER(SpiceKbdInstance, base);
    MEMBER(SpiceKbdInstance, st);
    SIZE(SpiceMouseInterface);
    MEMBER(SpiceMouseInterface, base);
    MEMBER(SpiceMouseInterface, motion);
    MEMBER(SpiceMouseInterface, buttons);
    SIZE(SpiceMouseInstance);
    MEMBER(SpiceMouseInstance, base);
    MEMBER(SpiceMouseInstance, st);
    SIZE(SpiceTabletInterface);
    MEMBER(SpiceTabletInterface, base);
    MEMBER(SpiceTabletInterface, set_logical_size);
    MEMBER(SpiceTabletInterface, position);
    MEMBER(SpiceTabletInterface, wheel);
    MEMBER(SpiceTabletInterface, buttons);
    SIZE(SpiceTabletInstance);
    MEMBER(SpiceTabletInstance, base);
    MEMBER(SpiceTabletInstance, st);
    SIZE(QXLInterface);
    MEMBER(QXLInterface, base);
    MEMBER(QXLInterface, attached_worker);
    MEMBER(QXLInterface, attache_worker);
    MEMBER(QXLInterface, set_compression_level);
    MEMBER(QXLInterface, set_mm_time);
    MEMBER(QXLInterface, get_init_info);
    MEMBER(QXLInterface, get_command);
    MEMBER(QXLInterface, req_cmd_notification);
    MEMBER(QXLInterface, release_resource);
    MEMBER(QXLInterface, get_cursor_command);
    MEMBER(QXLInterface, req_cursor_notification);
    MEMBER(QXLInterface, notify_update);
    MEMBER(QXLInterface, flush_resources);
    MEMBER(QXLInterface, async_complete);
    MEMBER(QXLInterface, update_area_complete);
    MEMBER(QXLInterface, set_client_capabilities);
    MEMBER(QXLInterface, client_monitors_config);
    SIZE(QXLInstance);
    MEMBER(QXLInstance, base);
    MEMBER(QXLInstance, id);
    MEMBER(QXLInstance, st);
    SIZE(QXLDevInitInfo);
    MEMBER(QXLDevInitInfo, num_memslots_groups);
    MEMBER(QXLDevInitInfo, num_memslots);
    MEMBER(QXLDevInitInfo, memslot_gen_bits);
    MEMBER(QXLDevInitInfo, memslot_id_bits);
    MEMBER(QXLDevInitInfo, qxl_ram_size);
    MEMBER(QXLDevInitInfo, internal_groupslot_id);
    MEMBER(QXLDevInitInfo, n_surfaces);
    SIZE(QXLDevMemSlot);
    MEMBER(QXLDevMemSlot, slot_group_id);
    MEMBER(QXLDevMemSlot, slot_id);
    MEMBER(QXLDevMemSlot, generation);
    MEMBER(QXLDevMemSlot, virt_start);
    MEMBER(QXLDevMemSlot, virt_end);
    MEMBER(QXLDevMemSlot, addr_delta);
    MEMBER(QXLDevMemSlot, qxl_ram_size);
    SIZE(QXLDevSurfaceCreate);
    MEMBER(QXLDevSurfaceCreate, width);
    MEMBER(QXLDevSurfaceCreate, height);
    MEMBER(QXLDevSurfaceCreate, stride);
    MEMBER(QXLDevSurfaceCreate, format);
    MEMBER(QXLDevSurfaceCreate, position);
    MEMBER(QXLDevSurfaceCreate, mouse_mode);
    MEMBER(QXLDevSurfaceCreate, flags);
    MEMBER(QXLDevSurfaceCreate, type);
    MEMBER(QXLDevSurfaceCreate, mem);
    MEMBER(QXLDevSurfaceCreate, group_id);
    SIZE(QXLCommandExt);
    MEMBER(QXLCommandExt, cmd);
    MEMBER(QXLCommandExt, group_id);
    MEMBER(QXLCommandExt, flags);
    SIZE(QXLReleaseInfoExt);
    MEMBER(QXLReleaseInfoExt, info);
    MEMBER(QXLReleaseInfoExt, group_id);
    SIZE(QXLRect);
    MEMBER(QXLRect, top);
    MEMBER(QXLRect, left);
    MEMBER(QXLRect, bottom);
    MEMBER(QXLRect, right);
}

static void values(void)
{
    VALUE(SPICE_SERVER_VERSION);
    VALUE(SPICE_WATCH_EVENT_READ);
    VALUE(SPICE_WATCH_EVENT_WRITE);
    VALUE(SPICE_CHANNEL_EVENT_CONNECTED);
    VALUE(SPICE_CHANNEL_EVENT_INITIALIZED);
    VALUE(SPICE_CHANNEL_EVENT_DISCONNECTED);
    VALUE(SPICE_CHANNEL_EVENT_FLAG_TLS);
    VALUE(SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT);
    VALUE(SPICE_INTERFACE_CORE_MAJOR);
    VALUE(SPICE_INTERFACE_CORE_MINOR);
    VALUE(SPICE_INTERFACE_KEYBOARD_MAJOR);
    VALUE(SPICE_INTERFACE_KEYBOARD_MINOR);
    VALUE(SPICE_INTERFACE_MOUSE_MAJOR);
    VALUE(SPICE_INTERFACE_MOUSE_MINOR);
    VALUE(SPICE_INTERFACE_TABLET_MAJOR);
    VALUE(SPICE_INTERFACE_TABLET_MINOR);
    VALUE(SPICE_INTERFACE_QXL_MAJOR);
    VALUE(SPICE_INTERFACE_QXL_MINOR);
    VALUE(SPICE_INTERFACE_PLAYBACK_MAJOR);
    VALUE(SPICE_INTERFACE_PLAYBACK_MINOR);
    VALUE(SPICE_INTERFACE_RECORD_MAJOR);
    VALUE(SPICE_INTERFACE_RECORD_MINOR);
    VALUE(SPICE_INTERFACE_CHAR_DEVICE_MAJOR);
    VALUE(SPICE_INTERFACE_CHAR_DEVICE_MINOR);
    VALUE(SPICE_INTERFACE_MIGRATION_MAJOR);
    VALUE(SPICE_INTERFACE_MIGRATION_MINOR);
    VALUE(SPICE_ADDR_FLAG_IPV4_ONLY);
    VALUE(SPICE_ADDR_FLAG_IPV6_ONLY);
    VALUE(SPICE_ADDR_FLAG_UNIX_ONLY);
    VALUE(SPICE_COMPAT_VERSION_0_4);
    VALUE(SPICE_COMPAT_VERSION_0_6);
    VALUE(SPICE_COMPAT_VERSION_CURRENT);
    VALUE(SPICE_CHANNEL_SECURITY_NONE);
    VALUE(SPICE_CHANNEL_SECURITY_SSL);
    VALUE(SPICE_IMAGE_COMPRESS_INVALID);
    VALUE(SPICE_IMAGE_COMPRESS_OFF);
    VALUE(SPICE_IMAGE_COMPRESS_AUTO_GLZ);
    VALUE(SPICE_IMAGE_COMPRESS_AUTO_LZ);
    VALUE(SPICE_IMAGE_COMPRESS_QUIC);
    VALUE(SPICE_IMAGE_COMPRESS_GLZ);
    VALUE(SPICE_IMAGE_COMPRESS_LZ);
    VALUE(SPICE_IMAGE_COMPRESS_LZ4);
    VALUE(SPICE_WAN_COMPRESSION_INVALID);
    VALUE(SPICE_WAN_COMPRESSION_AUTO);
    VALUE(SPICE_WAN_COMPRESSION_ALWAYS);
    VALUE(SPICE_WAN_COMPRESSION_NEVER);
    VALUE(SPICE_STREAM_VIDEO_INVALID);
    VALUE(SPICE_STREAM_VIDEO_OFF);
    VALUE(SPICE_STREAM_VIDEO_ALL);
    VALUE(SPICE_STREAM_VIDEO_FILTER);
    VALUE(SPICE_STREAMING_INVALID);
    VALUE(SPICE_STREAMING_SPICE);
    VALUE(SPICE_STREAMING_GSTREAMER);
    VALUE(SPICE_CHAR_DEVICE_NOTIFY_WRITABLE);
    VALUE(SPICE_INTERFACE_AUDIO_FMT_S16);
    VALUE(SPICE_INTERFACE_PLAYBACK_FREQ);
    VALUE(SPICE_INTERFACE_PLAYBACK_CHAN);
    VALUE(SPICE_INTERFACE_PLAYBACK_FMT);
    VALUE(SPICE_INTERFACE_RECORD_FREQ);
    VALUE(SPICE_INTERFACE_RECORD_CHAN);
    VALUE(SPICE_INTERFACE_RECORD_FMT);
    VALUE(SPICE_CAPABILITIES_SIZE);
    VALUE(sizeof(spice_compat_version_t));
    VALUE(sizeof(spice_wan_compression_t));
    VALUE(sizeof(spice_image_compression_t));
    VALUE(sizeof(spice_char_device_flags));
    TEXT(SPICE_INTERFACE_CORE);
    TEXT(SPICE_INTERFACE_KEYBOARD);
    TEXT(SPICE_INTERFACE_MOUSE);
    TEXT(SPICE_INTERFACE_TABLET);
    TEXT(SPICE_INTERFACE_QXL);
    TEXT(SPICE_INTERFACE_PLAYBACK);
    TEXT(SPICE_INTERFACE_RECORD);
    TEXT(SPICE_INTERFACE_CHAR_DEVICE);
    TEXT(SPICE_INTERFACE_MIGRATION);
}

static void callbacks(void)
{
    CALLBACK(SpiceCoreInterface, timer_add, SpiceTimer *, SpiceTimerFunc, void *);
    CALLBACK(SpiceCoreInterface, timer_start, void, SpiceTimer *, uint32_t);
    CALLBACK(SpiceCoreInterface, timer_cancel, void, SpiceTimer *);
    CALLBACK(SpiceCoreInterface, timer_remove, void, SpiceTimer *);
    CALLBACK(SpiceCoreInterface, watch_add, SpiceWatch *, int, int, SpiceWatchFunc, void *);
    CALLBACK(SpiceCoreInterface, watch_update_mask, void, SpiceWatch *, int);
    CALLBACK(SpiceCoreInterface, watch_remove, void, SpiceWatch *);
    CALLBACK(SpiceCoreInterface, channel_event, void, int, SpiceChannelEventInfo *);
    CALLBACK(SpiceMigrateInterface, migrate_connect_complete, void, SpiceMigrateInstance *);
    CALLBACK(SpiceMigrateInterface, migrate_end_complete, void, SpiceMigrateInstance *);
    CALLBACK(SpiceCharDeviceInterface, state, void, SpiceCharDeviceInstance *, int);
    CALLBACK(SpiceCharDeviceInterface, write, int, SpiceCharDeviceInstance *, const uint8_t *, int);
    CALLBACK(SpiceCharDeviceInterface, read, int, SpiceCharDeviceInstance *, uint8_t *, int);
    CALLBACK(SpiceCharDeviceInterface, event, void, SpiceCharDeviceInstance *, uint8_t);
    CALLBACK(SpiceKbdInterface, push_scan_freg, void, SpiceKbdInstance *, uint8_t);
    CALLBACK(SpiceKbdInterface, get_leds, uint8_t, SpiceKbdInstance *);
    CALLBACK(SpiceMouseInterface, motion, void, SpiceMouseInstance *, int, int, int, uint32_t);
    CALLBACK(SpiceMouseInterface, buttons, void, SpiceMouseInstance *, uint32_t);
    CALLBACK(SpiceTabletInterface, set_logical_size, void, SpiceTabletInstance *, int, int);
    CALLBACK(SpiceTabletInterface, position, void, SpiceTabletInstance *, int, int, uint32_t);
    CALLBACK(SpiceTabletInterface, wheel, void, SpiceTabletInstance *, int, uint32_t);
    CALLBACK(SpiceTabletInterface, buttons, void, SpiceTabletInstance *, uint32_t);
    CALLBACK(QXLInterface, attached_worker, void, QXLInstance *);
    CALLBACK(QXLInterface, attache_worker, void, QXLInstance *, QXLWorker *);
    CALLBACK(QXLInterface, set_compression_level, void, QXLInstance *, int);
    CALLBACK(QXLInterface, set_mm_time, void, QXLInstance *, uint32_t);
    CALLBACK(QXLInterface, get_init_info, void, QXLInstance *, QXLDevInitInfo *);
    CALLBACK(QXLInterface, get_command, int, QXLInstance *, QXLCommandExt *);
    CALLBACK(QXLInterface, req_cmd_notification, int, QXLInstance *);
    CALLBACK(QXLInterface, release_resource, void, QXLInstance *, QXLReleaseInfoExt);
    CALLBACK(QXLInterface, get_cursor_command, int, QXLInstance *, QXLCommandExt *);
    CALLBACK(QXLInterface, req_cursor_notification, int, QXLInstance *);
    CALLBACK(QXLInterface, notify_update, void, QXLInstance *, uint32_t);
    CALLBACK(QXLInterface, flush_resources, int, QXLInstance *);
    CALLBACK(QXLInterface, async_complete, void, QXLInstance *, uint64_t);
    CALLBACK(QXLInterface, update_area_complete, void,
             QXLInstance *, uint32_t, QXLRect *, uint32_t);
    CALLBACK(QXLInterface, set_client_capabilities, void, QXLInstance *, uint8_t, uint8_t *);
    CALLBACK(QXLInterface, client_monitors_config, int, QXLInstance *, VDAgentMonitorsConfig *);
}

static void functions(void)
{
    FUNCTION(spice_get_current_compat_version, spice_compat_version_t, void);
    FUNCTION(spice_server_new, SpiceServer *, void);
    FUNCTION(spice_server_init, int, SpiceServer *, SpiceCoreInterface *);
    FUNCTION(spice_server_destroy, void, SpiceServer *);
    FUNCTION(spice_server_set_compat_version, int, SpiceServer *, spice_compat_version_t);
    FUNCTION(spice_server_set_port, int, SpiceServer *, int);
    FUNCTION(spice_server_set_addr, void, SpiceServer *, const char *, int);
    FUNCTION(spice_server_set_listen_socket_fd, int, SpiceServer *, int);
    FUNCTION(spice_server_set_exit_on_disconnect, int, SpiceServer *, int);
    FUNCTION(spice_server_set_noauth, int, SpiceServer *);
    FUNCTION(spice_server_set_sasl, int, SpiceServer *, int);
    FUNCTION(spice_server_set_sasl_appname, int, SpiceServer *, const char *);
    FUNCTION(spice_server_set_ticket, int, SpiceServer *, const char *, int, int, int);
    FUNCTION(spice_server_set_tls, int,
             SpiceServer *, int, const char *, const char *, const char *,
             const char *, const char *, const char *);
    FUNCTION(spice_server_add_client, int, SpiceServer *, int, int);
    FUNCTION(spice_server_add_ssl_client, int, SpiceServer *, int, int);
    FUNCTION(spice_server_add_interface, int, SpiceServer *, SpiceBaseInstance *);
    FUNCTION(spice_server_remove_interface, int, SpiceBaseInstance *);
    FUNCTION(spice_server_set_image_compression, int, SpiceServer *, SpiceImageCompression);
    FUNCTION(spice_server_get_image_compression, SpiceImageCompression, SpiceServer *);
    FUNCTION(spice_server_set_jpeg_compression, int, SpiceServer *, spice_wan_compression_t);
    FUNCTION(spice_server_set_zlib_glz_compression, int, SpiceServer *, spice_wan_compression_t);
    FUNCTION(spice_server_set_channel_security, int, SpiceServer *, const char *, int);
    FUNCTION(spice_server_add_renderer, int, SpiceServer *, const char *);
    FUNCTION(spice_server_set_streaming_video, int, SpiceServer *, int);
    FUNCTION(spice_server_set_video_codecs, int, SpiceServer *, const char *);
    FUNCTION(spice_server_get_video_codecs, const char *, SpiceServer *);
    FUNCTION(spice_server_free_video_codecs, void, SpiceServer *, const char *);
    FUNCTION(spice_server_set_playback_compression, int, SpiceServer *, int);
    FUNCTION(spice_server_set_agent_mouse, int, SpiceServer *, int);
    FUNCTION(spice_server_set_agent_copypaste, int, SpiceServer *, int);
    FUNCTION(spice_server_set_agent_file_xfer, int, SpiceServer *, int);
    FUNCTION(spice_server_get_sock_info, int, SpiceServer *, struct sockaddr *, socklen_t *);
    FUNCTION(spice_server_get_peer_info, int, SpiceServer *, struct sockaddr *, socklen_t *);
    FUNCTION(spice_server_is_server_mouse, int, SpiceServer *);
    FUNCTION(spice_server_set_name, void, SpiceServer *, const char *);
    FUNCTION(spice_server_set_uuid, void, SpiceServer *, const uint8_t *);
    FUNCTION(spice_server_vm_start, void, SpiceServer *);
    FUNCTION(spice_server_vm_stop, void, SpiceServer *);
    FUNCTION(spice_server_get_num_clients, int, SpiceServer *);
    FUNCTION(spice_qxl_wakeup, void, QXLInstance *);
    FUNCTION(spice_qxl_oom, void, QXLInstance *);
    FUNCTION(spice_qxl_start, void, QXLInstance *);
    FUNCTION(spice_qxl_stop, void, QXLInstance *);
    FUNCTION(spice_qxl_update_area, void,
             QXLInstance *, uint32_t, struct QXLRect *, struct QXLRect *, uint32_t, uint32_t);
    FUNCTION(spice_qxl_add_memslot, void, QXLInstance *, QXLDevMemSlot *);
    FUNCTION(spice_qxl_del_memslot, void, QXLInstance *, uint32_t, uint32_t);
    FUNCTION(spice_qxl_reset_memslots, void, QXLInstance *);
    FUNCTION(spice_qxl_destroy_surfaces, void, QXLInstance *);
    FUNCTION(spice_qxl_destroy_primary_surface, void, QXLInstance *, uint32_t);
    FUNCTION(spice_qxl_create_primary_surface, void,
             QXLInstance *, uint32_t, QXLDevSurfaceCreate *);
    FUNCTION(spice_qxl_reset_image_cache, void, QXLInstance *);
    FUNCTION(spice_qxl_reset_cursor, void, QXLInstance *);
    FUNCTION(spice_qxl_destroy_surface_wait, void, QXLInstance *, uint32_t);
    FUNCTION(spice_qxl_loadvm_commands, void, QXLInstance *, struct QXLCommandExt *, uint32_t);
    FUNCTION(spice_qxl_update_area_async, void,
             QXLInstance *, uint32_t, QXLRect *, uint32_t, uint64_t);
    FUNCTION(spice_qxl_add_memslot_async, void, QXLInstance *, QXLDevMemSlot *, uint64_t);
    FUNCTION(spice_qxl_destroy_surfaces_async, void, QXLInstance *, uint64_t);
    FUNCTION(spice_qxl_destroy_primary_surface_async, void, QXLInstance *, uint32_t, uint64_t);
    FUNCTION(spice_qxl_create_primary_surface_async, void,
             QXLInstance *, uint32_t, QXLDevSurfaceCreate *, uint64_t);
    FUNCTION(spice_qxl_destroy_surface_async, void, QXLInstance *, uint32_t, uint64_t);
    FUNCTION(spice_qxl_flush_surfaces_async, void, QXLInstance *, uint64_t);
    FUNCTION(spice_qxl_monitors_config_async, void, QXLInstance *, QXLPHYSICAL, int, uint64_t);
    FUNCTION(spice_qxl_driver_unload, void, QXLInstance *);
    FUNCTION(spice_qxl_set_max_monitors, void, QXLInstance *, unsigned int);
    FUNCTION(spice_qxl_gl_scanout, void,
             QXLInstance *, int, uint32_t, uint32_t, uint32_t, uint32_t, int);
    FUNCTION(spice_qxl_gl_draw_async, void,
             QXLInstance *, uint32_t, uint32_t, uint32_t, uint32_t, uint64_t);
    FUNCTION(spice_qxl_set_device_info, void, QXLInstance *, const char *, uint32_t, uint32_t);
    FUNCTION(spice_server_kbd_leds, int, SpiceKbdInstance *, int);
    FUNCTION(spice_server_playback_start, void, SpicePlaybackInstance *);
    FUNCTION(spice_server_playback_stop, void, SpicePlaybackInstance *);
    FUNCTION(spice_server_playback_get_buffer, void,
             SpicePlaybackInstance *, uint32_t **, uint32_t *);
    FUNCTION(spice_server_playback_put_samples, void, SpicePlaybackInstance *, uint32_t *);
    FUNCTION(spice_server_playback_set_volume, void, SpicePlaybackInstance *, uint8_t, uint16_t *);
    FUNCTION(spice_server_playback_set_mute, void, SpicePlaybackInstance *, uint8_t);
    FUNCTION(spice_server_record_start, void, SpiceRecordInstance *);
    FUNCTION(spice_server_record_stop, void, SpiceRecordInstance *);
    FUNCTION(spice_server_record_get_samples, uint32_t,
             SpiceRecordInstance *, uint32_t *, uint32_t);
    FUNCTION(spice_server_record_set_volume, void, SpiceRecordInstance *, uint8_t, uint16_t *);
    FUNCTION(spice_server_record_set_mute, void, SpiceRecordInstance *, uint8_t);
    FUNCTION(spice_server_get_best_playback_rate, uint32_t, SpicePlaybackInstance *);
    FUNCTION(spice_server_set_playback_rate, void, SpicePlaybackInstance *, uint32_t);
    FUNCTION(spice_server_get_best_record_rate, uint32_t, SpiceRecordInstance *);
    FUNCTION(spice_server_set_record_rate, void, SpiceRecordInstance *, uint32_t);
    FUNCTION(spice_server_char_device_wakeup, void, SpiceCharDeviceInstance *);
    FUNCTION(spice_server_port_event, void, SpiceCharDeviceInstance *, uint8_t);
    FUNCTION(spice_server_char_device_recognized_subtypes, const char **, void);
    FUNCTION(spice_server_migrate_info, int, SpiceServer *, const char *, int, int, const char *);
    FUNCTION(spice_server_migrate_switch, int, SpiceServer *);
    FUNCTION(spice_server_migrate_connect, int,
             SpiceServer *, const char *, int, int, const char *);
    FUNCTION(spice_server_migrate_start, int, SpiceServer *);
    FUNCTION(spice_server_migrate_end, int, SpiceServer *, int);
    FUNCTION(spice_server_set_seamless_migration, void, SpiceServer *, int);
    FUNCTION(spice_replay_next_cmd, QXLCommandExt *, SpiceReplay *, QXLInstance *);
    FUNCTION(spice_replay_free_cmd, void, SpiceReplay *, QXLCommandExt *);
    FUNCTION(spice_replay_free, void, SpiceReplay *);
    FUNCTION(spice_replay_new, SpiceReplay *, FILE *, int);
}

int main(void)
{
    if (!qxl_by_name.attached_worker) {
        return 1;
    }
    structures();
    values();
    callbacks();
    functions();
#ifdef SPICE_QXL_HAS_GL_SCANOUT2
    /* Declared by 0.16.0; not printed, so that the output stays comparable with 0.15.1. */
    _Static_assert(__builtin_types_compatible_p(
                       __typeof__(&spice_qxl_gl_scanout2),
                       void (*)(QXLInstance *, const int *, uint32_t, uint32_t, const uint32_t *,
                                const uint32_t *, uint32_t, uint32_t, uint64_t, int)),
                   "spice_qxl_gl_scanout2");
#endif
    return 0;
}
