/* Namespaces, id maps, and the records of who is inside. */
#include "executor.h"
#include "namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A list such as "user,mount,pid" as CLONE_NEW bits; -1 for an unknown word. */
int namespace_bits(const char *list) {
  static const struct { const char *word; int bit; } known[] = {
      {"user", CLONE_NEWUSER}, {"mount", CLONE_NEWNS}, {"pid", CLONE_NEWPID}, {"ipc", CLONE_NEWIPC},
      {"uts", CLONE_NEWUTS}, {"net", CLONE_NEWNET}, {"cgroup", CLONE_NEWCGROUP}, {"time", CLONE_NEWTIME},
  };
  int bits = 0;
  for (const char *at = list; *at;) {
    size_t n = strcspn(at, ","), i = 0, count = sizeof known / sizeof *known;
    while (i < count && !(strlen(known[i].word) == n && strncmp(at, known[i].word, n) == 0)) i++;
    if (i == count) return -1;
    bits |= known[i].bit;
    at += n + (at[n] == ',');
  }
  return bits;
}

/* Start time of a process, which with its pid names it for good: field 22 of /proc/PID/stat. */
bool start_time(unsigned long pid, char *start, size_t size) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%lu/stat", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return false;
  text[n] = '\0';
  char *at = strrchr(text, ')');
  for (int field = 2; at != NULL && field < 22; field++) at = strchr(at + 1, ' ');
  if (at == NULL) return false;
  size_t length = strcspn(at + 1, " ");
  if (length >= size) return false;
  memcpy(start, at + 1, length);
  start[length] = '\0';
  return true;
}

/* True if the process still is the one that was recorded. */
bool same_process(unsigned long pid, const char *start) {
  char now[32];
  return start_time(pid, now, sizeof now) && strcmp(now, start) == 0;
}

/* Enters namespaces of a running process: those of `bits`. The pid namespace takes effect for children. */
static int enter(unsigned long pid, const char *start, int bits) {
  int fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
  if (fd < 0) return failed("pidfd_open");
  /* Checked after pidfd_open: the descriptor cannot come to mean another process. */
  if (!same_process(pid, start)) {
    errno = ESRCH;
    return failed("start time");
  }
  /* From here on the container's processes see this one: they must not get hold of it (CVE-2016-9962). */
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return failed("prctl");
  if (setns(fd, bits) != 0) return failed("setns");
  close(fd);
  return 0;
}

static int invalid(const char *call) {
  errno = EINVAL;
  return failed(call);
}

/* join PID START NAMESPACES: enters those of a running process. */
int op_join(struct state *state, struct op *op) {
  unsigned long pid;
  int bits = namespace_bits(op->field[2]);
  if (bits < 0 || !parse_number(op->field[0], 1UL << 22, &pid)) return invalid("join");
  if (enter(pid, op->field[1], bits) != 0) return -1;
  state->entered = (bits & CLONE_NEWNS) != 0;
  return 0;
}

/* Enters what the joins of op `namespaces` name, each "PID START LIST", in their order. */
int enter_joins(struct op *op) {
  for (int i = 1; i < op->fields; i++) {
    char number[16], start[32], list[64];
    unsigned long pid;
    if (sscanf(op->field[i], "%15s %31s %63s", number, start, list) != 3 || !parse_number(number, 1UL << 22, &pid))
      return invalid("joins");
    int bits = namespace_bits(list);
    if (bits < 0) return invalid("joins");
    if (enter(pid, start, bits) != 0) return -1;
  }
  return 0;
}

/* A new time namespace is for children (time_namespaces(7)); whoever joins a container looks at its first process. */
static int enter_own_time(void) {
  int fd = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return failed("open");
  int result = setns(fd, CLONE_NEWTIME) == 0 ? 0 : failed("setns");
  close(fd);
  return result;
}

/* namespaces LIST JOIN…: enters namespaces of others, then makes new ones. A supervised process is cloned into those
   of the first such op (main.c). */
int op_namespaces(struct state *state, struct op *op) {
  (void)state;
  int bits = namespace_bits(op->field[0]);
  if (bits < 0) return invalid("namespaces");
  if (enter_joins(op) != 0) return -1;
  if (unshare(bits) != 0) return failed("unshare");
  return bits & CLONE_NEWTIME ? enter_own_time() : 0;
}

static int write_once(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t n = write(fd, text, strlen(text));
  int error = errno;
  close(fd);
  errno = error;
  return n == (ssize_t)strlen(text) ? 0 : -1;
}

/* id-map UIDS GIDS SETGROUPS: lines of user_namespaces(7), separated by commas, and "deny" or "allow". */
int op_id_map(struct state *state, struct op *op) {
  char path[64];
  static const char *const files[] = {"uid_map", "gid_map"};
  snprintf(path, sizeof path, "/proc/%d/setgroups", state->inside);
  /* An unprivileged process may write a gid map only once setgroups is denied (CVE-2014-8989). */
  if (strcmp(op->field[2], "deny") == 0 && write_once(path, "deny") != 0) return failed("setgroups");
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "/proc/%d/%s", state->inside, files[i]);
    for (char *comma = op->field[i]; (comma = strchr(comma, ',')) != NULL;) *comma = '\n';
    if (write_once(path, op->field[i]) != 0) return failed(files[i]);
  }
  return 0;
}

int op_hostname(struct state *state, struct op *op) {
  (void)state;
  return sethostname(op->field[0], strlen(op->field[0])) == 0 ? 0 : failed("sethostname");
}

/* upper DIRECTORY: the private directory of an ephemeral upper on disk, removed at the end. */
int op_upper(struct state *state, struct op *op) {
  (void)state;
  char path[4096];
  static const char *const parts[] = {"", "/upper", "/work"};
  for (int i = 0; i < 3; i++) {
    if ((size_t)snprintf(path, sizeof path, "%s%s", op->field[0], parts[i]) >= sizeof path) {
      errno = ENAMETOOLONG;
      return failed("mkdir");
    }
    mode_t mode = i == 1 ? 0755 : 0700;
    if (mkdir(path, mode) != 0 || chmod(path, mode) != 0) return failed("mkdir");
  }
  return 0;
}

void undo_upper(struct state *state, struct op *op) {
  if (remove_tree(op->field[0]) != 0 && remove_mapped(state, op->field[0]) != 0)
    perror("rootling: removing an ephemeral upper directory");
}

/* temporary DIRECTORY: what is there only for this start, removed at the end. */
int op_temporary(struct state *state, struct op *op) {
  (void)state;
  return access(op->field[0], F_OK) == 0 ? 0 : failed_at("access", op->field[0]);
}

void undo_temporary(struct state *state, struct op *op) {
  (void)state;
  if (remove_tree(op->field[0]) != 0) perror("rootling: removing a temporary directory");
}

/* record FILE: the pid inside, for `exec` and `list`; written beside and renamed, so that no reader sees a part. */
int op_record(struct state *state, struct op *op) {
  char temporary[4096], text[32];
  if ((size_t)snprintf(temporary, sizeof temporary, "%s.tmp", op->field[0]) >= sizeof temporary) {
    errno = ENAMETOOLONG;
    return failed("open");
  }
  int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return failed("open");
  int length = snprintf(text, sizeof text, "%d\n", state->inside);
  ssize_t n = write(fd, text, (size_t)length);
  close(fd);
  if (n != length) return failed("write");
  return rename(temporary, op->field[0]) == 0 ? 0 : failed("rename");
}

void undo_record(struct state *state, struct op *op) {
  (void)state;
  unlink(op->field[0]);
}
