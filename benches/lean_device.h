/* What a QXL device answers that has commands and nothing else: one memory slot over all addresses, no cursor, no wish. */
#pragma once

#include "../capi-tests/host/host.h"

#include <string.h>

enum { LEAN_SURFACES = 16 };

static int lean_no_command(QXLInstance *qxl, struct QXLCommandExt *ext)
{
    (void)qxl;
    (void)ext;
    return 0;
}

static int lean_yes(QXLInstance *qxl)
{
    (void)qxl;
    return 1;
}

static void lean_init_info(QXLInstance *qxl, QXLDevInitInfo *info)
{
    (void)qxl;
    *info = (QXLDevInitInfo){
        .num_memslots_groups = 1, .num_memslots = 1, .memslot_id_bits = 1, .memslot_gen_bits = 1, .n_surfaces = LEAN_SURFACES,
        .qxl_ram_size = 64 << 20,
    };
}

static void lean_ignore(QXLInstance *qxl)
{
    (void)qxl;
}

static void lean_ignore_level(QXLInstance *qxl, int level)
{
    (void)qxl;
    (void)level;
}

static void lean_ignore_update(QXLInstance *qxl, uint32_t id)
{
    (void)qxl;
    (void)id;
}

static int lean_flush_resources(QXLInstance *qxl)
{
    (void)qxl;
    return 0;
}

static void lean_ignore_cookie(QXLInstance *qxl, uint64_t cookie)
{
    (void)qxl;
    (void)cookie;
}

static void lean_ignore_capabilities(QXLInstance *qxl, uint8_t present, uint8_t caps[SPICE_CAPABILITIES_SIZE])
{
    (void)qxl;
    (void)present;
    (void)caps;
}

/* The commands are the caller's: get_command, release_resource, and what else it has. */
static inline QXLInterface lean_interface(const char *description)
{
    return (QXLInterface){
        .base.type = SPICE_INTERFACE_QXL,
        .base.description = description,
        .base.major_version = SPICE_INTERFACE_QXL_MAJOR,
        .base.minor_version = SPICE_INTERFACE_QXL_MINOR,
        .attached_worker = lean_ignore,
        .set_compression_level = lean_ignore_level,
        .get_init_info = lean_init_info,
        .req_cmd_notification = lean_yes,
        .get_cursor_command = lean_no_command,
        .req_cursor_notification = lean_yes,
        .notify_update = lean_ignore_update,
        .flush_resources = lean_flush_resources,
        .async_complete = lean_ignore_cookie,
        .set_client_capabilities = lean_ignore_capabilities,
    };
}
