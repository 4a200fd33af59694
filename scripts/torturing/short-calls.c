/*
 * Loaded before a command (LD_PRELOAD), it makes the system read and write less than it was asked
 * to, as network file systems, pipes and busy devices do: for files below the folder in
 * REELFS_SHORT_UNDER, but for one below it: Node does not bear it when it loads a program. Numbers
 * come from the seed in REELFS_SHORT_SEED.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* What a device may leave out is whole sectors. */
#define SECTOR 512

static uint32_t state;

static uint32_t next_random(void) {
  if (state == 0) {
    const char *seed = getenv("REELFS_SHORT_SEED");
    state = seed == NULL ? 1 : (uint32_t)strtoul(seed, NULL, 10) | 1;
  }
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}

static int is_meant(int descriptor) {
  const char *under = getenv("REELFS_SHORT_UNDER");
  const char *but = getenv("REELFS_SHORT_BUT");
  char link[64], path[PATH_MAX];
  if (under == NULL || descriptor < 3) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  if (but != NULL && strncmp(path, but, strlen(but)) == 0) return 0;
  return strncmp(path, under, strlen(under)) == 0;
}

/* Of every three calls one is left alone. */
static size_t shorter(int descriptor, size_t count) {
  if (count <= SECTOR || !is_meant(descriptor)) return count;
  uint32_t random = next_random();
  if (random % 3 == 0) return count;
  size_t sectors = (count - 1) / SECTOR;
  return (1 + (random >> 4) % sectors) * SECTOR;
}

/* The first of the buffers only, where there are several. */
static int fewer(int descriptor, int count) {
  return count > 1 && is_meant(descriptor) && next_random() % 2 == 0 ? 1 + (int)(next_random() % (uint32_t)(count - 1)) : count;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pread64(int fd, void *to, size_t count, off64_t at) {
  return REAL(pread64)(fd, to, shorter(fd, count), at);
}

ssize_t pwrite64(int fd, const void *from, size_t count, off64_t at) {
  return REAL(pwrite64)(fd, from, shorter(fd, count), at);
}

ssize_t preadv64(int fd, const struct iovec *to, int count, off64_t at) {
  return REAL(preadv64)(fd, to, fewer(fd, count), at);
}

ssize_t pwritev64(int fd, const struct iovec *from, int count, off64_t at) {
  return REAL(pwritev64)(fd, from, fewer(fd, count), at);
}

ssize_t read(int fd, void *to, size_t count) { return REAL(read)(fd, to, shorter(fd, count)); }

ssize_t write(int fd, const void *from, size_t count) {
  return REAL(write)(fd, from, shorter(fd, count));
}
