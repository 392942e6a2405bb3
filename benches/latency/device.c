/* Two kinds of devices: one whose ring a thread of the host fills, and one that has photos without end. */
#include "latency.h"

#include "../lean_device.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct device *of(QXLInstance *qxl)
{
    return (struct device *)(void *)qxl;
}

static void base_of(QXLDrawable *drawable, uint8_t type, uint8_t effect, QXLRect box)
{
    QXLReleaseInfo info = drawable->release_info;

    memset(drawable, 0, sizeof(*drawable));
    drawable->release_info = info;
    drawable->type = type;
    drawable->effect = effect;
    drawable->bbox = box;
    for (int i = 0; i < 3; i++)
        drawable->surfaces_dest[i] = -1;
}

static struct record *free_record(struct device *device)
{
    struct record *record;
    unsigned tries = 0;

    /* spice-server keeps what is still on the screen: those are passed over. */
    do {
        if (++tries > RECORDS) {
            usleep(100);
            tries = 0;
        }
        record = &device->records[device->next++ % RECORDS];
    } while (atomic_load_explicit(&record->busy, memory_order_acquire));
    atomic_store_explicit(&record->busy, true, memory_order_relaxed);
    return record;
}

static void describe(QXLImage *image, uint32_t id, unsigned width, unsigned height, const void *pixels)
{
    QXL_SET_IMAGE_ID(image, QXL_IMAGE_GROUP_DRIVER_DONT_CACHE, id);
    image->descriptor.type = SPICE_IMAGE_TYPE_BITMAP;
    image->descriptor.width = image->bitmap.x = width;
    image->descriptor.height = image->bitmap.y = height;
    image->bitmap.format = SPICE_BITMAP_FMT_32BIT;
    image->bitmap.flags = QXL_BITMAP_DIRECT | QXL_BITMAP_TOP_DOWN;
    image->bitmap.stride = width * 4;
    image->bitmap.data = qxl_address(pixels);
}

static void put_image(QXLDrawable *drawable, const QXLImage *image, QXLRect box)
{
    base_of(drawable, QXL_DRAW_COPY, QXL_EFFECT_OPAQUE, box);
    drawable->u.copy.src_bitmap = qxl_address(image);
    drawable->u.copy.src_area = qxl_rect(0, 0, box.right - box.left, box.bottom - box.top);
    drawable->u.copy.rop_descriptor = SPICE_ROPD_OP_PUT;
}

bool device_has_room(struct device *device)
{
    return atomic_load_explicit(&device->head, memory_order_relaxed) - atomic_load(&device->tail) < RING;
}

/* As a driver does: item, index, and then the question whether somebody sleeps. */
static void push(struct device *device, QXLDrawable *drawable)
{
    unsigned head = atomic_load_explicit(&device->head, memory_order_relaxed);

    while (!device_has_room(device))
        usleep(20);
    device->ring[head % RING] = drawable;
    atomic_store(&device->head, head + 1);
}

void device_copy(struct device *device, unsigned number)
{
    struct record *record = free_record(device);
    int x = (int)(number % CELLS_ACROSS) * CELL_WIDTH, y = CELL_TOP + (int)(number / CELLS_ACROSS) * CELL_HEIGHT;

    for (unsigned i = 0; i < CELL_WIDTH * CELL_HEIGHT; i++)
        record->pixels[i] = (number * 0x9e3779b1u >> i % 32 & 1) != 0 ? 0x202020 : 0xf8f8f8; /* two colours, as a letter */
    describe(&record->image, number + 1, CELL_WIDTH, CELL_HEIGHT, record->pixels);
    put_image(&record->drawable, &record->image, qxl_rect(x, y, x + CELL_WIDTH, y + CELL_HEIGHT));
    push(device, &record->drawable);
}

void device_scroll(struct device *device)
{
    enum { LINE = 16 };
    QXLDrawable *drawable = &free_record(device)->drawable;
    QXLRect box = qxl_rect(100, 100, 740, 468);

    base_of(drawable, QXL_COPY_BITS, QXL_EFFECT_BLEND, box);
    drawable->u.copy_bits.src_pos.x = box.left;
    drawable->u.copy_bits.src_pos.y = box.top + LINE;
    drawable->surfaces_dest[0] = 0;
    drawable->surfaces_rects[0] = qxl_rect(box.left, box.top + LINE, box.right, box.bottom + LINE);
    push(device, drawable);
}

bool device_asked(struct device *device)
{
    return atomic_exchange(&device->notify, false);
}

