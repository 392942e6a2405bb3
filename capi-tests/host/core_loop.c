/* SpiceCoreInterface on poll(2): the main loop of the test hosts.
 *
 * The interface has no user pointer, so there is one loop per process, owned by the thread that started it.
 * Objects removed inside a callback are freed only when no round is running, because a round may still hold
 * them; delivery to a removed watch is suppressed.
 */
#include "host.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct SpiceTimer {
    SpiceTimerFunc func;
    void *opaque;
    uint64_t due_ms;
    bool armed;
    bool dead;
    struct SpiceTimer *next;
};

struct SpiceWatch {
    int fd;
    int mask;
    SpiceWatchFunc func;
    void *opaque;
    bool dead;
    struct SpiceWatch *next;
};

static struct {
    pthread_t owner;
    struct SpiceTimer *timers;
    struct SpiceWatch *watches;
    unsigned depth; /* rounds running, callbacks may run the loop again */
    unsigned foreign_calls;
    pthread_mutex_t lock; /* for the records only: a rude server might call from any thread */
    struct channel_record records[CHANNEL_RECORDS];
    unsigned num_records;
    void (*hook)(const struct channel_record *record);
} loop = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void *allocate(size_t size)
{
    void *memory = calloc(1, size);

    if (!memory) {
        fputs("host: out of memory\n", stderr);
        exit(70);
    }
    return memory;
}

static void note_thread(void)
{
    if (!pthread_equal(pthread_self(), loop.owner)) {
        pthread_mutex_lock(&loop.lock);
        loop.foreign_calls++;
        pthread_mutex_unlock(&loop.lock);
    }
}

uint64_t core_loop_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static SpiceTimer *timer_add(SpiceTimerFunc func, void *opaque)
{
    struct SpiceTimer *timer = allocate(sizeof(*timer));

    note_thread();
    timer->func = func;
    timer->opaque = opaque;
    timer->next = loop.timers;
    loop.timers = timer;
    return timer;
}

static void timer_start(SpiceTimer *timer, uint32_t ms)
{
    note_thread();
    timer->due_ms = core_loop_now_ms() + ms;
    timer->armed = true;
}

static void timer_cancel(SpiceTimer *timer)
{
    note_thread();
    timer->armed = false;
}

static void timer_remove(SpiceTimer *timer)
{
    note_thread();
    timer->armed = false;
    timer->dead = true;
}

static SpiceWatch *watch_add(int fd, int mask, SpiceWatchFunc func, void *opaque)
{
    struct SpiceWatch *watch = allocate(sizeof(*watch));

    note_thread();
    watch->fd = fd;
    watch->mask = mask;
    watch->func = func;
    watch->opaque = opaque;
    watch->next = loop.watches;
    loop.watches = watch;
    return watch;
}

static void watch_update_mask(SpiceWatch *watch, int mask)
{
    note_thread();
    watch->mask = mask;
}

static void watch_remove(SpiceWatch *watch)
{
    note_thread();
    watch->dead = true;
}

static void channel_event(int event, SpiceChannelEventInfo *info)
{
    struct channel_record record = {
        .event = event,
        .connection_id = info->connection_id,
        .type = info->type,
        .id = info->id,
        .flags = info->flags,
        .info = info,
    };

    note_thread();
    pthread_mutex_lock(&loop.lock);
    if (loop.num_records < CHANNEL_RECORDS)
        loop.records[loop.num_records] = record;
    loop.num_records++;
    pthread_mutex_unlock(&loop.lock);
    if (loop.hook)
        loop.hook(&record);
}

static SpiceCoreInterface core = {
    .base.type = SPICE_INTERFACE_CORE,
    .base.description = "poll loop",
    .base.major_version = SPICE_INTERFACE_CORE_MAJOR,
    .base.minor_version = SPICE_INTERFACE_CORE_MINOR,
    .timer_add = timer_add,
    .timer_start = timer_start,
    .timer_cancel = timer_cancel,
    .timer_remove = timer_remove,
    .watch_add = watch_add,
    .watch_update_mask = watch_update_mask,
    .watch_remove = watch_remove,
    .channel_event = channel_event,
};

SpiceCoreInterface *core_loop_start(void)
{
    loop.owner = pthread_self();
    if (!getenv("HOST_KEEP_SIGPIPE"))
        signal(SIGPIPE, SIG_IGN);
    return &core;
}

static void free_dead(void)
{
    struct SpiceTimer **timer = &loop.timers;
    struct SpiceWatch **watch = &loop.watches;

    while (*timer) {
        struct SpiceTimer *this = *timer;

        if (this->dead) {
            *timer = this->next;
            free(this);
        } else {
            timer = &this->next;
        }
    }
    while (*watch) {
        struct SpiceWatch *this = *watch;

        if (this->dead) {
            *watch = this->next;
            free(this);
        } else {
            watch = &this->next;
        }
    }
}

