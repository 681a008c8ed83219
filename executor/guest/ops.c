/* Ops of guests: how the next root gets what the boot file system has. */
#include "guest.h"
#include "../mount-calls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

bool is_mount_point(const char *path) {
  struct stat here, above;
  char parent[4096];
  /* The kernel's struct statx, which musl's headers lack; Linux 5.8 tells binds within a file system, too. */
  enum { MOUNT_ROOT = 0x2000 /* STATX_ATTR_MOUNT_ROOT */ };
  union {
    struct {
      unsigned mask, block;
      unsigned long long attributes;
      unsigned links, uid, gid, mode;
      unsigned long long inode, size, blocks, attributes_mask;
    };
    char all[256];
  } status;
  if (syscall(SYS_statx, AT_FDCWD, path, AT_NO_AUTOMOUNT, 0, &status) == 0 && (status.attributes_mask & MOUNT_ROOT))
    return (status.attributes & MOUNT_ROOT) != 0;
  if ((size_t)snprintf(parent, sizeof parent, "%s/..", path) >= sizeof parent) return false;
  return stat(path, &here) == 0 && stat(parent, &above) == 0 && here.st_dev != above.st_dev;
}

/* In a virtual machine nobody has mounted anything. A console that could not be opened then is opened now. */
static void open_console(void) {
  int fd = fcntl(0, F_GETFD) >= 0 ? -1 : open("/dev/console", O_RDWR | O_NOCTTY);
  if (fd < 0) return;
  for (int i = 0; i < 3; i++)
    if (i != fd) dup2(fd, i);
  if (fd > 2) close(fd);
}

/* What `bootfs build --module` has put there, in the order of loading. Those that are in the kernel already are fine. */
static int load_modules(void) {
  char path[4096];
  FILE *list = fopen("/etc/rootling-modules", "re");
  while (list != NULL && fgets(path, sizeof path, list) != NULL) {
    path[strcspn(path, "\n")] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST)) {
      int error = errno;
      fclose(list);
      errno = error;
      return failed_at("finit_module", path);
    }
    close(fd);
  }
  if (list != NULL) fclose(list);
  return 0;
}

/* system-mounts: the boot file system's own /proc, /sys and /dev, where it has none. */
int op_system_mounts(struct state *state, struct op *op) {
  static const struct { const char *type, *path; } mounts[] = {{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}};
  (void)state, (void)op;
  for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++)
    if (!is_mount_point(mounts[i].path) && mount(mounts[i].type, mounts[i].path, mounts[i].type, MS_NOSUID, NULL) != 0 &&
        errno != ENOENT && errno != EBUSY)
      return failed_at("mount", mounts[i].path);
  open_console();
  return load_modules();
}

/* mount-point PATH missing|always: what pivot_root(2) needs. What came from a more privileged mount namespace is locked to
   what it lies on, and no root: bound once more it is ours (mount_namespaces(7)). */
int op_mount_point(struct state *state, struct op *op) {
  (void)state;
  const char *path = op->field[0];
  int target = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (target < 0) return failed_at("open", path);
  int result = 0;
  if (strcmp(op->field[1], "always") == 0 || !is_mount_point(path)) {
    int tree = open_tree_at(AT_FDCWD, path, AT_RECURSIVE);
    if (tree < 0) result = failed_at("open_tree", path);
    else if (move_mount_onto(tree, target) != 0) result = failed_at("move_mount", path);
    if (tree >= 0) close(tree);
  }
  int error = errno;
  close(target);
  errno = error;
  return result;
}

/* / is the initial RAM file system, which pivot_root(2) refuses: the root is moved over it. */
static int switch_root(void) {
  if (mount(".", "/", NULL, MS_MOVE, NULL) != 0) return failed("mount");
  return chroot(".") == 0 ? 0 : failed("chroot");
}

/* enter-root pivot|chroot PATH */
int op_enter_root(struct state *state, struct op *op) {
  const char *path = op->field[1];
  if (end_mounts() != 0) return failed("umount2");
  if (chdir(path) != 0) return failed_at("chdir", path);
  if (strcmp(op->field[0], "chroot") == 0) {
    if (chroot(".") != 0) return failed("chroot");
  } else if (syscall(SYS_pivot_root, ".", ".") == 0) {
    if (umount2(".", MNT_DETACH) != 0) return failed("umount2");
  } else if (errno != EINVAL || switch_root() != 0)
    return failed_at("pivot_root", path);
  if (chdir("/") != 0) return failed("chdir");
  state->entered = true;
  return 0;
}

static int give_name(const char *path, uid_t uid, gid_t gid) {
  return chown(path, uid, gid) == 0 || errno == ENOENT || errno == EROFS ? 0 : failed_at("chown", path);
}

static bool is_cgroup(const char *path) {
  enum { VERSION_1 = 0x27e0eb, VERSION_2 = 0x63677270 }; /* linux/magic.h */
  struct statfs status;
  return statfs(path, &status) == 0 && (status.f_type == VERSION_1 || status.f_type == VERSION_2);
}

