/* Lines of fstab(5) that are met while a container is made: in files of its root, in what hooks write, and in the
   files of a site, whose lines may need what a hook has made. Targets are paths of the root. */
#include "startup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

enum { WORDS_MAX = 4096, LINE_FIELDS = 6 };

/* What the options of a line say. The lists are separated by commas. */
struct wish {
  char set[256], clear[256], data[WORDS_MAX];
  const char *create;
  unsigned long propagation;
  bool bind, recursive, remount, nofail, move, detach;
};

static bool add_word(char *list, size_t size, const char *word) {
  size_t length = strlen(list);
  return (size_t)snprintf(list + length, size - length, "%s%s", length ? "," : "", word) < size - length;
}

static bool is_one_of(const char *word, const char *list) { return *word != '\0' && has_word(list, word); }

/* A part "..", which could only lead out of the root. */
static bool has_dots(const char *path) {
  for (const char *at = path; (at = strstr(at, "..")) != NULL; at += 2)
    if ((at == path || at[-1] == '/') && (at[2] == '\0' || at[2] == '/')) return true;
  return false;
}

static const struct { const char *word, *set, *clear; } attributes[] = {
    {"ro", "ro", NULL}, {"rw", NULL, "ro"}, {"nosuid", "nosuid", NULL}, {"suid", NULL, "nosuid"},
    {"nodev", "nodev", NULL}, {"dev", NULL, "nodev"}, {"noexec", "noexec", NULL}, {"exec", NULL, "noexec"},
    {"noatime", "noatime", NULL}, {"atime", NULL, "noatime"}, {"strictatime", "strictatime", NULL},
    {"nodiratime", "nodiratime", NULL}, {"diratime", NULL, "nodiratime"}, {"nosymfollow", "nosymfollow", NULL},
    {"symfollow", NULL, "nosymfollow"},
};

static const struct { const char *word; unsigned long flag; } propagations[] = {
    {"private", MS_PRIVATE}, {"rprivate", MS_PRIVATE | MS_REC}, {"shared", MS_SHARED}, {"rshared", MS_SHARED | MS_REC},
    {"slave", MS_SLAVE}, {"rslave", MS_SLAVE | MS_REC}, {"unbindable", MS_UNBINDABLE},
    {"runbindable", MS_UNBINDABLE | MS_REC},
};

/* Means something to mount(8) or init only, or is what the kernel does anyway. */
static const char ignored[] =
    "auto,noauto,defaults,user,nouser,users,nousers,group,nogroup,owner,noowner,_netdev,silent,loud,async,relatime,"
    "norelatime,nostrictatime,iversion,noiversion,mand,nomand,lazytime,nolazytime,sync,dirsync";

/* False where the lists do not hold it all. */
static bool read_word(struct wish *wish, const char *word) {
  for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
    if (strcmp(word, attributes[i].word) == 0)
      return attributes[i].set ? add_word(wish->set, sizeof wish->set, attributes[i].set)
                               : add_word(wish->clear, sizeof wish->clear, attributes[i].clear);
  for (size_t i = 0; i < sizeof propagations / sizeof *propagations; i++)
    if (strcmp(word, propagations[i].word) == 0) {
      wish->propagation = propagations[i].flag;
      return true;
    }
  const char *create = strncmp(word, "x-create=", 9) == 0 ? word + 9 : strncmp(word, "create=", 7) == 0 ? word + 7 : "";
  if (is_one_of(create, "dir,file,auto")) wish->create = create;
  else if (strcmp(word, "bind") == 0) wish->bind = true;
  else if (strcmp(word, "rbind") == 0) wish->bind = wish->recursive = true;
  else if (strcmp(word, "remount") == 0) wish->remount = true;
  else if (strcmp(word, "nofail") == 0) wish->nofail = true;
  else if (strcmp(word, "x-move") == 0) wish->move = true;
  else if (strcmp(word, "x-detach") == 0) wish->detach = true;
  else if (!is_one_of(word, ignored)) return add_word(wish->data, sizeof wish->data, word);
  return true;
}

static bool read_options(struct wish *wish, char *options) {
  char *rest = NULL;
  for (char *word = strtok_r(options, ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest))
    if (!read_word(wish, word)) return false;
  return true;
}

/* Whether the third field of a line of three says how, and not what is mounted. */
static bool are_options(const char *field) {
  if (strchr(field, ',') != NULL || strchr(field, '=') != NULL) return true;
  for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
    if (strcmp(field, attributes[i].word) == 0) return true;
  for (size_t i = 0; i < sizeof propagations / sizeof *propagations; i++)
    if (strcmp(field, propagations[i].word) == 0) return true;
  return is_one_of(field, "bind,rbind,remount,nofail,x-move,x-detach") || is_one_of(field, ignored);
}

/* \040 and its kin, in place. */
static void unescape(char *text) {
  char *to = text;
  for (char *at = text; *at != '\0'; at++, to++) {
    bool octal = at[0] == '\\' && at[1] >= '0' && at[1] <= '3' && at[2] >= '0' && at[2] <= '7' && at[3] >= '0' && at[3] <= '7';
    *to = octal ? (char)((at[1] - '0') * 64 + (at[2] - '0') * 8 + at[3] - '0') : *at;
    if (octal) at += 3;
  }
  *to = '\0';
}

