/* Random numbers that are the same everywhere, checksums and PPM files. */
#include "host.h"

#include <stdlib.h>
#include <string.h>

void rng_seed(struct rng *rng, uint64_t seed)
{
    /* Zero is the one state xorshift never leaves. */
    rng->state = seed * 0x9e3779b97f4a7c15u + 0x1234567u;
    if (!rng->state)
        rng->state = 1;
}

uint32_t rng_next(struct rng *rng)
{
    rng->state ^= rng->state >> 12;
    rng->state ^= rng->state << 25;
    rng->state ^= rng->state >> 27;
    return (uint32_t)((rng->state * 0x2545f4914f6cdd1du) >> 32);
}

int rng_range(struct rng *rng, int low, int high)
{
    return low + (int)(rng_next(rng) % (uint32_t)(high - low + 1));
}

static uint32_t pixel_at(const uint8_t *row, int x)
{
    uint32_t pixel;

    memcpy(&pixel, row + (size_t)x * 4, sizeof(pixel));
    return pixel & 0xffffff;
}

uint32_t pixels_checksum(const void *first_row, int width, int height, ptrdiff_t stride)
{
    uint32_t sum = 2166136261u; /* FNV-1a over whole pixels */
    const uint8_t *row = first_row;

    for (int y = 0; y < height; y++, row += stride) {
        for (int x = 0; x < width; x++)
            sum = (sum ^ pixel_at(row, x)) * 16777619u;
    }
    return sum;
}

int pixels_write_ppm(const char *path, const void *first_row, int width, int height, ptrdiff_t stride)
{
    FILE *file = fopen(path, "wb");
    const uint8_t *row = first_row;

    if (!file) {
        perror(path);
        return -1;
    }
    fprintf(file, "P6\n%d %d\n255\n", width, height);
    for (int y = 0; y < height; y++, row += stride) {
        for (int x = 0; x < width; x++) {
            uint32_t pixel = pixel_at(row, x);

            fputc((int)(pixel >> 16), file);
            fputc((int)(pixel >> 8 & 0xff), file);
            fputc((int)(pixel & 0xff), file);
        }
    }
    if (fclose(file)) {
        perror(path);
        return -1;
    }
    return 0;
}
