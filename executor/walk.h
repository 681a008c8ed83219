#ifndef ROOTLING_WALK_H
#define ROOTLING_WALK_H
#include "executor.h"

enum { STATUS_FAILURE = 125 };

/* What passes through the channel. */
struct message {
  enum { BATON, FAILURE, PID } kind;
  int op, error, pid;
  char call[32], detail[256];
};

void send_message(struct state *, const struct message *);
bool receive_message(struct state *, struct message *);
struct message failure_of(int op);
int exit_status_of(const struct plan *, const struct message *failure);
/* Guests have words of their own where no program does, and may go on after a failure. */
extern void (*explain_plainly)(const struct plan *, const struct message *);
extern void (*after_failure)(void);
void explain(const struct plan *, const struct message *failure);
void undo(struct state *);
void walk_inside(struct state *, int from) __attribute__((noreturn));
int walk_outside(struct state *, int from);

/* Says what failed before anything was done, and ends. */
void fatal(const char *what) __attribute__((noreturn));

/* table.c */
int print_ops(void);

/* monitor.c: the topologies */
int carry_out(struct plan *, unsigned long ignored, int report);
#endif
