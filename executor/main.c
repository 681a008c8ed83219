/* rootling's executor: reads a plan, walks it, becomes its payload or watches over it.
   Inside and outside walk the same list of ops; where the side changes, a baton passes through the channel. */
#include "executor.h"
#include "namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { STATUS_FAILURE = 125, STATUS_NOT_EXECUTABLE = 126, STATUS_NOT_FOUND = 127 };

const struct verb verbs[] = {
#define OP(name, side, least, most, act, undo) {name, side, least, most, act, undo},
#include "ops.def"
#undef OP
};
const int verb_count = sizeof verbs / sizeof *verbs;

const char *failed_call = "";

int failed(const char *call) {
  failed_call = call;
  return -1;
}

bool parse_number(const char *text, unsigned long most, unsigned long *value) {
  unsigned long result = 0;
  if (*text == '\0' || strlen(text) > 10) return false;
  for (; *text; text++) {
    if (*text < '0' || *text > '9') return false;
    result = result * 10 + (unsigned long)(*text - '0');
  }
  if (result > most) return false;
  *value = result;
  return true;
}

/* What passes through the channel. */
struct message {
  enum { BATON, FAILURE, PID } kind;
  int op, error, pid;
  char call[32], detail[256];
};

static void send_message(struct state *state, const struct message *message) {
  while (write(state->channel, message, sizeof *message) < 0 && errno == EINTR) {
  }
}

/* False at end of file: the other side executed its program, or is gone. What a container might have written is taken
   for no more than it may be. */
static bool receive_message(struct state *state, struct message *message) {
  ssize_t n;
  do n = read_channel(state->channel, message, sizeof *message);
  while (n < 0 && errno == EINTR);
  if (n != (ssize_t)sizeof *message || message->op < 0 || message->op >= state->plan->ops) return false;
  message->call[sizeof message->call - 1] = message->detail[sizeof message->detail - 1] = '\0';
  return true;
}

static struct message failure_of(int op) {
  struct message message = {.kind = FAILURE, .op = op, .error = errno};
  snprintf(message.call, sizeof message.call, "%s", failed_call);
  memcpy(message.detail, failed_detail, sizeof message.detail);
  return message;
}

static int exit_status_of(const struct plan *plan, const struct message *failure) {
  if (strcmp(plan->op[failure->op].verb->name, "exec") != 0) return STATUS_FAILURE;
  return failure->error == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE;
}

/* Starts the program that puts a failure into words; the record is its standard input. Waits for it. */
static void explain(const struct plan *plan, const struct message *failure) {
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
  if (status != 0) /* No words to be had: the bare facts. */
    fprintf(stderr, "rootling: step %d (%s, from %s): %s: %s\n", failure->op, op->verb->name, op->origin, failure->call,
            strerror(failure->error));
  close(fd);
}

/* Newest first, and only what was done. */
static void undo(struct state *state) {
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
  _exit(exit_status_of(state->plan, failure));
}

/* What stays inside as pid 1, or is seen there on its way to exec, must not show the caller's environment. */
static void forget_environment(void) {
  for (char **variable = environ; variable != NULL && *variable != NULL; variable++)
    memset(*variable, 0, strlen(*variable));
}

