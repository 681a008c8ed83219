/* Files into a container: the stream that pack.c describes, read from standard input. */
#include "executor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { COPY_BYTES = 1 << 17, ATTRIBUTE_MAX = 1 << 16, NUMBERS = 8 };

struct entry {
  char kind;
  long long number[NUMBERS]; /* mode, uid, gid, size, seconds, nanoseconds, major, minor */
  char path[4096], target[4096];
};

static int broken(void) {
  errno = EPROTO;
  return failed("stream");
}

/* A field of at most `size` bytes with its NUL. */
static bool get(char *text, size_t size) {
  for (size_t i = 0; i < size; i++) {
    int byte = getchar();
    if (byte == EOF) return false;
    text[i] = (char)byte;
    if (byte == '\0') return true;
  }
  return false;
}

static bool get_number(long long *number) {
  char text[24], *end;
  if (!get(text, sizeof text) || text[0] == '\0') return false;
  *number = strtoll(text, &end, 10);
  return *end == '\0';
}

/* Reads the head of an entry; 0 at the end of the stream, -1 for what is none. */
static int get_entry(struct entry *entry) {
  char kind[2];
  if (!get(kind, sizeof kind)) return broken();
  if (kind[0] == '.') return 0;
  entry->kind = kind[0];
  for (int i = 0; i < NUMBERS; i++)
    if (!get_number(&entry->number[i])) return broken();
  return get(entry->path, sizeof entry->path) && get(entry->target, sizeof entry->target) ? 1 : broken();
}

/* Opens the directory that holds `path` below `base`, never through a symlink; makes what is missing. Leaves the last
   name, which is empty for `base` itself. */
