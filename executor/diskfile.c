/* Disk files that were mounted on the host for a subhost, and go with it. */
#include "executor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { LOOP_MAJOR = 7 };

/* disk-file MARK MOUNT FILE: it is mounted already; MARK, by which the next command finds it after a crash, goes last. */
int op_disk_file(struct state *state, struct op *op) {
  (void)state, (void)op;
  return 0;
}

/* What is mounted there is a loop device of the file, and not what somebody else has mounted since. */
static bool is_mounted(const char *mount, const char *file) {
  char path[64], backing[4096];
  struct stat status;
  if (stat(mount, &status) != 0 || major(status.st_dev) != LOOP_MAJOR) return false;
  snprintf(path, sizeof path, "/sys/dev/block/%u:%u/loop/backing_file", major(status.st_dev), minor(status.st_dev));
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, backing, sizeof backing - 1);
  if (fd >= 0) close(fd);
  if (n <= 0) return false;
  backing[n] = '\0';
  backing[strcspn(backing, "\n")] = '\0';
  return strcmp(backing, file) == 0;
}

/* The loop device frees itself with its last mount. */
void undo_disk_file(struct state *state, struct op *op) {
  (void)state;
  if (is_mounted(op->field[1], op->field[2]) && umount2(op->field[1], MNT_DETACH) != 0) return;
  unlink(op->field[0]);
}
