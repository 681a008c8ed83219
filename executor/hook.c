/* Hooks: programs of the host that help to make a container. They run in its namespaces, before the root is entered,
   with the capabilities that the container is made with, and find the gathered environment and a list for mounts as
   files on the stage. */
#include "startup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Files of the stage. */
struct places {
  char directory[4096], environment[4120], mounts[4120], rc[4120], root[4096];
};

/* Where the root lies until it is entered. */
int root_path(struct state *state, char *path, size_t size) {
  char link[32];
  snprintf(link, sizeof link, "/proc/self/fd/%d", state->root);
  ssize_t n = readlink(link, path, size - 1);
  if (n < 0) return failed("readlink");
  path[n] = '\0';
  return 0;
}

static int find_places(struct state *state, const char *stage, struct places *places) {
  if (realpath(stage, places->directory) == NULL) return failed_at("realpath", stage);
  snprintf(places->environment, sizeof places->environment, "%s/environment", places->directory);
  snprintf(places->mounts, sizeof places->mounts, "%s/fstab", places->directory);
  snprintf(places->rc, sizeof places->rc, "%s/rc", places->directory);
  return root_path(state, places->root, sizeof places->root);
}

/* Capabilities outlive the exec of a program that is not root's only as ambient ones. */
static int ambient_capabilities(void) {
  struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &head, data) != 0) return -1;
  for (int i = 0; i < 2; i++) data[i].inheritable = data[i].permitted;
  if (syscall(SYS_capset, &head, data) != 0) return -1;
  for (int capability = 0; capability < 64; capability++)
    if (data[capability / 32].permitted >> (capability % 32) & 1)
      prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
  return 0;
}

static char **with_variables(char **caller, char *own[], int count) {
  int size = 0;
  while (caller != NULL && caller[size] != NULL) size++;
  char **all = calloc((size_t)size + (size_t)count + 1, sizeof *all);
  if (all == NULL) return NULL;
  if (size > 0) memcpy(all, caller, (size_t)size * sizeof *all);
  for (int i = 0; i < count; i++) all[size + i] = own[i];
  return all;
}

static void become_hook(struct state *state, struct op *op, const struct places *places, const char *output) {
  static const struct { const char *name; size_t at; } names[] = {
      {"ROOTFS", offsetof(struct places, root)}, {"ENVIRON", offsetof(struct places, environment)},
      {"MOUNTS", offsetof(struct places, mounts)},
  };
  char *own[8];
  int count = 0;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    for (int twin = 0; twin < 2; twin++)
      if (asprintf(&own[count++], "%s_%s=%s", twin ? "ROOTLING" : "ENROOT", names[i].name, (const char *)places + names[i].at) < 0) return;
  for (int twin = 0; twin < 2; twin++)
    if (asprintf(&own[count++], "%s_PID=%d", twin ? "ROOTLING" : "ENROOT", getppid()) < 0) return;
  char **environment = with_variables(state->caller, own, count);
  int fd = open(output, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (environment == NULL || fd < 0 || dup2(fd, 1) < 0) return;
  /* Nothing of ours, such as the way to what is outside. */
  if (syscall(SYS_close_range, 3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */) != 0 || ambient_capabilities() != 0) return;
  prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0);
  umask(state->umask);
  default_signals();
  execve(op->field[2], op->field + 2, environment);
}

static int wait_for(pid_t child) {
  int status;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return failed("waitpid");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
  if (WIFEXITED(status)) snprintf(failed_detail, sizeof failed_detail, "status %d", WEXITSTATUS(status));
  else snprintf(failed_detail, sizeof failed_detail, "signal %d", WTERMSIG(status));
  errno = ECANCELED;
  return failed("hook");
}

/* hook OUTPUT STAGE PROGRAM ARGUMENT…: OUTPUT says what becomes of its standard output: `none`, or lines for
   `environment` or `mounts`, or the script `rc`. */