static int parent_below(int base, char *path, char **name) {
  int directory = openat(base, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  for (char *slash; directory >= 0 && (slash = strchr(path, '/')) != NULL; path = slash + 1) {
    *slash = '\0';
    if (*path == '\0' || strcmp(path, ".") == 0 || strcmp(path, "..") == 0) {
      close(directory);
      errno = EINVAL;
      return -1;
    }
    if (mkdirat(directory, path, 0755) != 0 && errno != EEXIST) {
      close(directory);
      return -1;
    }
    int next = openat(directory, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    close(directory);
    directory = next;
  }
  if (strcmp(path, "..") == 0 || strcmp(path, ".") == 0) {
    close(directory);
    errno = EINVAL;
    return -1;
  }
  *name = path;
  return directory;
}

static int set_attributes(int fd, const char *path) {
  static char name[256], value[ATTRIBUTE_MAX];
  long long count, size;
  if (!get_number(&count)) return broken();
  while (count-- > 0) {
    if (!get(name, sizeof name) || !get_number(&size) || size < 0 || size > ATTRIBUTE_MAX) return broken();
    if (size > 0 && fread(value, (size_t)size, 1, stdin) != 1) return broken();
    if (fd >= 0 && fsetxattr(fd, name, value, (size_t)size, 0) != 0 && errno != EOPNOTSUPP && errno != EPERM)
      return failed_at("fsetxattr", path);
  }
  return 0;
}

static int set_status(int fd, const struct entry *entry, bool owners) {
  const struct timespec times[] = {{0, UTIME_OMIT}, {entry->number[4], (long)entry->number[5]}};
  if (owners && fchown(fd, (uid_t)entry->number[1], (gid_t)entry->number[2]) != 0) return failed("fchown");
  if (fchmod(fd, (mode_t)entry->number[0]) != 0) return failed("fchmod");
  return futimens(fd, times) == 0 ? 0 : failed("futimens");
}

static int get_content(int fd, long long size, const char *path) {
  static char buffer[COPY_BYTES];
  while (size > 0) {
    size_t wanted = size < COPY_BYTES ? (size_t)size : COPY_BYTES;
    if (fread(buffer, wanted, 1, stdin) != 1) return broken();
    for (size_t done = 0; done < wanted;) {
      ssize_t n = write(fd, buffer + done, wanted - done);
      if (n < 0 && errno != EINTR) return failed_at("write", path);
      if (n > 0) done += (size_t)n;
    }
    size -= (long long)wanted;
  }
  return 0;
}

/* What becomes a file or directory, open. */
static int make_open(int directory, const char *name, const struct entry *entry) {
  enum { IS_DIRECTORY = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };
  if (*name == '\0') return openat(directory, ".", IS_DIRECTORY);
  if (entry->kind == 'd') {
    if (mkdirat(directory, name, 0700) != 0 && errno != EEXIST) return -1;
    return openat(directory, name, IS_DIRECTORY);
  }
  if (unlinkat(directory, name, 0) != 0 && errno != ENOENT) return -1;
  return openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

/* What has no content: symlinks, hard links, devices, fifos. */
static int make_other(int base, int directory, const char *name, struct entry *entry, bool owners) {
  const struct timespec times[] = {{0, UTIME_OMIT}, {entry->number[4], (long)entry->number[5]}};
  mode_t mode = (mode_t)entry->number[0];
  if (*name == '\0') return broken();
  if (unlinkat(directory, name, 0) != 0 && errno != ENOENT) return failed("unlinkat");
  if (entry->kind == 'h') {
    char *last;
    int holder = parent_below(base, entry->target, &last);
    int made = holder < 0 ? -1 : linkat(holder, last, directory, name, 0);
    int error = errno;
    if (holder >= 0) close(holder);
    errno = error;
    return made == 0 ? 0 : failed("linkat");
  }
  dev_t device = makedev((unsigned)entry->number[6], (unsigned)entry->number[7]);
  if (entry->kind == 'l' ? symlinkat(entry->target, directory, name) != 0
                         : mknodat(directory, name, (entry->kind == 'p'   ? S_IFIFO
                                                     : entry->kind == 'c' ? S_IFCHR
                                                                          : S_IFBLK) | mode, device) != 0)
    return failed(entry->kind == 'l' ? "symlinkat" : "mknodat");
  if (owners && fchownat(directory, name, (uid_t)entry->number[1], (gid_t)entry->number[2], AT_SYMLINK_NOFOLLOW) != 0)
    return failed("fchownat");
  return utimensat(directory, name, times, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : failed("utimensat");
}

static int unpack_entry(int base, struct entry *entry, bool owners) {
  char shown[256], *name;
  snprintf(shown, sizeof shown, "%.255s", entry->path);
  int directory = parent_below(base, entry->path, &name);
  if (directory < 0) return failed_at("openat", shown);
  if (entry->kind != 'f' && entry->kind != 'd') {
    int result = make_other(base, directory, name, entry, owners);
    if (result != 0) failed_at(failed_call, shown);
    close(directory);
    return result != 0 ? -1 : set_attributes(-1, shown);
  }
  int fd = make_open(directory, name, entry);
  int error = errno;
  close(directory);
  errno = error;
  if (fd < 0) return failed_at("openat", shown);
  /* Owner before attributes: a change of owner takes file capabilities away. */
  int result = *name == '\0' ? 0 : set_status(fd, entry, owners);
  if (result != 0) failed_at(failed_call, shown);
  else result = set_attributes(fd, shown);
  if (result == 0 && entry->kind == 'f') result = get_content(fd, entry->number[3], shown);
  if (result == 0 && entry->kind == 'f') result = set_status(fd, entry, false);
  close(fd);
  return result;
}

/* Puts `top` before a path of the stream. */
static int put_below(const char *top, char *path, size_t size) {
  char below[4096];
  const char *slash = *top && *path ? "/" : "";
  if ((size_t)snprintf(below, sizeof below, "%s%s%s", top, slash, path) >= size) {
    errno = ENAMETOOLONG;
    return failed_at("path", path);
  }
  strcpy(path, below);
  return 0;
}

/* The directory to unpack in, and what the top of the stream is called there: NAME in a directory that exists,
   otherwise the last name of the path. */
static int find_place(struct state *state, struct op *op, char *top, size_t size) {
  int base = root_open(state, op->field[0], O_RDONLY | O_DIRECTORY);
  snprintf(top, size, "%s", op->field[1]);
  if (base >= 0 || op->field[1][0] == '\0' || (errno != ENOENT && errno != ENOTDIR))
    return base >= 0 ? base : failed_at("openat2", op->field[0]);
  int parent = existing_parent(state, op->field[0], top, size);
  if (parent < 0) return failed_at("openat2", op->field[0]);
  base = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  close(parent);
  return base >= 0 ? base : failed_at("openat", op->field[0]);
}

/* unpack PATH NAME WORDS: makes what comes on standard input in the directory PATH as NAME, or if there is none as
   PATH, and ends. With an empty NAME, the top of the stream is the directory itself. WORDS: owners. */
int op_unpack(struct state *state, struct op *op) {
  static struct entry entry;
  char top[256];
  int base = find_place(state, op, top, sizeof top), more;
  if (base < 0) return -1;
  while ((more = get_entry(&entry)) > 0) {
    if (put_below(top, entry.path, sizeof entry.path) != 0) return -1;
    if (entry.kind == 'h' && put_below(top, entry.target, sizeof entry.target) != 0) return -1;
    if (unpack_entry(base, &entry, has_word(op->field[2], "owners")) != 0) return -1;
  }
  if (more < 0) return -1;
  _exit(0);
}
