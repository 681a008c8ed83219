/* Commands of a guest, run as its configuration writes them: by path or by name, a directory of programs one after the
   other, a file without execute permission through its own #! line. */
#include "guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINE_MAX_ = 256 /* of "#!" lines, as binfmt_script has it */ };

static const char *path_of(char **environment) {
  for (; environment != NULL && *environment != NULL; environment++)
    if (strncmp(*environment, "PATH=", 5) == 0) return *environment + 5;
  return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/* Where a program is: the name itself if it has a slash, else the first place on PATH that can be executed, or, if
   there is none, the first that can be read. False, with errno, if it is nowhere. */
static bool find_program(const char *name, char **environment, char *found, size_t size) {
  if (strchr(name, '/') != NULL) {
    if ((size_t)snprintf(found, size, "%s", name) < size) return access(found, F_OK) == 0;
    errno = ENAMETOOLONG;
    return false;
  }
  for (int mode = X_OK; mode != 0; mode = mode == X_OK ? R_OK : 0)
    for (const char *at = path_of(environment);; at++) {
      size_t n = strcspn(at, ":");
      struct stat status;
      if ((size_t)snprintf(found, size, "%.*s%s%s", (int)n, at, n ? "/" : "", name) < size && access(found, mode) == 0 &&
          stat(found, &status) == 0 && S_ISREG(status.st_mode))
        return true;
      at += n;
      if (*at == '\0') break;
    }
  errno = ENOENT;
  return false;
}

/* Splits the #! line of a file into interpreter and its one argument, as the kernel does. */
static bool interpreter_of(const char *path, char line[LINE_MAX_], char **interpreter, char **argument) {
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, line, LINE_MAX_ - 1);
  if (fd >= 0) close(fd);
  if (n < 3 || line[0] != '#' || line[1] != '!') return false;
  line[n] = '\0';
  line[strcspn(line, "\n")] = '\0';
  char *at = line + 2 + strspn(line + 2, " \t");
  *interpreter = at;
  at += strcspn(at, " \t");
  if (*at != '\0') *at++ = '\0';
  at += strspn(at, " \t");
  for (char *end = at + strlen(at); end > at && (end[-1] == ' ' || end[-1] == '\t');) *--end = '\0';
  *argument = *at != '\0' ? at : NULL;
  return **interpreter != '\0';
}

/* As the payload, or as what a child of ours becomes. */
static void execute(struct state *state, const char *program, char **argv, char **environment) {
  if (state != NULL) exec_payload(state, program, argv);
  else execve(program, argv, environment);
}

/* Becomes the program that argv[0] names; of a `state`, as its payload. Returns only on failure. */
int exec_tolerant(struct state *state, char **argv, char **environment) {
  char path[4096], line[LINE_MAX_], *interpreter, *argument;
  if (!find_program(argv[0], environment, path, sizeof path)) return failed_at("access", argv[0]);
  execute(state, path, argv, environment);
  if (errno != EACCES || !interpreter_of(path, line, &interpreter, &argument)) return failed_at("execve", path);
  int count = 0, at = 0;
  while (argv[count] != NULL) count++;
  char **words = calloc((size_t)count + 3, sizeof *words);
  if (words == NULL) return failed("calloc");
  words[at++] = interpreter;
  if (argument != NULL) words[at++] = argument;
  words[at++] = path;
  memcpy(words + at, argv + 1, (size_t)count * sizeof *words);
  execute(state, interpreter, words, environment);
  return failed_at("execve", interpreter);
}

static int ended(const char *name, int status) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
  if (WIFEXITED(status)) snprintf(failed_detail, sizeof failed_detail, "%.200s: status %d", name, WEXITSTATUS(status));
  else snprintf(failed_detail, sizeof failed_detail, "%.200s: signal %d", name, WTERMSIG(status));
  errno = ECANCELED;
  return failed("command");
}

/* A child that could not execute says so by this pipe, whose end closes where it could. */
static int wait_for_exec(pid_t child, int pipe, const char *name) {
  int error = 0, status;
  ssize_t n;
  do n = read(pipe, &error, sizeof error);
  while (n < 0 && errno == EINTR);
  close(pipe);
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return failed("waitpid");
  if (n != (ssize_t)sizeof error) return ended(name, status);
  errno = error;
  return failed_at("execve", name);
}

static int run_one(char **argv, char **environment, int input) {
  int pair[2];
  if (pipe2(pair, O_CLOEXEC) != 0) return failed("pipe2");
  pid_t child = fork();
  if (child < 0) return failed("fork");
  if (child == 0) {
    if (dup2(input, 0) == 0 && dup2(pair[1], 3) == 3 && syscall(SYS_close_range, 3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */) == 0) {
      default_signals();
      exec_tolerant(NULL, argv, environment);
    }
    int error = errno;
    write(3, &error, sizeof error);
    _exit(127);
  }
  close(pair[1]);
  return wait_for_exec(child, pair[0], argv[0]);
}

static int no_dot(const struct dirent *entry) { return entry->d_name[0] != '.'; }

/* All programs of a directory, in the order of their names; each has to succeed. */
static int run_directory(const char *directory, char **argv, char **environment, int input) {
  struct dirent **names;
  int result = 0, count = scandir(directory, &names, no_dot, alphasort);
  if (count < 0) return failed_at("opendir", directory);
  for (int i = 0; i < count; i++) {
    char path[4096], *first = argv[0];
    if (result == 0 && (size_t)snprintf(path, sizeof path, "%s/%s", directory, names[i]->d_name) < sizeof path) {
      argv[0] = path;
      if (lseek(input, 0, SEEK_SET) < 0 && errno != ESPIPE) result = failed("lseek");
      else result = run_one(argv, environment, input);
      argv[0] = first;
    }
    free(names[i]);
  }
  free(names);
  return result;
}

int run_tolerant(char **argv, char **environment, int input) {
  struct stat status;
  bool directory = strchr(argv[0], '/') != NULL && stat(argv[0], &status) == 0 && S_ISDIR(status.st_mode);
  return directory ? run_directory(argv[0], argv, environment, input) : run_one(argv, environment, input);
}

static int input_of(const struct op *op) {
  if (strcmp(op->field[0], "text") != 0) return open("/dev/null", O_RDONLY | O_CLOEXEC);
  int fd = memfd_create("input", MFD_CLOEXEC);
  ssize_t length = (ssize_t)strlen(op->field[1]);
  if (fd >= 0 && (write(fd, op->field[1], (size_t)length) != length || lseek(fd, 0, SEEK_SET) != 0)) return -1;
  return fd;
}

/* command INPUT TEXT WORD…: INPUT is `null`, or `text` for what it reads from its standard input. */
int op_command(struct state *state, struct op *op) {
  int input = input_of(op);
  if (input < 0) return failed("open");
  mode_t ours = umask(state->umask);
  int result = run_tolerant(op->field + 2, state->environment, input);
  int error = errno;
  umask(ours);
  close(input);
  errno = error;
  return result;
}

/* become WORD…: the guest's own first program. */
int op_become(struct state *state, struct op *op) { return exec_tolerant(state, op->field, state->environment); }
