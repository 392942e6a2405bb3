/* Prints random images scaled by pixman the way a client's canvas calls it: one call per command, matrix of
 * 16.16 factors with the corner of the source area as translation, no repeat, operator SRC.
 *
 *   cc pixman-scaling.c $(pkg-config --cflags --libs pixman-1) && ./a.out 120 5 1
 *
 * Arguments: number of cases, largest source size, seed. One case per line; see pixman-scaling.txt. */
#include <pixman.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t state;

static uint32_t next(void) /* SplitMix64 */
{
    uint64_t z = state += 0x9e3779b97f4a7c15ull;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (z ^ (z >> 31)) >> 32;
}

static int within(int low, int high)
{
    return low + (int)(next() % (uint32_t)(high - low + 1));
}

static void print_rows(const uint8_t *rows, int stride, int bytes, int height)
{
    for (int y = 0; y < height; y++)
        for (int x = 0; x < bytes; x++)
            printf("%02x", rows[y * stride + x]);
}

int main(int argc, char **argv)
{
    static const struct {
        pixman_format_code_t pixman;
        int number, bytes;
    } formats[] = { { PIXMAN_x8r8g8b8, 32, 4 },
                    { PIXMAN_a8r8g8b8, 96, 4 },
                    { PIXMAN_x1r5g5b5, 16, 2 },
                    { PIXMAN_r5g6b5, 80, 2 },
                    { PIXMAN_a8, 8, 1 } };

    if (argc != 4)
        return 1;
    int cases = atoi(argv[1]), largest = atoi(argv[2]);
    state = (uint64_t)atoi(argv[3]);
    for (int i = 0; i < cases; i++) {
        int s = next() % 5, d = next() % 5;
        if (i % 2)
            d = s;
        int nearest = next() % 2;
        int sw = within(1, largest), sh = within(1, largest);
        int dw = within(1, 2 * largest), dh = within(1, 2 * largest);
        int left = within(0, sw - 1), top = within(0, sh - 1);
        int aw = within(1, sw - left), ah = within(1, sh - top);
        if (i % 5 == 0) { /* the area reaches beyond the image */
            left -= 2;
            top -= 1;
            aw += 3;
            ah += 2;
        }
        if (aw == dw && ah == dh)
            dw++;
        int s_stride = (sw * formats[s].bytes + 3) & ~3, d_stride = (dw * formats[d].bytes + 3) & ~3;
        uint8_t *source = calloc(s_stride, sh), *dest = calloc(d_stride, dh);
        for (int y = 0; y < sh; y++)
            for (int x = 0; x < sw * formats[s].bytes; x++)
                source[y * s_stride + x] = (uint8_t)next();
        pixman_image_t *si =
            pixman_image_create_bits(formats[s].pixman, sw, sh, (uint32_t *)source, s_stride);
        pixman_image_t *di =
            pixman_image_create_bits(formats[d].pixman, dw, dh, (uint32_t *)dest, d_stride);
        pixman_transform_t matrix;
        pixman_transform_init_scale(&matrix, (pixman_fixed_t)((int64_t)aw * 65536 / dw),
                                    (pixman_fixed_t)((int64_t)ah * 65536 / dh));
        matrix.matrix[0][2] = left * 65536;
        matrix.matrix[1][2] = top * 65536;
        pixman_image_set_transform(si, &matrix);
        pixman_image_set_filter(si, nearest ? PIXMAN_FILTER_NEAREST : PIXMAN_FILTER_GOOD, NULL, 0);
        pixman_image_composite32(PIXMAN_OP_SRC, si, NULL, di, 0, 0, 0, 0, 0, 0, dw, dh);
        printf("%d %d %s %d %d %d %d %d %d %d %d ", formats[s].number, formats[d].number,
               nearest ? "nearest" : "interpolate", sw, sh, left, top, aw, ah, dw, dh);
        print_rows(source, s_stride, sw * formats[s].bytes, sh);
        printf(" ");
        print_rows(dest, d_stride, dw * formats[d].bytes, dh);
        printf("\n");
        pixman_image_unref(si);
        pixman_image_unref(di);
        free(source);
        free(dest);
    }
    return 0;
}
