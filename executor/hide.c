/* A layer between what a subhost has of its own and what lies below: it hides the host's secrets, and nothing that the
   subhost puts in their place. */
#include "executor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { FILE_MAX = 1 << 20 };

/* A path of a directory, without any symlink on the way: a layer cannot look through one. */
static int open_plain(int directory, const char *path, int flags) {
  struct open_how how = {.flags = (unsigned long long)(flags | O_CLOEXEC), .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS};
  while (*path == '/') path++;
  return (int)syscall(SYS_openat2, directory, *path ? path : ".", &how, sizeof how);
}

/* Overlayfs shows the topmost directory's owner and mode. */
static int like(int fd, const struct stat *status) {
  return fchown(fd, status->st_uid, status->st_gid) == 0 && fchmod(fd, status->st_mode & 07777) == 0 ? 0 : -1;
}

/* Makes the directories above the last name of `path` in `layer`, each as it is in `lower`; opens the last of them. */
static int make_above(int layer, int lower, char *path) {
  int at = dup(layer);
  for (char *slash = strchr(path, '/'); at >= 0 && slash != NULL; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    struct stat status;
    const char *name = strrchr(path, '/');
    name = name ? name + 1 : path;
    int there = open_plain(lower, path, O_PATH | O_DIRECTORY);
    int made = there < 0 || fstat(there, &status) != 0 ? -1 : mkdirat(at, name, 0700);
    int next = made != 0 && errno != EEXIST ? -1 : openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (next >= 0 && made == 0 && like(next, &status) != 0) next = -1;
    if (there >= 0) close(there);
    close(at);
    at = next;
    *slash = '/';
  }
  return at;
}

/* A directory that shows nothing of what is below it. */
static int make_opaque(int parent, const char *name, const struct stat *status, const char *mark) {
  if (mkdirat(parent, name, 0700) != 0) return failed_at("mkdirat", name);
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || fsetxattr(fd, mark, "y", 1, 0) != 0 || like(fd, status) != 0) return failed_at("fsetxattr", name);
  close(fd);
  return 0;
}

/* Lines of shadow(5) and gshadow(5) whose second field is no password of anybody. */
static void write_locked(FILE *out, char *text) {
  for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
    char *password = strchr(line, ':'), *rest = password ? strchr(password + 1, ':') : NULL;
    if (rest == NULL) continue;
    *password++ = *rest++ = '\0';
    fprintf(out, "%s:%s:%s\n", line, strcmp(password, "*") == 0 ? "*" : "!", rest);
  }
}

static int make_locked(int parent, const char *name, int there, const struct stat *status) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", there);
  int in = open(path, O_RDONLY | O_CLOEXEC), fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  char *text = calloc(1, FILE_MAX + 1);
  FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
  if (in < 0 || text == NULL || out == NULL) return failed_at("open", name);
  size_t size = 0;
  for (ssize_t n; size < FILE_MAX && (n = read(in, text + size, FILE_MAX - size)) > 0;) size += (size_t)n;
  close(in);
  write_locked(out, text);
  memset(text, 0, size);
  free(text);
  if (fflush(out) != 0 || like(fd, status) != 0) return failed_at("write", name);
  return fclose(out) == 0 ? 0 : failed_at("write", name);
}

/* hide LAYER LOWER PATH MARK WORD: in LAYER a stand-in for PATH of LOWER, if that is there. WORD `lock`: the file with
   every password locked; else nothing is seen of it. MARK: overlayfs's name for opaque directories. */
int op_hide(struct state *state, struct op *op) {
  (void)state;
  char path[4096];
  struct stat status;
  const char *from = op->field[2];
  while (*from == '/') from++;
  if ((size_t)snprintf(path, sizeof path, "%s", from) >= sizeof path || *path == '\0') {
    errno = EINVAL;
    return failed_at("path", op->field[2]);
  }
  int layer = open(op->field[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC), lower = open(op->field[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (layer < 0 || lower < 0) return failed("open");
  int there = open_plain(lower, path, O_PATH | O_NOFOLLOW);
  if (there < 0 && (errno == ENOENT || errno == ENOTDIR)) {
    close(layer);
    close(lower);
    return 0;
  }
  if (there < 0 || fstat(there, &status) != 0) return failed_at("openat2", op->field[2]);
  int parent = make_above(layer, lower, path);
  if (parent < 0) return failed_at("mkdirat", op->field[2]);
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
  int result = 0;
  if (strcmp(op->field[4], "lock") == 0 && S_ISREG(status.st_mode)) result = make_locked(parent, name, there, &status);
  else if (S_ISDIR(status.st_mode)) result = make_opaque(parent, name, &status, op->field[3]);
  else if (mknodat(parent, name, S_IFCHR, makedev(0, 0)) != 0) result = failed_at("mknodat", op->field[2]);
  for (int *fd = (int[]){layer, lower, there, parent, -1}; *fd >= 0; fd++) close(*fd);
  return result;
}
