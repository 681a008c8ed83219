/* The start of a payload as a login would have it: a shell that reads its profile, and a script before the command. */
#include "startup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char standard_path[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/* A setting of login.defs(5), as text that stays; NULL if there is none. */
static char *login_setting(struct state *state, const char *name) {
  bool missing;
  char *text = root_file(state, "/etc/login.defs", &missing), *rest = NULL;
  size_t length = strlen(name);
  for (char *line = text ? strtok_r(text, "\n", &rest) : NULL; line != NULL; line = strtok_r(NULL, "\n", &rest)) {
    line += strspn(line, " \t");
    if (strncmp(line, name, length) != 0 || (line[length] != ' ' && line[length] != '\t')) continue;
    line += length + strspn(line + length, " \t");
    line[strcspn(line, " \t")] = '\0';
    return line;
  }
  return NULL;
}

/* Where the system looks for programs: ENV_PATH, or root's ENV_SUPATH, which may say PATH= first. */
static const char *search_path(struct state *state) {
  const char *path = login_setting(state, geteuid() == 0 ? "ENV_SUPATH" : "ENV_PATH");
  if (path != NULL && strncmp(path, "PATH=", 5) == 0) path += 5;
  return path != NULL && *path == '/' ? path : standard_path;
}

/* What a login sets unless it is set. */
static int set_defaults(struct state *state) {
  struct { const char *name; char value[4096]; } defaults[] = {
      {"PATH", ""}, {"TERM", "dumb"}, {"HOME", "/"}, {"SHELL", ""}, {"USER", ""}, {"LOGNAME", ""},
  };
  enum { PATH, TERM, HOME, SHELL, USER, LOGNAME, COUNT };
  snprintf(defaults[PATH].value, sizeof defaults[PATH].value, "%s", search_path(state));
  char name[256] = "", shell[4096] = "", home[4096] = "";
  if (own_account(state, name, sizeof name, home, sizeof home, shell, sizeof shell)) {
    snprintf(defaults[USER].value, sizeof defaults[USER].value, "%s", name);
    snprintf(defaults[LOGNAME].value, sizeof defaults[LOGNAME].value, "%s", name);
    snprintf(defaults[SHELL].value, sizeof defaults[SHELL].value, "%s", shell);
    if (home[0] == '/') snprintf(defaults[HOME].value, sizeof defaults[HOME].value, "%s", home);
  }
  state->gathered = NULL;
  for (char **variable = state->environment; variable != NULL && *variable != NULL; variable++)
    if (gather(state, *variable) != 0) return -1;
  for (int i = 0; i < COUNT; i++) {
    char *variable;
    if (defaults[i].value[0] == '\0' || list_value(state->gathered, defaults[i].name) != NULL) continue;
    if (asprintf(&variable, "%s=%s", defaults[i].name, defaults[i].value) < 0 || gather(state, variable) != 0) return failed("malloc");
    free(variable);
  }
  state->environment = state->gathered;
  return 0;
}

/* The message of the day, on standard output, for a shell without a command. */
static void show_message(struct state *state) {
  char *files = login_setting(state, "MOTD_FILE"), *hush = login_setting(state, "HUSHLOGIN_FILE"), *rest = NULL;
  const char *home = list_value(state->environment, "HOME");
  char path[8192];
  if (hush != NULL && snprintf(path, sizeof path, "%s/%s", hush[0] == '/' || home == NULL ? "" : home, hush) > 0 &&
      access(path, F_OK) == 0)
    return;
  for (char *file = files ? strtok_r(files, ":", &rest) : NULL; file != NULL; file = strtok_r(NULL, ":", &rest)) {
    bool missing;
    char *text = root_file(state, file, &missing);
    if (text != NULL) dprintf(1, "%s", text);
    free(text);
  }
}

static bool is_program(const char *path) {
  struct stat status;
  return path != NULL && *path == '/' && stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, R_OK | X_OK) == 0;
}

/* The user's shell, or /bin/sh; NULL where there is neither. */
static const char *find_shell(struct state *state) {
  const char *shell = list_value(state->environment, "SHELL");
  if (is_program(shell)) return shell;
  return is_program("/bin/sh") ? "/bin/sh" : NULL;
}

struct command {
  char **word;
  int count;
};

/* SHELL [SCRIPT or -c TEXT NAME] WORD…; a login shell has a dash before its name. */
static int run_shell(struct state *state, const char *shell, bool login, char *const first[], struct command command) {
  const char *slash = strrchr(shell, '/');
  char **argv = calloc((size_t)command.count + 5, sizeof *argv), **at = argv;
  if (argv == NULL || asprintf(at++, "%s%s", login ? "-" : "", slash + 1) < 0) return failed("malloc");
  while (first != NULL && *first != NULL) *at++ = *first++;
  for (int i = 0; i < command.count; i++) *at++ = command.word[i];
  return exec_payload(state, shell, argv);
}

static int run_direct(struct state *state, struct command command) {
  if (command.count > 0) return exec_payload(state, command.word[0], command.word);
  errno = ENOENT;
  return failed_at("execve", "/bin/sh");
}

/* login MODE RC COUNT WORD… COMMAND…: MODE is `login` or `plain`. RC: where the script is that gets the words: `given`
   (ops rc and hook-rc), then `root`, which is /etc/rc of the root; `none`: COMMAND, which is a whole one, is run, for
   which no shell is needed, unless op hook-rc or rc-local has kept a script. */
int op_login(struct state *state, struct op *op) {
  bool login = strcmp(op->field[0], "login") == 0;
  unsigned long count;
  if (!parse_number(op->field[2], (unsigned long)(op->fields - 3), &count)) {
    errno = EINVAL;
    return failed("login");
  }
  struct command words = {op->field + 3, (int)count}, whole = {op->field + 3 + count, op->fields - 3 - (int)count};
  if (login && set_defaults(state) != 0) return -1;
  const char *shell = find_shell(state), *home = list_value(state->environment, "HOME");
  char script[32] = "/etc/rc";
  bool scripted = state->rc >= 0 || (strcmp(op->field[1], "root") == 0 && access("/etc/rc", F_OK) == 0);
  if (state->rc >= 0) snprintf(script, sizeof script, "/proc/self/fd/%d", state->rc);
  bool plain = strcmp(op->field[1], "none") != 0;
  if (login && (plain || scripted) && home != NULL && chdir(home) != 0 && chdir("/") != 0) return failed("chdir");
  if (scripted && shell != NULL) return run_shell(state, shell, login, (char *[]){script, NULL}, words);
  if (whole.count == 0) {
    if (shell == NULL) return run_direct(state, whole);
    if (login) show_message(state);
    return run_shell(state, shell, login, NULL, whole);
  }
  /* Without a script, one word with blanks is a line for the shell, and one that names a file without being a program
     is a script. */
  if (plain && shell != NULL && strchr(whole.word[0], ' ') != NULL) {
    char *first[] = {"-c", whole.word[0], "sh", NULL};
    return run_shell(state, shell, login, first, (struct command){whole.word + 1, whole.count - 1});
  }
  if (plain && shell != NULL && access(whole.word[0], F_OK) == 0 && access(whole.word[0], R_OK | X_OK) != 0)
    return run_shell(state, shell, login, NULL, whole);
  if (!login || shell == NULL) return run_direct(state, whole);
  return run_shell(state, shell, login, (char *[]){"-c", "exec \"$@\"", "sh", NULL}, whole);
}