/* Of a whole hierarchy, which is the host's: whoever started the guest has made no cgroup there for it. Version 1 has
   cgroup.sane_behavior nowhere else, version 2 has cgroup.events everywhere else (cgroup-v2.rst). */
static bool is_top_cgroup(const char *path) {
  char name[4096];
  snprintf(name, sizeof name, "%s/cgroup.sane_behavior", path);
  if (access(name, F_OK) == 0) return true;
  snprintf(name, sizeof name, "%s/cgroup.controllers", path);
  if (access(name, F_OK) != 0) return false;
  snprintf(name, sizeof name, "%s/cgroup.events", path);
  return access(name, F_OK) != 0;
}

/* A line of /proc/self/cgroup, "N:CONTROLLERS:PATH" (cgroups(7)): the directory is below where the hierarchy is mounted,
   or, seen from outside of a cgroup namespace that the mount belongs to, it is that itself. */
static int give_cgroup(char *line, uid_t uid, gid_t gid) {
  static const char *const files[] = {"", "/cgroup.procs", "/cgroup.threads", "/cgroup.subtree_control", "/tasks"};
  char directory[3072], name[4096], *controllers = strchr(line, ':');
  char *path = controllers == NULL ? NULL : strchr(controllers + 1, ':');
  if (path == NULL) return 0;
  *path++ = '\0';
  controllers++;
  if (strncmp(controllers, "name=", 5) == 0) controllers += 5;
  const char *slash = *controllers != '\0' ? "/" : "";
  snprintf(directory, sizeof directory, "/sys/fs/cgroup%s%s%s", slash, controllers, path);
  if (!is_cgroup(directory)) snprintf(directory, sizeof directory, "/sys/fs/cgroup%s%s", slash, controllers);
  if (!is_cgroup(directory) || is_top_cgroup(directory)) return 0;
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    snprintf(name, sizeof name, "%s%s", directory, files[i]);
    if (give_name(name, uid, gid) != 0) return -1;
  }
  return 0;
}

/* hand-over UID GID: so that the mapped root may make cgroups below ours, and open the usual devices. */
int op_hand_over(struct state *state, struct op *op) {
  static const char *const devices[] = {"null", "full", "zero", "random", "urandom", "console", "tty", "tty1", "initctl"};
  (void)state;
  unsigned long uid, gid;
  if (!parse_number(op->field[0], 4294967294, &uid) || !parse_number(op->field[1], 4294967294, &gid)) {
    errno = EINVAL;
    return failed("hand-over");
  }
  FILE *groups = fopen("/proc/self/cgroup", "re");
  char line[4096];
  while (groups != NULL && fgets(line, sizeof line, groups) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    if (give_cgroup(line, (uid_t)uid, (gid_t)gid) != 0) return -1;
  }
  if (groups != NULL) fclose(groups);
  for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
    char path[64];
    snprintf(path, sizeof path, "/dev/%s", devices[i]);
    if (give_name(path, (uid_t)uid, (gid_t)gid) != 0) return -1;
  }
  return 0;
}

/* RTM_SETLINK with IFLA_NET_NS_PID: rtnetlink(7). */
static int move_interface(int netlink, int index, pid_t pid) {
  struct {
    struct nlmsghdr head;
    struct ifinfomsg info;
    struct rtattr attribute;
    unsigned pid;
  } request = {
      .head = {.nlmsg_len = sizeof request, .nlmsg_type = RTM_SETLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
      .info = {.ifi_family = AF_UNSPEC, .ifi_index = index},
      .attribute = {.rta_len = RTA_LENGTH(sizeof(unsigned)), .rta_type = IFLA_NET_NS_PID},
      .pid = (unsigned)pid,
  };
  char answer[1024];
  if (send(netlink, &request, sizeof request, 0) < 0) return -1;
  ssize_t n = recv(netlink, answer, sizeof answer, 0);
  struct nlmsghdr *head = (void *)answer;
  if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)) || head->nlmsg_type != NLMSG_ERROR) {
    errno = EPROTO;
    return -1;
  }
  errno = -((struct nlmsgerr *)NLMSG_DATA(head))->error;
  return errno == 0 ? 0 : -1;
}

/* interfaces: all but the loopback one, and those that each network namespace has of its own (EINVAL). */
int op_interfaces(struct state *state, struct op *op) {
  (void)op;
  int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  struct if_nameindex *all = netlink < 0 ? NULL : if_nameindex();
  if (all == NULL) return failed("netlink");
  int result = 0;
  for (struct if_nameindex *each = all; result == 0 && each->if_index != 0; each++)
    if (strcmp(each->if_name, "lo") != 0 && move_interface(netlink, (int)each->if_index, state->inside) != 0 && errno != EINVAL)
      result = failed_at("netlink", each->if_name);
  int error = errno;
  if_freenameindex(all);
  close(netlink);
  errno = error;
  return result;
}

struct exclusion {
  char **names;
  regex_t *patterns;
  int name_count, pattern_count;
};

