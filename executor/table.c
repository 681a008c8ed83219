/* The table of verbs, and what all ops need. */
#include "walk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct verb verbs[] = {
#define OP(name, side, least, most, act, undo) {name, side, least, most, act, undo},
#include "ops.def"
#ifdef ROOTLING_GUEST
#include "guest/ops.def"
#endif
#undef OP
};
const int verb_count = sizeof verbs / sizeof *verbs;

const char *failed_call = "";

int failed(const char *call) {
  failed_call = call;
  return -1;
}

int failed_at(const char *call, const char *path) {
  int error = errno;
  snprintf(failed_detail, sizeof failed_detail, "%s", path);
  errno = error;
  return failed(call);
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

int print_ops(void) {
  for (int i = 0; i < verb_count; i++)
    printf("%s %s %d %d\n", verbs[i].name, verbs[i].side == INSIDE ? "inside" : "outside", verbs[i].least, verbs[i].most);
  return 0;
}
