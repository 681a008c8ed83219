/* The environment of a payload that is gathered while its container is made: from files of the root, from what is
   known before, and from hooks, which read and change it as a file. Later values win. */
#include "startup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 1 << 20 };

/* A regular file as text; NULL with errno. Nothing that blocks, and nothing endless, is read. Closes the descriptor. */
static char *text_of(int fd) {
  struct stat status;
  char *text = NULL;
  if (fstat(fd, &status) == 0) {
    if (!S_ISREG(status.st_mode)) errno = EINVAL;
    else if (status.st_size > FILE_MAX) errno = EFBIG;
    else if ((text = calloc(1, (size_t)status.st_size + 1)) != NULL && read(fd, text, (size_t)status.st_size) < 0) {
      free(text);
      text = NULL;
    }
  }
  int error = errno;
  close(fd);
  errno = error;
  return text;
}

/* A small file of the host, of this container's stage. */
char *host_file(const char *path) {
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
  return fd < 0 ? NULL : text_of(fd);
}

/* A small file of the root. NULL: a failure, or, where `missing` says so, nothing at all. */
char *root_file(struct state *state, const char *path, bool *missing) {
  int fd = root_open(state, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  *missing = fd < 0 && (errno == ENOENT || errno == ENOTDIR);
  char *text = fd < 0 ? NULL : text_of(fd);
  if (text == NULL && !*missing) failed_at("read", path);
  return text;
}

const char *list_value(char **list, const char *name) {
  size_t length = strlen(name);
  for (; list != NULL && *list != NULL; list++)
    if (strncmp(*list, name, length) == 0 && (*list)[length] == '=') return *list + length + 1;
  return NULL;
}

static size_t name_length(const char *text) {
  size_t n = 0;
  while ((text[n] >= 'a' && text[n] <= 'z') || (text[n] >= 'A' && text[n] <= 'Z') || text[n] == '_' ||
         (n > 0 && text[n] >= '0' && text[n] <= '9'))
    n++;
  return n;
}

/* The text with each ${NAME} replaced by the caller's value, and ${ENROOT_ROOTFS} by where the root lies. Without a caller
   by the latter alone: the others were replaced before. Never NULL but where memory is out. */
char *expanded(struct state *state, const char *text, char **caller) {
  char *result = NULL, name[256], root[4096] = "";
  size_t size;
  FILE *stream = open_memstream(&result, &size);
  if (stream == NULL) return NULL;
  for (const char *at = text; *at != '\0'; at++) {
    size_t n = at[0] == '$' && at[1] == '{' ? name_length(at + 2) : 0;
    if (n == 0 || n >= sizeof name || at[2 + n] != '}') {
      fputc(*at, stream);
      continue;
    }
    snprintf(name, sizeof name, "%.*s", (int)n, at + 2);
    bool is_root = has_word("ENROOT_ROOTFS,ROOTLING_ROOTFS", name);
    if (is_root && *root == '\0' && root_path(state, root, sizeof root) != 0) *root = '\0';
    const char *value = is_root ? root : list_value(caller, name);
    if (value != NULL) fputs(value, stream);
    else if (caller == NULL) fprintf(stream, "${%s}", name);
    at += 2 + n;
  }
  return fclose(stream) == 0 ? result : NULL;
}

/* Adds NAME=VALUE, in the place of an earlier value. */
int gather(struct state *state, const char *variable) {
  const char *equals = strchr(variable, '=');
  char *copy = strdup(variable);
  if (copy == NULL || equals == NULL) return copy == NULL ? failed("malloc") : 0;
  size_t name = (size_t)(equals - variable) + 1;
  int count = 0;
  for (; state->gathered != NULL && state->gathered[count] != NULL; count++)
    if (strncmp(state->gathered[count], variable, name) == 0) {
      state->gathered[count] = copy;
      return 0;
    }
  char **more = realloc(state->gathered, ((size_t)count + 2) * sizeof *more);
  if (more == NULL) return failed("malloc");
  more[count] = copy;
  more[count + 1] = NULL;
  state->gathered = more;
  return 0;
}

/* Quotes around a value are no part of it, as in environment(5) and with enroot. */
static void unquote(char *value) {
  size_t length = strlen(value);
  while (length > 0 && (value[length - 1] == ' ' || value[length - 1] == '\t')) length--;
  if (length < 2 || (value[0] != '"' && value[0] != '\'') || value[length - 1] != value[0]) return;
  memmove(value, value + 1, length - 2);
  value[length - 2] = '\0';
}

static bool holds(char **list, const char *text) {
  for (; list != NULL && *list != NULL; list++)
    if (strcmp(*list, text) == 0) return true;
  return false;
}

/* Lines of NAME=VALUE; others, such as comments, mean nothing. Those of `known` are values already, quotes and all. */
static int gather_lines(struct state *state, char *text, char **known) {
  char *rest = NULL;
  for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
    line += strspn(line, " \t");
    size_t n = name_length(line);
    if (n == 0 || line[n] != '=') continue;
    if (!holds(known, line)) unquote(line + n + 1);
    if (gather(state, line) != 0) return -1;
  }
  return 0;
}

/* caller NAME=VALUE…: the caller's environment, for hooks and for ${NAME} in files. */
int op_caller(struct state *state, struct op *op) {
  state->caller = op->field;
  return 0;
}

/* variables NAME=VALUE… */
int op_variables(struct state *state, struct op *op) {
  for (int i = 0; i < op->fields; i++)
    if (gather(state, op->field[i]) != 0) return -1;
  return 0;
}

/* variables-file PATH: of the root, if it is there. */
int op_variables_file(struct state *state, struct op *op) {
  bool missing;
  char *text = root_file(state, op->field[0], &missing);
  if (text == NULL) return missing ? 0 : -1;
  char *full = expanded(state, text, state->caller);
  free(text);
  int result = full == NULL ? failed("malloc") : gather_lines(state, full, NULL);
  free(full);
  return result;
}

/* What has a line break cannot be a line: it stays as it is, whatever hooks do. */
static bool is_line(const char *variable) { return strchr(variable, '\n') == NULL; }

int write_gathered(struct state *state, const char *path) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
  if (file == NULL) return failed_at("open", path);
  for (char **variable = state->gathered; variable != NULL && *variable != NULL; variable++)
    if (is_line(*variable)) fprintf(file, "%s\n", *variable);
  return fclose(file) == 0 ? 0 : failed_at("write", path);
}

int read_gathered(struct state *state, const char *path) {
  char *text = host_file(path);
  if (text == NULL) return failed_at("read", path);
  char **old = state->gathered;
  state->gathered = NULL;
  int result = gather_lines(state, text, old);
  for (; result == 0 && old != NULL && *old != NULL; old++)
    if (!is_line(*old)) result = gather(state, *old);
  free(text);
  return result;
}

/* gathered-environment: what was gathered is the environment of the payload. */
int op_gathered_environment(struct state *state, struct op *op) {
  (void)op;
  static char *nothing[] = {NULL};
  state->environment = state->gathered ? state->gathered : nothing;
  return 0;
}
