/* tolerant, overlay, mount-idmapped, initctl: as commands of a guest, or of a host. */
#include "guest.h"
#include "../mount-calls.h"
#include "../walk.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int tool_tolerant(int argc, char **argv) {
  int first = argc > 1 && strcmp(argv[1], "--") == 0 ? 2 : 1;
  struct stat status;
  if (argc <= first) return tool_usage("tolerant", "which program?");
  bool directory = stat(argv[first], &status) == 0 && S_ISDIR(status.st_mode);
  if (directory && strchr(argv[first], '/') != NULL)
    return run_tolerant(argv + first, environ, 0) == 0 ? 0 : tool_failure("tolerant");
  exec_tolerant(NULL, argv + first, environ);
  int error = errno;
  tool_failure("tolerant");
  return error == ENOENT ? 127 : 126;
}

int tool_initctl(int argc, char **argv) {
  unsigned long pid = (unsigned long)getppid();
  if (argc > 2 || (argc == 2 && !parse_number(argv[1], 1 << 22, &pid)) || pid == 0) return tool_usage("initctl", "one number, a pid");
  return serve_initctl("/dev/initctl", (pid_t)pid) == 0 ? 0 : tool_failure("initctl");
}

/* The value of an option that is written as --NAME VALUE or --NAME=VALUE; moves *at to its last word. */
static const char *option(int argc, char **argv, int *at, const char *name) {
  size_t length = strlen(name);
  if (strncmp(argv[*at], name, length) != 0) return NULL;
  if (argv[*at][length] == '=') return argv[*at] + length + 1;
  return argv[*at][length] == '\0' && *at + 1 < argc ? argv[++*at] : NULL;
}

/* One lies in the other, or is the other: overlayfs would show such layers in an undefined way. */
static bool contain_one_another(const char *one, const char *other) {
  size_t length = strlen(one);
  return strncmp(one, other, length) == 0 && (other[length] == '\0' || other[length] == '/' || length == 1);
}

/* The real paths of the layers, the topmost first, PATH last; NULL after a failure. */
static char **real_layers(const char *path, char **layers, int count) {
  char **real = calloc((size_t)count + 2, sizeof *real);
  for (int i = 0; i <= count; i++) {
    const char *each = i == count ? path : layers[count - 1 - i];
    struct stat status;
    real[i] = realpath(each, NULL);
    if (real[i] == NULL || stat(real[i], &status) != 0) {
      failed_at("realpath", each);
      return NULL;
    }
    if (!S_ISDIR(status.st_mode)) {
      errno = ENOTDIR;
      failed_at("open", each);
      return NULL;
    }
    for (int other = 0; other < i; other++)
      if (contain_one_another(real[other], real[i]) || contain_one_another(real[i], real[other])) {
        errno = ELOOP;
        snprintf(failed_detail, sizeof failed_detail, "%.100s and %.100s: one contains the other", real[other], real[i]);
        failed("layers");
        return NULL;
      }
  }
  return real;
}

static int make_path(const char *path) {
  char copy[4096];
  if ((size_t)snprintf(copy, sizeof copy, "%s", path) >= sizeof copy) {
    errno = ENAMETOOLONG;
    return failed_at("mkdir", path);
  }
  for (char *slash = strchr(copy + 1, '/');; slash = strchr(slash + 1, '/')) {
    if (slash != NULL) *slash = '\0';
    if (mkdir(copy, 0755) != 0 && errno != EEXIST) return failed_at("mkdir", copy);
    if (slash == NULL) return 0;
    *slash = '/';
  }
}

/* Else the overlay would show what it keeps of itself. */
static int refuse_inner_cache(const char *cache, char **layers) {
  char *real = realpath(cache, NULL);
  if (real == NULL) return failed_at("realpath", cache);
  for (; *layers != NULL; layers++)
    if (contain_one_another(*layers, real) && strlen(*layers) <= strlen(real)) {
      errno = ELOOP;
      return failed_at("cache", real);
    }
  free(real);
  return 0;
}

