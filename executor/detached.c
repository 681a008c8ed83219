/* What a detached container leaves on disk: its log, and the record of its end. */
#include "executor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char BEGUN[] = ".new"; /* Ends the name of a log until the payload runs. */

/* FILE with another ending; false if that is too long. */
static bool beside(char path[4096], const char *file, const char *ending) {
  return (size_t)snprintf(path, 4096, "%s%s", file, ending) < 4096;
}

/* log FILE OLDER: what the payload writes, straight into the file, so that no end of any process loses a line. Once it
   runs, the former run's log becomes OLDER: life_begins. */
int op_log(struct state *state, struct op *op) {
  char path[4096];
  if (!beside(path, op->field[0], BEGUN)) {
    errno = ENAMETOOLONG;
    return failed("open");
  }
  if (unlink(path) != 0 && errno != ENOENT) return failed("unlink");
  state->log = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
  if (state->log < 0) return failed("open");
  /* Whoever the payload becomes may open /dev/stdout by name. The log stays the caller's, who is to read it and is
     another user where the container has a map; the directory above lets nobody else in. */
  return fchmod(state->log, 0622) == 0 ? 0 : failed("fchmod");
}

void undo_log(struct state *state, struct op *op) {
  char path[4096];
  if (state->status < 0 && beside(path, op->field[0], BEGUN)) unlink(path); /* It never ran. */
}

/* exit-status FILE: written at the end, "STATUS SECONDS-SINCE-1970 MONITOR'S-PID". */
int op_exit_status(struct state *state, struct op *op) {
  (void)state, (void)op;
  return 0;
}

void undo_exit_status(struct state *state, struct op *op) {
  char temporary[4096];
  if (state->status < 0) return; /* It never ran. */
  if (!beside(temporary, op->field[0], ".tmp")) return;
  int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return;
  bool written = dprintf(fd, "%d %lld %d\n", state->status, (long long)time(NULL), getpid()) > 0;
  close(fd);
  if (written) rename(temporary, op->field[0]);
}

/* The payload runs: log and record of the former run make room. A start that failed has left them alone. */
void life_begins(const struct plan *plan) {
  for (int i = 0; i < plan->ops; i++) {
    const struct op *op = &plan->op[i];
    char path[4096];
    if (op->verb->act == op_exit_status) unlink(op->field[0]);
    if (op->verb->act != op_log || !beside(path, op->field[0], BEGUN)) continue;
    rename(op->field[0], op->field[1]);
    rename(path, op->field[0]);
  }
}
