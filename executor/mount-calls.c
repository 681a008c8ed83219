/* One face for two mount interfaces. open_tree(2) and friends have no wrappers in musl 1.2.3. */
#include "mount-calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Asked once, of each call, with flags that no kernel takes. */
static bool is_old(void) {
  static int known = -1;
  enum { NO_FLAGS = ~0U };
  if (known >= 0) return known;
  known = (syscall(SYS_open_tree, -1, "", NO_FLAGS) < 0 && errno == ENOSYS) ||
          (syscall(SYS_fsopen, "", NO_FLAGS) < 0 && errno == ENOSYS) ||
          (syscall(SYS_fsconfig, -1, NO_FLAGS, NULL, NULL, 0) < 0 && errno == ENOSYS) ||
          (syscall(SYS_fsmount, -1, NO_FLAGS, 0) < 0 && errno == ENOSYS) ||
          (syscall(SYS_move_mount, -1, "", -1, "", NO_FLAGS) < 0 && errno == ENOSYS) ||
          (syscall(SYS_mount_setattr, -1, "", NO_FLAGS, NULL, 0) < 0 && errno == ENOSYS);
  return known;
}

int open_tree_at(int fd, const char *path, unsigned flags) {
  if (is_old()) return old_open_tree(path, flags);
  return (int)syscall(SYS_open_tree, fd, path, flags | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
}

int fs_open(const char *type) { return is_old() ? old_fs_open(type) : (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC); }

int fs_config(int fs, unsigned command, const char *key, const char *value) {
  if (is_old()) return old_fs_config(command, key, value);
  return (int)syscall(SYS_fsconfig, fs, command, key, value, 0);
}

int fs_mount(int fs, unsigned attributes) {
  if (is_old()) return old_fs_mount(attributes);
  return (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attributes);
}

int set_attributes(int fd, unsigned flags, struct mount_attr *attributes) {
  if (is_old()) return old_set_attributes(fd, flags, attributes);
  return (int)syscall(SYS_mount_setattr, fd, "", flags | AT_EMPTY_PATH, attributes, sizeof *attributes);
}

int move_mount_onto(int mount, int target) {
  if (is_old()) return old_move_mount(mount, target);
  return (int)syscall(SYS_move_mount, mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

/* Before the root is pivoted into. */
int end_mounts(void) { return is_old() ? old_end_mounts() : 0; }
