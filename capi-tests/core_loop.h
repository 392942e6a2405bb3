/*
 * The smallest core interface that can drive a server: one-shot timers, and watches on poll().
 * Included once by each test program.
 */

#ifndef CORE_LOOP_H_
#define CORE_LOOP_H_

#include <poll.h>
#include <stdlib.h>
#include <time.h>

#include <spice.h>

struct SpiceTimer {
    SpiceTimerFunc func;
    void *opaque;
    long long due; /* milliseconds, 0 when not armed */
    SpiceTimer *next;
};

struct SpiceWatch {
    int fd;
    int mask;
    SpiceWatchFunc func;
    void *opaque;
    SpiceWatch *next;
};

static SpiceTimer *timers;
static SpiceWatch *watches;

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000 + 1;
}

static SpiceTimer *timer_add(SpiceTimerFunc func, void *opaque)
{
    SpiceTimer *timer = calloc(1, sizeof(*timer));
    timer->func = func;
    timer->opaque = opaque;
    timer->next = timers;
    timers = timer;
    return timer;
}

static void timer_start(SpiceTimer *timer, uint32_t ms)
{
    timer->due = now() + ms;
}

static void timer_cancel(SpiceTimer *timer)
{
    timer->due = 0;
}

static void timer_remove(SpiceTimer *timer)
{
    SpiceTimer **link = &timers;
    while (*link != timer) {
        link = &(*link)->next;
    }
    *link = timer->next;
    free(timer);
}

static SpiceWatch *watch_add(int fd, int mask, SpiceWatchFunc func, void *opaque)
{
    SpiceWatch *watch = calloc(1, sizeof(*watch));
    watch->fd = fd;
    watch->mask = mask;
    watch->func = func;
    watch->opaque = opaque;
    watch->next = watches;
    watches = watch;
    return watch;
}

static void watch_update_mask(SpiceWatch *watch, int mask)
{
    watch->mask = mask;
}

static void watch_remove(SpiceWatch *watch)
{
    SpiceWatch **link = &watches;
    while (*link != watch) {
        link = &(*link)->next;
    }
    *link = watch->next;
    free(watch);
}

static void channel_event(int event, SpiceChannelEventInfo *info)
{
    (void)event;
    (void)info;
}

static int timer_count(void)
{
    int count = 0;
    for (SpiceTimer *timer = timers; timer; timer = timer->next) {
        count++;
    }
    return count;
}

static int watch_count(void)
{
    int count = 0;
    for (SpiceWatch *watch = watches; watch; watch = watch->next) {
        count++;
    }
    return count;
}

static SpiceCoreInterface core = {
    .base = {
        .type = SPICE_INTERFACE_CORE,
        .description = "test host",
        .major_version = SPICE_INTERFACE_CORE_MAJOR,
        .minor_version = SPICE_INTERFACE_CORE_MINOR,
    },
    .timer_add = timer_add,
    .timer_start = timer_start,
    .timer_cancel = timer_cancel,
    .timer_remove = timer_remove,
    .watch_add = watch_add,
    .watch_update_mask = watch_update_mask,
    .watch_remove = watch_remove,
    .channel_event = channel_event,
};

/* Delivers what is due now, at most one event: a callback may change the lists. */
static void turn(void)
{
    for (SpiceTimer *timer = timers; timer; timer = timer->next) {
        if (timer->due && timer->due <= now()) {
            timer->due = 0;
            timer->func(timer->opaque);
            return;
        }
    }
    for (SpiceWatch *watch = watches; watch; watch = watch->next) {
        struct pollfd p = {.fd = watch->fd};
        p.events = (watch->mask & SPICE_WATCH_EVENT_READ ? POLLIN : 0) |
                   (watch->mask & SPICE_WATCH_EVENT_WRITE ? POLLOUT : 0);
        if (p.events && poll(&p, 1, 0) > 0) {
            watch->func(watch->fd,
                        p.revents & POLLOUT ? SPICE_WATCH_EVENT_WRITE : SPICE_WATCH_EVENT_READ,
                        watch->opaque);
            return;
        }
    }
}

#endif
