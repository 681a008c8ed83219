/* What a detached container leaves on disk: its log, and the record of its end. */
#include "executor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* log FILE OLDER: what the payload writes, straight into the file, so that no end of any process loses a line. The
   former run's log becomes OLDER. */
int op_log(struct state *state, struct op *op) {
  if (rename(op->field[0], op->field[1]) != 0 && errno != ENOENT) return failed("rename");
  state->log = open(op->field[0], O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
  if (state->log < 0) return failed("open");
  /* Whoever the payload becomes may open /dev/stdout by name. The log stays the caller's, who is to read it and is
     another user where the container has a map; the directory above lets nobody else in. */
  return fchmod(state->log, 0622) == 0 ? 0 : failed("fchmod");
}

/* exit-status FILE: written at the end, "STATUS SECONDS-SINCE-1970 MONITOR'S-PID"; the former run's goes. */
int op_exit_status(struct state *state, struct op *op) {
  (void)state;
  return unlink(op->field[0]) == 0 || errno == ENOENT ? 0 : failed("unlink");
}

void undo_exit_status(struct state *state, struct op *op) {
  char temporary[4096];
  if (state->status < 0) return; /* It never ran. */
  if ((size_t)snprintf(temporary, sizeof temporary, "%s.tmp", op->field[0]) >= sizeof temporary) return;
  int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return;
  bool written = dprintf(fd, "%d %lld %d\n", state->status, (long long)time(NULL), getpid()) > 0;
  close(fd);
  if (written) rename(temporary, op->field[0]);
}
