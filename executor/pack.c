/* Files out of a container and into it, by a process that has its root and its namespaces: no path is followed
   outside, whatever the container swaps meanwhile (CVE-2018-15664). Nothing of the container is executed.

   The stream, either way: for each entry the fields KIND MODE UID GID SIZE SECONDS NANOSECONDS MAJOR MINOR PATH TARGET
   ATTRIBUTES, each ended by NUL, numbers in decimal; ATTRIBUTES times NAME LENGTH, both ended by NUL, and the value;
   then SIZE bytes of content. KIND is a letter: f file, d directory, l symlink, h hard link, c and b devices, p fifo.
   A single "." as KIND ends it. src/commands/frames.ts reads and writes the same. */
#include "executor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { COPY_BYTES = 1 << 17, ATTRIBUTE_MAX = 1 << 16 };

struct packing {
  bool content;
  dev_t device; /* of the directory it began in: what is mounted below stays out */
  void *links;  /* tree of struct link: files of several names */
};

struct link {
  dev_t device;
  ino_t inode;
  char *path;
};

static int compare_links(const void *a, const void *b) {
  const struct link *one = a, *two = b;
  if (one->inode != two->inode) return one->inode < two->inode ? -1 : 1;
  return one->device < two->device ? -1 : one->device > two->device;
}

/* The path of the first name of the same file; NULL if this is the first. */
static const char *first_name(struct packing *packing, const struct stat *status, const char *path) {
  struct link *link = malloc(sizeof *link);
  if (link == NULL) return NULL;
  *link = (struct link){status->st_dev, status->st_ino, strdup(path)};
  struct link **found = tsearch(link, &packing->links, compare_links);
  if (found == NULL || *found == link) return NULL;
  free(link->path);
  free(link);
  return (*found)->path;
}

static void put(const char *text) { fwrite(text, strlen(text) + 1, 1, stdout); }

static void put_number(long long number) { printf("%lld%c", number, 0); }

/* The attributes of an open file, with their count before them. */
static void put_attributes(int fd) {
  static char names[ATTRIBUTE_MAX], value[ATTRIBUTE_MAX];
  ssize_t length = fd >= 0 ? flistxattr(fd, names, sizeof names) : 0;
  int count = 0;
  for (ssize_t at = 0; at < length; at += (ssize_t)strlen(names + at) + 1) count++;
  put_number(count);
  for (ssize_t at = 0; at < length; at += (ssize_t)strlen(names + at) + 1) {
    ssize_t size = fgetxattr(fd, names + at, value, sizeof value);
    put(names + at);
    put_number(size > 0 ? size : 0);
    if (size > 0) fwrite(value, (size_t)size, 1, stdout);
  }
}

static void put_head(char kind, const struct stat *status, long long size, const char *path, const char *target) {
  const char text[] = {kind, '\0'};
  const long long numbers[] = {status->st_mode & 07777, status->st_uid, status->st_gid, size,
                               status->st_mtim.tv_sec, status->st_mtim.tv_nsec, major(status->st_rdev),
                               minor(status->st_rdev)};
  put(text);
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) put_number(numbers[i]);
  put(path);
  put(target);
}

/* Exactly `size` bytes, whatever becomes of the file meanwhile. */
static int put_content(int fd, long long size, const char *path) {
  static char buffer[COPY_BYTES];
  while (size > 0) {
    ssize_t n = read(fd, buffer, size < COPY_BYTES ? (size_t)size : COPY_BYTES);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed_at("read", path);
    if (n == 0) {
      n = size < COPY_BYTES ? (ssize_t)size : COPY_BYTES;
      memset(buffer, 0, (size_t)n);
    }
    if (fwrite(buffer, (size_t)n, 1, stdout) != 1) return failed_at("write", path);
    size -= n;
  }
  return 0;
}

static int pack_name(struct packing *packing, int directory, const char *name, const char *path);

struct names {
  char **name;
  size_t count;
};

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The names in a directory, sorted: file systems have orders of their own, and the same files shall be the same bytes.
   What there is of them is to be freed even after a failure. */