/* Walks the ops of the inside from `from` on; the last one is exec, so this does not return. */
static void walk_inside(struct state *state, int from) {
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
static int walk_outside(struct state *state, int from) {
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

static void fatal(const char *what) {
  fprintf(stderr, "rootling: executor: %s: %s\n", what, strerror(errno));
  exit(STATUS_FAILURE);
}

/* In place: a helper, no child of ours, does the outside ops and lives until our exec; we become the payload. */
static void in_place(struct state *state) {
  int pair[2], status;
  pid_t self = getpid();
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) fatal("socketpair");
  pid_t child = fork();
  if (child < 0) fatal("fork");
  if (child == 0) {
    pid_t helper = fork();
    if (helper != 0) _exit(helper < 0);
    close(pair[0]);
    state->channel = pair[1];
    state->inside = self;
    _exit(walk_outside(state, 0));
  }
  if (waitpid(child, &status, 0) < 0 || status != 0) fatal("fork");
  close(pair[1]);
  state->channel = pair[0];
  walk_inside(state, 0);
}

/* Enters the namespaces of others and goes on in a child, in new namespaces of `bits` and our parent's child as well
   (CLONE_PARENT): a pid namespace that was joined takes effect only for children. */
static void join_and_go_on(struct state *state, int at, int bits) {
  struct message message = {.kind = PID};
  struct op *op = &state->plan->op[at];
  bool join = strcmp(op->verb->name, "join") == 0;
  if ((join ? op->verb->act(state, op) : enter_joins(op)) != 0) {
    message = failure_of(at);
    send_message(state, &message);
    _exit(STATUS_FAILURE);
  }
  message.pid = (int)syscall(SYS_clone, CLONE_PARENT | bits | SIGCHLD, NULL, NULL, NULL, 0L);
  if (message.pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    walk_inside(state, at + 1);
  }
  if (message.pid < 0) {
    failed("clone");
    message = failure_of(at);
  }
  send_message(state, &message);
  _exit(message.kind == FAILURE);
}

/* The op enters namespaces of others. */
static bool joins(const struct op *op) { return strcmp(op->verb->name, "join") == 0 || op->fields > 1; }

/* Makes the inside process: cloned into new namespaces, or entering those of others. Sets state->inside. */
static int split(struct state *state, int at, int pair[2]) {
  struct op *op = &state->plan->op[at];
  int bits = strcmp(op->verb->name, "join") == 0 ? 0 : namespace_bits(op->field[0]);
  if (bits < 0) {
    errno = EINVAL;
    return failed("namespaces");
  }
  pid_t child = (pid_t)syscall(SYS_clone, (joins(op) ? 0 : bits) | SIGCHLD, NULL, NULL, NULL, 0L);
  if (child < 0) return failed("clone");
  if (child == 0) {
    close(pair[0]);
    state->channel = pair[1];
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (joins(op)) join_and_go_on(state, at, bits);
    walk_inside(state, at + 1);
  }
  close(pair[1]);
  state->channel = pair[0];
  state->inside = child;
  return 0;
}

/* The shell that started us sees its job stop, and continues us when it continues the job. */
static void stop_with(pid_t inside) {
  raise(SIGSTOP);
  kill(inside, SIGCONT);
}

/* A pipe by which pid 1, whose stops nobody sees, raises SIGIO here. Sets state->stops; without it, nothing stops. */
static int listen_for_stops(struct state *state) {
  int pair[2];
  if (pipe2(pair, O_CLOEXEC | O_NONBLOCK) != 0) return -1;
  state->stops = pair[1];
  fcntl(pair[0], F_SETOWN, getpid());
  fcntl(pair[0], F_SETFL, O_NONBLOCK | O_ASYNC);
  return pair[0];
}

/* The payload gets a session of its own, apart from the terminal's signals. */
static bool has_session(const struct plan *plan) {
  for (int i = 0; i < plan->ops; i++)
    if (strcmp(plan->op[i].verb->name, "session") == 0) return true;
  return false;
}

/* Waits for the inside process, passing on the signals that were meant for it. */
static int watch(pid_t inside, int stops, bool apart) {
  sigset_t all;
  sigfillset(&all);
  for (;;) {
    siginfo_t info;
    int status;
    pid_t pid = waitpid(inside, &status, WNOHANG | WUNTRACED | WCONTINUED);
    if (pid == inside && WIFEXITED(status)) return WEXITSTATUS(status);
    if (pid == inside && WIFSIGNALED(status)) return 128 + WTERMSIG(status);
    char byte;
    if (pid == inside && WIFSTOPPED(status)) stop_with(inside);
    else if (read(stops, &byte, 1) == 1) stop_with(inside);
    int number = sigwaitinfo(&all, &info);
    /* The terminal's own signals (SI_KERNEL) reached the payload as well, unless it has a session of its own. */
    if (number > 0 && number != SIGCHLD && (info.si_code != SI_KERNEL || apart)) kill(inside, number);
  }
}

/* Supervised: we stay outside as a small monitor, undo what was done, and end with the payload's status. */
static int supervised(struct state *state) {
  struct plan *plan = state->plan;
  int at = 0, pair[2];
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  int stops = listen_for_stops(state);
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) fatal("socketpair");
  for (; at < plan->ops && plan->op[at].verb->side == OUTSIDE; at++) {
    if (plan->op[at].verb->act(state, &plan->op[at]) != 0) break;
    plan->op[at].done = true;
  }
  if (at == plan->ops || plan->op[at].verb->side == OUTSIDE || split(state, at, pair) != 0) {
    struct message failure = failure_of(at == plan->ops ? at - 1 : at);
    undo(state);
    explain(plan, &failure);
    return STATUS_FAILURE;
  }
  if (joins(&plan->op[at])) {
    struct message message;
    waitpid(state->inside, NULL, 0);
    bool told = receive_message(state, &message);
    if (!told || message.kind == FAILURE) { /* Of the join, or of its child, which may be faster than the news of its pid. */
      undo(state);
      if (told) explain(plan, &message);
      return told ? exit_status_of(plan, &message) : STATUS_FAILURE;
    }
    state->inside = message.pid;
  }
  int status = walk_outside(state, at + 1);
  close(state->channel);
  if (status != 0) {
    kill(state->inside, SIGKILL);
    waitpid(state->inside, NULL, 0);
    return status;
  }
  status = watch(state->inside, stops, has_session(plan));
  undo(state);
  return status;
}

