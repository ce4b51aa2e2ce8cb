/* Bad weather for one process, by LD_PRELOAD: a slow disk, and a clock that jumps.
 *
 * $LUNDOCK_WEATHER names a file of two native 64-bit numbers, read again at each call: how many seconds the clock of the
 * day is ahead (or behind), and how many microseconds each read, write and sync of a file whose path contains
 * $LUNDOCK_WEATHER_PATH takes longer. The monotonic clock goes on as it is: that is what a step of the day's clock does.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define STEP_US 10000 /* after which the weather is looked at again */

static const volatile int64_t *weather;
static const char *path_part;

__attribute__((constructor)) static void look_outside(void)
{
	const char *name = getenv("LUNDOCK_WEATHER");
	int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
	path_part = getenv("LUNDOCK_WEATHER_PATH");
	if (file < 0)
		return;
	void *page = mmap(NULL, 2 * sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
	if (page != MAP_FAILED)
		weather = page;
	close(file);
}

static int64_t ahead_s(void) { return weather ? weather[0] : 0; }

static void wait_for(int file)
{
	char link[64], path[4096];
	ssize_t length;

	if (!weather || weather[1] == 0 || !path_part)
		return;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return;
	path[length] = 0;
	if (!strstr(path, path_part))
		return;
	for (int64_t waited_us = 0; waited_us < weather[1]; waited_us += STEP_US)
		usleep(STEP_US);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = (int)syscall(SYS_clock_gettime, clock, now);
	if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		now->tv_sec += ahead_s();
	return result;
}

int gettimeofday(struct timeval *now, void *zone)
{
	(void)zone;
	struct timespec precise;
	clock_gettime(CLOCK_REALTIME, &precise);
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *result)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (result)
		*result = now.tv_sec;
	return now.tv_sec;
}

#define SLOW(type, name, parameters, arguments)                 \
	type name parameters                                    \
	{                                                       \
		static type(*real) parameters;                  \
		if (!real)                                      \
			real = dlsym(RTLD_NEXT, #name);         \
		wait_for(file);                                 \
		return real arguments;                          \
	}

SLOW(ssize_t, pread, (int file, void *to, size_t size, off_t at), (file, to, size, at))
SLOW(ssize_t, pwrite, (int file, const void *from, size_t size, off_t at), (file, from, size, at))
SLOW(ssize_t, pread64, (int file, void *to, size_t size, off64_t at), (file, to, size, at))
SLOW(ssize_t, pwrite64, (int file, const void *from, size_t size, off64_t at), (file, from, size, at))
SLOW(int, fsync, (int file), (file))
SLOW(int, fdatasync, (int file), (file))