static bool is_excluded(const struct exclusion *exclusion, const char *name) {
  for (int i = 0; i < exclusion->name_count; i++)
    if (strcmp(exclusion->names[i], name) == 0) return true;
  regmatch_t match;
  for (int i = 0; i < exclusion->pattern_count; i++)
    if (regexec(&exclusion->patterns[i], name, 1, &match, 0) == 0 && match.rm_so == 0 && name[match.rm_eo] == '\0') return true;
  return false;
}

static int compile(struct op *op, struct exclusion *exclusion) {
  unsigned long count;
  if (!parse_number(op->field[0], (unsigned long)op->fields - 1, &count)) {
    errno = EINVAL;
    return failed("devices");
  }
  exclusion->names = op->field + 1;
  exclusion->name_count = (int)count;
  char **patterns = op->field + 1 + count;
  int wanted = op->fields - 1 - (int)count;
  exclusion->patterns = calloc((size_t)wanted + 1, sizeof *exclusion->patterns);
  if (exclusion->patterns == NULL) return failed("calloc");
  for (; exclusion->pattern_count < wanted; exclusion->pattern_count++) {
    int error = regcomp(&exclusion->patterns[exclusion->pattern_count], patterns[exclusion->pattern_count], REG_EXTENDED);
    if (error == 0) continue;
    regerror(error, &exclusion->patterns[exclusion->pattern_count], failed_detail, sizeof failed_detail);
    errno = EINVAL;
    return failed("regular expression");
  }
  return 0;
}

static int bind_device(struct state *state, const char *source, const char *target, bool directory) {
  int tree = open_tree_at(AT_FDCWD, source, directory ? AT_RECURSIVE : 0);
  if (tree < 0) return errno == ENOENT ? 0 : failed_at("open_tree", source);
  int at = root_target(state, target, directory ? CREATE_DIRECTORY : CREATE_FILE, directory ? 0755 : 0666);
  int result = at < 0 ? -1 : move_mount_onto(tree, at) == 0 ? 0 : failed_at("move_mount", target);
  int error = errno;
  if (at >= 0) close(at);
  close(tree);
  errno = error;
  return result;
}

/* A terminal that ours names by a symlink has no name in the guest's new devpts: it is bound itself. */
static bool leads_to_terminal(const char *target) {
  if (strncmp(target, "/dev/", 5) == 0) target += 5;
  return strncmp(target, "pts/", 4) == 0 && strcmp(target, "pts/ptmx") != 0;
}

static int give_link(struct state *state, const char *path) {
  char to[4096], name[256];
  ssize_t n = readlink(path, to, sizeof to - 1);
  if (n < 0) return failed_at("readlink", path);
  to[n] = '\0';
  if (leads_to_terminal(to)) return bind_device(state, path, path, false);
  int parent = root_parent(state, path, name, sizeof name);
  if (parent < 0) return -1;
  int result = symlinkat(to, parent, name);
  close(parent);
  return result == 0 ? 0 : failed_at("symlinkat", path);
}

static int give_directory(struct state *, const char *below, const struct exclusion *, int depth);

static int give_device(struct state *state, const char *name, const struct exclusion *exclusion, int depth) {
  char path[4096];
  struct stat status;
  if ((size_t)snprintf(path, sizeof path, "/dev/%s", name) >= sizeof path || is_excluded(exclusion, name)) return 0;
  int there = root_open(state, path, O_PATH | O_NOFOLLOW);
  if (there >= 0) close(there);
  if (lstat(path, &status) != 0) return errno == ENOENT ? 0 : failed_at("lstat", path);
  if (S_ISDIR(status.st_mode) && !is_mount_point(path)) return give_directory(state, name, exclusion, depth + 1);
  if (there >= 0) return 0;
  return S_ISLNK(status.st_mode) ? give_link(state, path) : bind_device(state, path, path, S_ISDIR(status.st_mode));
}

static int give_directory(struct state *state, const char *below, const struct exclusion *exclusion, int depth) {
  char path[4096];
  struct dirent **names;
  snprintf(path, sizeof path, "/dev/%s", below);
  if (depth > 8) return 0;
  if (*below != '\0') {
    int made = root_target(state, path, CREATE_DIRECTORY, 0755);
    if (made < 0) return -1;
    close(made);
  }
  int result = 0, count = scandir(path, &names, NULL, alphasort);
  if (count < 0) return failed_at("opendir", path);
  for (int i = 0; i < count; i++) {
    const char *own = names[i]->d_name;
    if (result == 0 && strcmp(own, ".") != 0 && strcmp(own, "..") != 0 &&
        (size_t)snprintf(path, sizeof path, "%s%s%s", below, *below ? "/" : "", own) < sizeof path)
      result = give_device(state, path, exclusion, depth);
    free(names[i]);
  }
  free(names);
  return result;
}

/* devices EXCLUDED NAME… PATTERN…: what /dev of the boot file system has and the root's has not yet. Names are those
   below /dev; a pattern is a POSIX extended regular expression for a whole name. */
int op_devices(struct state *state, struct op *op) {
  struct exclusion exclusion = {0};
  return compile(op, &exclusion) != 0 ? -1 : give_directory(state, "", &exclusion, 0);
}