/* CACHE/upper, which is the new root, has owner and mode of the old one; CACHE/temp is made anew. */
static int make_cache(const char *cache, const char *path, char **layers, char upper[4096], char work[4096]) {
  struct stat status;
  char temporary[4096];
  snprintf(upper, 4096, "%.4000s/upper", cache);
  snprintf(temporary, 4096, "%.4000s/temp", cache);
  snprintf(work, 4096, "%.4000s/w", temporary);
  if (stat(path, &status) != 0) return failed_at("stat", path);
  if (make_path(cache) != 0 || refuse_inner_cache(cache, layers) != 0) return -1;
  if (mkdir(upper, 0755) == 0) {
    if (chown(upper, status.st_uid, status.st_gid) != 0 || chmod(upper, status.st_mode & 07777) != 0)
      return failed_at("chown", upper);
  } else if (errno != EEXIST)
    return failed_at("mkdir", upper);
  if (remove_tree(temporary) != 0 && errno != ENOENT) return failed_at("remove", temporary);
  return make_path(work);
}

/* In a user namespace other than the first, overlayfs keeps its marks in attributes that users may set. */
static bool in_user_namespace(void) {
  unsigned long inside = 0, outside = 0, count = 0;
  FILE *map = fopen("/proc/self/uid_map", "re");
  bool first = map == NULL || (fscanf(map, "%lu %lu %lu", &inside, &outside, &count) == 3 && count == 4294967295UL);
  if (map != NULL) fclose(map);
  return !first;
}

enum { PAGE = 4096 /* of mount(2) */ };

static int add_directory(char data[PAGE], const char *before, const char *path) {
  size_t length = strlen(data);
  int fd = open(path, O_PATH | O_DIRECTORY);
  if (fd < 0) return failed_at("open", path);
  if ((size_t)snprintf(data + length, PAGE - length, "%s%d", before, fd) < PAGE - length) return 0;
  errno = E2BIG;
  return failed("layers");
}

/* Before Linux 6.5 the list of layers is one value of fsconfig(2), of at most 255 characters; mount(2) takes a page. There
   layers are named by their descriptors, as seen from /proc/self/fd. The fields are those of the op `overlay`. */
static int mount_by_page(char **field, int fields) {
  char data[PAGE], path[32];
  snprintf(data, sizeof data, "%s%s", field[1], field[1][0] ? "," : "");
  if (add_directory(data, "upperdir=", field[2]) != 0 || add_directory(data, ",workdir=", field[3]) != 0) return -1;
  for (int i = 4; i < fields; i++)
    if (add_directory(data, i == 4 ? ",lowerdir=" : ":", field[i]) != 0) return -1;
  int target = open(field[0], O_PATH | O_DIRECTORY);
  if (target < 0) return failed_at("open", field[0]);
  snprintf(path, sizeof path, "/proc/self/fd/%d", target);
  if (chdir("/proc/self/fd") != 0) return failed_at("chdir", "/proc/self/fd");
  return mount("rootling", path, "overlay", MS_NODEV, data) == 0 ? 0 : failed("mount");
}

enum { FEW_LAYERS = 12 /* which need no call of Linux 6.5 */ };

static int mount_layers(const char *path, const char *cache, char **layers, int count) {
  char upper[4096], work[4096], **real = real_layers(path, layers, count);
  if (real == NULL || make_cache(cache, path, real, upper, work) != 0) return -1;
  int fields = count + 5;
  char **field = calloc((size_t)fields, sizeof *field);
  field[0] = real[count];
  field[1] = in_user_namespace() ? "userxattr" : "";
  field[2] = upper;
  field[3] = work;
  memcpy(field + 4, real, ((size_t)count + 1) * sizeof *real);
  struct op op = {.field = field, .fields = fields};
  struct state state = {.root = -1, .system = {-1, -1, -1}};
  umask(0);
  int result = op_overlay(&state, &op);
  return result != 0 && errno == EINVAL && count >= FEW_LAYERS ? mount_by_page(field, fields) : result;
}

int tool_overlay(int argc, char **argv) {
  const char *path = "/mnt/root", *cache = "/mnt/cache/overlay", *value;
  int at = 1;
  for (; at < argc && argv[at][0] == '-'; at++) {
    if (strcmp(argv[at], "--") == 0) {
      at++;
      break;
    }
    if ((value = option(argc, argv, &at, "--path")) != NULL) path = value;
    else if ((value = option(argc, argv, &at, "--cache")) != NULL) cache = value;
    else return tool_usage("overlay", "unknown option");
  }
  return mount_layers(path, cache, argv + at, argc - at) == 0 ? 0 : tool_failure("overlay");
}

enum { MAP_MAX = 4096 };

