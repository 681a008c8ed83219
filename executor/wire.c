/* The wire: a plan as NUL-separated fields, written by src/plan/wire.ts.
   rootling-wire, version, topology, status, n, n × explain argument, then for each op: verb, origin, n, n × field. */
#include "executor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WIRE_MAX = 64 << 20, OPS_MAX = 65536, FIELDS_MAX = 65536 };

struct cursor {
  char *at, *end;
};

/* The next field, or NULL at the end. Every field ends in NUL within the buffer: wire_parse saw to it. */
static char *next(struct cursor *cursor) {
  if (cursor->at >= cursor->end) return NULL;
  char *field = cursor->at;
  cursor->at += strlen(field) + 1;
  return field;
}

static bool next_count(struct cursor *cursor, unsigned long most, unsigned long *count) {
  char *text = next(cursor);
  return text != NULL && parse_number(text, most, count);
}

static char **next_list(struct cursor *cursor, unsigned long count) {
  char **list = calloc(count + 1, sizeof *list);
  if (list == NULL) return NULL;
  for (unsigned long i = 0; i < count; i++)
    if ((list[i] = next(cursor)) == NULL) {
      free(list);
      return NULL;
    }
  return list;
}

static const struct verb *find_verb(const char *name) {
  for (int i = 0; i < verb_count; i++)
    if (strcmp(verbs[i].name, name) == 0) return &verbs[i];
  return NULL;
}

static const char *parse_op(struct cursor *cursor, struct op *op) {
  char *name = next(cursor), *origin = next(cursor);
  unsigned long count;
  if (name == NULL || origin == NULL || !next_count(cursor, FIELDS_MAX, &count)) return "cut off in an op";
  if ((op->verb = find_verb(name)) == NULL) return "unknown verb";
  if (count < (unsigned long)op->verb->least || count > (unsigned long)op->verb->most) return "wrong number of fields";
  op->origin = origin;
  op->fields = (int)count;
  op->field = next_list(cursor, count);
  return op->field == NULL ? "cut off in the fields of an op" : NULL;
}

/* Fills *plan; returns NULL, or what is wrong with the wire. Nothing is carried out before all of it is valid. */
const char *wire_parse(char *buffer, size_t size, struct plan *plan) {
  if (size == 0 || buffer[size - 1] != '\0') return "does not end in NUL";
  struct cursor cursor = {buffer, buffer + size};
  char *magic = next(&cursor), *version = next(&cursor), *topology = next(&cursor);
  if (magic == NULL || strcmp(magic, "rootling-wire") != 0) return "not a wire file";
  if (version == NULL || strcmp(version, "2") != 0) return "of another version";
  if (topology == NULL) return "cut off in the head";
  plan->detached = strcmp(topology, "detached") == 0;
  plan->supervised = plan->detached || strcmp(topology, "supervised") == 0;
  if (!plan->supervised && strcmp(topology, "in-place") != 0) return "of an unknown topology";
  unsigned long count, status;
  if (!next_count(&cursor, 255, &status)) return "cut off in the head";
  plan->status = (int)status;
  if (!next_count(&cursor, FIELDS_MAX, &count) || (plan->explain = next_list(&cursor, count)) == NULL)
    return "cut off in the head";
  if (!next_count(&cursor, OPS_MAX, &count) || count == 0) return "without ops";
  if ((plan->op = calloc(count, sizeof *plan->op)) == NULL) return "too large";
  plan->ops = (int)count;
  for (unsigned long i = 0; i < count; i++) {
    const char *wrong = parse_op(&cursor, &plan->op[i]);
    if (wrong != NULL) return wrong;
  }
  if (!has_word("exec,login,become,machine,pack,unpack,services,end", plan->op[count - 1].verb->name))
    return "without exec at its end";
  return cursor.at == cursor.end ? NULL : "followed by more than its ops";
}

/* Reads a wire file whole and removes its name. NULL with errno on failure. */
char *wire_read(const char *path, size_t *size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return NULL;
  struct stat status;
  if (fstat(fd, &status) != 0) return NULL;
  if (!S_ISREG(status.st_mode) || status.st_uid != geteuid() || status.st_size > WIRE_MAX) {
    errno = EPERM;
    return NULL;
  }
  unlink(path);
  char *buffer = malloc((size_t)status.st_size + 1);
  if (buffer == NULL) return NULL;
  size_t got = 0;
  while (got < (size_t)status.st_size) {
    ssize_t n = read(fd, buffer + got, (size_t)status.st_size - got);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    got += (size_t)n;
  }
  close(fd);
  *size = got;
  return buffer;
}
