/* Plays and records on the first sound device without any library:
 *
 *   sound mixer PERCENT                  all volumes to that, all switches on
 *   sound play counter|tone SECONDS      see `sample`; says frames and underruns
 *   sound record SECONDS FILE            raw samples of 16 bits, two channels, 48000 Hz
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <sound/asound.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define RATE 48000
#define PERIOD 4800
#define BUFFER (4 * PERIOD)

static void fail(const char *what)
{
    fprintf(stderr, "sound: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void mask(struct snd_pcm_hw_params *params, int which, unsigned value)
{
    struct snd_mask *m = &params->masks[which - SNDRV_PCM_HW_PARAM_FIRST_MASK];
    memset(m, 0, sizeof *m);
    m->bits[value / 32] = 1u << value % 32;
}

static void interval(struct snd_pcm_hw_params *params, int which, unsigned value)
{
    struct snd_interval *i = &params->intervals[which - SNDRV_PCM_HW_PARAM_FIRST_INTERVAL];
    i->min = i->max = value;
    i->integer = 1;
}

static int open_device(const char *path)
{
    struct snd_pcm_hw_params hw;
    struct snd_pcm_sw_params sw;
    int device = open(path, O_RDWR);
    if (device < 0) fail(path);
    memset(&hw, 0, sizeof hw);
    memset(hw.masks, 0xff, sizeof hw.masks);
    for (unsigned i = 0; i < sizeof hw.intervals / sizeof *hw.intervals; i++) hw.intervals[i].max = UINT_MAX;
    hw.rmask = ~0u;
    mask(&hw, SNDRV_PCM_HW_PARAM_ACCESS, (unsigned)SNDRV_PCM_ACCESS_RW_INTERLEAVED);
    mask(&hw, SNDRV_PCM_HW_PARAM_FORMAT, (unsigned)SNDRV_PCM_FORMAT_S16_LE);
    mask(&hw, SNDRV_PCM_HW_PARAM_SUBFORMAT, (unsigned)SNDRV_PCM_SUBFORMAT_STD);
    interval(&hw, SNDRV_PCM_HW_PARAM_CHANNELS, 2);
    interval(&hw, SNDRV_PCM_HW_PARAM_RATE, RATE);
    interval(&hw, SNDRV_PCM_HW_PARAM_PERIOD_SIZE, PERIOD);
    interval(&hw, SNDRV_PCM_HW_PARAM_BUFFER_SIZE, BUFFER);
    if (ioctl(device, SNDRV_PCM_IOCTL_HW_PARAMS, &hw)) fail("hw params");
    memset(&sw, 0, sizeof sw);
    sw.avail_min = PERIOD;
    sw.period_step = 1;
    sw.start_threshold = BUFFER;
    sw.stop_threshold = BUFFER;
    sw.boundary = BUFFER;
    while (sw.boundary * 2 <= (unsigned long)LONG_MAX - BUFFER) sw.boundary *= 2;
    if (ioctl(device, SNDRV_PCM_IOCTL_SW_PARAMS, &sw)) fail("sw params");
    if (ioctl(device, SNDRV_PCM_IOCTL_PREPARE)) fail("prepare");
    return device;
}

/* counter: a frame's number, 16 bits left, the rest and a mark right, so that every frame says which one it is.
 * tone: 440 Hz left, 1000 Hz right, amplitude 8000. */
static void sample(int counter, uint32_t n, int16_t *frame)
{
    if (counter) {
        frame[0] = (int16_t)n;
        frame[1] = (int16_t)(0x4000 | n >> 16);
    } else {
        frame[0] = (int16_t)lrint(8000 * sin(2 * M_PI * 440 * n / RATE));
        frame[1] = (int16_t)lrint(8000 * sin(2 * M_PI * 1000 * n / RATE));
    }
}

