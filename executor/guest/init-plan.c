/* init.yml → the wire of a plan: the order that src/boot/lower-guest.ts knows, byte for byte; tests hold both against
   each other. */
#include "guest.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct writer {
  FILE *ops;
  int count;
};

static void field(FILE *out, const char *text) { fwrite(text, 1, strlen(text) + 1, out); }

static void number(FILE *out, int value) { fprintf(out, "%d%c", value, 0); }

static void begin(struct writer *writer, const char *verb, const char *origin, int fields) {
  field(writer->ops, verb);
  field(writer->ops, origin);
  number(writer->ops, fields);
  writer->count++;
}

/* An op with `count` fields, which are texts. */
static void op(struct writer *writer, const char *verb, const char *origin, int count, ...) {
  va_list list;
  begin(writer, verb, origin, count);
  va_start(list, count);
  for (int i = 0; i < count; i++) field(writer->ops, va_arg(list, const char *));
  va_end(list);
}

static int count_of(char **list) {
  int count = 0;
  while (list[count] != NULL) count++;
  return count;
}

static void fields_of(struct writer *writer, char **list, int count) {
  for (int i = 0; i < count; i++) field(writer->ops, list[i]);
}

static void commands(struct writer *writer, const struct commands *commands) {
  for (int i = 0; i < commands->count; i++) {
    const struct command *command = &commands->list[i];
    int count = count_of(command->words);
    begin(writer, "command", command->origin, 2 + count);
    field(writer->ops, command->input == NULL ? "null" : "text");
    field(writer->ops, command->input == NULL ? "" : command->input);
    fields_of(writer, command->words, count);
  }
}

/* What started the guest: systemd's container interface says so by the variable `container`. */
static int setup_here(int mode, char **environment) {
  const char *container = "";
  if (mode != SETUP_AUTO) return mode;
  for (; *environment != NULL; environment++)
    if (strncmp(*environment, "container=", 10) == 0) {
      container = *environment + 10;
      break;
    }
  if (strcmp(container, "lxc-libvirt") == 0) return SETUP_LXC_LIBVIRT;
  if (strcmp(container, "lxc") == 0) return SETUP_LXC;
  return *container == '\0' ? SETUP_QEMU : SETUP_OCI;
}

static char *root_of(const struct ranges *ranges) {
  char *text;
  unsigned long root = 0;
  for (int i = ranges->count - 1; i >= 0; i--)
    if (ranges->list[i].inside == 0) root = ranges->list[i].outside;
  return asprintf(&text, "%lu", root) < 0 ? NULL : text;
}

static char *lines(const struct ranges *ranges) {
  char *text;
  size_t size;
  FILE *out = open_memstream(&text, &size);
  for (int i = 0; i < ranges->count; i++)
    fprintf(out, "%s%lu %lu %lu", i ? "," : "", ranges->list[i].inside, ranges->list[i].outside, ranges->list[i].count);
  fclose(out);
  return text;
}

static void namespaces(struct writer *writer, const struct init_file *file) {
  const char *origin = file->setup_origin;
  op(writer, "namespaces", origin, 1, file->mapped ? "user,mount,cgroup,uts,ipc,net" : "cgroup,uts,ipc,net");
  if (file->mapped) op(writer, "id-map", file->map_origin, 3, lines(&file->users), lines(&file->groups), "allow");
  op(writer, "interfaces", origin, 0);
  if (file->mapped) op(writer, "take-ids", file->map_origin, 2, "0", "0");
  if (file->mapped) op(writer, "mount-point", file->root_origin, 2, file->root, "always");
  op(writer, "root", file->root_origin, 1, file->root);
}

