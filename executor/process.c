/* What a process becomes: who it is, what it may do, and the program it runs. */
#include "executor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int op_no_new_privileges(struct state *state, struct op *op) {
  (void)state, (void)op;
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : failed("prctl");
}

static int get_capabilities(struct __user_cap_data_struct data[2]) {
  struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
  return (int)syscall(SYS_capget, &head, data);
}

static int set_capabilities(const struct __user_cap_data_struct data[2]) {
  struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
  return (int)syscall(SYS_capset, &head, data);
}

/* All that is permitted becomes effective: a change of user has taken it away. */
int raise_capabilities(void) {
  struct __user_cap_data_struct data[2];
  if (get_capabilities(data) != 0) return failed("capget");
  for (int i = 0; i < 2; i++) data[i].effective = data[i].permitted;
  return set_capabilities(data) == 0 ? 0 : failed("capset");
}

/* capabilities BOUNDING OWN: hexadecimal masks. OWN becomes the permitted and effective set; the inheritable and
   ambient sets are emptied (CVE-2022-27650). */
int op_capabilities(struct state *state, struct op *op) {
  (void)state;
  unsigned long long bounding = strtoull(op->field[0], NULL, 16), own = strtoull(op->field[1], NULL, 16);
  struct __user_cap_data_struct data[2];
  if (raise_capabilities() != 0) return -1; /* CAP_SETPCAP, lost in a change of user */
  if (get_capabilities(data) != 0) return failed("capget");
  for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
    if (!(bounding >> capability & 1) && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) return failed("prctl");
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) return failed("prctl");
  for (int i = 0; i < 2; i++) {
    data[i].permitted &= (unsigned)(own >> (32 * i));
    data[i].effective = data[i].permitted;
    data[i].inheritable = 0;
  }
  return set_capabilities(data) == 0 ? 0 : failed("capset");
}

/* environment NAME=VALUE…: the whole environment of the payload. */
int op_environment(struct state *state, struct op *op) {
  state->environment = op->field;
  return 0;
}

/* workdir PATH: checked to lie inside the root, also where it was reached through a descriptor (CVE-2024-21626). */
int op_workdir(struct state *state, struct op *op) {
  (void)state;
  char path[4096];
  if (chdir(op->field[0]) != 0) return failed("chdir");
  if (syscall(SYS_getcwd, path, sizeof path) < 0) return failed("getcwd");
  if (path[0] != '/') { /* "(unreachable)/…" */
    errno = EXDEV;
    return failed("getcwd");
  }
  return 0;
}

/* All of them, also those (32 to 34) that the C library keeps for itself: they may be meant for the payload. */
void block_signals(void) {
  sigset_t all;
  memset(&all, 0xff, sizeof all);
  sigprocmask(SIG_SETMASK, &all, NULL);
}

/* Signals as a new program expects them: Node ignores SIGPIPE and SIGXFSZ, the executor blocks all. */
void default_signals(void) {
  static const char as_default[64]; /* A kernel's struct sigaction of zeros: signal(2) leaves out some signals. */
  sigset_t none;
  for (int number = 1; number <= 64; number++) syscall(SYS_rt_sigaction, number, as_default, NULL, 8);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Bit n-1 of the mask stands for signal n. */
void ignore_signals(unsigned long mask) {
  for (int number = 1; mask != 0; number++, mask >>= 1)
    if (mask & 1) signal(number, SIG_IGN);
}

/* What the payload reads from and writes to, where it is not the caller's. */
int own_stdio(struct state *state) {
  /* An isolated one may lead a session already: confine.c. */
  if (state->plan->detached && getsid(0) != getpid() && setsid() < 0) return failed("setsid");
  if (state->terminal >= 0) {
    if (ioctl(state->terminal, TIOCSCTTY, 0) != 0) return failed("ioctl");
    for (int fd = 0; fd <= 2; fd++)
      if (dup2(state->terminal, fd) < 0) return failed("dup2");
  } else if (state->log >= 0 && (dup2(state->log, 1) < 0 || dup2(state->log, 2) < 0))
    return failed("dup2");
  return 0;
}

static void blocking_stdio(void) {
  for (int fd = 0; fd <= 2; fd++) {
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && (flags & O_NONBLOCK)) fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
  }
}

