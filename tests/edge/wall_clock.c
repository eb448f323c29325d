/* Set the wall clock of a process wrong, by the seconds in the file that WALL_CLOCK_FILE names, read again each 50 ms.

   cc -shared -fPIC -O2 -o wall_clock.so wall_clock.c
   WALL_CLOCK_FILE=/tmp/clock LD_PRELOAD=./wall_clock.so python3 ...

   Monotonic clocks and sleeping are left alone, as a robot's are when its wall clock jumps. The library faketime 0.9.10
   cannot do that: without a fake monotonic clock every sleep of Python fails (EINVAL). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static _Atomic long long offset_s, next_look_ns;

static long long wrong_by(void) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    long long ns = now.tv_sec * 1000000000LL + now.tv_nsec;
    if (ns < next_look_ns) return offset_s;
    next_look_ns = ns + 50000000LL;
    char text[32] = {0};
    const char *path = getenv("WALL_CLOCK_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return offset_s;
    if (read(file, text, sizeof text - 1) > 0) offset_s = atoll(text);
    close(file);
    return offset_s;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += wrong_by();
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    (void)zone;
    struct timespec now;
    int result = clock_gettime(CLOCK_REALTIME, &now);
    *time = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return result;
}

time_t time(time_t *time) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (time) *time = now.tv_sec;
    return now.tv_sec;
}
