/* What a guest needs beside the ops: its tools, and the reader of its configuration. */
#ifndef ROOTLING_GUEST_H
#define ROOTLING_GUEST_H
#include "../executor.h"

#include <stdio.h>

/* command.c: 0, or -1 with errno, failed_call and failed_detail */
int run_tolerant(char **argv, char **environment, int input);
int exec_tolerant(struct state *, char **argv, char **environment);

/* initctl.c */
int serve_initctl(const char *fifo, pid_t pid);
int open_initctl(const char *fifo);

/* guest-ops.c */
bool is_mount_point(const char *path);

/* The tools, by the name that the program is started under: each returns its exit status. */
int tool_init(int argc, char **argv);
int tool_tolerant(int argc, char **argv);
int tool_overlay(int argc, char **argv);
int tool_mount_idmapped(int argc, char **argv);
int tool_initctl(int argc, char **argv);
int tool_machine(int argc, char **argv);
/* Prints "rootling: NAME: what failed" with the mend for it, where there is one; returns the status of a failure. */
int tool_failure(const char *tool);
int tool_usage(const char *tool, const char *wrong);
struct message;
void explain_here(const struct plan *, const struct message *);

/* words.c: a text as the words of a command; NULL with *wrong set */
char **split_words(const char *text, const char **wrong);

/* init-file.c */
enum { SETUP_AUTO, SETUP_NONE, SETUP_LXC_LIBVIRT, SETUP_LXC, SETUP_QEMU, SETUP_OCI };
struct command {
  char **words; /* NULL-terminated, never empty */
  char *input;  /* or NULL */
  char *origin;
};
struct commands {
  struct command *list;
  int count;
};
struct range {
  unsigned long inside, outside, count;
};
struct ranges {
  struct range *list;
  int count;
};
struct texts {
  char **list;
  int count;
  const char *origin;
};
struct init_file {
  const char *root, *root_origin;
  const char *root_mode, *root_mode_origin;
  bool mapped;
  struct ranges users, groups;
  const char *map_origin;
  bool initctl;
  const char *initctl_origin;
  struct texts exclude, rexclude;
  int setup;
  const char *setup_origin;
  struct commands setup_before, exec_before;
  struct command command;
  bool shell_on_error;
};
/* Reads the text of a file called `name`; false after what is wrong was printed to standard error. */
bool read_init_file(const char *text, size_t size, const char *name, struct init_file *);

/* init-plan.c: the wire of the plan, in new memory */
char *init_wire(const struct init_file *, char **environment, size_t *size);
#endif
