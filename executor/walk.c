/* Inside and outside walk the same list of ops; where the side changes, a baton passes through the channel. */
#include "walk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { STATUS_NOT_EXECUTABLE = 126, STATUS_NOT_FOUND = 127 };

void send_message(struct state *state, const struct message *message) {
  while (write(state->channel, message, sizeof *message) < 0 && errno == EINTR) {
  }
}

/* False at end of file: the other side executed its program, or is gone. What a container might have written is taken
   for no more than it may be. */
bool receive_message(struct state *state, struct message *message) {
  ssize_t n;
  do n = read_channel(state->channel, message, sizeof *message);
  while (n < 0 && errno == EINTR);
  if (n != (ssize_t)sizeof *message || message->op < 0 || message->op >= state->plan->ops) return false;
  message->call[sizeof message->call - 1] = message->detail[sizeof message->detail - 1] = '\0';
  return true;
}

struct message failure_of(int op) {
  struct message message = {.kind = FAILURE, .op = op, .error = errno};
  snprintf(message.call, sizeof message.call, "%s", failed_call);
  memcpy(message.detail, failed_detail, sizeof message.detail);
  return message;
}

int exit_status_of(const struct plan *plan, const struct message *failure) {
  const char *verb = plan->op[failure->op].verb->name;
  if (strcmp(verb, "exec") != 0 && strcmp(verb, "login") != 0) return plan->status;
  return failure->error == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE;
}

/* No words to be had: the bare facts. */
static void bare_facts(const struct plan *plan, const struct message *failure) {
  const struct op *op = &plan->op[failure->op];
  fprintf(stderr, "rootling: step %d (%s, from %s): %s: %s\n", failure->op, op->verb->name, op->origin, failure->call,
          strerror(failure->error));
}

void (*explain_plainly)(const struct plan *, const struct message *) = bare_facts;
void (*after_failure)(void);

/* Starts the program that puts a failure into words; the record is its standard input. Waits for it. */
void explain(const struct plan *plan, const struct message *failure) {
  const struct op *op = &plan->op[failure->op];
  int fd = memfd_create("rootling-failure", MFD_CLOEXEC);
  FILE *record = fd >= 0 ? fdopen(dup(fd), "w") : NULL;
  if (record != NULL) {
    fprintf(record, "%d%c%s%c%d%c%s%c%s%c%s%c", failure->op, 0, op->verb->name, 0, failure->error, 0, failure->call, 0,
            failure->detail, 0, op->origin, 0);
    for (int i = 0; i < op->fields; i++) fprintf(record, "%s%c", op->field[i], 0);
    fclose(record);
    lseek(fd, 0, SEEK_SET);
  }
  pid_t child = plan->explain[0] != NULL && record != NULL ? fork() : -1;
  if (child == 0) {
    dup2(fd, 0);
    default_signals();
    execve(plan->explain[0], plan->explain, environ);
    _exit(STATUS_FAILURE);
  }
  int status = -1;
  if (child > 0) waitpid(child, &status, 0);
  if (status != 0) explain_plainly(plan, failure);
  close(fd);
}

/* Newest first, and only what was done. */
void undo(struct state *state) {
  for (int i = state->plan->ops - 1; i >= 0; i--) {
    struct op *op = &state->plan->op[i];
    if (op->done && op->verb->undo != NULL) op->verb->undo(state, op);
  }
}

/* The inside process ends after a failure. In place, it waits until the helper has said what happened. */
static void end_inside(struct state *state, const struct message *failure) {
  struct message ignored;
  if (!state->plan->supervised)
    while (receive_message(state, &ignored)) {
    }
  if (after_failure != NULL) after_failure();
  _exit(exit_status_of(state->plan, failure));
}

/* What stays inside as pid 1, or is seen there on its way to exec, must not show the caller's environment. */
static void forget_environment(void) {
  for (char **variable = environ; variable != NULL && *variable != NULL; variable++)
    memset(*variable, 0, strlen(*variable));
}

/* Walks the ops of the inside from `from` on; the last one is exec, so this does not return. */
void walk_inside(struct state *state, int from) {
  forget_environment();
  state->umask = umask(0); /* Modes in a plan are meant as they are written; exec gives the umask back. */
  enum side turn = state->plan->op[from].verb->side;
  struct message message = {.kind = BATON};
  for (int i = from; i < state->plan->ops; i++) {
    struct op *op = &state->plan->op[i];
    if (op->verb->side != turn) {
      if (turn == INSIDE) send_message(state, &message);
      else if (!receive_message(state, &message) || message.kind == FAILURE) end_inside(state, &message);
      turn = op->verb->side;
    }
    if (turn == INSIDE && op->verb->act(state, op) != 0) {
      struct message failure = failure_of(i);
      send_message(state, &failure);
      end_inside(state, &failure);
    }
  }
  _exit(STATUS_FAILURE);
}

/* Walks the ops of the outside from `from` on, then waits for the inside to execute its program.
   Returns 0, or the exit status after a failure that was explained and undone. */
int walk_outside(struct state *state, int from) {
  enum side turn = state->plan->op[from].verb->side;
  struct message message = {.kind = BATON};
  for (int i = from; i < state->plan->ops; i++) {
    struct op *op = &state->plan->op[i];
    if (op->verb->side != turn) {
      if (turn == OUTSIDE) {
        message = (struct message){.kind = BATON};
        send_message(state, &message);
      } else if (!receive_message(state, &message) || message.kind == FAILURE)
        goto ended;
      turn = op->verb->side;
    }
    if (turn != OUTSIDE) continue;
    if (op->verb->act(state, op) != 0) {
      message = failure_of(i);
      send_message(state, &message);
      goto failed;
    }
    op->done = true;
  }
  if (!receive_message(state, &message)) return 0;
ended:
  if (message.kind != FAILURE) return 0; /* It was killed: its wait status says so. */
failed:
  undo(state);
  explain(state->plan, &message);
  return exit_status_of(state->plan, &message);
}