struct maps {
  char users[MAP_MAX], groups[MAP_MAX];
};

static bool append(char *map, unsigned long from, unsigned long to, unsigned long count) {
  size_t length = strlen(map);
  return (size_t)snprintf(map + length, MAP_MAX - length, "%lu %lu %lu\n", from, to, count) < MAP_MAX - length;
}

/* b|u|g:FROM:TO:COUNT */
static bool add_map(struct maps *maps, const char *text) {
  char kind, rest[64], *save, *words[3];
  unsigned long numbers[3];
  if (sscanf(text, "%c:%63s", &kind, rest) != 2 || strchr("bug", kind) == NULL) return false;
  for (int i = 0; i < 3; i++) {
    words[i] = strtok_r(i == 0 ? rest : NULL, ":", &save);
    if (words[i] == NULL || !parse_number(words[i], 4294967295, &numbers[i])) return false;
  }
  if (strtok_r(NULL, ":", &save) != NULL || numbers[2] == 0) return false;
  return (kind == 'g' || append(maps->users, numbers[0], numbers[1], numbers[2])) &&
         (kind == 'u' || append(maps->groups, numbers[0], numbers[1], numbers[2]));
}

static int write_map(pid_t pid, const char *name, const char *map) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return failed_at("open", path);
  ssize_t length = (ssize_t)strlen(map), n = write(fd, map, (size_t)length);
  int error = errno;
  close(fd);
  errno = error;
  return n == length ? 0 : failed(name);
}

/* A user namespace with these maps, held by nothing but the descriptor that comes back. */
static int namespace_of(const struct maps *maps) {
  int ready[2], fd = -1;
  char path[64], byte;
  if (pipe2(ready, O_CLOEXEC) != 0) return failed("pipe2");
  pid_t child = fork();
  if (child < 0) return failed("fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (unshare(CLONE_NEWUSER) != 0) _exit(errno);
    write(ready[1], "", 1);
    pause();
    _exit(0);
  }
  close(ready[1]);
  int status = 0;
  if (read(ready[0], &byte, 1) == 1) {
    snprintf(path, sizeof path, "/proc/%d/ns/user", child);
    if (write_map(child, "uid_map", maps->users) == 0 && write_map(child, "gid_map", maps->groups) == 0 &&
        (fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
      failed_at("open", path);
    int error = errno;
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    errno = error;
  } else {
    waitpid(child, &status, 0);
    errno = WEXITSTATUS(status);
    failed("unshare");
  }
  close(ready[0]);
  return fd;
}

static int mount_mapped(const struct maps *maps, const char *source, const char *target, bool recursive) {
  int namespace = namespace_of(maps);
  if (namespace < 0) return -1;
  struct mount_attr attributes = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (unsigned)namespace};
  int tree = open_tree_at(AT_FDCWD, source, recursive ? AT_RECURSIVE : 0);
  if (tree < 0) return failed_at("open_tree", source);
  if (set_attributes(tree, recursive ? AT_RECURSIVE : 0, &attributes) != 0) return failed_at("mount_setattr", source);
  int at = open(target, O_PATH | O_CLOEXEC);
  if (at < 0) return failed_at("open", target);
  return move_mount_onto(tree, at) == 0 ? 0 : failed_at("move_mount", target);
}

int tool_mount_idmapped(int argc, char **argv) {
  struct maps maps = {0};
  const char *value;
  bool recursive = false;
  int at = 1;
  for (; at < argc && argv[at][0] == '-'; at++) {
    if (strcmp(argv[at], "--recursive") == 0) recursive = true;
    else if ((value = option(argc, argv, &at, "--map-mount")) == NULL) return tool_usage("mount-idmapped", "unknown option");
    else if (!add_map(&maps, value)) return tool_usage("mount-idmapped", "a map is b|u|g:FROM:TO:COUNT");
  }
  if (argc - at != 2) return tool_usage("mount-idmapped", "give a source and a target");
  if (maps.users[0] == '\0' && maps.groups[0] == '\0') return tool_usage("mount-idmapped", "give a --map-mount");
  if (maps.users[0] == '\0') append(maps.users, 0, 0, 4294967295);
  if (maps.groups[0] == '\0') append(maps.groups, 0, 0, 4294967295);
  return mount_mapped(&maps, argv[at], argv[at + 1], recursive) == 0 ? 0 : tool_failure("mount-idmapped");
}