/* Milliseconds until the first armed timer, at most `limit`. */
static int time_to_wait(int limit)
{
    uint64_t now = core_loop_now_ms();

    for (struct SpiceTimer *timer = loop.timers; timer; timer = timer->next) {
        if (!timer->armed)
            continue;
        if (timer->due_ms <= now)
            return 0;
        if (timer->due_ms - now < (uint64_t)limit)
            limit = (int)(timer->due_ms - now);
    }
    return limit;
}

static void run_timers(void)
{
    uint64_t now = core_loop_now_ms();

    /* A callback may add timers (at the head, not seen this round) and arm or remove any. */
    for (struct SpiceTimer *timer = loop.timers; timer; timer = timer->next) {
        if (timer->armed && timer->due_ms <= now) {
            timer->armed = false;
            timer->func(timer->opaque);
        }
    }
}

static void run_watches(int timeout_ms)
{
    struct pollfd *fds;
    struct SpiceWatch **watches;
    unsigned count = 0, filled = 0;

    for (struct SpiceWatch *watch = loop.watches; watch; watch = watch->next)
        count += !watch->dead && watch->mask;
    fds = allocate((count + 1) * sizeof(*fds));
    watches = allocate((count + 1) * sizeof(*watches));
    for (struct SpiceWatch *watch = loop.watches; watch; watch = watch->next) {
        if (watch->dead || !watch->mask)
            continue;
        fds[filled].fd = watch->fd;
        fds[filled].events = (short)((watch->mask & SPICE_WATCH_EVENT_READ ? POLLIN : 0) |
                                     (watch->mask & SPICE_WATCH_EVENT_WRITE ? POLLOUT : 0));
        watches[filled++] = watch;
    }
    if (poll(fds, filled, timeout_ms) > 0) {
        for (unsigned i = 0; i < filled; i++) {
            struct SpiceWatch *watch = watches[i];
            short got = fds[i].revents;

            if (got & (POLLERR | POLLHUP | POLLNVAL))
                got |= POLLIN | POLLOUT;
            if ((got & POLLIN) && !watch->dead && (watch->mask & SPICE_WATCH_EVENT_READ))
                watch->func(watch->fd, SPICE_WATCH_EVENT_READ, watch->opaque);
            if ((got & POLLOUT) && !watch->dead && (watch->mask & SPICE_WATCH_EVENT_WRITE))
                watch->func(watch->fd, SPICE_WATCH_EVENT_WRITE, watch->opaque);
        }
    }
    free(watches);
    free(fds);
}

void core_loop_step(int timeout_ms)
{
    loop.depth++;
    run_watches(time_to_wait(timeout_ms));
    run_timers();
    loop.depth--;
    if (loop.depth == 0)
        free_dead();
}

bool core_loop_until(bool (*done)(void *arg), void *arg, int timeout_ms)
{
    uint64_t end = core_loop_now_ms() + (uint64_t)timeout_ms;

    for (;;) {
        uint64_t now = core_loop_now_ms();

        if (done && done(arg))
            return true;
        if (now >= end)
            return !done;
        /* Worker callbacks do not wake this loop, so look again every few milliseconds. */
        core_loop_step(end - now < 5 ? (int)(end - now) : 5);
    }
}

unsigned core_loop_live_watches(void)
{
    unsigned count = 0;

    for (struct SpiceWatch *watch = loop.watches; watch; watch = watch->next)
        count += !watch->dead;
    return count;
}

unsigned core_loop_live_timers(void)
{
    unsigned count = 0;

    for (struct SpiceTimer *timer = loop.timers; timer; timer = timer->next)
        count += !timer->dead;
    return count;
}

bool core_loop_is_mine(void)
{
    return pthread_equal(pthread_self(), loop.owner);
}

unsigned core_loop_foreign_calls(void)
{
    unsigned calls;

    pthread_mutex_lock(&loop.lock);
    calls = loop.foreign_calls;
    pthread_mutex_unlock(&loop.lock);
    return calls;
}

unsigned core_loop_channel_events(const struct channel_record **records)
{
    if (records)
        *records = loop.records;
    return loop.num_records;
}

void core_loop_on_channel_event(void (*hook)(const struct channel_record *record))
{
    loop.hook = hook;
}

void trace_mark(const char *word)
{
    if (write(-1, word, strlen(word)) < 0)
        errno = 0;
}

bool core_loop_read_lines(int fd, void (*obey)(const char *line, void *opaque), void *opaque)
{
    static char text[1 << 17];
    static size_t length;
    ssize_t got = read(fd, text + length, sizeof(text) - 1 - length);
    char *end;

    if (got <= 0)
        return false;
    length += (size_t)got;
    text[length] = '\0';
    while ((end = strchr(text, '\n')) != NULL) {
        /* A copy, because `obey` may come here again. */
        char *line = strndup(text, (size_t)(end - text));

        length -= (size_t)(end + 1 - text);
        memmove(text, end + 1, length + 1);
        if (line)
            obey(line, opaque);
        free(line);
    }
    return true;
}