static void devices(struct writer *writer, const struct init_file *file, bool whole) {
  const char *origin = file->setup_origin;
  const struct texts *excluded = file->exclude.count > 0 ? &file->exclude : &file->rexclude;
  bool all = whole && excluded->count == 0;
  if (all) op(writer, "mount", origin, 6, "devtmpfs", "dev", "/dev", "nosuid", "mode=755", "own");
  else op(writer, "mount", origin, 6, "tmpfs", "rootling", "/dev", "nosuid,strictatime", "mode=755,size=1m", "own");
  op(writer, "mount", origin, 6, "devpts", "devpts", "/dev/pts", "nosuid,noexec", "newinstance,ptmxmode=0666,mode=0620", "dir");
  op(writer, "mount", origin, 6, "tmpfs", "shm", "/dev/shm", "nosuid,nodev", "mode=1777", "dir");
  op(writer, "mount", origin, 6, "mqueue", "mqueue", "/dev/mqueue", "nosuid,nodev,noexec", "", "dir");
  if (all) return;
  op(writer, "symlink", origin, 2, "pts/ptmx", "/dev/ptmx");
  begin(writer, "devices", excluded->origin, 1 + file->exclude.count + file->rexclude.count);
  number(writer->ops, file->exclude.count);
  fields_of(writer, file->exclude.list, file->exclude.count);
  fields_of(writer, file->rexclude.list, file->rexclude.count);
}

static void setup(struct writer *writer, const struct init_file *file, int mode) {
  const char *origin = file->setup_origin;
  if (mode == SETUP_NONE) return;
  bool whole = mode == SETUP_QEMU && !file->mapped;
  if (file->mapped) op(writer, "hand-over", file->map_origin, 2, root_of(&file->users), root_of(&file->groups));
  op(writer, "root", file->root_origin, 1, file->root);
  op(writer, "mount", origin, 6, "proc", "proc", "/proc", "nosuid,nodev,noexec", "", "own");
  if (!whole) namespaces(writer, file);
  devices(writer, file, whole);
  op(writer, "mount", origin, 6, "sysfs", "sysfs", "/sys", whole ? "nosuid,nodev,noexec" : "ro,nosuid,nodev,noexec", "", "own");
  op(writer, "mount", origin, 6, "cgroup2", "cgroup2", "/sys/fs/cgroup", "nosuid,nodev,noexec", "", "none");
}

static void all_ops(struct writer *writer, const struct init_file *file, char **environment) {
  int mode = setup_here(file->setup, environment), variables = count_of(environment), words = count_of(file->command.words);
  bool stays = strcmp(file->root_mode, "none") == 0;
  begin(writer, "environment", "rootling", variables);
  fields_of(writer, environment, variables);
  if (mode == SETUP_QEMU) op(writer, "system-mounts", "rootling", 0);
  op(writer, "namespaces", "rootling", 1, "mount");
  op(writer, "propagation", "rootling", 2, "/", "private");
  commands(writer, &file->setup_before);
  if (!stays || mode != SETUP_NONE) op(writer, "mount-point", file->root_origin, 2, file->root, "missing");
  if (file->initctl) op(writer, "initctl", file->initctl_origin, 1, "/dev/initctl");
  setup(writer, file, mode);
  if (!stays) op(writer, "enter-root", file->root_mode_origin, 2, file->root_mode, file->root);
  commands(writer, &file->exec_before);
  begin(writer, "become", file->command.origin, words);
  fields_of(writer, file->command.words, words);
}

char *init_wire(const struct init_file *file, char **environment, size_t *size) {
  struct writer writer = {0};
  char *ops = NULL, *wire = NULL;
  size_t length = 0;
  writer.ops = open_memstream(&ops, &length);
  if (writer.ops == NULL) return NULL;
  all_ops(&writer, file, environment);
  fclose(writer.ops);
  FILE *out = open_memstream(&wire, size);
  if (out == NULL) return NULL;
  field(out, "rootling-wire");
  field(out, "2");
  field(out, "in-place");
  field(out, "125");
  field(out, "0"); /* No program puts a failure into words here. */
  number(out, writer.count);
  fwrite(ops, 1, length, out);
  fclose(out);
  free(ops);
  return wire;
}
