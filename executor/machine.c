/* A virtual machine beside the root that it boots: a file server, the emulator, and what both leave. */
#include "executor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { STATUS_NONE = 125, GRACE_SECONDS = 5, LISTENER = 3 /* as machine-words.ts has it */ };

static const char LOG[] = "log";
static char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};

/* Child: nothing is read, and what is said goes to a file; descriptor 3 is the socket. */
static bool take_server_streams(int listener) {
  int null = open("/dev/null", O_RDONLY | O_CLOEXEC), log = open(LOG, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  return null >= 0 && log >= 0 && dup2(null, 0) == 0 && dup2(log, 1) == 1 && dup2(log, 2) == 2 &&
         (listener == LISTENER ? fcntl(LISTENER, F_SETFD, 0) == 0 : dup2(listener, LISTENER) == LISTENER);
}

/* A child that ends when we do. Without a `listener` it is the emulator, whose standard streams are ours: the console. */
static pid_t start(char **words, int listener) {
  pid_t parent = getpid(), child = fork();
  if (child != 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (getppid() != parent || (listener >= 0 && !take_server_streams(listener))) _exit(STATUS_NONE);
  default_signals();
  execve(words[0], words, environment);
  perror(words[0]);
  _exit(STATUS_NONE);
}

/* Made here, so that the emulator need not wait for its file server. */
static int listen_for_emulator(void) {
  struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "fs"};
  int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0 || bind(listener, (struct sockaddr *)&name, sizeof name) != 0 || listen(listener, 1) != 0)
    return failed("socket");
  return listener;
}

/* Why there is no machine is mostly known to the file server. */
static void show_log(void) {
  char text[1000];
  int fd = open(LOG, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text);
  if (n > 0) fwrite(text, 1, (size_t)n, stderr);
  if (fd >= 0) close(fd);
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
  int listener = count == 0 ? -1 : listen_for_emulator();
  if (count > 0 && listener < 0) return -1;
  pid_t server = count == 0 ? 0 : start(server_words, listener);
  if (server < 0) return failed("fork");
  if (listener >= 0) close(listener);
  pid_t emulator = start(op->field + 3 + count, -1);
  if (emulator < 0) return failed("fork");
  close(state->channel); /* It runs: from here on the monitor passes signals on. */
  int number = watch_emulator(emulator), status = read_status();
  end(server, SIGTERM);
  if (terminal) tcsetattr(0, TCSANOW, &before);
  if (number != 0) _exit(128 + number);
  if (status < 0 && strcmp(op->field[1], "system") == 0) status = 0;
  if (status < 0) show_log();
  if (status < 0) fprintf(stderr, "rootling: the virtual machine ended without an exit status\n");
  _exit(status < 0 ? STATUS_NONE : status);
}
