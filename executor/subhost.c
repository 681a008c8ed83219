/* Subhosts: commands of the host that finish the root, and pid 1 of a system without an init of its own. It starts
   services by their init scripts, reaps, and stops them again. */
#include "executor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* service-report FILE: opened for pid 1, which writes there what became of each service. */
int op_service_report(struct state *state, struct op *op) {
  if (unlink(op->field[0]) != 0 && errno != ENOENT) return failed_at("unlink", op->field[0]);
  state->services = open(op->field[0], O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
  return state->services >= 0 ? 0 : failed_at("open", op->field[0]);
}

static void become_command(struct state *state, struct op *op, int output) {
  char *argv[] = {"sh", "-c", op->field[2], NULL};
  if (dup2(output, 1) < 0 || chdir(op->field[1]) != 0) return;
  /* Nothing of ours, such as the way to what is outside. */
  if (syscall(SYS_close_range, 3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */) != 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  umask(state->umask);
  default_signals();
  execve("/bin/sh", argv, op->field + 3);
}

/* host-command OUTPUT DIRECTORY COMMAND VARIABLE…: a command line of the host, run by its shell in the container's namespaces
   while the host's root is still /. OUTPUT `script`: what it prints is what pid 1 has a shell of the container run. */
int op_host_command(struct state *state, struct op *op) {
  bool script = strcmp(op->field[0], "script") == 0;
  int status, output = script ? memfd_create("script", MFD_CLOEXEC) : 2;
  if (output < 0) return failed("memfd_create");
  pid_t child = fork();
  if (child < 0) return failed("fork");
  if (child == 0) {
    become_command(state, op, output);
    dprintf(2, "rootling: /bin/sh in %s: %s\n", op->field[1], strerror(errno));
    _exit(127);
  }
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return failed("waitpid");
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    snprintf(failed_detail, sizeof failed_detail, WIFEXITED(status) ? "status %d" : "signal %d",
             WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    errno = ECANCELED;
    return failed("command");
  }
  if (!script) return 0;
  if (lseek(output, 0, SEEK_SET) != 0) return failed("lseek");
  state->rc = output;
  return 0;
}

/* prepare PROGRAM ARGUMENT…: a program of the container's own, by path, that gets something ready for its services; its
   status is its own business. Nothing happens where it is missing. */
int op_prepare(struct state *state, struct op *op) {
  static char *nothing[] = {NULL};
  int status;
  if (access(op->field[0], X_OK) != 0) return 0;
  pid_t child = fork();
  if (child < 0) return failed("fork");
  if (child == 0) {
    if (state->log >= 0 && (dup2(state->log, 1) < 0 || dup2(state->log, 2) < 0)) _exit(126);
    syscall(SYS_close_range, 3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    umask(022);
    default_signals();
    execve(op->field[0], op->field, state->environment ? state->environment : nothing);
    _exit(126);
  }
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return failed("waitpid");
  return 0;
}

/* end: what was to be done is done, and nothing is started. */
int op_end(struct state *state, struct op *op) {
  (void)state, (void)op;
  _exit(0);
}

/* From here on: pid 1. */

enum { DIRECTORY = 64 /* characters in front of a service's name, at most */, SHORT_LIVED = 10 /* seconds */ };

static bool asked; /* to stop */

/* A signal that asks pid 1 to stop: what `rootling stop` sends, and those that init systems know. */
static bool asks(int number) {
  return number == SIGTERM || number == SIGINT || number == SIGPWR || number == SIGQUIT || number == 37 /* SIGRTMIN+3 */;
}

static time_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec;
}

enum end { CHILD_ENDED, NO_CHILD, TIME_IS_UP, ASKED };

/* Reaps until `child` ends, or, if that is 0, until there is no child; or until time is up (0: never), or, with
   `listen`, until it is asked to stop. */
static enum end reap(pid_t child, int *status, time_t seconds, bool listen) {
  sigset_t all;
  memset(&all, 0xff, sizeof all);
  time_t deadline = now() + seconds;
  for (;;) {
    int how;
    pid_t pid;
    while ((pid = waitpid(-1, &how, WNOHANG)) > 0)
      if (pid == child) {
        *status = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
        return CHILD_ENDED;
      }
    if (pid < 0 && errno == ECHILD) return NO_CHILD;
    if (listen && asked) return ASKED;
    struct timespec left = {deadline - now(), 0};
    if (seconds != 0 && left.tv_sec <= 0) return TIME_IS_UP;
    int number = sigtimedwait(&all, NULL, seconds == 0 ? NULL : &left);
    if (number > 0 && asks(number)) asked = true;
  }
}

static void report(struct state *state, const char *name, const char *what) {
  dprintf(state->services, "%s %s\n", name, what);
  dprintf(2, "rootling: service %s: %s\n", name, what);
}

/* A child in a session of its own; its argument list is executed, by path. */
static pid_t spawn(struct state *state, char **argv) {
  static char *nothing[] = {NULL};
  pid_t child = fork();
  if (child != 0) return child;
  setsid();
  umask(022);
  default_signals();
  if (state->rc >= 0) fcntl(state->rc, F_SETFD, 0);
  execve(argv[0], argv, state->environment ? state->environment : nothing);
  dprintf(2, "rootling: %s: %s\n", argv[0], strerror(errno));
  _exit(errno == ENOENT ? 127 : 126);
}

static bool is_there(const char *directory, const char *name, const char *ending, int mode) {
  char path[DIRECTORY + 256 + 16];
  return (size_t)snprintf(path, sizeof path, "%s%s%s", directory, name, ending) < sizeof path && access(path, mode) == 0;
}

/* Why a service has no init script: `unit` where only systemd knows it. */
static const char *missing(const char *name) {
  static const char *const places[] = {"/etc/systemd/system/", "/lib/systemd/system/", "/usr/lib/systemd/system/"};
  for (size_t i = 0; i < sizeof places / sizeof *places; i++)
    if (is_there(places[i], name, ".service", F_OK)) return "unit";
  return "missing";
}

/* Has the init script of a service do something; what does not end in time is killed. */
static enum end run_script(struct state *state, char *name, char *word, time_t seconds, int *status) {
  char path[DIRECTORY + 256];
  snprintf(path, sizeof path, "/etc/init.d/%s", name);
  char *argv[] = {path, word, NULL};
  pid_t child = spawn(state, argv);
  if (child < 0) {
    *status = 126;
    return CHILD_ENDED;
  }
  enum end end = reap(child, status, seconds, strcmp(word, "start") == 0);
  if (end == TIME_IS_UP || end == ASKED) {
    kill(-child, SIGKILL);
    kill(child, SIGKILL);
    int ignored;
    reap(child, &ignored, 5, false);
  }
  return end;
}

/* Starts the services one after the other; those that did not start are named, and keep none from starting. Leaves the
   names of those that are to be stopped. */
static void start_services(struct state *state, char **names, int count, time_t seconds) {
  for (int i = 0; i < count; i++) {
    char *name = names[i], text[16];
    int status = 0;
    bool begun = !asked && is_there("/etc/init.d/", name, "", X_OK);
    if (!begun) {
      if (!asked) report(state, name, missing(name));
      names[i] = NULL;
      continue;
    }
    enum end end = run_script(state, name, "start", seconds, &status);
    if (end == ASKED) continue;
    snprintf(text, sizeof text, "%d", status);
    report(state, name, end == TIME_IS_UP ? "late" : text);
    if (end == TIME_IS_UP || status != 0) names[i] = NULL;
  }
}

/* Stands in where no service keeps the subhost up: ends at any write to the FIFO. */
static void dummy_service(const char *path) {
  char byte;
  prctl(PR_SET_NAME, "dummy_service");
  setsid();
  default_signals();
  if ((unlink(path) != 0 && errno != ENOENT) || mkfifo(path, 0600) != 0) {
    dprintf(2, "rootling: %s: %s\n", path, strerror(errno));
    pause();
  }
  for (;;) {
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) pause();
    if (read(fd, &byte, 1) > 0) break;
    close(fd); /* Whoever opened it wrote nothing. */
  }
  unlink(path);
  _exit(0);
}

/* The way down: services in the reverse order, then everything that is left. */
static void stop_all(struct state *state, char **names, int count, time_t seconds) {
  int status;
  for (int i = count - 1; i >= 0; i--)
    if (names[i] != NULL && run_script(state, names[i], "stop", seconds, &status) == TIME_IS_UP)
      dprintf(2, "rootling: service %s: late to stop\n", names[i]);
  kill(-1, SIGTERM);
  kill(-1, SIGCONT);
  if (reap(0, &status, seconds, false) == NO_CHILD) return;
  kill(-1, SIGKILL);
  reap(0, &status, 0, false);
}

/* Descriptors from 3 on that stay: the report, and a script. Whoever waits for the end of another would wait for ours. */
static int keep_two(struct state *state) {
  enum { REPORT = 1000, SCRIPT };
  if (state->services >= 0 && (state->services = dup3(state->services, REPORT, O_CLOEXEC)) < 0) return failed("dup3");
  if (state->rc >= 0 && (state->rc = dup3(state->rc, SCRIPT, O_CLOEXEC)) < 0) return failed("dup3");
  syscall(SYS_close_range, 3, REPORT - 1, 0);
  syscall(SYS_close_range, SCRIPT + 1, ~0U, 0);
  return 0;
}

static int become_pid1(struct state *state) {
  block_signals();
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return failed("prctl");
  return own_stdio(state);
}

/* services DUMMY START-SECONDS STOP-SECONDS NAME…: we stay as pid 1. First the script of host-command, if there is one,
   is run, else the services are started; where nothing is left to keep the subhost up, a dummy service does, with the
   FIFO DUMMY (empty: none). Ends with the last process, or when it is asked to. */
int op_services(struct state *state, struct op *op) {
  unsigned long start, stop;
  char **names = op->field + 3;
  int count = op->fields - 3, status;
  if (!parse_number(op->field[1], 86400, &start) || !parse_number(op->field[2], 86400, &stop)) {
    errno = EINVAL;
    return failed("seconds");
  }
  if (become_pid1(state) != 0 || keep_two(state) != 0) return -1;
  /* The channel is closed: from here on it runs. */
  prctl(PR_SET_NAME, "init");
  if (state->rc >= 0) {
    char path[32], *argv[] = {"/bin/sh", path, NULL};
    snprintf(path, sizeof path, "/proc/self/fd/%d", state->rc);
    spawn(state, argv);
    close(state->rc);
    state->rc = -1;
  }
  start_services(state, names, count, (time_t)start);
  dprintf(state->services, "up\n");
  close(state->services);
  time_t up = now();
  enum end end = reap(0, &status, 0, true);
  if (end == NO_CHILD && op->field[0][0] != '\0' && now() - up < SHORT_LIVED) {
    if (fork() == 0) dummy_service(op->field[0]);
    end = reap(0, &status, 0, true);
  }
  if (end == ASKED) stop_all(state, names, count, (time_t)stop);
  _exit(0);
}
