/* The matrix of drawing cases: what is shared between the files of this folder.
 *
 * A case is one drawing command on one tile of known random pixels. All of it follows from (seed, kind, number), so a
 * line of the output can be made again alone. Nothing here depends on the library that is tested.
 */
#ifndef CAPI_MATRIX_H
#define CAPI_MATRIX_H

#include "../host/host.h"

enum { TILE_WIDTH = 64, TILE_HEIGHT = 48 };

/* What is drawn on. */
struct matrix_kind {
    const char *name;
    uint32_t format; /* SPICE_SURFACE_FMT_* */
    bool primary;
};

enum { MATRIX_KINDS = 10 };
extern const struct matrix_kind matrix_kinds[MATRIX_KINDS];

/* Surfaces that are only read, large ones for sources and small ones for patterns. Each case has its own: spice-server
 * leaves the transform and the filter of a composition on the surface that it read, for whatever reads it next.
 */
enum {
    SOURCE_FIRST = 900,
    SOURCE_FORMATS = 6,
    SOURCE_WIDTH = 72,
    SOURCE_HEIGHT = 56,
    PATTERN_WIDTH = 11,
    PATTERN_HEIGHT = 7,
    CASE_FIRST = 1, /* surfaces that cases draw on */
    CASE_SOURCES = 3,
};
extern const uint32_t matrix_formats[SOURCE_FORMATS];

/* Why a case is not run: what spice-server does with it. */
enum matrix_rule {
    RULE_ROP3_CODE,
    RULE_ROP3_SMALL,
    RULE_ROP3_PATTERN,
    RULE_TEXT_MODE,
    RULE_TEXT_A8,
    RULE_SHORT_PALETTE,
    RULE_LOW_BITS_FIRST,
    RULE_SURFACE_DEPTH,
    RULE_PALETTE,
    RULE_SELF_FORMAT,
    RULE_ROP3_ALPHA,
    RULE_ONE_BIT,
    RULE_OUTSIDE,
    RULE_DASHES,
    RULE_STROKE_SURFACE,
    RULE_OPAQUE_SURFACE,
    RULE_OPAQUE_DEST,
    RULES,
};
struct matrix_rule_text {
    const char *name, *why;
};
extern const struct matrix_rule_text matrix_rules[RULES];

enum { MATRIX_TEXT = 512 };

struct matrix_image;

/* A surface that a case reads. */
struct matrix_source {
    uint32_t id, format;
    bool small;
};

struct matrix_case {
    const struct qxl_host *device;
    struct rng rng;
    const struct matrix_kind *kind;
    uint32_t surface;   /* that is drawn on */
    int x, y;           /* corner of the tile on it */
    int width, height;  /* of the tile */
    struct qxl_item *item;
    unsigned reads;     /* entries of surfaces_dest in use */
    uint32_t source_first; /* the ids of `sources` */
    struct matrix_source sources[CASE_SOURCES];
    unsigned num_sources;
    char text[MATRIX_TEXT];
    bool glyphs;        /* the next brush is painted through glyphs */
    unsigned long broken; /* bits of the rules that keep it from being run */
};

/* ---- cases.c ---- */

/* Slots of one round: each class has at least one. */
enum { MATRIX_SLOTS = 24 };
const char *matrix_class_name(unsigned slot);
/* Makes the command of a case; device, kind, surface, corner and size are set. */
void matrix_case_make(struct matrix_case *c, unsigned slot);

int matrix_range(struct matrix_case *c, int low, int high);
bool matrix_one_in(struct matrix_case *c, int n);
void matrix_say(struct matrix_case *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void matrix_break(struct matrix_case *c, enum matrix_rule rule);
/* A descriptor of any operations and flags. */
uint16_t matrix_rop(struct matrix_case *c);
/* A box inside the tile of at most that size. */
QXLRect matrix_box(struct matrix_case *c, int most_width, int most_height);
QXLDrawable *matrix_begin(struct matrix_case *c, uint8_t type, QXLRect bbox);
/* A colour, sometimes an extreme one. */
uint32_t matrix_color(struct matrix_case *c);
/* The part of an image that a command copies; the box is shrunk to the image unless that is scaled. `mode` NULL: only
 * the nearest pixel is taken. */
QXLRect matrix_place(struct matrix_case *c, QXLDrawable *draw, const struct matrix_image *image, uint8_t *mode);
/* Surfaces of another depth are no source of an operation that copies pixels as they are. */
void matrix_need_depth(struct matrix_case *c, const struct matrix_image *image);
bool matrix_is_alpha(const struct matrix_kind *kind); /* has no colours */
int matrix_depth(uint32_t format);

/* ---- images.c ---- */

struct matrix_image {
    QXLPHYSICAL address; /* 0: the destination itself */
    int width, height;
    bool is_surface, is_self;
    bool has_palette, has_alpha_only;
    bool other_depth; /* a surface that is no copy of the destination's pixels */
    uint32_t surface_format;
    uint32_t one_pixel; /* some colour of it, x8r8g8b8 */
};

/* What an image may be. */
enum matrix_role { ROLE_SOURCE, ROLE_PATTERN, ROLE_COMPOSITE };
/* An image of at least this size. `self`: the command may take its own destination instead. */
struct matrix_image matrix_image(struct matrix_case *c, enum matrix_role role, int width, int height, bool self);
void matrix_mask(struct matrix_case *c, QXLQMask *mask, QXLRect bbox);
void matrix_brush(struct matrix_case *c, QXLBrush *brush);
/* Loads the QUIC streams; false if there are none. */
bool matrix_load_quic(const char *folder);
/* Fills memory with pixels that are partly flat and partly noise. */
void matrix_noise(struct rng *rng, uint8_t *bytes, size_t size);

/* ---- blends.c, paths.c ---- */

void matrix_rop3(struct matrix_case *c);
void matrix_transparent(struct matrix_case *c);
void matrix_alpha_blend(struct matrix_case *c);
void matrix_composite(struct matrix_case *c);
void matrix_stroke(struct matrix_case *c);
void matrix_text(struct matrix_case *c);

/* ---- surfaces.c ---- */

/* A surface of any format over random pixels that it keeps; `bottom_up` stores the last row first. */
struct qxl_item *matrix_surface(struct qxl_host *host, struct rng *rng, uint32_t id, uint32_t format, int width,
                                int height, bool bottom_up);
/* Makes the surfaces that a case reads, and ends them. */
void matrix_make_sources(struct qxl_host *host, const struct matrix_case *c);
void matrix_end_sources(struct qxl_host *host, const struct matrix_case *c);
void matrix_primary(struct qxl_host *host, struct rng *rng, uint32_t format, int width, int height, bool bottom_up);
/* Checksums of a tile: its colours, and all bytes including unused bits; `padding` adds the bytes between rows. */
void matrix_checksum(const struct qxl_host *host, uint32_t id, uint32_t format, QXLRect tile, uint32_t *colors,
                     uint32_t *bytes);
/* Prints pixels in hexadecimal, a row per line. */
void matrix_print(const struct qxl_host *host, uint32_t id, uint32_t format, QXLRect tile);
/* Brings a tile's surface to the screen: its colours, and beside them what its alpha or unused byte does. */
void matrix_bring(struct qxl_host *host, uint32_t id, uint32_t format, int x, int y);
/* Writes the primary as a picture. */
int matrix_write_ppm(const struct qxl_host *host, uint32_t format, const char *path);

#endif
