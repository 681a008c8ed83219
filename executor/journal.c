/* What cables have made on the host is in a file, a step a line, written before the step is done: the same function
   undoes it at the end of a container and, by `executor --clear-cables FILE`, after a crash of everything. */
#include "journal.h"
#include "executor.h"
#include "netlink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINES_MAX = 1024, WORDS_MAX = 8, JOURNAL_MAX = 1 << 17 };

static int journal = -1;
static int names = -1;

/* cables MARK: begins the journal. */
int op_cables(struct state *state, struct op *op) {
  (void)state;
  journal = open(op->field[0], O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
  return journal >= 0 ? 0 : failed("open");
}

int journal_add(const char *const *words, int count) {
  char line[1024];
  size_t at = 0;
  for (int i = 0; i < count; i++) {
    int n = snprintf(line + at, sizeof line - at, "%s%c", words[i], i + 1 < count ? '\t' : '\n');
    if (n < 0 || (at += (size_t)n) >= sizeof line) {
      errno = ENAMETOOLONG;
      return failed("journal");
    }
  }
  return write(journal, line, at) == (ssize_t)at ? 0 : failed("write");
}

int hold_names(void) {
  if (names >= 0) return 0;
  if (mkdir(NETNS_DIRECTORY, 0755) != 0 && errno != EEXIST) return failed_at("mkdir", NETNS_DIRECTORY);
  names = open(NETNS_DIRECTORY, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (names < 0) return failed_at("open", NETNS_DIRECTORY);
  while (flock(names, LOCK_EX) != 0)
    if (errno != EINTR) return failed_at("flock", NETNS_DIRECTORY);
  return 0;
}

void release_names(void) {
  if (names >= 0) close(names);
  names = -1;
}

static void become_program(char *const *words, int input, int complaints) {
  static char *environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL};
  int nothing = open("/dev/null", O_RDWR);
  dup2(input >= 0 ? input : nothing, 0);
  dup2(nothing, 1);
  dup2(complaints, 2);
  syscall(SYS_close_range, 3, ~0U, 0);
  default_signals();
  execve(words[0], words, environment);
  _exit(127);
}

/* The last line that is not empty. */
static void keep_last_line(char *text) {
  char *rest = NULL;
  for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
    if (line[strspn(line, " \t^~")] != '\0') snprintf(failed_detail, sizeof failed_detail, "%s", line);
}

int run_program(char *const *words, const char *input) {
  int text = -1, status;
  int said = memfd_create("rootling-said", MFD_CLOEXEC);
  if (said < 0) return failed("memfd_create");
  if (input != NULL) {
    text = memfd_create("rootling-input", MFD_CLOEXEC);
    if (text < 0 || write(text, input, strlen(input)) != (ssize_t)strlen(input) || lseek(text, 0, SEEK_SET) != 0)
      return failed("memfd_create");
  }
  pid_t child = fork();
  if (child < 0) return failed("fork");
  if (child == 0) become_program(words, text, said);
  if (text >= 0) close(text);
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return failed("waitpid");
  char complaints[2048];
  ssize_t n = pread(said, complaints, sizeof complaints - 1, 0);
  complaints[n > 0 ? n : 0] = '\0';
  close(said);
  keep_last_line(complaints);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* No other link that has got this name meanwhile. One that was not given its alias any more has the MAC address that it
   was made with, which only a new link can be given together with its name. */
static bool is_ours(const struct link *link, const char *alias, const char *mac) {
  return strcmp(link->alias, alias) == 0 || (link->alias[0] == '\0' && strcmp(link->mac, mac) == 0);
}

static void clear_link(const char *name, const char *alias, const char *mac) {
  struct link link;
  if (link_find(name, &link) == 0 && is_ours(&link, alias, mac)) link_delete(link.index);
}

/* A bridge that was made for cables goes with the last of them. */
static void clear_bridge(const char *name, const char *alias, const char *mac) {
  struct link link;
  if (hold_names() != 0) return;
  if (link_find(name, &link) == 0 && is_ours(&link, alias, mac) && !link_has_ports(link.index))
    link_delete(link.index);
  release_names();
}

static void clear_line(char *line) {
  char *word[WORDS_MAX + 1] = {NULL}, *rest = NULL;
  int count = 0;
  for (char *at = strtok_r(line, "\t", &rest); at != NULL && count < WORDS_MAX; at = strtok_r(NULL, "\t", &rest))
    word[count++] = at;
  if (count == 3 && strcmp(word[0], "netns") == 0) netns_remove(word[1], word[2]);
  else if (count == 4 && strcmp(word[0], "link") == 0) clear_link(word[1], word[2], word[3]);
  else if (count == 4 && strcmp(word[0], "bridge") == 0) clear_bridge(word[1], word[2], word[3]);
  else if (count > 1 && strcmp(word[0], "run") == 0) run_program(word + 1, NULL);
}

/* The whole file with a NUL behind it, or NULL. It stays, so that a clearing that is cut short is done again. */
static char *read_journal(const char *mark) {
  struct stat status;
  int fd = open(mark, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  char *text = fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid()
                   ? calloc(1, JOURNAL_MAX + 1)
                   : NULL;
  size_t got = 0;
  for (ssize_t n; text != NULL && (n = read(fd, text + got, JOURNAL_MAX - got)) > 0;) got += (size_t)n;
  if (fd >= 0) close(fd);
  return text;
}

/* Undoes what the journal says, newest first, and removes it; what is gone is no failure. Returns an exit status. */
int clear_cables(const char *mark) {
  char *line[LINES_MAX], *rest = NULL;
  int lines = 0;
  release_names(); /* A step that failed may hold them. */
  char *text = read_journal(mark);
  if (text == NULL) return 1;
  for (char *at = strtok_r(text, "\n", &rest); at != NULL && lines < LINES_MAX; at = strtok_r(NULL, "\n", &rest))
    line[lines++] = at;
  while (lines > 0) clear_line(line[--lines]);
  free(text);
  return unlink(mark) != 0;
}

void undo_cables(struct state *state, struct op *op) {
  (void)state;
  if (journal >= 0) close(journal);
  clear_cables(op->field[0]);
}
