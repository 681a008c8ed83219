/* Reads init.yml where no JavaScript runs, by libyaml. What a file may hold, and what is said of one that is wrong, is
   as in src/boot/read-init.ts; tests hold both against each other. */
#include "guest.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { MOST_RANGES = 340 };
static const unsigned long MOST = 4294967294;

struct reader {
  yaml_document_t *document;
  const char *name;
  bool failed;
};

typedef yaml_node_t node;

static void refuse_at(struct reader *reader, yaml_mark_t at, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Only the first thing that is wrong is said. Text of the file is shown without what would steer a terminal. */
static void refuse_at(struct reader *reader, yaml_mark_t at, const char *format, ...) {
  if (reader->failed) return;
  reader->failed = true;
  char text[512];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  for (char *c = text; *c != '\0'; c++)
    if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f) *c = '?';
  fprintf(stderr, "rootling: init: %s\n  from: %s:%lu:%lu\n  mend: mend that line; `rootling init check` on a host says the same\n",
          text, reader->name, (unsigned long)at.line + 1, (unsigned long)at.column + 1);
}

#define refuse(reader, at, ...) refuse_at(reader, (at)->start_mark, __VA_ARGS__)

static node *node_of(struct reader *reader, int index) { return yaml_document_get_node(reader->document, index); }

static const char *text_of(const node *scalar) { return (const char *)scalar->data.scalar.value; }

