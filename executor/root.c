/* Paths inside the root that is being made. Each is resolved once, by openat2 with RESOLVE_IN_ROOT, to a descriptor:
   a symlink of the image, or a process that swaps directories, cannot lead outside (CVE-2021-30465, CVE-2024-45310). */
#include "executor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_below(int directory, const char *path, int flags, unsigned long long resolve) {
  struct open_how how = {.flags = (unsigned long long)flags | O_CLOEXEC, .resolve = resolve};
  int fd;
  do /* EAGAIN: something on the way was renamed while the kernel walked it (openat2(2)) */
    fd = (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
  while (fd < 0 && errno == EAGAIN);
  return fd;
}

static const char *const system_paths[] = {"/proc", "/sys", "/dev"};

/* Remembers what was just mounted at a path of system_paths; takes the descriptor. */
void root_keep(struct state *state, const char *path, int mount) {
  for (int i = 0; i < 3; i++)
    if (strcmp(path, system_paths[i]) == 0) {
      if (state->system[i] >= 0) close(state->system[i]);
      state->system[i] = mount;
      return;
    }
  close(mount);
}

/* Where a path begins: a path below /proc at what was mounted there, wherever somebody moved that meanwhile. Cuts the
   path accordingly. */
static int start_of(struct state *state, const char **path) {
  for (int i = 0; i < 3; i++) {
    size_t length = strlen(system_paths[i]);
    if (state->system[i] < 0 || strncmp(*path, system_paths[i], length) != 0 || (*path)[length] != '/') continue;
    *path += length;
    return state->system[i];
  }
  return state->root;
}

