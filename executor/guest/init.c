/* The first process of a guest: reads init.yml, makes the plan, carries it out. */
#include "guest.h"
#include "../walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { FILE_MAX = 1 << 20 };
static const char STANDARD[] = "/mnt/init.yml";

struct words {
  const char *config;
  bool override, check, plan, wire;
  char **rest;
  int count;
};

static int read_words(int argc, char **argv, struct words *words) {
  int i = 1;
  for (; i < argc && argv[i][0] == '-' && argv[i][1] != '\0'; i++) {
    if (strcmp(argv[i], "--") == 0) {
      i++;
      break;
    }
    if (strcmp(argv[i], "--override-exec") == 0) words->override = true;
    else if (strcmp(argv[i], "--check") == 0) words->check = true;
    else if (strcmp(argv[i], "--plan") == 0) words->plan = true;
    else if (strcmp(argv[i], "--wire") == 0) words->wire = true;
    else if (strncmp(argv[i], "--config=", 9) == 0) words->config = argv[i] + 9;
    else if (strcmp(argv[i], "--config") == 0 && i + 1 < argc) words->config = argv[++i];
    else return tool_usage("init", "unknown option");
  }
  words->rest = argv + i;
  words->count = argc - i;
  return 0;
}

/* The file's text; NULL after what is wrong was said. A standard one that is missing is an empty one. */
static char *read_config(const char *path, size_t *size) {
  const char *name = path == NULL ? STANDARD : path;
  int fd = open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  *size = 0;
  if (fd < 0 && errno == ENOENT && path == NULL) return strdup("");
  struct stat status;
  char *text = NULL;
  if (fd < 0) failed_at("open", name);
  else if (fstat(fd, &status) != 0) failed_at("fstat", name);
  else if (!S_ISREG(status.st_mode) || status.st_size > FILE_MAX) {
    errno = S_ISREG(status.st_mode) ? EFBIG : EINVAL;
    failed_at("read", name);
  } else if ((text = malloc((size_t)status.st_size + 1)) != NULL) {
    ssize_t n = read(fd, text, (size_t)status.st_size);
    if (n < 0) failed_at("read", name);
    else *size = (size_t)n;
    if (n < 0) text = NULL;
  }
  if (text == NULL) tool_failure("init");
  if (fd >= 0) close(fd);
  return text;
}

/* Words of the command line: in place of the configured command, or behind it. */
static void add_words(struct init_file *file, const struct words *words) {
  int own = 0;
  if (words->count == 0) return;
  while (!words->override && file->command.words[own] != NULL) own++;
  char **all = calloc((size_t)own + (size_t)words->count + 1, sizeof *all);
  memcpy(all, file->command.words, (size_t)own * sizeof *all);
  memcpy(all + own, words->rest, (size_t)words->count * sizeof *all);
  file->command.words = all;
  if (words->override) file->command.origin = "--override-exec";
}

static int print_plan(const struct plan *plan) {
  for (int i = 0; i < plan->ops; i++) {
    const struct op *op = &plan->op[i];
    if (strcmp(op->verb->name, "environment") == 0) continue;
    printf("%-13s  %-14s", op->origin, op->verb->name);
    for (int f = 0; f < op->fields; f++) printf(" %s", op->field[f][0] ? op->field[f] : "''");
    puts("");
  }
  return 0;
}

/* A shell on the console, for whoever has to mend what failed; the guest fails after it all the same. */
static void rescue(void) {
  char *shell[] = {"sh", NULL}, *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "TERM=linux", NULL};
  fprintf(stderr, "rootling: init: on_error: shell: its end ends the guest\n");
  pid_t child = fork();
  if (child == 0) {
    default_signals();
    setsid();
    ioctl(0, TIOCSCTTY, 1); /* Where the console is a terminal, its keys send signals. */
    execve("/bin/sh", shell, environment);
    perror("rootling: init: /bin/sh");
    _exit(STATUS_FAILURE);
  }
  for (pid_t ended = -1; child > 0 && ended != child && (ended > 0 || errno != ECHILD);) ended = waitpid(-1, NULL, 0);
}

int tool_init(int argc, char **argv) {
  struct words words = {0};
  struct init_file file = {0};
  struct plan plan = {0};
  size_t size, wire_size;
  int wrong = read_words(argc, argv, &words);
  if (wrong != 0) return wrong;
  char *text = read_config(words.config, &size);
  if (text == NULL) return STATUS_FAILURE;
  const char *name = words.config == NULL ? STANDARD : words.config, *slash = strrchr(name, '/');
  if (!read_init_file(text, size, slash == NULL ? name : slash + 1, &file)) return STATUS_FAILURE;
  if (words.check) return 0;
  add_words(&file, &words);
  char *wire = init_wire(&file, environ, &wire_size);
  if (words.wire) return fwrite(wire, 1, wire_size, stdout) == wire_size ? 0 : STATUS_FAILURE;
  const char *refused = wire == NULL ? "too large" : wire_parse(wire, wire_size, &plan);
  if (refused != NULL) {
    fprintf(stderr, "rootling: init: the plan is %s\n", refused);
    return STATUS_FAILURE;
  }
  if (words.plan) return print_plan(&plan);
  if (geteuid() != 0 || getuid() != 0) {
    fprintf(stderr, "rootling: init: only root can prepare a guest\n  mend: start it as the guest's first process\n");
    return STATUS_FAILURE;
  }
  explain_plainly = explain_here;
  if (file.shell_on_error) after_failure = rescue;
  return carry_out(&plan, 0, -1);
}
