/* Limits by control groups: one cgroup a container and hierarchy, made outside, removed at the end. */
#include "executor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, PATIENCE = 200 /* tries, 10 ms each */ };

static bool path_in(char *path, const char *directory, const char *name) {
  if ((size_t)snprintf(path, PATH_SIZE, "%s/%s", directory, name) < PATH_SIZE) return true;
  errno = ENAMETOOLONG;
  return false;
}

static int write_in(const char *directory, const char *name, const char *text) {
  char path[PATH_SIZE];
  if (!path_in(path, directory, name)) return -1;
  int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return -1;
  ssize_t length = (ssize_t)strlen(text), n = write(fd, text, (size_t)length);
  int error = errno;
  close(fd);
  errno = error;
  return n == length ? 0 : -1;
}

/* "memory pids": for the children of the cgroup above, one by one, as kernels want it. */
static int enable(const char *directory, char *controllers) {
  char above[PATH_SIZE], word[64], *rest = NULL;
  snprintf(above, sizeof above, "%s", directory);
  *strrchr(above, '/') = '\0';
  for (char *name = strtok_r(controllers, " ", &rest); name != NULL; name = strtok_r(NULL, " ", &rest)) {
    snprintf(word, sizeof word, "+%s", name);
    if (write_in(above, "cgroup.subtree_control", word) != 0) return failed("cgroup.subtree_control");
  }
  return 0;
}

/* FILE=VALUE; with ? before it, only where the kernel has such a file. */
static int set(const char *directory, char *setting) {
  bool optional = *setting == '?';
  char *name = setting + optional, *value = strchr(name, '=');
  if (value == NULL) {
    errno = EINVAL;
    return failed("cgroup");
  }
  *value = '\0';
  int result = write_in(directory, name, value + 1);
  int error = errno;
  if (result != 0) snprintf(failed_detail, sizeof failed_detail, "%s", name);
  *value = '=';
  errno = error;
  if (result == 0 || (optional && (error == ENOENT || error == EACCES))) {
    failed_detail[0] = '\0';
    return 0;
  }
  return failed("write");
}

/* Where the cgroup is, for whoever clears up after us. */
static int write_mark(const char *mark, const char *directory) {
  int fd = open(mark, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return failed("open");
  int n = dprintf(fd, "%s\n", directory);
  close(fd);
  return n > 0 ? 0 : failed("write");
}

/* cgroup MARK DIRECTORY CONTROLLERS SETTING…: makes a cgroup with limits. CONTROLLERS are enabled above it before. */
int op_cgroup(struct state *state, struct op *op) {
  const char *directory = op->field[1];
  if (directory[0] != '/' || strlen(directory) >= PATH_SIZE) {
    errno = EINVAL;
    return failed("cgroup");
  }
  if (enable(directory, op->field[2]) != 0) return -1;
  if (write_mark(op->field[0], directory) != 0) return -1;
  if (mkdir(directory, 0755) != 0) {
    int error = errno;
    unlink(op->field[0]);
    errno = error;
    return failed("mkdir");
  }
  for (int i = 3; i < op->fields; i++) {
    if (set(directory, op->field[i]) == 0) continue;
    int error = errno;
    const char *call = failed_call;
    undo_cgroup(state, op);
    errno = error;
    return failed(call);
  }
  return 0;
}

/* cgroup-join DIRECTORY: the inside process belongs to it from here on, and so does what it starts. */
int op_cgroup_join(struct state *state, struct op *op) {
  char number[16];
  snprintf(number, sizeof number, "%d", state->inside);
  return write_in(op->field[0], "cgroup.procs", number) == 0 ? 0 : failed("cgroup.procs");
}

/* How many processes the kernel ended for want of memory: version 2 and version 1 count in different files. */
static unsigned long killed_for_memory(const char *directory) {
  static const char *const files[] = {"memory.events", "memory.oom_control"};
  for (int i = 0; i < 2; i++) {
    char path[PATH_SIZE], line[128];
    unsigned long count = 0;
    FILE *file = path_in(path, directory, files[i]) ? fopen(path, "re") : NULL;
    if (file == NULL) continue;
    while (fgets(line, sizeof line, file) != NULL)
      if (strncmp(line, "oom_kill ", 9) == 0) count = strtoul(line + 9, NULL, 10);
    fclose(file);
    return count;
  }
  return 0;
}

static void kill_members(const char *directory) {
  char path[PATH_SIZE], line[32];
  FILE *file = path_in(path, directory, "cgroup.procs") ? fopen(path, "re") : NULL;
  if (file == NULL) return;
  while (fgets(line, sizeof line, file) != NULL) {
    pid_t pid = (pid_t)strtol(line, NULL, 10);
    if (pid > 1) kill(pid, SIGKILL);
  }
  fclose(file);
}

/* What is left in a container with limits ends with it: its cgroup could not be removed otherwise. */
void undo_cgroup(struct state *state, struct op *op) {
  (void)state;
  unsigned long count = killed_for_memory(op->field[1]);
  if (count > 0)
    fprintf(stderr, "rootling: the memory limit was hit: the kernel ended %lu process%s\n", count, count == 1 ? "" : "es");
  for (int tries = 0; rmdir(op->field[1]) != 0 && errno == EBUSY && tries < PATIENCE; tries++) {
    kill_members(op->field[1]);
    usleep(10000);
  }
  if (access(op->field[1], F_OK) != 0) unlink(op->field[0]);
}
