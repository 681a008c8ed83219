#ifndef ROOTLING_STARTUP_H
#define ROOTLING_STARTUP_H
#include "executor.h"

/* gather.c: what a start gathers before its payload runs */
char *host_file(const char *path);
char *root_file(struct state *, const char *path, bool *missing);
char *expanded(struct state *, const char *text, char **caller);
const char *list_value(char **list, const char *name);
int gather(struct state *, const char *variable);
int write_gathered(struct state *, const char *path);
int read_gathered(struct state *, const char *path);

/* hook.c */
int root_path(struct state *, char *path, size_t size);

/* fstab.c */
int mount_lines(struct state *, const char *name, char *text, long pass);
#endif