/* Opens a path of the root; before op `root`, a path of the stage, which is ours alone and has no symlinks. */
int root_open(struct state *state, const char *path, int flags) {
  if (state->root < 0) return open_below(AT_FDCWD, path, flags, RESOLVE_NO_MAGICLINKS);
  int start = start_of(state, &path);
  while (*path == '/') path++;
  return open_below(start, *path ? path : ".", flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

/* Splits `path` into the path of the directory above it and its last name. */
static int split_path(const char *path, char *above, size_t above_size, char *name, size_t size) {
  size_t length = strlen(path);
  while (length > 0 && path[length - 1] == '/') length--;
  size_t slash = length;
  while (slash > 0 && path[slash - 1] != '/') slash--;
  if (length >= above_size || length - slash >= size || length == slash) {
    errno = length == slash ? EINVAL : ENAMETOOLONG;
    return failed("path");
  }
  memcpy(name, path + slash, length - slash);
  name[length - slash] = '\0';
  if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
    errno = EINVAL;
    return failed("path");
  }
  memcpy(above, path, slash);
  above[slash] = '\0';
  if (slash == 0) strcpy(above, "/");
  return 0;
}


/* Opens the directory above `path`, which must be there, and leaves the last name. */
int existing_parent(struct state *state, const char *path, char *name, size_t size) {
  char above[4096];
  if (split_path(path, above, sizeof above, name, size) != 0) return -1;
  int fd = root_open(state, above, O_PATH | O_DIRECTORY);
  return fd >= 0 ? fd : failed("openat2");
}

/* The same, making what is missing (0755). */
int root_parent(struct state *state, const char *path, char *name, size_t size) {
  char above[4096];
  if (split_path(path, above, sizeof above, name, size) != 0) return -1;
  int fd = root_open(state, above, O_PATH | O_DIRECTORY);
  if (fd >= 0 || errno != ENOENT) return fd >= 0 ? fd : failed("openat2");
  return root_target(state, above, CREATE_DIRECTORY, 0755);
}

/* Makes `name` in `parent` as an empty directory or file and opens it (O_PATH). */
static int make_name(int parent, const char *name, enum create create, mode_t mode) {
  int made;
  if (create == CREATE_DIRECTORY)
    made = mkdirat(parent, name, mode);
  else if ((made = openat(parent, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, mode)) >= 0)
    close(made);
  if (made < 0 && errno != EEXIST) return failed(create == CREATE_DIRECTORY ? "mkdirat" : "openat");
  int fd = open_below(parent, name, O_PATH, RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH);
  return fd >= 0 ? fd : failed("openat2");
}

/* Where a symlink `name` in `parent` leads, as a path of the root: /etc/resolv.conf of many images leads to a file
   of /run that exists only when the system runs. False if it is no symlink. */
static bool link_leads_to(int parent, const char *name, const char *path, char *result, size_t size) {
  char target[4096];
  ssize_t length = readlinkat(parent, name, target, sizeof target - 1);
  if (length <= 0) return false;
  target[length] = '\0';
  const char *slash = strrchr(path, '/');
  int above = target[0] == '/' || slash == NULL ? 0 : (int)(slash - path);
  return (size_t)snprintf(result, size, "%.*s/%s", above, path, target) < size;
}

static int target_through_links(struct state *state, const char *path, enum create create, mode_t mode, int links) {
  int fd = root_open(state, path, O_PATH);
  if (fd >= 0) return fd;
  if (errno != ENOENT || create == CREATE_NONE) return failed("openat2");
  char name[256], led[4096];
  int parent = root_parent(state, path, name, sizeof name);
  if (parent < 0) return -1;
  if (links > 0 && link_leads_to(parent, name, path, led, sizeof led))
    fd = target_through_links(state, led, create, mode, links - 1);
  else
    fd = make_name(parent, name, create, mode);
  int error = errno;
  close(parent);
  errno = error;
  return fd;
}

/* A directory of the root that is what its name says, made if it is missing: an image that has a symlink for /proc
   would lead what is mounted there, and what guards it, elsewhere (CVE-2019-19921, CVE-2023-27561). */
static int own_directory(struct state *state, const char *path, mode_t mode) {
  char name[256];
  int parent = root_parent(state, path, name, sizeof name);
  if (parent < 0) return -1;
  int fd = make_name(parent, name, CREATE_DIRECTORY, mode);
  int error = errno;
  close(parent);
  errno = error;
  return fd;
}

/* A descriptor (O_PATH) of the path, made as an empty directory or file if it is missing and may be made. */
int root_target(struct state *state, const char *path, enum create create, mode_t mode) {
  return create == CREATE_OWN ? own_directory(state, path, mode) : target_through_links(state, path, create, mode, 8);
}

/* file PATH MODE TEXT: a new file of the stage, for op `bind`. */
int op_file(struct state *state, struct op *op) {
  (void)state;
  mode_t mode = (mode_t)strtoul(op->field[1], NULL, 8);
  int fd = open(op->field[0], O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
  if (fd < 0) return failed("open");
  ssize_t length = (ssize_t)strlen(op->field[2]), n = write(fd, op->field[2], (size_t)length);
  close(fd);
  return n == length ? 0 : failed("write");
}

static int remove_entries(int directory);

/* Removes one name below a directory descriptor, never following a symlink nor leaving the file system. */
static int remove_name(int directory, const char *name, dev_t device) {
  if (unlinkat(directory, name, 0) == 0 || errno == ENOENT) return 0;
  if (errno != EISDIR && errno != EPERM) return -1;
  int fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  /* A directory without permissions, such as overlayfs's work directory or one that the payload closed. */
  if (fd < 0 && errno == EACCES && fchmodat(directory, name, 0700, 0) == 0)
    fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return -1;
  struct stat status;
  int result = fstat(fd, &status);
  if (result == 0 && status.st_dev != device) {
    errno = EXDEV;
    result = -1;
  }
  if (result == 0) {
    if ((status.st_mode & 0700) != 0700) fchmod(fd, 0700);
    result = remove_entries(fd);
  } else
    close(fd);
  return result == 0 ? unlinkat(directory, name, AT_REMOVEDIR) : -1;
}

/* Empties a directory and closes its descriptor. */
static int remove_entries(int directory) {
  struct stat status;
  DIR *stream = fdopendir(directory);
  if (stream == NULL || fstat(directory, &status) != 0) {
    if (stream) closedir(stream); else close(directory);
    return -1;
  }
  int result = 0;
  struct dirent *entry;
  while ((entry = readdir(stream)) != NULL) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (remove_name(directory, entry->d_name, status.st_dev) != 0) result = -1;
  }
  closedir(stream);
  return result;
}

int remove_tree(const char *path) {
  struct stat status;
  if (lstat(path, &status) != 0) return errno == ENOENT ? 0 : -1;
  return remove_name(AT_FDCWD, path, status.st_dev);
}
