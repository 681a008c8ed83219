/* Mounts, made with the file-descriptor based mount interface, or its stand-in (mount-calls.c). */
#include "executor.h"
#include "mount-calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

char failed_detail[256];

/* Keeps what the file system says about a failed fsconfig: "e overlay: …". */
static int failed_fs(int fs, const char *call) {
  int error = errno;
  ssize_t n = read(fs, failed_detail, sizeof failed_detail - 1);
  failed_detail[n > 0 ? n : 0] = '\0';
  close(fs);
  errno = error;
  return failed(call);
}

static int move_onto(struct state *state, const char *path, int mount, int target) {
  int result = move_mount_onto(mount, target);
  int error = errno;
  close(target);
  if (result == 0) root_keep(state, path, mount);
  else close(mount);
  errno = error;
  return result == 0 ? 0 : failed("move_mount");
}

/* True of a target that procfs or sysfs already covers: what is mounted there would undo what guards them. */
static bool is_kernel_file(int target) {
  struct statfs status;
  return fstatfs(target, &status) == 0 && (status.f_type == PROC_SUPER_MAGIC || status.f_type == SYSFS_MAGIC);
}

bool has_word(const char *list, const char *word) {
  size_t length = strlen(word);
  for (const char *at = list; *at;) {
    size_t n = strcspn(at, ",");
    if (n == length && strncmp(at, word, n) == 0) return true;
    at += n + (at[n] == ',');
  }
  return false;
}

