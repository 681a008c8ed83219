/* Feeds the executor's parser whatever libFuzzer makes of real plans. What is accepted is read to its last byte: a text
   that does not end within the wire would be found by AddressSanitizer. */
#include "../../executor/executor.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* libFuzzer calls it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void release(struct plan *plan) {
  for (int i = 0; plan->op != NULL && i < plan->ops; i++) free(plan->op[i].field);
  free(plan->op);
  free(plan->explain);
}

static size_t read_all(const struct plan *plan) {
  size_t length = 0;
  for (char **word = plan->explain; *word != NULL; word++) length += strlen(*word);
  for (int i = 0; i < plan->ops; i++) {
    const struct op *op = &plan->op[i];
    if (op->fields < op->verb->least || op->fields > op->verb->most) abort();
    length += strlen(op->origin);
    for (int field = 0; field < op->fields; field++) length += strlen(op->field[field]);
    if (op->field[op->fields] != NULL) abort();
  }
  return length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *wire = malloc(size == 0 ? 1 : size);
  if (wire == NULL) abort();
  memcpy(wire, data, size);
  struct plan plan = {0};
  const char *wrong = wire_parse(wire, size, &plan);
  if (wrong == NULL && read_all(&plan) > size) abort();
  release(&plan);
  free(wire);
  return 0;
}