static bool is_plain(const node *at, const char *const *words) {
  if (at->type != YAML_SCALAR_NODE || at->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return false;
  for (; *words != NULL; words++)
    if (strcmp(text_of(at), *words) == 0) return true;
  return false;
}

static bool is_absent(const node *at) {
  static const char *const nothing[] = {"", "~", "null", "Null", "NULL", NULL};
  return at == NULL || is_plain(at, nothing);
}

static bool is_true(const node *at) {
  static const char *const words[] = {"true", "True", "TRUE", NULL};
  return is_plain(at, words);
}

static bool is_false(const node *at) {
  static const char *const words[] = {"false", "False", "FALSE", NULL};
  return is_plain(at, words);
}

static char *origin_of(struct reader *reader, const node *at) {
  char *origin;
  if (asprintf(&origin, "%s:%lu", reader->name, (unsigned long)at->start_mark.line + 1) < 0) abort();
  return origin;
}

/* A scalar's text; NULL after a refusal. */
static const char *scalar(struct reader *reader, const node *at, const char *what) {
  if (at->type != YAML_SCALAR_NODE || is_absent(at)) {
    refuse(reader, at, "%s has to be a text", what);
    return NULL;
  }
  if (strlen(text_of(at)) != at->data.scalar.length) {
    refuse(reader, at, "%s has a NUL character", what);
    return NULL;
  }
  return text_of(at);
}

struct key {
  const char *name;
  node *value;
};

static void join_names(const struct key *keys, int count, char *joined, size_t size) {
  joined[0] = '\0';
  for (int i = 0; i < count; i++) {
    size_t n = strlen(joined);
    snprintf(joined + n, size - n, "%s%s", i ? ", " : "", keys[i].name);
  }
}

static void read_key(struct reader *reader, node *key, node *value, struct key *keys, bool *seen, int count, const char *what) {
  const char *name = scalar(reader, key, "a key");
  if (name == NULL) return;
  for (int i = 0; i < count; i++)
    if (strcmp(keys[i].name, name) == 0) {
      if (seen[i]) refuse(reader, key, "the key \"%s\" comes twice", name);
      seen[i] = true;
      keys[i].value = value;
      return;
    }
  char known[256];
  join_names(keys, count, known, sizeof known);
  refuse(reader, key, "unknown key \"%s\": %s has %s", name, what, known);
}

/* The values of a mapping by their keys, of which there are no others and each but once. */
static void read_keys(struct reader *reader, node *at, struct key *keys, int count, const char *what) {
  bool seen[8] = {false};
  if (is_absent(at)) return;
  if (at->type != YAML_MAPPING_NODE) {
    refuse(reader, at, "%s has to be a mapping", what);
    return;
  }
  for (yaml_node_pair_t *pair = at->data.mapping.pairs.start; pair < at->data.mapping.pairs.top; pair++)
    read_key(reader, node_of(reader, pair->key), node_of(reader, pair->value), keys, seen, count, what);
}

/* The same of a mapping that may be given as the value of one key alone. */
static void read_short(struct reader *reader, node *at, int main_key, struct key *keys, int count, const char *what) {
  if (is_absent(at) || at->type == YAML_MAPPING_NODE) read_keys(reader, at, keys, count, what);
  else keys[main_key].value = at;
}

static int item_count(const node *list) { return (int)(list->data.sequence.items.top - list->data.sequence.items.start); }

static node *item_of(struct reader *reader, const node *list, int i) {
  return node_of(reader, list->data.sequence.items.start[i]);
}

static char **split(struct reader *reader, node *at, const char *what) {
  const char *wrong, *text = scalar(reader, at, what);
  if (text == NULL) return NULL;
  char **words = split_words(text, &wrong);
  if (words == NULL) refuse(reader, at, "%s", wrong);
  return words;
}

static char **listed(struct reader *reader, node *at, const char *what) {
  char named[128], **words = calloc((size_t)item_count(at) + 1, sizeof *words);
  snprintf(named, sizeof named, "a word of %s", what);
  for (int i = 0; i < item_count(at); i++)
    if ((words[i] = (char *)scalar(reader, item_of(reader, at, i), named)) == NULL) return NULL;
  return words;
}

static char **read_words(struct reader *reader, node *at, const char *what) {
  char **words = at->type == YAML_SEQUENCE_NODE ? listed(reader, at, what) : split(reader, at, what);
  if (words != NULL && (words[0] == NULL || words[0][0] == '\0')) refuse(reader, at, "%s names no program", what);
  return words;
}

/* A text that is split into words, a list of words, or {command, input}. */
static void read_command(struct reader *reader, node *at, const char *what, struct command *command) {
  struct key keys[] = {{"command", NULL}, {"input", NULL}};
  char named[96];
  command->origin = origin_of(reader, at);
  if (at->type != YAML_MAPPING_NODE) {
    command->words = read_words(reader, at, what);
    return;
  }
  read_keys(reader, at, keys, 2, what);
  if (reader->failed) return;
  if (is_absent(keys[0].value)) {
    refuse(reader, at, "%s has no command", what);
    return;
  }
  snprintf(named, sizeof named, "the command of %s", what);
  command->words = read_words(reader, keys[0].value, named);
  snprintf(named, sizeof named, "the input of %s", what);
  if (!reader->failed && !is_absent(keys[1].value)) command->input = (char *)scalar(reader, keys[1].value, named);
}

static void read_commands(struct reader *reader, node *at, const char *what, struct commands *commands) {
  char named[64];
  if (reader->failed || is_absent(at)) return;
  bool one = at->type != YAML_SEQUENCE_NODE;
  commands->count = one ? 1 : item_count(at);
  commands->list = calloc((size_t)commands->count + 1, sizeof *commands->list);
  snprintf(named, sizeof named, "an entry of %s", what);
  for (int i = 0; i < commands->count && !reader->failed; i++)
    read_command(reader, one ? at : item_of(reader, at, i), one ? what : named, &commands->list[i]);
}

static void read_texts(struct reader *reader, node *at, const char *what, struct texts *texts) {
  char named[64];
  texts->origin = "rootling";
  if (reader->failed || is_absent(at)) return;
  bool one = at->type != YAML_SEQUENCE_NODE;
  texts->origin = origin_of(reader, at);
  texts->count = one ? 1 : item_count(at);
  texts->list = calloc((size_t)texts->count + 1, sizeof *texts->list);
  snprintf(named, sizeof named, "an entry of %s", what);
  for (int i = 0; i < texts->count && !reader->failed; i++)
    texts->list[i] = (char *)scalar(reader, one ? at : item_of(reader, at, i), named);
}

/* Which of `known` it is; the first one where nothing is there. `joined`: all of them, for the refusal. */
static int read_choice(struct reader *reader, node *at, const char *const *known, const char *joined, const char *what,
                       const char **origin) {
  *origin = "rootling";
  if (reader->failed || is_absent(at)) return 0;
  const char *text = scalar(reader, at, what);
  *origin = origin_of(reader, at);
  for (int i = 0; text != NULL && known[i] != NULL; i++)
    if (strcmp(known[i], text) == 0) return i;
  if (text != NULL) refuse(reader, at, "%s is one of %s", what, joined);
  return 0;
}

static bool read_number(struct reader *reader, node *at, const char *text, const char *what, unsigned long *number) {
  if (text != NULL && parse_number(text, MOST, number)) return true;
  if (text != NULL) refuse(reader, at, "a number of %s is not one from 0 to %lu", what, MOST);
  return false;
}

/* INSIDE OUTSIDE [SIZE] into numbers[]; returns how many there are, or -1. */
static int texts_of_range(struct reader *reader, node *at, const char *what, unsigned long numbers[3]) {
  int count = 0;
  char named[64];
  snprintf(named, sizeof named, at->type == YAML_SEQUENCE_NODE ? "a number of %s" : "a range of %s", what);
  if (at->type == YAML_SEQUENCE_NODE) {
    if (item_count(at) > 3) count = 4;
    for (int i = 0; count < 4 && i < item_count(at); i++, count++)
      if (!read_number(reader, at, scalar(reader, item_of(reader, at, i), named), what, &numbers[i])) return -1;
  } else {
    const char *text = scalar(reader, at, named);
    char *copy = text == NULL ? NULL : strdup(text);
    if (copy == NULL) return -1;
    char *words[4] = {NULL};
    for (char *word = strtok(copy, " \t\n\r"); word != NULL && count < 4; word = strtok(NULL, " \t\n\r")) words[count++] = word;
    for (int i = 0; count < 4 && i < count; i++)
      if (!read_number(reader, at, words[i], what, &numbers[i])) return -1;
    free(copy);
  }
  if (count < 4) return count;
  refuse(reader, at, "a range of %s is INSIDE OUTSIDE [SIZE]", what);
  return -1;
}

static int keys_of_range(struct reader *reader, node *at, const char *what, unsigned long numbers[3], bool given[3]) {
  struct key keys[] = {{"internal", NULL}, {"external", NULL}, {"size", NULL}};
  char named[64];
  snprintf(named, sizeof named, "a range of %s", what);
  read_keys(reader, at, keys, 3, named);
  for (int i = 0; i < 3 && !reader->failed; i++) {
    given[i] = !is_absent(keys[i].value);
    if (given[i] && !read_number(reader, keys[i].value, scalar(reader, keys[i].value, "an id"), what, &numbers[i])) return -1;
  }
  return reader->failed ? -1 : 0;
}

static void read_range(struct reader *reader, node *at, const char *what, struct range *range) {
  unsigned long numbers[3] = {0, 0, 1};
  bool given[3] = {false};
  if (at->type == YAML_MAPPING_NODE) {
    if (keys_of_range(reader, at, what, numbers, given) != 0) return;
  } else {
    int count = texts_of_range(reader, at, what, numbers);
    if (count < 0) return;
    for (int i = 0; i < count; i++) given[i] = true;
  }
  *range = (struct range){numbers[0], numbers[1], numbers[2]};
  if (!given[0] || !given[1]) refuse(reader, at, "a range of %s is INSIDE OUTSIDE [SIZE]", what);
  else if (range->count < 1) refuse(reader, at, "a range of %s has no ids", what);
  else if (range->inside + range->count - 1 > MOST || range->outside + range->count - 1 > MOST)
    refuse(reader, at, "a range of %s ends beyond %lu", what, MOST);
}

/* A list of numbers is one range, not a list of ranges. */
static bool is_one_range(struct reader *reader, const node *at) {
  if (at->type != YAML_SEQUENCE_NODE) return true;
  for (int i = 0; i < item_count(at); i++) {
    const node *item = item_of(reader, at, i);
    if (item->type != YAML_SCALAR_NODE || item->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return false;
    const char *text = text_of(item);
    if (*text == '\0' || text[strspn(text, "0123456789")] != '\0') return false;
  }
  return item_count(at) > 0;
}

static bool overlap(unsigned long a, unsigned long a_count, unsigned long b, unsigned long b_count) {
  return a < b + b_count && b < a + a_count;
}

static void refuse_overlap(struct reader *reader, node *at, const char *what, const struct ranges *ranges, int last) {
  const struct range *range = &ranges->list[last];
  for (int i = 1; i < last; i++) {
    const struct range *other = &ranges->list[i];
    if (overlap(range->inside, range->count, other->inside, other->count)) refuse(reader, at, "ranges of %s overlap inside", what);
    if (overlap(range->outside, range->count, other->outside, other->count))
      refuse(reader, at, "ranges of %s overlap outside", what);
  }
}

/* The first place is kept for 0 0 1, where 0 is not mapped: a guest without root would not get far. */
static void read_ranges(struct reader *reader, node *at, node *above, const char *what, struct ranges *ranges) {
  if (reader->failed) return;
  int count = is_absent(at) ? 0 : is_one_range(reader, at) ? 1 : item_count(at);
  ranges->list = calloc((size_t)count + 1, sizeof *ranges->list);
  bool root = false, root_outside = false;
  for (int i = 0; i < count && !reader->failed; i++)
    read_range(reader, is_one_range(reader, at) ? at : item_of(reader, at, i), what, &ranges->list[i + 1]);
  if (!reader->failed && count > MOST_RANGES) refuse(reader, above, "%s has more than %d ranges", what, MOST_RANGES);
  for (int i = 1; i <= count && !reader->failed; i++) {
    refuse_overlap(reader, is_one_range(reader, at) ? at : item_of(reader, at, i - 1), what, ranges, i);
    root |= ranges->list[i].inside == 0;
    root_outside |= ranges->list[i].outside == 0;
  }
  if (!reader->failed && !root && root_outside) refuse(reader, above, "%s does not map 0, and gives away the 0 outside", what);
  ranges->list[0] = (struct range){0, 0, 1};
  ranges->count = root ? count : count + 1;
  if (root) ranges->list++;
}

static void read_id_map(struct reader *reader, node *at, struct init_file *file) {
  struct key keys[] = {{"users", NULL}, {"groups", NULL}};
  if (reader->failed || is_absent(at) || is_false(at)) return;
  read_keys(reader, at, keys, 2, "id_map");
  file->mapped = true;
  file->map_origin = origin_of(reader, at);
  read_ranges(reader, keys[0].value, at, "id_map.users", &file->users);
  read_ranges(reader, keys[1].value, at, "id_map.groups", &file->groups);
}

static void read_root(struct reader *reader, node *at, struct init_file *file) {
  static const char *const modes[] = {"pivot", "chroot", "none", NULL};
  struct key keys[] = {{"path", NULL}, {"mode", NULL}};
  file->root = "/mnt/root";
  file->root_origin = "rootling";
  read_short(reader, at, 0, keys, 2, "root");
  if (!reader->failed && !is_absent(keys[0].value)) {
    const char *path = scalar(reader, keys[0].value, "root.path");
    if (path != NULL && path[0] != '/') refuse(reader, keys[0].value, "root.path has to begin with a slash");
    file->root = path;
    file->root_origin = origin_of(reader, keys[0].value);
  }
  file->root_mode = modes[read_choice(reader, keys[1].value, modes, "pivot, chroot, none", "root.mode", &file->root_mode_origin)];
}

static void read_flag(struct reader *reader, node *at, const char *what, bool *flag, const char **origin) {
  *origin = "rootling";
  if (reader->failed || is_absent(at)) return;
  *origin = origin_of(reader, at);
  *flag = is_true(at);
  if (!is_true(at) && !is_false(at)) refuse(reader, at, "%s is true or false", what);
}

/* `guess` is the older word for `auto`. */
static void read_setup(struct reader *reader, node *at, struct init_file *file) {
  static const char *const modes[] = {"auto", "none", "lxc-libvirt", "lxc", "qemu", "oci", NULL};
  static const char *const older[] = {"guess", NULL};
  struct key keys[] = {{"mode", NULL}, {"before", NULL}};
  read_short(reader, at, 0, keys, 2, "setup");
  node *mode = keys[0].value;
  if (mode != NULL && is_plain(mode, older)) file->setup_origin = origin_of(reader, mode);
  else file->setup = read_choice(reader, mode, modes, "auto, none, lxc-libvirt, lxc, qemu, oci", "setup.mode", &file->setup_origin);
  read_commands(reader, keys[1].value, "setup.before", &file->setup_before);
}

static void read_exec(struct reader *reader, node *at, struct init_file *file) {
  static char *standard[] = {"/sbin/init", NULL};
  struct key keys[] = {{"before", NULL}, {"command", NULL}};
  read_short(reader, at, 1, keys, 2, "exec");
  read_commands(reader, keys[0].value, "exec.before", &file->exec_before);
  file->command = (struct command){.words = standard, .origin = "rootling"};
  if (!reader->failed && !is_absent(keys[1].value)) read_command(reader, keys[1].value, "exec.command", &file->command);
}

static void read_top(struct reader *reader, node *top, struct init_file *file) {
  static const char *const ends[] = {"exit", "shell", NULL};
  struct key keys[] = {{"root", NULL}, {"id_map", NULL}, {"initctl", NULL}, {"devices", NULL},
                       {"setup", NULL}, {"exec", NULL}, {"on_error", NULL}};
  struct key devices[] = {{"exclude", NULL}, {"rexclude", NULL}};
  const char *origin;
  read_keys(reader, top, keys, 7, "the file");
  if (!reader->failed) read_root(reader, keys[0].value, file);
  read_id_map(reader, keys[1].value, file);
  read_flag(reader, keys[2].value, "initctl", &file->initctl, &file->initctl_origin);
  if (!reader->failed) read_keys(reader, keys[3].value, devices, 2, "devices");
  read_texts(reader, devices[0].value, "devices.exclude", &file->exclude);
  read_texts(reader, devices[1].value, "devices.rexclude", &file->rexclude);
  if (!reader->failed) read_setup(reader, keys[4].value, file);
  if (!reader->failed) read_exec(reader, keys[5].value, file);
  file->shell_on_error = read_choice(reader, keys[6].value, ends, "exit, shell", "on_error", &origin) == 1;
}

static void refuse_parse(struct reader *reader, const yaml_parser_t *parser) {
  refuse_at(reader, parser->problem_mark, "not valid YAML: %s", parser->problem ? parser->problem : "it cannot be read");
}

bool read_init_file(const char *text, size_t size, const char *name, struct init_file *file) {
  static yaml_document_t document, second; /* What is read points into the first one. */
  struct reader reader = {.document = &document, .name = name};
  yaml_parser_t parser;
  if (!yaml_parser_initialize(&parser)) return false;
  yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
  if (!yaml_parser_load(&parser, &document)) refuse_parse(&reader, &parser);
  else {
    node *top = yaml_document_get_root_node(&document);
    if (top != NULL && !yaml_parser_load(&parser, &second)) refuse_parse(&reader, &parser);
    else if (top != NULL && yaml_document_get_root_node(&second) != NULL)
      refuse(&reader, yaml_document_get_root_node(&second), "more than one document");
    else read_top(&reader, top, file);
  }
  yaml_parser_delete(&parser);
  return !reader.failed;
}