/* Runs from a sealed copy of itself, so that nothing inside can write to the program through /proc (CVE-2019-5736). */
static void seal(char **argv) {
  enum { SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };
  int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  if (self < 0) fatal("opening /proc/self/exe");
  if (fcntl(self, F_GET_SEALS) == SEALS) {
    close(self);
    return;
  }
  enum { MAY_EXECUTE = 0x10 /* MFD_EXEC: Linux 6.3, asked for where the sysctl vm.memfd_noexec is 1 */ };
  int copy = memfd_create("rootling-executor", MFD_CLOEXEC | MFD_ALLOW_SEALING | MAY_EXECUTE);
  if (copy < 0 && errno == EINVAL) copy = memfd_create("rootling-executor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (copy < 0) fatal("memfd_create");
  char buffer[65536];
  for (ssize_t n; (n = read(self, buffer, sizeof buffer)) != 0;)
    if (n < 0 || write(copy, buffer, (size_t)n) != n) fatal("copying the executor");
  if (fcntl(copy, F_ADD_SEALS, SEALS) != 0) fatal("sealing the executor");
  syscall(SYS_execveat, copy, "", argv, environ, 0x1000 /* AT_EMPTY_PATH */);
  fatal("executing the sealed executor");
}

static int print_ops(void) {
  for (int i = 0; i < verb_count; i++)
    printf("%s %s %d %d\n", verbs[i].name, verbs[i].side == INSIDE ? "inside" : "outside", verbs[i].least, verbs[i].most);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "--ops") == 0) return print_ops();
  if (argc != 2) {
    fprintf(stderr, "usage: %s WIRE-FILE | --ops\n", argc > 0 ? argv[0] : "executor");
    return STATUS_FAILURE;
  }
  seal(argv);
  /* Descriptors of the caller must not be reachable from inside (CVE-2024-21626). */
  syscall(SYS_close_range, 3, ~0U, 0);
  size_t size;
  char *wire = wire_read(argv[1], &size);
  if (wire == NULL) fatal("reading the plan");
  struct plan plan = {0};
  const char *wrong = wire_parse(wire, size, &plan);
  if (wrong != NULL) {
    fprintf(stderr, "rootling: executor: the plan is %s\n", wrong);
    return STATUS_FAILURE;
  }
  struct state state = {
      .plan = &plan, .root = -1, .system = {-1, -1, -1}, .channel = -1, .stops = -1, .users = -1};
  signal(SIGCHLD, SIG_DFL); /* Ignored, it would leave nothing to wait for. */
  if (plan.supervised) return supervised(&state);
  in_place(&state);
}
