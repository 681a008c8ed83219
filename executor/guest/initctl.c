/* Requests to an init: what halt(8), reboot(8) and telinit(8) write to a FIFO, /dev/initctl. */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
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

/* systemd's first process takes SIGTERM as the wish to start itself anew: systemd(1), SIGNALS. */
static int signal_for(pid_t pid, int run_level) {
  char path[64], name[16] = "";
  snprintf(path, sizeof path, "/proc/%d/comm", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    if (read(fd, name, sizeof name - 1) < 0) name[0] = '\0';
    close(fd);
  }
  if (strcmp(name, "systemd\n") != 0) return SIGTERM;
  enum { FIRST = 34 /* SIGRTMIN of the C library that systemd is linked with; musl has one less to give */ };
  return FIRST + (run_level == '0' ? 4 : 5);
}

/* Answers requests until one ends the system: then `pid` gets its signal, and the FIFO goes. Returns 0, or -1. */
static int answer(int fd, const char *fifo, pid_t pid) {
  struct request request;
  for (;;) {
    size_t got = 0;
    while (got < sizeof request) {
      ssize_t n = read(fd, (char *)&request + got, sizeof request - got);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return failed_at("read", fifo);
      got += (size_t)n;
      /* What does not begin as a request does is thrown away, so that the next one is whole again. */
      if (got >= sizeof request.magic && request.magic != MAGIC) got = 0;
    }
    if (request.command != RUN_LEVEL || (request.run_level != '0' && request.run_level != '6')) continue;
    if (kill(pid, signal_for(pid, request.run_level)) != 0) return failed("kill");
    unlink(fifo);
    return 0;
  }
}

int serve_initctl(const char *fifo, pid_t pid) {
  int fd = open_initctl(fifo);
  if (fd < 0) return -1;
  int result = answer(fd, fifo, pid);
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
  _exit(answer(3, op->field[0], self) == 0 ? 0 : 1);
}
