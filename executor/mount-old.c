/* mount(2) in place of the newer calls. What would be a detached mount lies on a private tmpfs until it is moved; all
   targets are given as /proc/self/fd/N, so that no path inside a root is followed here either. The tmpfs is mounted
   over /, where no lookup finds it but that of "/..": a process's root is not looked up. */
#include "executor.h"
#include "mount-calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#undef MS_NOSYMFOLLOW
#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256 /* Linux 5.10; glibc names it, musl does not */
#endif
enum { DATA_MAX = 4096 /* of mount(2) */ };

/* The file system that is being configured: one at a time. */
static struct {
  char type[32], source[256], data[DATA_MAX], lowers[DATA_MAX];
  bool read_only;
} making;

static int scratch = -1, made;

static int failed_with(int error) {
  errno = error;
  return -1;
}

static int open_scratch(void) {
  if (scratch >= 0) return 0;
  if (mount("rootling", "/", "tmpfs", MS_NOSUID | MS_NODEV, "mode=700") != 0) return -1;
  scratch = open("/..", O_PATH | O_DIRECTORY | O_CLOEXEC);
  return scratch >= 0 ? 0 : -1;
}

/* A new empty place on the tmpfs, as a path. */
static int new_place(bool directory, char *path, size_t size) {
  char name[16];
  if (open_scratch() != 0) return -1;
  snprintf(name, sizeof name, "%d", ++made);
  snprintf(path, size, "/proc/self/fd/%d/%s", scratch, name);
  if (directory) return mkdirat(scratch, name, 0700);
  int fd = openat(scratch, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) return -1;
  close(fd);
  return 0;
}

int old_open_tree(const char *path, unsigned flags) {
  char place[64];
  struct stat status;
  unsigned long recursive = flags & AT_RECURSIVE ? MS_REC : 0;
  if (stat(path, &status) != 0 || new_place(S_ISDIR(status.st_mode), place, sizeof place) != 0) return -1;
  if (mount(path, place, NULL, MS_BIND | recursive, NULL) != 0) return -1;
  return open(place, O_PATH | O_CLOEXEC);
}

int old_fs_open(const char *type) {
  memset(&making, 0, sizeof making);
  if (strlen(type) >= sizeof making.type) return failed_with(ENODEV);
  strcpy(making.type, type);
  /* A descriptor to be closed, from which no words can be read. */
  return memfd_create("rootling-mount", MFD_CLOEXEC);
}

static int append(char *list, const char *separator, const char *key, const char *value) {
  size_t length = strlen(list);
  int n = snprintf(list + length, DATA_MAX - length, "%s%s%s%s", length ? separator : "", key, value && *key ? "=" : "",
                   value ? value : "");
  return n >= 0 && (size_t)n < DATA_MAX - length ? 0 : failed_with(E2BIG);
}

int old_fs_config(unsigned command, const char *key, const char *value) {
  if (command == FSCONFIG_CMD_CREATE) return 0;
  if (command == FSCONFIG_SET_FLAG && strcmp(key, "ro") == 0) {
    making.read_only = true;
    return 0;
  }
  if (command == FSCONFIG_SET_STRING && strcmp(key, "source") == 0)
    return (size_t)snprintf(making.source, sizeof making.source, "%s", value) < sizeof making.source ? 0 : failed_with(ENAMETOOLONG);
  if (strcmp(key, "lowerdir+") == 0) return append(making.lowers, ":", "", value);
  return append(making.data, ",", key, command == FSCONFIG_SET_FLAG ? NULL : value);
}

static unsigned long flags_of(unsigned long long attributes) {
  static const struct { unsigned long long attribute; unsigned long flag; } known[] = {
      {MOUNT_ATTR_RDONLY, MS_RDONLY}, {MOUNT_ATTR_NOSUID, MS_NOSUID}, {MOUNT_ATTR_NODEV, MS_NODEV},
      {MOUNT_ATTR_NOEXEC, MS_NOEXEC}, {MOUNT_ATTR_NOATIME, MS_NOATIME}, {MOUNT_ATTR_STRICTATIME, MS_STRICTATIME},
      {MOUNT_ATTR_NODIRATIME, MS_NODIRATIME}, {MOUNT_ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW},
  };
  unsigned long flags = 0;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (attributes & known[i].attribute) flags |= known[i].flag;
  return flags;
}

static int remount(int fd, unsigned long flags) {
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | flags, NULL);
}

int old_fs_mount(unsigned attributes) {
  char place[64];
  unsigned long flags = flags_of(attributes);
  if (making.lowers[0] && append(making.data, ",", "lowerdir", making.lowers) != 0) return -1;
  if (new_place(true, place, sizeof place) != 0) return -1;
  /* Read-only of this mount alone, not of the file system, which others may have mounted. */
  unsigned long first = making.read_only ? flags | MS_RDONLY : flags & ~(unsigned long)MS_RDONLY;
  if (mount(making.source, place, making.type, first, making.data) != 0) return -1;
  int fd = open(place, O_PATH | O_CLOEXEC);
  if (fd >= 0 && first != flags && remount(fd, flags) != 0) return -1;
  return fd;
}

/* A line of /proc/self/mountinfo (proc(5)). */
struct entry {
  long id, parent;
  unsigned long flags;
  char *path;
  bool inside;
};

