/* rootling's executor: reads a plan, walks it, becomes its payload or watches over it. */
#include "walk.h"
#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

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
  char *shown[] = {"rootling", argv[1], NULL}; /* What is inside sees it, and learns nothing of the host's paths. */
  syscall(SYS_execveat, copy, "", shown, environ, 0x1000 /* AT_EMPTY_PATH */);
  fatal("executing the sealed executor");
}

/* --monitor: our standard input says where the plan is, once whoever started us has recorded this process as its
   owner; our standard output tells them that the payload runs. Neither stays. */
static char *await_wire(int *report) {
  static char path[4096];
  size_t got = 0;
  for (ssize_t n; (n = read(0, path + got, sizeof path - 1 - got)) != 0;) {
    if (n < 0 && errno != EINTR) fatal("reading the plan's name");
    if (n > 0) got += (size_t)n;
  }
  if (got == 0) exit(STATUS_FAILURE); /* They changed their mind. */
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  *report = fcntl(1, F_DUPFD_CLOEXEC, 3);
  if (null < 0 || *report < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || chdir("/") != 0) fatal("detaching");
  close(null);
  return path;
}

/* Node gives every signal its default action when it starts, so that bin/rootling notes what the caller had ignored.
   Only these: what else might be ignored by accident, such as SIGPIPE, is as a new program expects it. */
static unsigned long ignored_signals(void) {
  const char *noted = getenv("ROOTLING_IGNORED");
  unsigned long mask;
  if (noted == NULL || !parse_number(noted, 0x7fffffff, &mask)) return 0;
  return mask & (1 << (SIGHUP - 1) | 1 << (SIGINT - 1) | 1 << (SIGQUIT - 1));
}

static int usage(const char *name) {
  fprintf(stderr, "usage: %s WIRE-FILE | --monitor | --clear-cables MARK | --client SOCKET KEYS starter|guest | --ops\n", name);
  return STATUS_FAILURE;
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "--ops") == 0) return print_ops();
  if (argc == 3 && strcmp(argv[1], "--clear-cables") == 0) return clear_cables(argv[2]);
  if (argc == 5 && strcmp(argv[1], "--client") == 0) return client(argv[2], argv[3], strcmp(argv[4], "starter") == 0);
  if (argc != 2) return usage(argc > 0 ? argv[0] : "executor");
  unsigned long ignored = ignored_signals();
  ignore_signals(ignored);
  seal(argv);
  /* Descriptors of the caller must not be reachable from inside (CVE-2024-21626). */
  syscall(SYS_close_range, 3, ~0U, 0);
  size_t size;
  int report = -1;
  char *wire = wire_read(strcmp(argv[1], "--monitor") == 0 ? await_wire(&report) : argv[1], &size);
  if (wire == NULL) fatal("reading the plan");
  if (strcmp(argv[1], "--monitor") != 0) memset(argv[1], 0, strlen(argv[1]));
  prctl(PR_SET_NAME, "rootling");
  struct plan plan = {0};
  const char *wrong = wire_parse(wire, size, &plan);
  if (wrong != NULL) {
    fprintf(stderr, "rootling: executor: the plan is %s\n", wrong);
    return STATUS_FAILURE;
  }
  return carry_out(&plan, plan.detached ? 0 : ignored /* What is detached has left the caller's session. */, report);
}