static int split(char *line, char *field[]) {
  int count = 0;
  char *rest = NULL;
  for (char *word = strtok_r(line, " \t", &rest); word != NULL && count < LINE_FIELDS; word = strtok_r(NULL, " \t", &rest)) {
    unescape(word);
    field[count++] = word;
  }
  return count;
}

/* Where a target of the root is mounted, for calls that take a path. */
static int by_descriptor(struct state *state, const char *target, char *path, size_t size) {
  int fd = root_open(state, target, O_PATH);
  if (fd < 0) return failed("openat2");
  snprintf(path, size, "/proc/self/fd/%d", fd);
  return fd;
}

static int with_target(struct state *state, const char *target, const char *source, unsigned long flags, const char *data) {
  char path[32];
  int fd = by_descriptor(state, target, path, sizeof path);
  if (fd < 0) return -1;
  int result = flags == MNT_DETACH && source == NULL && data == NULL ? umount2(path, MNT_DETACH)
                                                                     : mount(source, path, NULL, flags, data);
  int error = errno;
  close(fd);
  errno = error;
  return result == 0 ? 0 : failed("mount");
}

/* Attributes of what is mounted at a target already. */
static int remount(struct state *state, const char *target, const struct wish *wish) {
  if (!wish->bind && wish->data[0] != '\0') return with_target(state, target, NULL, MS_REMOUNT, wish->data);
  return change_mount(state, target, wish->set, wish->clear, wish->recursive);
}

/* The store is shown nowhere: a source in it is refused, one above it gets a cover where it shows it. */
static int keep_hidden(struct state *state, const char *source, const char *target, bool before) {
  char real[4096], below[8192];
  if (realpath(source, real) == NULL) return 0; /* the mount itself tells why */
  /* What hooks have made on the stage, which is of this container alone, is theirs to show. */
  size_t staged = strlen(state->stage);
  if (strncmp(real, state->stage, staged) == 0 && real[staged] == '/') return 0;
  size_t length = strcmp(real, "/") == 0 ? 0 : strlen(real);
  for (char **path = state->hidden; path != NULL && *path != NULL; path++) {
    size_t own = strlen(*path);
    if (before && strncmp(real, *path, own) == 0 && (real[own] == '\0' || real[own] == '/')) {
      errno = EACCES;
      return failed_at("store", real);
    }
    if (before || strncmp(*path, real, length) != 0 || (*path)[length] != '/') continue;
    snprintf(below, sizeof below, "%s%s", target, *path + length);
    char data[] = "mode=0,size=4k";
    struct op cover = {.field = (char *[]){"tmpfs", "rootling", below, "ro,nosuid,nodev,noexec", data, "skip", NULL}, .fields = 6};
    if (op_mount(state, &cover) != 0) return -1;
  }
  return 0;
}

/* A source in the root itself, as a volume of the image is, bound writable on itself: looked up there, like any path of the
   root, and taken with all that is mounted below, which may be a cover. False where it lies elsewhere. */
static bool bind_within(struct state *state, const char *source, char *target, struct wish *wish, int *result) {
  char root[4096], real[4096], path[32];
  if (root_path(state, root, sizeof root) != 0) return false;
  size_t length = strlen(root);
  bool named = strncmp(source, root, length) == 0 && (source[length] == '/' || source[length] == '\0');
  if (!named) {
    /* By another name: it is the link that counts, but covers stay. */
    if (realpath(source, real) != NULL && strncmp(real, root, length) == 0) wish->recursive = true;
    return false;
  }
  bool made = wish->create[0] != 'n' && wish->create[0] != 'f';
  int fd = made ? root_target(state, target, CREATE_DIRECTORY, 0755) : -1;
  if (fd >= 0) close(fd);
  fd = root_open(state, source[length] == '\0' ? "/" : source + length, O_PATH);
  if (fd < 0) {
    *result = failed("openat2");
    return true;
  }
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  char *field[] = {path, target, wish->set, "", "rec", (char *)wish->create, "0", NULL};
  struct op op = {.field = field, .fields = 7};
  *result = op_bind(state, &op);
  int error = errno;
  close(fd);
  errno = error;
  return true;
}

/* Words that clear an attribute mean nothing here: what the source's mount forbids stays forbidden. */
static int bind_line(struct state *state, char *source, char *target, struct wish *wish) {
  int result;
  if (bind_within(state, source, target, wish, &result)) return result;
  if (keep_hidden(state, source, target, true) != 0) return -1;
  char *field[] = {source, target, wish->set, "", wish->recursive ? "rec" : "", (char *)wish->create, "0", NULL};
  struct op op = {.field = field, .fields = 7};
  return op_bind(state, &op) != 0 ? -1 : keep_hidden(state, source, target, false);
}