/* The next photo: the same eight by turns, each time with another number. */
static QXLDrawable *photo(struct device *device)
{
    unsigned turn = device->next;
    struct record *record = &device->records[turn % PHOTOS];
    QXLDrawable *drawable = &record->drawable;
    QXLImage *image = device->images[turn % PHOTOS];

    if (atomic_load_explicit(&record->busy, memory_order_acquire))
        return NULL;
    device->next++;
    atomic_store_explicit(&record->busy, true, memory_order_relaxed);
    describe(image, turn + 1, WIDTH, HEIGHT, device->pixels[turn % PHOTOS]);
    put_image(drawable, image, qxl_rect(0, 0, WIDTH, HEIGHT));
    return drawable;
}

static int get_command(QXLInstance *qxl, struct QXLCommandExt *ext)
{
    struct device *device = of(qxl);
    QXLDrawable *drawable = NULL;
    unsigned tail = atomic_load_explicit(&device->tail, memory_order_relaxed);

    if (atomic_load_explicit(&device->endless, memory_order_acquire)) {
        drawable = photo(device);
    } else if (tail != atomic_load(&device->head)) {
        drawable = device->ring[tail % RING];
        atomic_store(&device->tail, tail + 1);
    }
    if (!drawable)
        return 0;
    atomic_fetch_add_explicit(&device->taken, 1, memory_order_relaxed);
    *ext = (struct QXLCommandExt){ .cmd.data = qxl_address(drawable), .cmd.type = QXL_CMD_DRAW };
    return 1;
}

static int req_cmd_notification(QXLInstance *qxl)
{
    struct device *device = of(qxl);

    if (atomic_load(&device->endless))
        return 0;
    atomic_store(&device->notify, true);
    return atomic_load(&device->head) == atomic_load(&device->tail);
}

static void release_resource(QXLInstance *qxl, struct QXLReleaseInfoExt release)
{
    atomic_store_explicit(&of(qxl)->records[release.info->id % RECORDS].busy, false, memory_order_release);
}

/* Smooth hills with some noise, so that it is taken for a photo. */
static void paint_photo(uint8_t *pixels, struct rng *rng, unsigned seed)
{
    for (unsigned y = 0; y < HEIGHT; y++) {
        for (unsigned x = 0; x < WIDTH; x++) {
            unsigned hill = (x * x / 900 + y * y / 500 + seed * 40) & 511, noise = rng_next(rng);
            unsigned height = hill < 256 ? hill : 511 - hill;

            for (unsigned c = 0; c < 3; c++)
                pixels[(y * WIDTH + x) * 4 + c] = (uint8_t)(height * (c + 2) / 5 + (noise >> 8 * c) % 8);
        }
    }
}

static void make_photos(struct device *device)
{
    struct rng rng;

    rng_seed(&rng, 7);
    for (unsigned i = 0; i < PHOTOS; i++) {
        QXLImage *image = calloc(1, sizeof(*image));
        uint8_t *pixels = calloc(WIDTH * HEIGHT, 4);

        if (!image || !pixels)
            exit(70);
        paint_photo(pixels, &rng, i);
        device->images[i] = image;
        device->pixels[i] = pixels;
    }
}

static QXLInterface interface;

struct device *device_new(SpiceServer *server, int id, bool photos)
{
    struct device *device = aligned_alloc(64, sizeof(*device));
    QXLDevMemSlot memslot = { .virt_end = ~(uintptr_t)0 };
    QXLDevSurfaceCreate create = {
        .width = WIDTH, .height = HEIGHT, .stride = WIDTH * 4, .format = SPICE_SURFACE_FMT_32_xRGB, .mouse_mode = 1,
        .type = QXL_SURF_TYPE_PRIMARY,
    };

    if (!device)
        exit(70);
    memset(device, 0, sizeof(*device));
    for (unsigned i = 0; i < RECORDS; i++)
        device->records[i].drawable.release_info.id = i;
    device->screen = calloc(WIDTH * HEIGHT, 4);
    create.mem = qxl_address(device->screen);
    if (photos)
        make_photos(device);
    interface = lean_interface("device for latencies");
    interface.get_command = get_command;
    interface.req_cmd_notification = req_cmd_notification;
    interface.release_resource = release_resource;
    device->qxl.base.sif = &interface.base;
    device->qxl.id = id;
    if (spice_server_add_interface(server, &device->qxl.base) != 0) {
        fputs("host: spice_server_add_interface failed\n", stderr);
        exit(1);
    }
    spice_qxl_add_memslot(&device->qxl, &memslot);
    spice_qxl_create_primary_surface(&device->qxl, 0, &create);
    return device;
}