static int play(int counter, double seconds)
{
    static int16_t frames[2 * PERIOD];
    int device = open_device("/dev/snd/pcmC0D0p");
    uint32_t total = lrint(seconds * RATE / PERIOD) * PERIOD, xruns = 0;
    for (uint32_t n = 0; n < total; n += PERIOD) {
        for (uint32_t i = 0; i < PERIOD; i++) sample(counter, n + i, frames + 2 * i);
        struct snd_xferi transfer = {0, frames, PERIOD};
        while (ioctl(device, SNDRV_PCM_IOCTL_WRITEI_FRAMES, &transfer)) {
            if (errno != EPIPE) fail("write");
            xruns++;
            if (ioctl(device, SNDRV_PCM_IOCTL_PREPARE)) fail("prepare");
        }
    }
    if (ioctl(device, SNDRV_PCM_IOCTL_DRAIN) && errno != EPIPE) fail("drain");
    printf("played %u frames, %u underruns\n", total, xruns);
    return 0;
}

static int record(double seconds, const char *path)
{
    static int16_t frames[2 * PERIOD];
    int device = open_device("/dev/snd/pcmC0D0c");
    FILE *out = fopen(path, "wb");
    if (!out) fail(path);
    uint32_t total = lrint(seconds * RATE / PERIOD) * PERIOD, xruns = 0;
    if (ioctl(device, SNDRV_PCM_IOCTL_START)) fail("start");
    for (uint32_t n = 0; n < total; n += PERIOD) {
        struct snd_xferi transfer = {0, frames, PERIOD};
        while (ioctl(device, SNDRV_PCM_IOCTL_READI_FRAMES, &transfer)) {
            if (errno != EPIPE) fail("read");
            xruns++;
            if (ioctl(device, SNDRV_PCM_IOCTL_PREPARE) || ioctl(device, SNDRV_PCM_IOCTL_START)) fail("start again");
        }
        if (fwrite(frames, 4, PERIOD, out) != PERIOD) fail(path);
    }
    if (fclose(out)) fail(path);
    printf("recorded %u frames, %u overruns\n", total, xruns);
    return 0;
}

static int mixer(int percent)
{
    static struct snd_ctl_elem_id ids[128];
    struct snd_ctl_elem_list list = {.space = 128, .pids = ids};
    int device = open("/dev/snd/controlC0", O_RDWR), set = 0;
    if (device < 0 || ioctl(device, SNDRV_CTL_IOCTL_ELEM_LIST, &list)) fail("mixer");
    for (unsigned i = 0; i < list.used; i++) {
        struct snd_ctl_elem_info info = {.id = ids[i]};
        struct snd_ctl_elem_value value = {.id = ids[i]};
        if (ioctl(device, SNDRV_CTL_IOCTL_ELEM_INFO, &info) || !(info.access & SNDRV_CTL_ELEM_ACCESS_WRITE)) continue;
        for (unsigned c = 0; c < info.count && c < 128; c++) {
            if (info.type == SNDRV_CTL_ELEM_TYPE_BOOLEAN) value.value.integer.value[c] = 1;
            else if (info.type == SNDRV_CTL_ELEM_TYPE_INTEGER)
                value.value.integer.value[c] = info.value.integer.min + (info.value.integer.max - info.value.integer.min) * percent / 100;
        }
        if (info.type == SNDRV_CTL_ELEM_TYPE_BOOLEAN || info.type == SNDRV_CTL_ELEM_TYPE_INTEGER)
            if (ioctl(device, SNDRV_CTL_IOCTL_ELEM_WRITE, &value) >= 0) {
                printf("%s\n", (char *)ids[i].name);
                set++;
            }
    }
    return !set;
}

int main(int count, char **arguments)
{
    if (count == 3 && !strcmp(arguments[1], "mixer")) return mixer(atoi(arguments[2]));
    if (count == 4 && !strcmp(arguments[1], "play")) return play(!strcmp(arguments[2], "counter"), atof(arguments[3]));
    if (count == 4 && !strcmp(arguments[1], "record")) return record(atof(arguments[2]), arguments[3]);
    return 2;
}