static unsigned long flags_of_words(const char *list) {
  static const struct { const char *word; unsigned long flag; } known[] = {
      {"ro", MS_RDONLY}, {"nosuid", MS_NOSUID}, {"nodev", MS_NODEV}, {"noexec", MS_NOEXEC}, {"noatime", MS_NOATIME},
      {"nodiratime", MS_NODIRATIME}, {"relatime", MS_RELATIME}, {"nosymfollow", MS_NOSYMFOLLOW},
  };
  unsigned long flags = 0;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (has_word(list, known[i].word)) flags |= known[i].flag;
  return flags & (MS_NOATIME | MS_RELATIME) ? flags : flags | MS_STRICTATIME;
}

/* Undoes the \ooo of blanks and the like. */
static void unescape(char *text) {
  char *to = text;
  for (; *text; text++)
    if (*text == '\\' && strspn(text + 1, "01234567") >= 3) {
      *to++ = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + text[3] - '0');
      text += 3;
    } else
      *to++ = *text;
  *to = '\0';
}

static struct entry *read_mounts(size_t *count) {
  FILE *file = fopen("/proc/self/mountinfo", "re");
  struct entry *entries = NULL;
  char *line = NULL;
  size_t size = 0;
  *count = 0;
  while (file != NULL && getline(&line, &size, file) > 0) {
    char *field[6], *rest = NULL;
    for (int i = 0; i < 6; i++) field[i] = strtok_r(i ? NULL : line, " ", &rest);
    if (field[5] == NULL) continue;
    struct entry *more = realloc(entries, (*count + 1) * sizeof *entries);
    if (more == NULL) break;
    entries = more;
    unescape(field[4]);
    entries[(*count)++] =
        (struct entry){strtol(field[0], NULL, 10), strtol(field[1], NULL, 10), flags_of_words(field[5]), strdup(field[4]), false};
  }
  free(line);
  if (file != NULL) fclose(file);
  return entries;
}

static long mount_id(int fd) {
  char path[64], line[128];
  long id = -1;
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
  FILE *file = fopen(path, "re");
  while (file != NULL && fgets(line, sizeof line, file) != NULL)
    if (strncmp(line, "mnt_id:", 7) == 0) id = strtol(line + 7, NULL, 10);
  if (file != NULL) fclose(file);
  return id;
}

/* Opens the root of a mount below another; -1 for one that is covered, which nobody reaches. */
static int open_submount(int top, const char *below, long id) {
  struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
  while (*below == '/') below++;
  int fd = (int)syscall(SYS_openat2, top, below, &how, sizeof how);
  if (fd >= 0 && mount_id(fd) == id) return fd;
  if (fd >= 0) close(fd);
  return -1;
}

static int change_one(int fd, const struct entry *entry, const struct mount_attr *attributes) {
  unsigned long times = MS_NOATIME | MS_RELATIME | MS_STRICTATIME, flags = entry->flags;
  if (attributes->attr_clr & MOUNT_ATTR__ATIME) flags &= ~times;
  flags = (flags & ~flags_of(attributes->attr_clr & ~(unsigned long long)MOUNT_ATTR__ATIME)) | flags_of(attributes->attr_set);
  return flags == entry->flags ? 0 : remount(fd, flags);
}

static int change_tree(int fd, bool recursive, const struct mount_attr *attributes, struct entry *entries, size_t count) {
  struct entry *top = NULL;
  long id = mount_id(fd);
  for (size_t i = 0; i < count; i++)
    if (entries[i].id == id) top = &entries[i];
  if (top == NULL) return failed_with(EINVAL);
  top->inside = true;
  if (change_one(fd, top, attributes) != 0) return -1;
  size_t prefix = strcmp(top->path, "/") == 0 ? 0 : strlen(top->path);
  bool more = recursive;
  while (more) { /* Children may stand before their parents. */
    more = false;
    for (size_t i = 0; i < count; i++) {
      struct entry *entry = &entries[i], *parent = entries;
      while (parent < entries + count && !(parent->inside && parent->id == entry->parent)) parent++;
      if (entry->inside || parent == entries + count) continue;
      entry->inside = more = true;
      int below = open_submount(fd, entry->path + prefix, entry->id);
      if (below < 0) continue;
      int result = change_one(below, entry, attributes);
      int error = errno;
      close(below);
      if (result != 0) return failed_with(error);
    }
  }
  return 0;
}

int old_set_attributes(int fd, unsigned flags, const struct mount_attr *attributes) {
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  if (attributes->propagation != 0) {
    unsigned long recursive = flags & AT_RECURSIVE ? MS_REC : 0;
    return mount(NULL, path, NULL, recursive | (unsigned long)attributes->propagation, NULL);
  }
  size_t count;
  struct entry *entries = read_mounts(&count);
  int result = change_tree(fd, flags & AT_RECURSIVE, attributes, entries, count);
  int error = errno;
  for (size_t i = 0; i < count; i++) free(entries[i].path);
  free(entries);
  errno = error;
  return result;
}

int old_move_mount(int mounted, int target) {
  char from[32], to[32];
  snprintf(from, sizeof from, "/proc/self/fd/%d", mounted);
  snprintf(to, sizeof to, "/proc/self/fd/%d", target);
  return mount(from, to, NULL, MS_MOVE, NULL);
}

/* The tmpfs would otherwise lie above the old root when that is to be taken away. */
int old_end_mounts(void) {
  char path[32];
  if (scratch < 0) return 0;
  snprintf(path, sizeof path, "/proc/self/fd/%d", scratch);
  int result = umount2(path, MNT_DETACH);
  close(scratch);
  scratch = -1;
  return result;
}
