/* A virtual machine beside the root that it boots: a file server, the emulator, and what both leave. */
#include "executor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { STATUS_NONE = 125, SERVER_SECONDS = 10, GRACE_SECONDS = 5 };

static const char LOG[] = "log";
static char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};

/* A child that ends when we do. Standard streams are ours for the emulator, who shows the console. */
static pid_t start(char **words, bool input) {
  pid_t parent = getpid(), child = fork();
  if (child != 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (getppid() != parent) _exit(STATUS_NONE);
  if (!input) {
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC), log = open(LOG, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (null < 0 || log < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0) _exit(STATUS_NONE);
  }
  default_signals();
  execve(words[0], words, environment);
  perror(words[0]);
  _exit(STATUS_NONE);
}

/* What the file server has said becomes the detail of its failure. */
static int server_failure(int error) {
  int fd = open(LOG, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  ssize_t n = fd < 0 ? 0 : read(fd, failed_detail, sizeof failed_detail - 1);
  if (fd >= 0) close(fd);
  failed_detail[n > 0 ? n : 0] = '\0';
  errno = error;
  return failed("server");
}

/* The file server listens once its socket is there. */
static int await_server(pid_t server) {
  struct stat status;
  for (int i = 0; i < SERVER_SECONDS * 200; i++) {
    if (lstat("fs", &status) == 0) return 0;
    if (waitpid(server, NULL, WNOHANG) == server) return server_failure(ECHILD);
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
  }
  return server_failure(ETIMEDOUT);
}

static void end(pid_t child, int number) {
  if (child <= 0) return;
  kill(child, number);
  for (int i = 0; i < GRACE_SECONDS * 200; i++) {
    if (waitpid(child, NULL, WNOHANG) != 0) return;
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
  }
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
}

/* Waits for the emulator; a signal that ends us ends it first. Returns that signal, or 0. */
static int watch_emulator(pid_t emulator) {
  sigset_t wanted;
  sigemptyset(&wanted);
  const int numbers[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) sigaddset(&wanted, numbers[i]);
  while (waitpid(emulator, NULL, WNOHANG) == 0) {
    int number = sigwaitinfo(&wanted, NULL);
    if (number <= 0 || number == SIGCHLD) continue;
    end(emulator, SIGTERM);
    return number;
  }
  return 0;
}

/* What the machine's first process has written about the end of its payload: "N\n". */
static int read_status(void) {
  char text[16] = "";
  unsigned long status;
  int fd = open("status", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
  if (fd >= 0) close(fd);
  if (n < 2 || text[n - 1] != '\n') return -1;
  text[n - 1] = '\0';
  return parse_number(text, 255, &status) ? (int)status : -1;
}

/* machine DIRECTORY WATCHED SERVER WORD…: in the directory lie the socket `fs` of the file server, whose words are the
   first SERVER ones, and `status`, to which the machine writes how it ended; WATCHED is `status`, or `system` for one that
   just ends. The rest are words of the emulator. It ends with that status. */
int op_machine(struct state *state, struct op *op) {
  unsigned long count;
  if (!parse_number(op->field[2], (unsigned long)op->fields - 4, &count)) {
    errno = EINVAL;
    return failed("machine");
  }
  char **server_words = calloc(count + 1, sizeof *server_words);
  if (server_words == NULL) return failed("calloc");
  memcpy(server_words, op->field + 3, count * sizeof *server_words);
  if (chdir(op->field[0]) != 0) return failed_at("chdir", op->field[0]);
  umask(077);
  block_signals();
  struct termios before;
  bool terminal = tcgetattr(0, &before) == 0;
  pid_t server = count == 0 ? 0 : start(server_words, false);
  if (server < 0) return failed("fork");
  if (server > 0 && await_server(server) != 0) {
    int error = errno;
    end(server, SIGTERM);
    errno = error;
    return -1;
  }
  pid_t emulator = start(op->field + 3 + count, true);
  if (emulator < 0) return failed("fork");
  close(state->channel); /* It runs: from here on the monitor passes signals on. */
  int number = watch_emulator(emulator), status = read_status();
  end(server, SIGTERM);
  if (terminal) tcsetattr(0, TCSANOW, &before);
  if (number != 0) _exit(128 + number);
  if (status < 0 && strcmp(op->field[1], "system") == 0) status = 0;
  if (status < 0) fprintf(stderr, "rootling: the virtual machine ended without an exit status\n");
  _exit(status < 0 ? STATUS_NONE : status);
}
