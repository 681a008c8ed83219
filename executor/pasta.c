/* User-mode networking: pasta (package passt) carries packets between a network namespace and the host's sockets.
   It changes its credentials, which takes the signal of a parent's death away (prctl(2)); so a guardian stays beside
   it, sees by a pipe when the monitor is gone, however that came, and ends it. */
#include "executor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS_MAX = 512, NOISE = 256, KEPT_FROM = 200 /* more than a monitor has open */ };

/* Held by the monitor alone. */
static int lifeline = -1;
static pid_t guardian = -1;

/* Becomes pasta. Standard input is the namespace, standard output takes the pid once it is ready: descriptors that
   every version leaves open. */
static void become_pasta(const struct op *op, pid_t inside, int net, int ready, int noise) {
  char *words[WORDS_MAX], user[64];
  static char *environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL};
  int count = 0;
  for (int i = 1; i < op->fields && count < WORDS_MAX - 12; i++) words[count++] = op->field[i];
  words[count++] = "--foreground";
  words[count++] = "--stderr";
  words[count++] = "--pid";
  words[count++] = "/proc/self/fd/1";
  words[count++] = "--netns";
  words[count++] = "/proc/self/fd/0";
  words[count++] = "--no-netns-quit";
  if (geteuid() == 0) {
    words[count++] = "--runas"; /* As nobody it could not enter a namespace that root made. */
    words[count++] = "0";
  } else {
    snprintf(user, sizeof user, "/proc/%d/ns/user", inside);
    words[count++] = "--userns";
    words[count++] = user;
  }
  words[count] = NULL;
  dup2(net, 0);
  dup2(ready, 1);
  dup2(noise, 2);
  syscall(SYS_close_range, 3, ~0U, 0);
  default_signals();
  execve(words[0], words, environment);
  dprintf(2, "%s\n", strerror(errno));
  _exit(127);
}

/* Whose pasta it is that runs, for whoever clears up after us: "PID START". */
static void write_mark(const char *mark, pid_t pid) {
  char start[32];
  int fd = open(mark, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0 || !start_time((unsigned long)pid, start, sizeof start)) return;
  dprintf(fd, "%d %s\n", pid, start);
  close(fd);
}

/* Keeps the last line that is no complaint about a missing syslog. */
static void keep_words(char *kept, size_t size, char *text) {
  char *rest = NULL;
  for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
    if (strstr(line, "syslog") == NULL) snprintf(kept, size, "%s", line);
}

/* Tells the monitor once: an empty line when pasta is ready, else what it said before it ended. */
static void tell(int *report, const char *words) {
  if (*report < 0) return;
  dprintf(*report, "%s\n", words);
  close(*report);
  *report = -1;
}

static void guard(pid_t pasta, const char *mark, int alive, int ready, int noise, int report) {
  struct pollfd files[] = {{alive, POLLIN, 0}, {ready, POLLIN, 0}, {noise, POLLIN, 0}};
  char text[NOISE], kept[NOISE] = "";
  while (files[2].fd >= 0 && poll(files, 3, -1) >= 0) {
    if (files[0].revents) break;
    for (int i = 1; i <= 2; i++) {
      if (!files[i].revents) continue;
      ssize_t n = read(files[i].fd, text, sizeof text - 1);
      text[n > 0 ? n : 0] = '\0';
      if (n <= 0) files[i].fd = -1;
      else if (i == 1) tell(&report, "");
      else keep_words(kept, sizeof kept, text);
    }
  }
  kill(pasta, SIGKILL);
  waitpid(pasta, NULL, 0);
  unlink(mark);
  tell(&report, kept[0] ? kept : "it ended without a word");
  _exit(0);
}

static void start_guardian(const struct op *op, pid_t inside, int net, int alive, int report) {
  int ready[2], noise[2];
  setsid(); /* The terminal's signals are for the payload. */
  if (pipe2(ready, O_CLOEXEC) != 0 || pipe2(noise, O_CLOEXEC) != 0) _exit(1);
  fchmod(ready[1], 0666); /* It is opened anew, by name. */
  pid_t pasta = fork();
  if (pasta < 0) _exit(1);
  if (pasta == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    become_pasta(op, inside, net, ready[1], noise[1]);
  }
  write_mark(op->field[0], pasta);
  close(ready[1]);
  close(noise[1]);
  int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd <= 2; fd++) dup2(nothing, fd);
  guard(pasta, op->field[0], alive, ready[0], noise[0], report);
}

/* pasta MARK PROGRAM OPTION…: connects the inside's network namespace; ended at the end. */
int op_pasta(struct state *state, struct op *op) {
  char path[64];
  int alive[2], report[2];
  snprintf(path, sizeof path, "/proc/%d/ns/net", state->inside);
  int net = open(path, O_RDONLY | O_CLOEXEC);
  if (net < 0) return failed("open");
  if (pipe2(alive, O_CLOEXEC) != 0 || pipe2(report, O_CLOEXEC) != 0) return failed("pipe2");
  guardian = fork();
  if (guardian < 0) return failed("fork");
  if (guardian == 0) {
    /* Nothing else stays open here: somebody may wait for the end of what the monitor holds. */
    int kept[] = {net, alive[0], report[1]};
    for (int i = 0; i < 3; i++)
      if ((kept[i] = fcntl(kept[i], F_DUPFD_CLOEXEC, KEPT_FROM)) < 0) _exit(1);
    syscall(SYS_close_range, 3, KEPT_FROM - 1, 0);
    start_guardian(op, state->inside, kept[0], kept[1], kept[2]);
  }
  close(net);
  close(alive[0]);
  close(report[1]);
  lifeline = alive[1];
  ssize_t n = read(report[0], failed_detail, sizeof failed_detail - 1);
  close(report[0]);
  failed_detail[n > 0 ? n : 0] = '\0';
  if (n == 1) {
    failed_detail[0] = '\0';
    return 0;
  }
  undo_pasta(state, op);
  errno = EIO;
  return failed("pasta");
}

void undo_pasta(struct state *state, struct op *op) {
  (void)state;
  unsigned long pid;
  char number[16], start[32];
  close(lifeline);
  waitpid(guardian, NULL, 0);
  /* The guardian may have been killed. */
  FILE *mark = fopen(op->field[0], "re");
  if (mark == NULL) return;
  if (fscanf(mark, "%15s %31s", number, start) == 2 && parse_number(number, 1UL << 22, &pid) && same_process(pid, start))
    kill((pid_t)pid, SIGKILL);
  fclose(mark);
  unlink(op->field[0]);
}