/* /proc, /sys and /dev are there already, guarded: lines that bind the host's ask for what is so. */
static bool is_there_already(const char *source, const char *target, const struct wish *wish) {
  return wish->bind && strcmp(source, target) == 0 && is_one_of(target, "/proc,/sys,/dev");
}

static int mount_wish(struct state *state, char *source, char *target, char *type, struct wish *wish) {
  bool only_spread = wish->propagation != 0 && !wish->bind && !wish->remount && !wish->move &&
                     (strcmp(type, "none") == 0 || strcmp(source, "none") == 0);
  int result = 0;
  if (wish->detach) return with_target(state, target, NULL, MNT_DETACH, NULL);
  if (wish->move) {
    int made = root_target(state, target, wish->create[0] == 'n' ? CREATE_NONE : CREATE_DIRECTORY, 0);
    if (made < 0) return -1;
    close(made);
    result = with_target(state, target, source, MS_MOVE, NULL);
  } else if (wish->remount) result = remount(state, target, wish);
  else if (is_there_already(source, target, wish)) return 0;
  else if (wish->bind) result = bind_line(state, source, target, wish);
  else if (!only_spread) {
    struct op op = {.field = (char *[]){type, source, target, wish->set, wish->data, (char *)wish->create, NULL}, .fields = 6};
    result = op_mount(state, &op);
  }
  return result == 0 && wish->propagation != 0 ? with_target(state, target, NULL, wish->propagation, NULL) : result;
}

/* One line, if it is of this pass. */
static int mount_line(struct state *state, char *line, long pass) {
  char *field[LINE_FIELDS], target[4096];
  struct wish wish = {.create = "none"};
  int count = split(line, field);
  if (count == 0 || field[0][0] == '#') return 0;
  if ((count > 5 ? strtol(field[5], NULL, 10) : 0) != pass) return 0;
  /* Of two words only tmpfs is a type: any other is a path. */
  bool is_path = field[0][0] == '/' || field[0][0] == '.' || (count < 3 && strcmp(field[0], "tmpfs") != 0);
  /* Short forms: "/a bind,ro" has no target of its own, "/a /b bind" its options in the place of the type. */
  if (count == 2 && is_path && field[1][0] != '/' && are_options(field[1])) {
    field[count++] = field[1];
    field[1] = field[0];
  }
  char *where = count > 1 ? field[1] : field[0], *type = count > 2 ? field[2] : is_path ? "none" : field[0];
  bool options_as_type = count == 3 && are_options(type);
  char *options = count > 3 ? field[3] : options_as_type ? type : NULL;
  if (options != NULL && !read_options(&wish, options)) {
    errno = E2BIG;
    return failed("options");
  }
  bool acts = wish.bind || wish.remount || wish.move || wish.detach || wish.propagation != 0;
  if (is_path && (count < 3 || (options_as_type && !acts))) wish.bind = wish.recursive = true;
  if (count < 3 && is_path) wish.create = "auto";
  snprintf(target, sizeof target, "%s%s", where[0] == '/' ? "" : "/", where);
  if (strcmp(target, "/none") == 0 || has_dots(target)) {
    errno = EXDEV;
    return wish.nofail ? 0 : failed("target check");
  }
  int result = mount_wish(state, field[0], target, options_as_type ? "none" : type, &wish);
  return wish.nofail ? 0 : result;
}

/* Mounts the lines of `text` that have this pass number. Names the line that fails. */
int mount_lines(struct state *state, const char *name, char *text, long pass) {
  int number = 0;
  for (char *line = text, *next; line != NULL; line = next) {
    next = strchr(line, '\n');
    if (next != NULL) *next++ = '\0';
    number++;
    if (mount_line(state, line, pass) == 0) continue;
    int error = errno;
    char detail[sizeof failed_detail];
    snprintf(detail, sizeof detail, "%s", failed_detail);
    snprintf(failed_detail, sizeof failed_detail, "%s:%d%s%.200s", name, number, detail[0] ? ": " : "", detail);
    errno = error;
    return -1;
  }
  return 0;
}

/* hidden STAGE PATH…: what no mount of a line may show, but for what is on the stage. */
int op_hidden(struct state *state, struct op *op) {
  state->stage = realpath(op->field[0], NULL);
  state->hidden = op->field + 1;
  return state->stage != NULL ? 0 : failed_at("realpath", op->field[0]);
}

/* fstab PASS LINE: a line that was known before. */
int op_fstab(struct state *state, struct op *op) {
  char *line = expanded(state, op->field[1], NULL);
  return line == NULL ? failed("malloc") : mount_line(state, line, strtol(op->field[0], NULL, 10));
}

/* fstab-file PATH PASS: the lines of a file of the root, if it is there. */
int op_fstab_file(struct state *state, struct op *op) {
  bool missing;
  char *text = root_file(state, op->field[0], &missing);
  if (text == NULL) return missing ? 0 : -1;
  char *full = expanded(state, text, state->caller);
  free(text);
  int result = full == NULL ? failed("malloc") : mount_lines(state, op->field[0], full, strtol(op->field[1], NULL, 10));
  free(full);
  return result;
}