int op_hook(struct state *state, struct op *op) {
  struct places places;
  const char *output = op->field[0], *file = "/dev/null";
  if (find_places(state, op->field[1], &places) != 0 || write_gathered(state, places.environment) != 0) return -1;
  int mounts = open(places.mounts, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (mounts < 0) return failed_at("open", places.mounts);
  close(mounts);
  if (strcmp(output, "environment") == 0) file = places.environment;
  if (strcmp(output, "mounts") == 0) file = places.mounts;
  if (strcmp(output, "rc") == 0) file = places.rc;
  pid_t child = fork();
  if (child < 0) return failed("fork");
  if (child == 0) {
    become_hook(state, op, &places, file);
    dprintf(2, "rootling: %s: %s\n", op->field[2], strerror(errno));
    _exit(127);
  }
  return wait_for(child) != 0 ? -1 : read_gathered(state, places.environment);
}

/* What a hook of an OCI runtime reads from its standard input. */
static int state_of(const struct op *op, pid_t pid) {
  char *text;
  int length = asprintf(&text, "%s%d%s", op->field[0], pid, op->field[1]);
  int fd = length < 0 ? -1 : memfd_create("state", MFD_CLOEXEC);
  if (fd >= 0 && (write(fd, text, (size_t)length) != length || lseek(fd, 0, SEEK_SET) != 0)) return -1;
  return fd;
}

static void become_runtime_hook(struct state *state, struct op *op, long timeout, int arguments) {
  char **argv = calloc((size_t)arguments + 1, sizeof *argv);
  int input = state_of(op, getppid());
  if (argv == NULL || input < 0 || dup2(input, 0) < 0 || dup2(2, 1) < 0) return;
  memcpy(argv, op->field + 5, (size_t)arguments * sizeof *argv);
  char **environment = with_variables(NULL, op->field + 5 + arguments, op->fields - 5 - arguments);
  if (environment == NULL || syscall(SYS_close_range, 3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */) != 0) return;
  if (ambient_capabilities() != 0) return;
  prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0);
  umask(state->umask);
  default_signals();
  alarm((unsigned)timeout);
  execve(op->field[3], argv, environment);
}

/* runtime-hook STATE REST TIMEOUT PROGRAM COUNT WORD…: a program of the host as the OCI runtime specification has
   createContainer: STATE, our pid and REST on its standard input; COUNT words are its arguments, the others its
   environment. After TIMEOUT seconds, if that is not 0, it is ended. */
int op_runtime_hook(struct state *state, struct op *op) {
  unsigned long timeout, count;
  if (!parse_number(op->field[2], 86400, &timeout) || !parse_number(op->field[4], (unsigned long)op->fields - 5, &count)) {
    errno = EINVAL;
    return failed("runtime-hook");
  }
  pid_t child = fork();
  if (child < 0) return failed("fork");
  if (child == 0) {
    become_runtime_hook(state, op, (long)timeout, (int)count);
    dprintf(2, "rootling: %s: %s\n", op->field[3], strerror(errno));
    _exit(127);
  }
  return wait_for(child);
}

/* hook-mounts STAGE: mounts what hooks have listed since, and empties the list. */
int op_hook_mounts(struct state *state, struct op *op) {
  struct places places;
  if (find_places(state, op->field[0], &places) != 0) return -1;
  char *text = host_file(places.mounts);
  if (text == NULL) return errno == ENOENT ? 0 : failed_at("read", places.mounts);
  if (mount_lines(state, "ENROOT_MOUNTS", text, 0) != 0) return -1;
  free(text);
  return truncate(places.mounts, 0) == 0 ? 0 : failed_at("truncate", places.mounts);
}

/* In memory: the payload's shell reads it by descriptor, when no path leads to it any more. */
static int keep_script(struct state *state, const char *text) {
  int fd = memfd_create("rc", MFD_CLOEXEC);
  size_t size = strlen(text);
  if (fd < 0 || write(fd, text, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET) != 0) return failed("memfd_create");
  state->rc = fd;
  return 0;
}

/* rc TEXT: the script that starts the payload. */
int op_rc(struct state *state, struct op *op) { return keep_script(state, op->field[0]); }

/* rc-local TEXT: the same where /etc/rc.local has something to say, which TEXT reads; the payload needs no shell
   otherwise. */
int op_rc_local(struct state *state, struct op *op) {
  bool missing;
  if (state->rc >= 0) return 0;
  char *text = root_file(state, "/etc/rc.local", &missing);
  if (text == NULL) return missing ? 0 : -1;
  int result = *text == '\0' ? 0 : keep_script(state, op->field[0]);
  free(text);
  return result;
}

/* hook-rc STAGE: the same, if a hook has written one. */
int op_hook_rc(struct state *state, struct op *op) {
  struct places places;
  if (find_places(state, op->field[0], &places) != 0) return -1;
  char *text = host_file(places.rc);
  if (text == NULL) return errno == ENOENT ? 0 : failed_at("read", places.rc);
  int result = *text == '\0' ? 0 : keep_script(state, text);
  free(text);
  return result;
}
