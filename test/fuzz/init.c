/* Feeds the guests' reader of init.yml whatever libFuzzer makes of real files. What it takes becomes a plan, which the
   executor's parser has to take as well. */
#include "../../executor/guest/guest.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* libFuzzer calls it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static char *environment[] = {"PATH=/bin", "container=lxc-libvirt", NULL};
  struct init_file file = {0};
  struct plan plan = {0};
  size_t length;
  char *text = malloc(size == 0 ? 1 : size);
  if (text == NULL) abort();
  memcpy(text, data, size);
  if (read_init_file(text, size, "init.yml", &file)) {
    char *wire = init_wire(&file, environment, &length);
    if (wire != NULL && wire_parse(wire, length, &plan) != NULL) abort();
    free(plan.op);
    free(plan.explain);
    free(wire);
  }
  free(text);
  return 0;
}
