/* Compositions: operators, filters and repeats that pixman has not, transforms that lead nowhere. */
#include "bad.h"

enum { OVER = QXL_OP_OVER, SOURCE_FILTER = 8, MASK_FILTER = 11, SOURCE_REPEAT = 14 };

static const QXLRect in_the_middle = { .left = 10, .top = 10, .right = 90, .bottom = 80 };

/* With mask and transforms to be made bad. */
static struct qxl_item *composite(uint32_t flags, const int32_t *transform, const int32_t *mask_transform)
{
    return qxl_draw_composite(0, in_the_middle, flags, bad_source(), bad_source(), transform, mask_transform);
}

BAD(operator_in_the_gap) { return composite(0x0e, NULL, NULL); }
BAD(operator_behind_the_last) { return composite(0x3f, NULL, NULL); }
BAD(operator_highest) { return composite(0xff, NULL, NULL); }
BAD(source_filter_convolution) { return composite(OVER | 5 << SOURCE_FILTER, NULL, NULL); }
BAD(source_filter_unknown) { return composite(OVER | 7 << SOURCE_FILTER, NULL, NULL); }
BAD(mask_filter_convolution) { return composite(OVER | 5 << MASK_FILTER, NULL, NULL); }
BAD(mask_filter_unknown) { return composite(OVER | 7 << MASK_FILTER, NULL, NULL); }
/* The server's own flags: a mask and transforms that are not there. */
BAD(composite_flags_claim_what_is_not) {
    const struct qxl_source none = { 0 };

    return qxl_draw_composite(0, in_the_middle, OVER | 7u << 19, bad_source(), none, NULL, NULL);
}
BAD(composite_flags_all) { return composite(~0u << 14 | OVER, NULL, NULL); }

static const int32_t zeros[6] = { 0 };
static const int32_t most[6] = { INT_MAX, INT_MAX, INT_MAX, INT_MAX, INT_MAX, INT_MAX };
static const int32_t least[6] = { INT_MIN, INT_MIN, INT_MIN, INT_MIN, INT_MIN, INT_MIN };
static const int32_t far_away[6] = { 1 << 16, 0, INT_MAX, 0, 1 << 16, INT_MIN };
static const int32_t one_line[6] = { 1 << 16, 1 << 16, 0, 1 << 16, 1 << 16, 0 };

BAD(transform_of_zeros) { return composite(OVER, zeros, NULL); }
BAD(transform_overflows) { return composite(OVER, most, NULL); }
BAD(transform_underflows) { return composite(OVER, least, NULL); }
BAD(transform_leads_far_away) { return composite(OVER | 1 << SOURCE_REPEAT, far_away, NULL); }
BAD(transform_singular) { return composite(OVER | 3 << SOURCE_REPEAT, one_line, NULL); }
BAD(mask_transform_of_zeros) { return composite(OVER, NULL, zeros); }
BAD(mask_transform_overflows) { return composite(OVER | 2 << SOURCE_FILTER, most, most); }

static QXLComposite *part(struct qxl_item *item)
{
    return &bad_drawable(item)->u.composite;
}

BAD(transform_unmapped)
{
    struct qxl_item *item = composite(OVER, NULL, NULL);

    part(item)->src_transform = UNMAPPED;
    return item;
}

BAD(transform_cut_off)
{
    struct qxl_item *item = composite(OVER, NULL, NULL);

    part(item)->src_transform = bad_arena_end(sizeof(QXLTransform) - 1);
    return item;
}

BAD(mask_transform_unmapped)
{
    struct qxl_item *item = composite(OVER, NULL, NULL);

    part(item)->mask_transform = UNMAPPED;
    return item;
}

BAD(mask_transform_without_mask)
{
    struct qxl_item *item = composite(OVER, NULL, zeros);

    part(item)->mask = 0;
    return item;
}

BAD(composite_without_image)
{
    struct qxl_item *item = composite(OVER, NULL, NULL);

    part(item)->src = 0;
    return item;
}

BAD(composite_of_itself_outside)
{
    struct qxl_item *item = composite_without_image();

    bad_drawable(item)->self_bitmap = 1;
    bad_drawable(item)->self_bitmap_area = qxl_rect(BAD_WIDTH, BAD_HEIGHT, 2 * BAD_WIDTH, 2 * BAD_HEIGHT);
    return item;
}

BAD(composite_image_unmapped)
{
    struct qxl_item *item = composite(OVER, NULL, NULL);

    part(item)->src = UNMAPPED;
    return item;
}

BAD(composite_mask_unmapped)
{
    struct qxl_item *item = composite(OVER, NULL, NULL);

    part(item)->mask = UNMAPPED;
    return item;
}

BAD(composite_mask_without_palette)
{
    struct qxl_item *item = composite(OVER, NULL, NULL);
    QXLImage *image = (QXLImage *)(uintptr_t)part(item)->mask;

    image->bitmap.format = SPICE_BITMAP_FMT_8BIT;
    image->bitmap.stride = BAD_NOISE;
    return item;
}

BAD(composite_mask_is_missing_surface)
{
    struct qxl_item *item = composite(OVER, NULL, NULL);
    QXLImage *image = (QXLImage *)(uintptr_t)part(item)->mask;

    image->descriptor.type = SPICE_IMAGE_TYPE_SURFACE;
    image->surface_image.surface_id = 300;
    bad_drawable(item)->surfaces_dest[1] = 300;
    return item;
}

BAD(composite_origins_extreme)
{
    struct qxl_item *item = composite(OVER, NULL, NULL);

    qxl_draw_composite_from(item, SHRT_MIN, SHRT_MAX, SHRT_MAX, SHRT_MIN);
    return item;
}

BAD(composite_source_is_the_destination)
{
    struct qxl_item *item = composite(OVER, NULL, NULL);
    QXLImage *image = (QXLImage *)(uintptr_t)part(item)->src;

    image->descriptor.type = SPICE_IMAGE_TYPE_SURFACE;
    image->surface_image.surface_id = 0;
    bad_drawable(item)->surfaces_dest[0] = 0;
    return item;
}

static const struct bad_kind kinds[] = {
    KIND(operator_in_the_gap), KIND(operator_behind_the_last), KIND(operator_highest),
    KIND(source_filter_convolution), KIND(source_filter_unknown), KIND(mask_filter_convolution),
    KIND(mask_filter_unknown), KIND(composite_flags_claim_what_is_not), KIND(composite_flags_all),
    KIND(transform_of_zeros), KIND(transform_overflows), KIND(transform_underflows),
    KIND(transform_leads_far_away), KIND(transform_singular), KIND(mask_transform_of_zeros),
    KIND(mask_transform_overflows), KIND(transform_unmapped), KIND(transform_cut_off),
    KIND(mask_transform_unmapped), KIND(mask_transform_without_mask), KIND(composite_without_image),
    KIND(composite_of_itself_outside), KIND(composite_image_unmapped), KIND(composite_mask_unmapped),
    KIND(composite_mask_without_palette), KIND(composite_mask_is_missing_surface),
    KIND(composite_origins_extreme), KIND(composite_source_is_the_destination),
};

TABLE(bad_composites, kinds);
