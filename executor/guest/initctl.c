/* Requests to an init: what halt(8), reboot(8) and telinit(8) write to a FIFO, /dev/initctl. */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* sysvinit's initreq.h: the whole of it is 384 bytes. */
struct request {
  int magic, command, run_level, sleep_time;
  char data[368];
};
enum { MAGIC = 0x03091969, RUN_LEVEL = 1 };

/* Makes the FIFO anew and opens it for both ways, so that there is no end of file between two clients. */
int open_initctl(const char *fifo) {
  struct stat status;
  if (lstat(fifo, &status) == 0 && !S_ISFIFO(status.st_mode)) {
    errno = EEXIST;
    return failed_at("mkfifo", fifo);
  }
  if (unlink(fifo) != 0 && errno != ENOENT) return failed_at("unlink", fifo);
  if (mkfifo(fifo, 0600) != 0) return failed_at("mkfifo", fifo);
  int fd = open(fifo, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  return fd >= 0 ? fd : failed_at("open", fifo);
}

/* A line of /proc/PID/status after `key`, without its end; "" if there is none. */
static void status_of(pid_t pid, const char *key, char *value, size_t size) {
  char path[64], line[128];
  size_t length = strlen(key);
  *value = '\0';
  snprintf(path, sizeof path, "/proc/%d/status", pid);
  FILE *file = fopen(path, "re");
  while (file != NULL && *value == '\0' && fgets(line, sizeof line, file) != NULL)
    if (strncmp(line, key, length) == 0) snprintf(value, size, "%.*s", (int)strcspn(line + length, "\n"), line + length);
  if (file != NULL) fclose(file);
}

/* systemd's first process takes SIGTERM as the wish to start itself anew: systemd(1), SIGNALS. */
static int signal_for(pid_t pid, int run_level) {
  char name[32];
  status_of(pid, "Name:\t", name, sizeof name);
  if (strcmp(name, "systemd") != 0) return SIGTERM;
  enum { FIRST = 34 /* SIGRTMIN of the C library that systemd is linked with; musl has one less to give */ };
  return FIRST + (run_level == '0' ? 4 : 5);
}

/* A first process only gets signals that it has a handler for: pid_namespaces(7). */
static bool is_deaf(pid_t pid) {
  char caught[32];
  status_of(pid, "SigCgt:\t", caught, sizeof caught);
  return pid == 1 && *caught != '\0' && (strtoull(caught, NULL, 16) & 1ULL << (SIGTERM - 1)) == 0;
}

/* Of a `guest` that would not hear of it, such as sysvinit's, the machine or the PID namespace is ended. */
static int end_system(pid_t pid, int run_level, bool guest) {
  int signal = signal_for(pid, run_level);
  if (!guest || signal != SIGTERM || !is_deaf(pid)) return kill(pid, signal) == 0 ? 0 : failed("kill");
  sync();
  return reboot(run_level == '0' ? RB_POWER_OFF : RB_AUTOBOOT) == 0 ? 0 : failed("reboot");
}

/* Throws away what does not begin as a request does, byte by byte, so that the next one is whole again. Returns what is
   left. */
static size_t from_magic(struct request *request, size_t got) {
  static const int magic = MAGIC;
  char *bytes = (char *)request;
  while (got > 0 && memcmp(bytes, &magic, got < sizeof magic ? got : sizeof magic) != 0) memmove(bytes, bytes + 1, --got);
  return got;
}

/* Answers requests until one ends the system: then the FIFO goes, and `pid` gets its signal. Returns 0, or -1. */
static int answer(int fd, const char *fifo, pid_t pid, bool guest) {
  struct request request;
  for (;;) {
    size_t got = 0;
    while (got < sizeof request) {
      ssize_t n = read(fd, (char *)&request + got, sizeof request - got);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return failed_at("read", fifo);
      got += (size_t)n;
      got = from_magic(&request, got);
    }
    if (request.command != RUN_LEVEL || (request.run_level != '0' && request.run_level != '6')) continue;
    unlink(fifo);
    return end_system(pid, request.run_level, guest);
  }
}

int serve_initctl(const char *fifo, pid_t pid) {
  int fd = open_initctl(fifo);
  if (fd < 0) return -1;
  int result = answer(fd, fifo, pid, false);
  close(fd);
  return result;
}

/* initctl FIFO: a child of ours answers, and ends us. */
int op_initctl(struct state *state, struct op *op) {
  (void)state;
  int fd = open_initctl(op->field[0]);
  if (fd < 0) return -1;
  pid_t self = getpid(), child = fork();
  if (child < 0) return failed("fork");
  if (child > 0) {
    close(fd);
    return 0;
  }
  /* Nothing of ours, such as the way to what is outside, which waits for its end. */
  if (dup2(fd, 3) < 0) _exit(1);
  syscall(SYS_close_range, 4, ~0U, 0);
  default_signals();
  setsid();
  _exit(answer(3, op->field[0], self, true) == 0 ? 0 : 1);
}
