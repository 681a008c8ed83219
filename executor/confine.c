/* What takes things away from the process that becomes the payload, shortly before it does: keys, files that Landlock
   denies, system calls that a filter denies. */
#include "executor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* keyring: a session keyring of its own, so that the caller's keys are not at hand. */
int op_keyring(struct state *state, struct op *op) {
  (void)state, (void)op;
  if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL, 0, 0, 0) >= 0) return 0;
  return errno == ENOSYS ? 0 /* no keys in this kernel */ : failed("keyctl");
}

/* session: a session of its own, without a controlling terminal. */
int op_session(struct state *state, struct op *op) {
  (void)state, (void)op;
  return setsid() >= 0 ? 0 : failed("setsid");
}

/* The rights of each word, each since a version of Landlock's interface; the headers may be older than the kernel. */
static const struct {
  const char *word;
  int version;
  uint64_t rights;
} known[] = {
    {"write", 1,
     LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
         LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
         LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM},
    {"write", 2, 1ULL << 13 /* LANDLOCK_ACCESS_FS_REFER */},
    {"write", 3, 1ULL << 14 /* LANDLOCK_ACCESS_FS_TRUNCATE */},
    {"make-device", 1, LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK},
    {"device-ioctl", 5, 1ULL << 15 /* LANDLOCK_ACCESS_FS_IOCTL_DEV */},
};
enum { KNOWN = sizeof known / sizeof *known };

enum { OF_FILES = (1 << 1) | (1 << 14) | (1 << 15) /* write, truncate, ioctl: rights that a single file can have */ };

/* A list such as "write,make-device" as rights that this kernel knows; sets *wrong at an unknown word. */
static uint64_t rights_of(const char *list, int version, bool *wrong) {
  uint64_t rights = 0;
  for (const char *at = list; *at;) {
    size_t n = strcspn(at, ",");
    bool found = false;
    for (int i = 0; i < KNOWN; i++)
      if (strlen(known[i].word) == n && strncmp(at, known[i].word, n) == 0) {
        found = true;
        if (version >= known[i].version) rights |= known[i].rights;
      }
    *wrong |= !found;
    at += n + (at[n] == ',');
  }
  return rights;
}

static int allow_beneath(int ruleset, int fd, uint64_t rights) {
  struct stat status;
  if (fstat(fd, &status) != 0) return failed("fstat");
  if (!S_ISDIR(status.st_mode)) rights &= OF_FILES;
  if (rights == 0) return 0;
  struct landlock_path_beneath_attr rule = {.allowed_access = rights, .parent_fd = fd};
  return (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

/* landlock EVERYWHERE ELSEWHERE APART PATH…: the rights of EVERYWHERE are denied in all the root, those of ELSEWHERE
   everywhere but beneath the PATHs; APART `yes`: no signals to, and no abstract sockets of, processes that are not
   confined by this. As far as the kernel has it: it is a second line behind mounts and namespaces. */
int op_landlock(struct state *state, struct op *op) {
  int version = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 1) return 0;
  bool wrong = false;
  uint64_t elsewhere = rights_of(op->field[1], version, &wrong);
  uint64_t handled = elsewhere | rights_of(op->field[0], version, &wrong);
  if (wrong) {
    errno = EINVAL;
    return failed("landlock");
  }
  /* struct landlock_ruleset_attr with the fields that came later: network (4), scopes (6: abstract sockets, signals). */
  uint64_t attributes[3] = {handled, 0, version >= 6 && strcmp(op->field[2], "yes") == 0 ? 3 : 0};
  size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
  int ruleset = (int)syscall(SYS_landlock_create_ruleset, attributes, size, 0);
  if (ruleset < 0) return failed("landlock_create_ruleset");
  for (int i = 3; i < op->fields; i++) {
    int fd = root_open(state, op->field[i], O_PATH);
    if (fd < 0 && errno == ENOENT) continue;
    if (fd < 0 || allow_beneath(ruleset, fd, elsewhere) != 0) return failed("landlock_add_rule");
    close(fd);
  }
  /* What was handed over may be opened again, as /dev/stdout; of pipes and sockets Landlock knows nothing. */
  for (int fd = 0; fd <= 2; fd++)
    if (allow_beneath(ruleset, fd, elsewhere) != 0 && errno != EBADF && errno != EBADFD) return failed("landlock_add_rule");
  if (syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) return failed("landlock_restrict_self");
  close(ruleset);
  return 0;
}

static int digit(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Two hexadecimal digits a byte. False for anything else. */
static bool from_hexadecimal(const char *text, unsigned char *bytes, size_t size) {
  for (size_t i = 0; i < size; i++) {
    int high = digit(text[2 * i]), low = high < 0 ? -1 : digit(text[2 * i + 1]);
    if (low < 0) return false;
    bytes[i] = (unsigned char)(high << 4 | low);
  }
  return true;
}

/* seccomp PROFILE PROGRAM: loads the filter, given in hexadecimal. Needs no-new-privileges before it. */
int op_seccomp(struct state *state, struct op *op) {
  (void)state;
  size_t length = strlen(op->field[1]) / 2, count = length / sizeof(struct sock_filter);
  struct sock_filter *filter = malloc(length + 1);
  bool fits = filter != NULL && strlen(op->field[1]) == 2 * count * sizeof *filter && count > 0 && count <= BPF_MAXINSNS;
  if (!fits || !from_hexadecimal(op->field[1], (unsigned char *)filter, length)) {
    errno = EINVAL;
    return failed("seccomp");
  }
  struct sock_fprog program = {.len = (unsigned short)count, .filter = filter};
  int result = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
  free(filter);
  return result == 0 ? 0 : failed("seccomp");
}
