/* rootling's executor: reads a plan, walks it, becomes its payload or watches over it. */
#include "walk.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

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

void fatal(const char *what) {
  fprintf(stderr, "rootling: executor: %s: %s\n", what, strerror(errno));
  exit(STATUS_FAILURE);
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
  struct state state = {.plan = &plan, .root = -1, .channel = -1, .stops = -1};
  signal(SIGCHLD, SIG_DFL); /* Ignored, it would leave nothing to wait for. */
  if (plan.supervised) return supervised(&state);
  in_place(&state);
}