static const char *variable(char **environment, const char *name) {
  size_t length = strlen(name);
  for (; environment != NULL && *environment != NULL; environment++)
    if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=') return *environment + length + 1;
  return NULL;
}

/* Looks the program up in the payload's PATH, as execvp does, in the container. Returns only on failure. */
static int exec_on_path(char **argv, char **environment) {
  const char *path = variable(environment, "PATH");
  if (path == NULL) path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  bool denied = false;
  char candidate[4096];
  for (const char *at = path;; at++) {
    size_t n = strcspn(at, ":");
    int length = snprintf(candidate, sizeof candidate, "%.*s%s%s", (int)n, at, n ? "/" : "", argv[0]);
    if (length > 0 && (size_t)length < sizeof candidate) {
      execve(candidate, argv, environment);
      if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) return failed("execve");
      denied |= errno == EACCES;
    }
    at += n;
    if (*at == '\0') break;
  }
  errno = denied ? EACCES : ENOENT;
  return failed("execve");
}

/* Becomes the payload: `program` is a path, or a name to be looked up. Returns only on failure. */
int exec_payload(struct state *state, const char *program, char **argv) {
  static char *nothing[] = {NULL};
  char **environment = state->environment ? state->environment : nothing;
  /* Only after the last failure could be reported is the channel gone: it closes with a successful exec. */
  if (syscall(SYS_close_range, 3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */) != 0) return failed("close_range");
  /* But a script is read by its descriptor. */
  if (state->rc >= 0 && fcntl(state->rc, F_SETFD, 0) != 0) return failed("fcntl");
  if (state->plan->supervised && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return failed("prctl");
  if (own_stdio(state) != 0) return -1;
  blocking_stdio();
  umask(state->umask);
  default_signals();
  ignore_signals(state->ignored);
  if (program[0] == '\0') {
    errno = ENOENT;
    return failed("execve");
  }
  if (strchr(program, '/') != NULL) {
    execve(program, argv, environment);
    return failed("execve");
  }
  return exec_on_path(argv, environment);
}

/* exec ARGUMENT… */
int op_exec(struct state *state, struct op *op) { return exec_payload(state, op->field[0], op->field); }

/* Pid 1: reaps what its descendants leave, passes signals on, tells `stops` when the payload stops, ends with the
   payload and its status. */
void reap_until_exit(pid_t payload, int stops) {
  sigset_t all;
  memset(&all, 0xff, sizeof all);
  for (;;) {
    siginfo_t info;
    int number = sigwaitinfo(&all, &info), status;
    if (number < 0) continue;
    /* The terminal's own signals (SI_KERNEL) reached the payload as well: it is in the same process group. */
    if (number != SIGCHLD) {
      if (info.si_code != SI_KERNEL) kill(payload, number);
      continue;
    }
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0;) {
      if (pid != payload) continue;
      if (WIFSTOPPED(status)) /* Pid 1 cannot stop itself, nor signal its parent. */
        write(stops, "", 1);
      else
        _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
    }
  }
}

/* reaper: this process stays as pid 1; a child goes on with the plan. */
int op_reaper(struct state *state, struct op *op) {
  (void)op;
  block_signals();
  /* A change of user has cleared it (prctl(2)), and pid 1 is to end with the monitor. */
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return failed("prctl");
  pid_t child = fork();
  if (child < 0) return failed("fork");
  if (child == 0) return 0;
  /* What the payload's end of file depends on must not stay open here. */
  dup2(state->stops, 0);
  syscall(SYS_close_range, 1, ~0U, 0);
  /* The owner of the user namespace, who enters by this process, may look at it although it is another user by now.
     It holds nothing that the payload does not. */
  prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
  reap_until_exit(child, 0);
}
