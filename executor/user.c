/* Users by name, in the final /etc/passwd and /etc/group of the container: bound late, since only then they exist. */
#include "executor.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DATABASE_MAX = 1 << 20, GROUPS_MAX = 256, ID_MAX = 0x7fffffff };

/* A small regular file of the container as text; NULL if it is missing or something else. Nothing that blocks, and
   nothing endless, is read (CVE-2024-9676). */
static char *read_database(struct state *state, const char *path) {
  struct stat status;
  int fd = root_open(state, path, O_RDONLY | O_NONBLOCK);
  if (fd < 0) return NULL;
  char *text = NULL;
  if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size <= DATABASE_MAX &&
      (text = malloc((size_t)status.st_size + 1)) != NULL) {
    ssize_t n = read(fd, text, (size_t)status.st_size);
    text[n > 0 ? n : 0] = '\0';
  }
  close(fd);
  return text;
}

/* Field `index` of a line of colon-separated fields, ended by NUL; the line is changed. */
static bool split_line(char *line, char *fields[], int count) {
  for (int i = 0; i < count; i++) {
    fields[i] = line;
    line = line ? strchr(line, ':') : NULL;
    if (line != NULL) *line++ = '\0';
    else if (i < count - 1) return false;
  }
  return true;
}

struct account {
  unsigned long uid, gid;
  char *name, *home, *shell;
};

/* Finds `key`, a name or a number, in passwd(5). */
static bool find_account(char *passwd, const char *key, bool numeric, struct account *account) {
  char *rest = NULL;
  for (char *line = passwd ? strtok_r(passwd, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest)) {
    char *field[7];
    if (!split_line(line, field, 7)) continue;
    if (strcmp(field[numeric ? 2 : 0], key) != 0) continue;
    if (!parse_number(field[2], ID_MAX, &account->uid) || !parse_number(field[3], ID_MAX, &account->gid)) continue;
    account->name = field[0];
    account->home = field[5];
    account->shell = field[6];
    return true;
  }
  return false;
}

/* Reads group(5): the gid of `key`, and the groups that list `member`. */
static bool find_groups(char *text, const char *key, const char *member, unsigned long *gid, gid_t *groups, int *count) {
  char *rest = NULL;
  bool found = false;
  for (char *line = text ? strtok_r(text, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest)) {
    char *field[4], *members = NULL;
    unsigned long number;
    if (!split_line(line, field, 4) || !parse_number(field[2], ID_MAX, &number)) continue;
    if (key != NULL && strcmp(field[0], key) == 0) {
      *gid = number;
      found = true;
    }
    for (char *name = strtok_r(field[3], ",", &members); name && member; name = strtok_r(NULL, ",", &members))
      if (strcmp(name, member) == 0 && *count < GROUPS_MAX) groups[(*count)++] = (gid_t)number;
  }
  return found;
}

/* Adds HOME to the payload's environment if nothing set it. */
static int default_home(struct state *state, const char *home) {
  int count = 0;
  for (; state->environment != NULL && state->environment[count] != NULL; count++)
    if (strncmp(state->environment[count], "HOME=", 5) == 0) return 0;
  char **environment = calloc((size_t)count + 2, sizeof *environment), *variable;
  if (environment == NULL || asprintf(&variable, "HOME=%s", home && home[0] == '/' ? home : "/") < 0) return failed("malloc");
  if (count > 0) memcpy(environment, state->environment, (size_t)count * sizeof *environment);
  environment[count] = variable;
  state->environment = environment;
  return 0;
}

static int become(struct state *state, const struct account *account, const gid_t *groups, int count) {
  /* The capabilities op, which follows, decides what is kept. */
  if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return failed("prctl");
  /* What it is to read and write, it may also open by name, such as /dev/tty. */
  if (state->terminal >= 0 && fchown(state->terminal, (uid_t)account->uid, (gid_t)-1) != 0) return failed("fchown");
  if (setgroups((size_t)count, groups) != 0) return failed("setgroups");
  if (setresgid((gid_t)account->gid, (gid_t)account->gid, (gid_t)account->gid) != 0) return failed("setresgid");
  return setresuid((uid_t)account->uid, (uid_t)account->uid, (uid_t)account->uid) == 0 ? 0 : failed("setresuid");
}

/* user SPEC: USER[:GROUP], names or strict decimal numbers (CVE-2024-40635); empty: stay who we are.
   Sets HOME from passwd unless the environment has it. */
int op_user(struct state *state, struct op *op) {
  char own[16], *user = op->field[0], *group = strchr(user, ':');
  struct account account = {0};
  gid_t groups[GROUPS_MAX];
  int count = 0;
  bool stay = *user == '\0';
  if (stay) snprintf(user = own, sizeof own, "%u", geteuid());
  if (group != NULL) *group++ = '\0';
  bool numeric = parse_number(user, ID_MAX, &account.uid);
  bool found = find_account(read_database(state, "/etc/passwd"), user, numeric, &account);
  if (!found && !numeric) {
    errno = ENOENT;
    return failed("passwd");
  }
  if (default_home(state, found ? account.home : "/") != 0) return -1;
  if (stay) return 0;
  bool named = group != NULL && *group != '\0' && !parse_number(group, ID_MAX, &account.gid);
  /* With a group given, supplementary groups of the user do not apply, as with docker and podman. */
  bool known = find_groups(read_database(state, "/etc/group"), named ? group : NULL,
                           found && group == NULL ? account.name : NULL, &account.gid, groups, &count);
  if (named && !known) {
    errno = ENOENT;
    return failed("group");
  }
  return become(state, &account, groups, count);
}

/* Name, home and shell of whoever we are, as passwd(5) of the container has them; false where it knows nobody. */
bool own_account(struct state *state, char *name, size_t name_size, char *home, size_t home_size, char *shell, size_t shell_size) {
  char key[16];
  struct account account = {0};
  snprintf(key, sizeof key, "%u", geteuid());
  if (!find_account(read_database(state, "/etc/passwd"), key, true, &account)) return false;
  snprintf(name, name_size, "%s", account.name);
  snprintf(home, home_size, "%s", account.home);
  snprintf(shell, shell_size, "%s", account.shell);
  return true;
}