static int read_names(DIR *stream, struct names *names) {
  struct dirent *entry;
  while ((entry = readdir(stream)) != NULL) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if ((names->count & (names->count - 1)) == 0) { /* Full at each power of two. */
      char **more = realloc(names->name, (names->count ? 2 * names->count : 1) * sizeof *more);
      if (more == NULL) return -1;
      names->name = more;
    }
    if ((names->name[names->count] = strdup(entry->d_name)) == NULL) return -1;
    names->count++;
  }
  if (names->count > 0) qsort(names->name, names->count, sizeof *names->name, compare_names);
  return 0;
}

static int pack_entries(struct packing *packing, int fd, const char *path) {
  DIR *stream = fdopendir(fd);
  if (stream == NULL) return failed_at("fdopendir", path);
  struct names names = {NULL, 0};
  int result = read_names(stream, &names) == 0 ? 0 : failed_at("readdir", path);
  for (size_t i = 0; i < names.count; i++) {
    char below[4096];
    if (result == 0 &&
        (size_t)snprintf(below, sizeof below, "%s%s%s", path, *path ? "/" : "", names.name[i]) >= sizeof below) {
      errno = ENAMETOOLONG;
      result = failed_at("path", path);
    }
    if (result == 0) result = pack_name(packing, dirfd(stream), names.name[i], below);
    free(names.name[i]);
  }
  free(names.name);
  closedir(stream);
  return result;
}

static int pack_directory(struct packing *packing, int directory, const char *name, const char *path) {
  struct stat status;
  int fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &status) != 0) return failed_at("openat", path);
  put_head('d', &status, 0, path, "");
  put_attributes(fd);
  if (status.st_dev != packing->device) {
    close(fd);
    return 0;
  }
  return pack_entries(packing, fd, path);
}

static int pack_file(struct packing *packing, int directory, const char *name, const char *path) {
  struct stat status;
  int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  /* For a list, a file that cannot be read is as good. */
  if (fd < 0 && !packing->content) fd = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &status) != 0) return failed_at("openat", path);
  if (!S_ISREG(status.st_mode)) {
    errno = EAGAIN;
    return failed_at("changed meanwhile", path);
  }
  const char *first = status.st_nlink > 1 ? first_name(packing, &status, path) : NULL;
  long long size = first == NULL ? status.st_size : 0;
  put_head(first ? 'h' : 'f', &status, size, path, first ? first : "");
  put_attributes(first ? -1 : fd);
  int result = packing->content ? put_content(fd, size, path) : 0;
  close(fd);
  return result;
}

static int pack_name(struct packing *packing, int directory, const char *name, const char *path) {
  struct stat status;
  char target[4096] = "";
  if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return 0; /* Removed since it was listed. */
    return failed_at("fstatat", path);
  }
  if (S_ISDIR(status.st_mode)) return pack_directory(packing, directory, name, path);
  if (S_ISREG(status.st_mode)) return pack_file(packing, directory, name, path);
  if (S_ISSOCK(status.st_mode)) return 0;
  if (S_ISLNK(status.st_mode)) {
    ssize_t length = readlinkat(directory, name, target, sizeof target - 1);
    if (length < 0) return failed_at("readlinkat", path);
    target[length] = '\0';
  }
  char kind = S_ISLNK(status.st_mode) ? 'l' : S_ISCHR(status.st_mode) ? 'c' : S_ISBLK(status.st_mode) ? 'b' : 'p';
  put_head(kind, &status, 0, path, target);
  put_attributes(-1);
  return 0;
}

/* pack PATH WORDS: writes the file or directory to standard output and ends; its own path in the stream is empty.
   WORDS: list, for everything but content. */
int op_pack(struct state *state, struct op *op) {
  struct packing packing = {.content = !has_word(op->field[1], "list")};
  struct stat status;
  char name[256];
  int directory = root_open(state, op->field[0], O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  int result;
  if (directory >= 0) {
    if (fstat(directory, &status) != 0) return failed("fstat");
    packing.device = status.st_dev;
    result = pack_directory(&packing, directory, ".", "");
  } else {
    if (errno != ENOTDIR && errno != ENOENT && errno != ELOOP) return failed_at("openat2", op->field[0]);
    int parent = existing_parent(state, op->field[0], name, sizeof name);
    if (parent < 0) return failed_at("openat2", op->field[0]);
    if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) != 0) return failed_at("fstatat", op->field[0]);
    result = pack_name(&packing, parent, name, "");
  }
  if (result != 0) return -1;
  put(".");
  if (fflush(stdout) != 0) return failed_at("write", "standard output");
  _exit(0);
}
