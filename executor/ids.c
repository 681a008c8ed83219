/* Ids of user namespaces beyond the caller's own. */
#include "executor.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS_MAX = 3 * 340 + 3 /* lines of a map: user_namespaces(7) */ };

/* The helper is set-id or has file capabilities: nothing of the caller's environment is its business. */
static void execute_helper(char **words, int complaints) {
  static char *environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL};
  int nothing = open("/dev/null", O_RDWR);
  dup2(nothing, 0);
  dup2(nothing, 1);
  dup2(complaints, 2);
  default_signals();
  execve(words[0], words, environment);
  _exit(127);
}

/* Runs newuidmap(1) or newgidmap(1): HELPER PID, then three numbers a range. What it complains of becomes the detail. */
static int run_helper(char *helper, pid_t pid, const char *map) {
  char *words[WORDS_MAX], *text = strdup(map), number[16], *rest = NULL;
  int count = 0, pair[2], status;
  snprintf(number, sizeof number, "%d", pid);
  words[count++] = helper;
  words[count++] = number;
  for (char *word = text ? strtok_r(text, " ,", &rest) : NULL; word && count < WORDS_MAX - 1;
       word = strtok_r(NULL, " ,", &rest))
    words[count++] = word;
  words[count] = NULL;
  if (pipe2(pair, O_CLOEXEC) != 0) return failed("pipe2");
  pid_t child = fork();
  if (child < 0) return failed("fork");
  if (child == 0) execute_helper(words, pair[1]);
  close(pair[1]);
  ssize_t n = read(pair[0], failed_detail, sizeof failed_detail - 1);
  failed_detail[n > 0 ? n : 0] = '\0';
  close(pair[0]);
  free(text);
  if (waitpid(child, &status, 0) < 0) return failed("waitpid");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    failed_detail[0] = '\0';
    return 0;
  }
  errno = WIFEXITED(status) && WEXITSTATUS(status) == 127 ? ENOENT : EPERM;
  return failed(helper);
}

/* subordinate-map NEWUIDMAP NEWGIDMAP UIDS GIDS: ranges "INSIDE OUTSIDE COUNT", separated by commas. */
int op_subordinate_map(struct state *state, struct op *op) {
  char path[64];
  for (int i = 0; i < 2; i++)
    if (run_helper(op->field[i], state->inside, op->field[i + 2]) != 0) return -1;
  snprintf(path, sizeof path, "/proc/%d/ns/user", state->inside);
  state->users = open(path, O_RDONLY | O_CLOEXEC);
  return state->users >= 0 ? 0 : failed("open");
}

/* Removes a tree by the container's own ids, in a child: what is inside belongs to them, not to us. */
int remove_mapped(struct state *state, const char *path) {
  int status;
  pid_t child = state->users >= 0 ? fork() : -1;
  if (child < 0) return -1;
  if (child == 0) _exit(setns(state->users, CLONE_NEWUSER) != 0 || remove_tree(path) != 0);
  return waitpid(child, &status, 0) == child && status == 0 ? 0 : -1;
}

/* take-ids UID GID: become these ids of the new user namespace, with all its capabilities. Groups stay. */
int op_take_ids(struct state *state, struct op *op) {
  (void)state;
  unsigned long uid, gid;
  if (!parse_number(op->field[0], 0xfffffffeUL, &uid) || !parse_number(op->field[1], 0xfffffffeUL, &gid)) {
    errno = EINVAL;
    return failed("ids");
  }
  if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return failed("prctl");
  if (setresgid((gid_t)gid, (gid_t)gid, (gid_t)gid) != 0) return failed("setresgid");
  if (setresuid((uid_t)uid, (uid_t)uid, (uid_t)uid) != 0) return failed("setresuid");
  /* The kernel clears this signal with the change of user (prctl(2)). */
  if (state->plan->supervised && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return failed("prctl");
  return raise_capabilities();
}

/* owner PATH UID GID: of a directory of the stage, or of the root. */
int op_owner(struct state *state, struct op *op) {
  unsigned long uid, gid;
  if (!parse_number(op->field[1], 0xfffffffeUL, &uid) || !parse_number(op->field[2], 0xfffffffeUL, &gid)) {
    errno = EINVAL;
    return failed("ids");
  }
  int fd = root_open(state, op->field[0], O_RDONLY | O_DIRECTORY);
  if (fd < 0) return failed("openat2");
  int result = fchown(fd, (uid_t)uid, (gid_t)gid) == 0 ? 0 : failed("fchown");
  int error = errno;
  close(fd);
  errno = error;
  return result;
}
