#ifndef ROOTLING_JOURNAL_H
#define ROOTLING_JOURNAL_H
/* journal.c: what the ops of cables have made on the host, written down before it is made. */
#include <sys/types.h>

/* Words that undo a step, separated by tabs in the file. */
int journal_add(const char *const *words, int count);
/* Whoever makes or removes names that others may share holds this lock. */
int hold_names(void);
void release_names(void);
/* Runs a program of the host with `input` as its standard input, or nothing; what it complains of last becomes the
   detail. Returns its exit status, or -1. */
int run_program(char *const *words, const char *input);
int netns_remove(const char *name, const char *inode);

#define NETNS_DIRECTORY "/run/netns"
#endif
