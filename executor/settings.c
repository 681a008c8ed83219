/* Settings of the payload's process: resource limits, file mode mask, priorities; and of its namespaces: sysctls. */
#include "executor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static int invalid(const char *call) {
  errno = EINVAL;
  return failed(call);
}

/* A whole number, or `unlimited`. */
static bool parse_limit(const char *text, rlim_t *value) {
  char *end;
  if (strcmp(text, "unlimited") == 0) {
    *value = RLIM_INFINITY;
    return true;
  }
  errno = 0;
  *value = strtoull(text, &end, 10);
  return errno == 0 && text[0] >= '0' && text[0] <= '9' && *end == '\0';
}

/* ulimit NAME SOFT HARD: names as in limits.conf(5). */
int op_ulimit(struct state *state, struct op *op) {
  (void)state;
  static const struct { const char *name; int resource; } known[] = {
      {"as", RLIMIT_AS}, {"core", RLIMIT_CORE}, {"cpu", RLIMIT_CPU}, {"data", RLIMIT_DATA}, {"fsize", RLIMIT_FSIZE},
      {"locks", RLIMIT_LOCKS}, {"memlock", RLIMIT_MEMLOCK}, {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},
      {"nofile", RLIMIT_NOFILE}, {"nproc", RLIMIT_NPROC}, {"rss", RLIMIT_RSS}, {"rtprio", RLIMIT_RTPRIO},
      {"rttime", RLIMIT_RTTIME}, {"sigpending", RLIMIT_SIGPENDING}, {"stack", RLIMIT_STACK},
  };
  struct rlimit limit;
  if (!parse_limit(op->field[1], &limit.rlim_cur) || !parse_limit(op->field[2], &limit.rlim_max)) return invalid("ulimit");
  if (raise_capabilities() != 0) return -1;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (strcmp(known[i].name, op->field[0]) == 0)
      return setrlimit(known[i].resource, &limit) == 0 ? 0 : failed("setrlimit");
  return invalid("ulimit");
}

/* umask MODE (octal): what the payload gets instead of the caller's. */
int op_umask(struct state *state, struct op *op) {
  state->umask = (mode_t)strtoul(op->field[0], NULL, 8) & 0777;
  return 0;
}

/* nice NUMBER */
int op_nice(struct state *state, struct op *op) {
  (void)state;
  if (raise_capabilities() != 0) return -1;
  return setpriority(PRIO_PROCESS, 0, atoi(op->field[0])) == 0 ? 0 : failed("setpriority");
}

static int write_text(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return failed("open");
  ssize_t length = (ssize_t)strlen(text), n = write(fd, text, (size_t)length);
  int error = errno;
  close(fd);
  errno = n >= 0 ? EIO : error;
  return n == length ? 0 : failed("write");
}

/* oom-score-adj NUMBER: outside, before there are namespaces, since who enters them may no longer write the file. A
   monitor has it with the payload, which inherits it. */
int op_oom_score_adj(struct state *state, struct op *op) {
  char path[64] = "/proc/self/oom_score_adj";
  if (state->inside > 0) snprintf(path, sizeof path, "/proc/%d/oom_score_adj", state->inside);
  return write_text(path, op->field[0]);
}

/* sysctl PATH VALUE: PATH below /proc/sys, of the host's /proc, which shows the namespaces of whoever looks. */
int op_sysctl(struct state *state, struct op *op) {
  char path[PATH_MAX];
  if (state->root >= 0 || strstr(op->field[0], "..") != NULL) return invalid("sysctl");
  if ((size_t)snprintf(path, sizeof path, "/proc/sys/%s", op->field[0]) >= sizeof path) return invalid("sysctl");
  return write_text(path, op->field[1]);
}