/* A list such as "ro,nosuid" as MOUNT_ATTR_ bits; -1 with EINVAL for an unknown word. */
static int attribute_bits(const char *list, unsigned long long *bits) {
  static const struct { const char *word; unsigned long long bit; } known[] = {
      {"ro", MOUNT_ATTR_RDONLY}, {"nosuid", MOUNT_ATTR_NOSUID}, {"nodev", MOUNT_ATTR_NODEV},
      {"noexec", MOUNT_ATTR_NOEXEC}, {"noatime", MOUNT_ATTR_NOATIME}, {"strictatime", MOUNT_ATTR_STRICTATIME},
      {"nodiratime", MOUNT_ATTR_NODIRATIME}, {"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW},
  };
  *bits = 0;
  for (const char *at = list; *at;) {
    size_t n = strcspn(at, ","), i = 0, count = sizeof known / sizeof *known;
    while (i < count && !(strlen(known[i].word) == n && strncmp(at, known[i].word, n) == 0)) i++;
    if (i == count) {
      errno = EINVAL;
      return failed("mount attribute");
    }
    *bits |= known[i].bit;
    at += n + (at[n] == ',');
  }
  return 0;
}

static int change_attributes(int fd, const char *set, const char *clear, bool recursive) {
  struct mount_attr attributes = {0};
  unsigned long long bits;
  if (attribute_bits(set, &bits) != 0) return -1;
  attributes.attr_set = bits;
  if (attribute_bits(clear, &bits) != 0) return -1;
  attributes.attr_clr = bits;
  /* The access time words share one field, which has to be cleared as a whole (mount_setattr(2)). */
  if (attributes.attr_set & MOUNT_ATTR__ATIME) attributes.attr_clr |= MOUNT_ATTR__ATIME;
  if (attributes.attr_set == 0 && attributes.attr_clr == 0) return 0;
  return set_attributes(fd, recursive ? AT_RECURSIVE : 0, &attributes) == 0 ? 0 : failed("mount_setattr");
}

/* propagation PATH private|slave: of the whole tree of mounts. */
int op_propagation(struct state *state, struct op *op) {
  (void)state;
  struct mount_attr attributes = {.propagation = strcmp(op->field[1], "private") == 0 ? 1 << 18 : 1 << 19};
  int fd = open(op->field[0], O_PATH | O_CLOEXEC);
  if (fd < 0) return failed("open");
  if (set_attributes(fd, AT_RECURSIVE, &attributes) != 0) return failed("mount_setattr");
  close(fd);
  return 0;
}

/* make-directory PATH MODE */
int op_make_directory(struct state *state, struct op *op) {
  int fd = root_target(state, op->field[0], CREATE_DIRECTORY, (mode_t)strtoul(op->field[1], NULL, 8));
  if (fd < 0) return -1;
  close(fd);
  return 0;
}

/* root PATH: targets of later ops are paths of this root. */
int op_root(struct state *state, struct op *op) {
  state->root = open(op->field[0], O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  return state->root >= 0 ? 0 : failed("open");
}

/* A directory as "/proc/self/fd/N": short, and free of the characters that overlayfs's options give a meaning. */
static int layer_path(const char *path, char *result, size_t size) {
  int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return failed("open");
  snprintf(result, size, "/proc/self/fd/%d", fd);
  return fd;
}

static int set_lowers(int fs, char **lower, int count) {
  enum { VALUE_MAX = 255 }; /* of FSCONFIG_SET_STRING */
  char joined[VALUE_MAX + 1] = "", one[32];
  size_t length = 0;
  bool fits = count <= VALUE_MAX / 20;
  for (int i = 0; i < count; i++) {
    if (layer_path(lower[i], one, sizeof one) < 0) return -1;
    if (fits)
      length += (size_t)snprintf(joined + length, sizeof joined - length, "%s%s", i ? ":" : "", one);
    else if (fs_config(fs, FSCONFIG_SET_STRING, "lowerdir+", one) != 0) /* Linux 6.5 */
      return failed("fsconfig");
  }
  return !fits || fs_config(fs, FSCONFIG_SET_STRING, "lowerdir", joined) == 0 ? 0 : failed("fsconfig");
}

/* overlay TARGET OPTIONS UPPER WORK LOWER…: the topmost lower first; UPPER and WORK empty for a read-only one.
   The layers' descriptors stay open until exec. */
int op_overlay(struct state *state, struct op *op) {
  char path[32];
  int fs = fs_open("overlay");
  if (fs < 0) return failed("fsopen");
  const char *source = strstr(op->field[1], "source="); /* The last of the options, where it is one of them. */
  if (fs_config(fs, FSCONFIG_SET_STRING, "source", source ? source + 7 : "rootling") != 0)
    return failed_fs(fs, "fsconfig");
  if (has_word(op->field[1], "userxattr") && fs_config(fs, FSCONFIG_SET_FLAG, "userxattr", NULL) != 0)
    return failed_fs(fs, "fsconfig");
  if (set_lowers(fs, op->field + 4, op->fields - 4) != 0) return failed_fs(fs, failed_call);
  if (op->field[2][0] != '\0') {
    if (layer_path(op->field[2], path, sizeof path) < 0) return -1;
    if (fs_config(fs, FSCONFIG_SET_STRING, "upperdir", path) != 0) return failed_fs(fs, "fsconfig");
    if (layer_path(op->field[3], path, sizeof path) < 0) return -1;
    if (fs_config(fs, FSCONFIG_SET_STRING, "workdir", path) != 0) return failed_fs(fs, "fsconfig");
  }
  if (fs_config(fs, FSCONFIG_CMD_CREATE, NULL, NULL) != 0) return failed_fs(fs, "fsconfig");
  int mount = fs_mount(fs, MOUNT_ATTR_NODEV);
  if (mount < 0) return failed_fs(fs, "fsmount");
  close(fs);
  int target = root_target(state, op->field[0], CREATE_DIRECTORY, 0755);
  return target < 0 ? -1 : move_onto(state, op->field[0], mount, target);
}

/* Sets each "key=value" or "flag" of a comma-separated list; overwrites the commas. */
static int set_data(int fs, char *data) {
  for (char *word = strtok(data, ","); word != NULL; word = strtok(NULL, ",")) {
    char *value = strchr(word, '=');
    if (value != NULL) *value++ = '\0';
    if (fs_config(fs, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, word, value) != 0) return -1;
  }
  return 0;
}

/* What x-create asks for; `directory` tells what `auto` means. */
static enum create creation(const char *word, bool directory) {
  if (strcmp(word, "none") == 0) return CREATE_NONE;
  if (strcmp(word, "dir") == 0) return CREATE_DIRECTORY;
  if (strcmp(word, "file") == 0) return CREATE_FILE;
  if (strcmp(word, "own") == 0) return CREATE_OWN;
  return directory ? CREATE_DIRECTORY : CREATE_FILE;
}

static bool is_missing(struct state *state, const char *path) {
  int fd = root_open(state, path, O_PATH);
  if (fd < 0) return errno == ENOENT;
  close(fd);
  return false;
}

/* mount TYPE SOURCE TARGET ATTRIBUTES DATA CREATE: a new instance of a file system. CREATE may be `skip`: a mask over
   what does not exist is not needed; or `own`: a directory that is no symlink. */
int op_mount(struct state *state, struct op *op) {
  unsigned long long bits;
  bool skip = strcmp(op->field[5], "skip") == 0;
  if (skip && is_missing(state, op->field[2])) return 0;
  if (attribute_bits(op->field[3], &bits) != 0) return -1;
  int fs = fs_open(op->field[0]);
  if (fs < 0) return failed("fsopen");
  if (fs_config(fs, FSCONFIG_SET_STRING, "source", op->field[1]) != 0 || set_data(fs, op->field[4]) != 0 ||
      fs_config(fs, FSCONFIG_CMD_CREATE, NULL, NULL) != 0)
    return failed_fs(fs, "fsconfig");
  int mount = fs_mount(fs, (unsigned)bits);
  if (mount < 0) return failed_fs(fs, "fsmount");
  close(fs);
  int target = root_target(state, op->field[2], skip ? CREATE_NONE : creation(op->field[5], true), 0755);
  if (target < 0) return -1;
  bool ours = skip || strcmp(op->field[5], "own") == 0 || strcmp(op->field[0], "cgroup2") == 0;
  if (!ours && is_kernel_file(target)) {
    errno = EXDEV;
    return failed("target check");
  }
  return move_onto(state, op->field[2], mount, target);
}

/* What is bound: a path of the host, or a tree that the outside has lent; -1 with errno if there is none. */
static int bind_source(const char *source, bool recursive) {
  int tree = take_lent(source);
  if (tree == 0) errno = ENOENT;
  if (tree >= 0) return tree == 0 ? -1 : tree;
  return open_tree_at(AT_FDCWD, source, recursive ? AT_RECURSIVE : 0);
}

/* bind SOURCE TARGET SET CLEAR WORDS CREATE MODE: SOURCE may be lent:NUMBER; WORDS of rec, nofail (whatever is wrong
   with source or target), if-there (only where they do not exist); MODE (octal) of a target that is made. */
int op_bind(struct state *state, struct op *op) {
  bool recursive = has_word(op->field[4], "rec"), nofail = has_word(op->field[4], "nofail");
  bool lenient = nofail || has_word(op->field[4], "if-there");
  int tree = bind_source(op->field[0], recursive);
  if (tree < 0) return (nofail && errno == EACCES) || (lenient && errno == ENOENT) ? 0 : failed("open_tree");
  struct stat status;
  if (fstat(tree, &status) != 0) return failed("fstat");
  if (change_attributes(tree, op->field[2], op->field[3], recursive) != 0) return -1;
  mode_t mode = (mode_t)strtoul(op->field[6], NULL, 8);
  int target = root_target(state, op->field[1], creation(op->field[5], S_ISDIR(status.st_mode)), mode);
  if (target < 0) {
    int error = errno;
    close(tree);
    errno = error;
    return nofail || (lenient && error == ENOENT) ? 0 : -1;
  }
  if (!has_word(op->field[4], "if-there") && strcmp(op->field[5], "own") != 0 && is_kernel_file(target)) {
    errno = EXDEV;
    return failed("target check");
  }
  return move_onto(state, op->field[1], tree, target);
}

/* device SOURCE TARGET MAJOR MINOR WORD…: binds a character device, or with the word `block` a block device, once its kind and number are what they should be:
   an image or a host that put something else there does not get it into the container (CVE-2025-31133). */
int op_device(struct state *state, struct op *op) {
  unsigned long major_number, minor_number;
  struct stat status;
  if (!parse_number(op->field[2], 4095, &major_number) || !parse_number(op->field[3], 1048575, &minor_number)) {
    errno = EINVAL;
    return failed("device number");
  }
  int tree = open_tree_at(AT_FDCWD, op->field[0], 0);
  if (tree < 0) return failed("open_tree");
  if (fstat(tree, &status) != 0) return failed("fstat");
  bool kind = op->fields > 4 && strcmp(op->field[4], "block") == 0 ? S_ISBLK(status.st_mode) : S_ISCHR(status.st_mode);
  if (!kind || major(status.st_rdev) != major_number || minor(status.st_rdev) != minor_number) {
    errno = ENODEV;
    return failed("device check");
  }
  int target = root_target(state, op->field[1], CREATE_FILE, 0666);
  return target < 0 ? -1 : move_onto(state, op->field[1], tree, target);
}

/* symlink TARGET PATH: in the root; what is there already stays. */
int op_symlink(struct state *state, struct op *op) {
  char name[256];
  int parent = root_parent(state, op->field[1], name, sizeof name);
  if (parent < 0) return -1;
  int result = symlinkat(op->field[0], parent, name);
  close(parent);
  return result == 0 || errno == EEXIST ? 0 : failed("symlinkat");
}

/* Changes the attributes of what is mounted at a path of the root. */
int change_mount(struct state *state, const char *path, const char *set, const char *clear, bool recursive) {
  int fd = root_open(state, path, O_PATH);
  if (fd < 0) return failed("openat2");
  int result = change_attributes(fd, set, clear, recursive);
  close(fd);
  return result;
}

/* attributes PATH SET WORDS: of a mount in the root; WORDS: rec. */
int op_attributes(struct state *state, struct op *op) {
  return change_mount(state, op->field[0], op->field[1], "", has_word(op->field[2], "rec"));
}

/* expect PATH TYPE: that file system, and no other, is what programs will see there (CVE-2019-16884). TYPE: proc. */
int op_expect(struct state *state, struct op *op) {
  struct statfs status;
  int fd = root_open(state, op->field[0], O_PATH | O_NOFOLLOW);
  if (fd < 0 || fstatfs(fd, &status) != 0) return failed("statfs");
  close(fd);
  if (strcmp(op->field[1], "proc") == 0 && status.f_type == PROC_SUPER_MAGIC) return 0;
  errno = EXDEV;
  return failed("file system check");
}

/* pivot: the root becomes / and the old one goes, with all its mounts. */
int op_pivot(struct state *state, struct op *op) {
  (void)op;
  if (end_mounts() != 0) return failed("umount2");
  if (fchdir(state->root) != 0) return failed("fchdir");
  if (syscall(SYS_pivot_root, ".", ".") != 0) return failed("pivot_root");
  if (syscall(SYS_umount2, ".", 2 /* MNT_DETACH */) != 0) return failed("umount2");
  if (chdir("/") != 0) return failed("chdir");
  state->entered = true;
  return 0;
}
