/* Roots that stay packed. For real root the kernel mounts the file over a loop device; for everybody else a FUSE
   daemon of the host reads it: a file that its user can write must never be parsed by the kernel (CVE-2023-30549). */
#include "executor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/mount.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOOP_TRIES = 64 };

/* A loop device over the file, which goes away with its last user, whatever becomes of us. */
static int loop_over(int file, char *path, size_t size) {
  int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
  if (control < 0) return failed("open /dev/loop-control");
  struct loop_config config = {.fd = (unsigned)file, .info = {.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR}};
  int device = -1, result = -1;
  for (int tries = 0; tries < LOOP_TRIES && result != 0; tries++) {
    int number = ioctl(control, LOOP_CTL_GET_FREE);
    if (number < 0) break;
    snprintf(path, size, "/dev/loop%d", number);
    device = open(path, O_RDONLY | O_CLOEXEC);
    if (device < 0) break;
    result = ioctl(device, LOOP_CONFIGURE, &config);
    if (result == 0) break;
    int error = errno;
    close(device);
    device = -1;
    errno = error;
    if (error != EBUSY) break; /* Busy: somebody was faster to take the free one. */
  }
  int error = errno;
  close(control);
  errno = error;
  return result == 0 ? device : failed("loop");
}

static int mount_squashfs(const char *device) {
  int fs = (int)syscall(SYS_fsopen, "squashfs", FSOPEN_CLOEXEC);
  if (fs < 0) return failed("fsopen");
  int mount = -1;
  if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "source", device, 0) == 0 &&
      syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) == 0 &&
      syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
    mount = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  int error = errno;
  close(fs);
  errno = error;
  return mount >= 0 ? mount : failed("fsconfig");
}

/* lend-squashfs NUMBER FILE WORDS: mounts the file and sends the mount to the inside as lent:NUMBER. WORDS: idmap. */
int op_lend_squashfs(struct state *state, struct op *op) {
  char path[32];
  int file = open(op->field[1], O_RDONLY | O_CLOEXEC);
  if (file < 0) return failed("open");
  int device = loop_over(file, path, sizeof path);
  close(file);
  if (device < 0) return -1;
  int mount = mount_squashfs(path);
  int error = errno;
  close(device);
  errno = error;
  return mount < 0 ? -1 : lend_tree(state, op->field[0], mount, has_word(op->field[2], "idmap"), false);
}

/* fuse NUMBER TARGET: mounts a FUSE file system of our user namespace, and sends its connection to the
   outside as NUMBER, where op `serve` answers it. */
int op_fuse(struct state *state, struct op *op) {
  char text[32];
  int connection = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (connection < 0) return failed("open /dev/fuse");
  int fs = (int)syscall(SYS_fsopen, "fuse", FSOPEN_CLOEXEC);
  if (fs < 0) return failed("fsopen");
  const char *const options[][2] = {{"fd", text}, {"rootmode", "40000"}, {"user_id", "0"}, {"group_id", "0"}};
  char uid[16], gid[16];
  snprintf(uid, sizeof uid, "%u", geteuid());
  snprintf(gid, sizeof gid, "%u", getegid());
  snprintf(text, sizeof text, "%d", connection);
  for (int i = 0; i < 4; i++) {
    const char *value = i == 2 ? uid : i == 3 ? gid : options[i][1];
    if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, options[i][0], value, 0) != 0) return failed("fsconfig");
  }
  /* The kernel checks permissions, for every user of the map. */
  if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, "allow_other", NULL, 0) != 0 ||
      syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, "default_permissions", NULL, 0) != 0 ||
      syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0)
    return failed("fsconfig");
  int mount = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  close(fs);
  if (mount < 0) return failed("fsmount");
  int target = root_target(state, op->field[1], CREATE_DIRECTORY, 0755);
  if (target < 0) return -1;
  int moved = (int)syscall(SYS_move_mount, mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
  close(mount);
  close(target);
  if (moved != 0) return failed("move_mount");
  int sent = send_lent(state, op->field[0], connection);
  close(connection);
  return sent;
}

static void execute_daemon(struct op *op, int connection, const char *mountpoint, pid_t monitor) { /* 0: without one */
  static char *environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL};
  char *words[] = {op->field[1], "-f", "-o", op->field[3], op->field[2], (char *)mountpoint, NULL};
  if (op->field[3][0] == '\0') memmove(&words[2], &words[4], 3 * sizeof *words);
  int nothing = open("/dev/null", O_RDWR);
  default_signals();
  setsid(); /* The terminal's signals are for the payload. */
  if (monitor != 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || getppid() != monitor)) _exit(127);
  for (int fd = 0; fd <= 2; fd++) dup2(nothing, fd);
  /* dup2(2) does nothing for the number itself: close-on-exec would stay. */
  if (connection == 3) fcntl(3, F_SETFD, 0);
  dup2(connection, 3);
  syscall(SYS_close_range, 4, ~0U, 0);
  execve(words[0], words, environment);
  _exit(127);
}

/* serve NUMBER PROGRAM FILE OPTIONS: PROGRAM, squashfuse(1), answers the connection that op `fuse` sent. It ends with
   the monitor; in place it ends when the kernel drops the mount, with the last process of the mount namespace. */
int op_serve(struct state *state, struct op *op) {
  char name[32];
  snprintf(name, sizeof name, "lent:%s", op->field[0]);
  int connection = take_lent(name);
  if (connection <= 0) {
    errno = EBADF;
    return failed("connection");
  }
  pid_t monitor = state->plan->supervised ? getpid() : 0;
  state->server = fork();
  if (state->server == 0) execute_daemon(op, connection, "/dev/fd/3", monitor);
  close(connection);
  return state->server > 0 ? 0 : failed("fork");
}

void undo_serve(struct state *state, struct op *op) {
  (void)op;
  if (state->server <= 0) return;
  kill(state->server, SIGKILL);
  waitpid(state->server, NULL, 0);
}
