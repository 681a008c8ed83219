/* The topologies: in place the process becomes the payload; supervised it stays outside as a small monitor. */
#include "walk.h"
#include "namespaces.h"
#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* In place: a helper, no child of ours, does the outside ops and lives until our exec; we become the payload. */
static __attribute__((noreturn)) void in_place(struct state *state) {
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
    int ended = walk_outside(state, 0);
    if (ended == 0) timeline_show(state->plan);
    _exit(ended);
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
  int told[2]; /* Closed once the monitor was told the pid: no baton of the child's may come before. */
  char byte;
  message.pid = pipe2(told, O_CLOEXEC) == 0 ? (int)syscall(SYS_clone, CLONE_PARENT | bits | SIGCHLD, NULL, NULL, NULL, 0L) : -1;
  if (message.pid == 0) {
    close(told[1]);
    while (read(told[0], &byte, 1) < 0 && errno == EINTR) {
    }
    close(told[0]);
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

/* Looks whether the inside process has ended, without waiting; sets *status to what a shell would give it. */
static bool has_ended(pid_t inside, int stops, bool job, int *status) {
  char byte;
  int how;
  pid_t pid = waitpid(inside, &how, WNOHANG | WUNTRACED | WCONTINUED);
  bool stopped = (pid == inside && WIFSTOPPED(how)) || read(stops, &byte, 1) == 1;
  if (pid == inside && (WIFEXITED(how) || WIFSIGNALED(how))) {
    *status = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
    return true;
  }
  if (stopped && job) stop_with(inside);
  return false;
}

/* The payload gets a session of its own, apart from the terminal's signals. */
static bool has_session(const struct plan *plan) {
  for (int i = 0; i < plan->ops; i++)
    if (strcmp(plan->op[i].verb->name, "session") == 0) return true;
  return false;
}

/* Waits for the inside process, passing on the signals that were meant for it. */
static int watch(struct state *state, int stops) {
  bool apart = has_session(state->plan);
  sigset_t all;
  memset(&all, 0xff, sizeof all);
  int status;
  while (!has_ended(state->inside, stops, !state->plan->detached, &status)) {
    siginfo_t info;
    int number = sigwaitinfo(&all, &info);
    /* The terminal's own signals (SI_KERNEL) reached the payload as well, unless it has a session of its own. The pipe's
       SIGIO is one of the kernel's, too, and ours. */
    bool ours = info.si_code == SI_KERNEL && (!apart || number == SIGIO);
    if (number > 0 && number != SIGCHLD && !ours) kill(state->inside, number);
  }
  return status;
}

/* The same, while clients come and go at the terminal. */
static int watch_terminal(struct state *state, int stops) {
  sigset_t all;
  memset(&all, 0xff, sizeof all);
  struct relay relay;
  int status, signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0) fatal("signalfd");
  relay_begin(&relay, state);
  while (!has_ended(state->inside, stops, false, &status)) {
    struct signalfd_siginfo info;
    relay_wait(&relay, signals);
    while (read(signals, &info, sizeof info) == (ssize_t)sizeof info)
      if (info.ssi_signo != SIGCHLD && info.ssi_code != SI_KERNEL) kill(state->inside, (int)info.ssi_signo);
  }
  relay_end(&relay, status);
  return status;
}

/* The payload runs, and whoever started us learns it. From here on nothing of theirs is kept. */
static void begin_detached(struct state *state) {
  life_begins(state->plan);
  write(state->report, "started", 7);
  dup2(1, 2); /* Descriptors 0 and 1 lead to /dev/null: main.c. */
  close(state->report);
  if (state->log >= 0 && state->terminal < 0) close(state->log);
}

/* Supervised: we stay outside as a small monitor, undo what was done, and end with the payload's status. */
static int supervised(struct state *state) {
  struct plan *plan = state->plan;
  int at = 0, pair[2];
  block_signals();
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
    return plan->status;
  }
  if (joins(&plan->op[at])) {
    struct message message;
    waitpid(state->inside, NULL, 0);
    bool told = receive_message(state, &message);
    if (!told || message.kind == FAILURE) { /* Of the join, or of its child, which may be faster than the news of its pid. */
      undo(state);
      if (told) explain(plan, &message);
      return told ? exit_status_of(plan, &message) : plan->status;
    }
    state->inside = message.pid;
  }
  int status = walk_outside(state, at + 1);
  close(state->channel);
  state->terminal = take_terminal(state);
  if (status != 0) {
    kill(state->inside, SIGKILL);
    waitpid(state->inside, NULL, 0);
    return status;
  }
  timeline_show(plan);
  if (plan->detached) begin_detached(state);
  state->status = state->terminal >= 0 ? watch_terminal(state, stops) : watch(state, stops);
  undo(state);
  return state->status;
}

/* Carries a plan out, in the topology that it names. `ignored`: signals that the payload is to ignore. Returns only what
   a monitor ends with. */
int carry_out(struct plan *plan, unsigned long ignored, int report) {
  struct state state = {.plan = plan, .root = -1, .system = {-1, -1, -1}, .channel = -1, .stops = -1, .users = -1,
                        .log = -1, .terminal = -1, .listener = -1, .rc = -1, .services = -1, .report = report, .status = -1};
  state.ignored = ignored;
  timeline_prepare(plan);
  signal(SIGCHLD, SIG_DFL); /* Ignored, it would leave nothing to wait for. */
  if (plan->supervised) return supervised(&state);
  in_place(&state);
}
