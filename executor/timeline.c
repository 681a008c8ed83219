/* Where the time of a boot goes: the clock before and after each op, for `start --timeline`. */
#include "executor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* Nanoseconds of CLOCK_MONOTONIC, which both sides share; 0: not done. */
struct span {
  uint64_t begin, end;
};

static struct span *spans;           /* one an op, shared by inside and outside */
static const struct verb **original; /* what each op's verb was */

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
}

/* In the place of each op's function. */
static int timed(struct state *state, struct op *op) {
  long i = op - state->plan->op;
  spans[i].begin = now();
  int result = original[i]->act(state, op);
  int error = errno;
  spans[i].end = now();
  errno = error;
  return result;
}

/* timeline FILE MARK…: asks for the picture; what came before the executor is in the marks. */
int op_timeline(struct state *state, struct op *op) {
  (void)state, (void)op;
  return 0;
}

static struct op *wish(const struct plan *plan) {
  for (int i = 0; i < plan->ops; i++)
    if ((original == NULL ? plan->op[i].verb : original[i])->act == op_timeline) return &plan->op[i];
  return NULL;
}

/* Before the walk. Without memory for it, there is no picture. */
void timeline_prepare(struct plan *plan) {
  if (wish(plan) == NULL) return;
  size_t ops = (size_t)plan->ops;
  struct verb *watched = calloc(ops, sizeof *watched);
  const struct verb **kept = calloc(ops, sizeof *kept);
  void *shared = mmap(NULL, ops * sizeof *spans, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (watched == NULL || kept == NULL || shared == MAP_FAILED) return;
  spans = shared;
  original = kept;
  for (size_t i = 0; i < ops; i++) {
    kept[i] = plan->op[i].verb;
    watched[i] = *kept[i];
    watched[i].act = timed;
    plan->op[i].verb = &watched[i];
  }
}

/* file, executed, n, n × mark, then for each op that was done: verb, side, origin, begin, end, n, n × field */
static int write_record(const struct plan *plan, const struct op *asked) {
  int fd = memfd_create("rootling-timeline", MFD_CLOEXEC);
  FILE *record = fd >= 0 ? fdopen(dup(fd), "w") : NULL;
  if (record == NULL) return -1;
  fprintf(record, "%s%c%llu%c%d%c", asked->field[0], 0, (unsigned long long)now(), 0, asked->fields - 1, 0);
  for (int i = 1; i < asked->fields; i++) fprintf(record, "%s%c", asked->field[i], 0);
  for (int i = 0; i < plan->ops; i++) {
    const struct op *op = &plan->op[i];
    if (op == asked || spans[i].begin == 0) continue;
    fprintf(record, "%s%c%s%c%s%c%llu%c%llu%c%d%c", op->verb->name, 0, op->verb->side == INSIDE ? "inside" : "outside", 0,
            op->origin, 0, (unsigned long long)spans[i].begin, 0, (unsigned long long)spans[i].end, 0, op->fields, 0);
    for (int field = 0; field < op->fields; field++) fprintf(record, "%s%c", op->field[field], 0);
  }
  fclose(record);
  lseek(fd, 0, SEEK_SET);
  return fd;
}

/* Once the payload was executed: a process that is nobody's child, so that nobody waits for it, draws the picture. */
void timeline_show(const struct plan *plan) {
  static char draw[] = "timeline";
  if (spans == NULL || plan->explain[0] == NULL) return;
  int fd = write_record(plan, wish(plan));
  pid_t child = fd < 0 ? -1 : fork();
  if (child == 0) {
    if (fork() != 0) _exit(0);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(fd, 0);
    dup2(null, 1);
    default_signals();
    char **word = plan->explain;
    while (word[1] != NULL) word++;
    *word = draw;
    execve(plan->explain[0], plan->explain, environ);
    _exit(1);
  }
  if (child > 0) waitpid(child, NULL, 0);
  if (fd >= 0) close(fd);
}
