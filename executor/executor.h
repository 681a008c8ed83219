/* The executor carries a plan out: it makes the system calls that a JavaScript runtime cannot make. */
#ifndef ROOTLING_EXECUTOR_H
#define ROOTLING_EXECUTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* One step of a plan, as read from the wire. Texts point into the wire's buffer, which is never freed. */
struct op {
  const struct verb *verb;
  const char *origin;
  char **field;
  int fields;
  bool done; /* outside ops only: decides what is undone */
};

struct plan {
  bool supervised; /* a monitor stays outside; otherwise the process becomes the payload ("in place") */
  bool detached;   /* the monitor is nobody's job: it was started with --monitor */
  int status;      /* exit status where a step fails */
  char **explain;  /* argument list of the program that puts a failure into words; NULL-terminated */
  struct op *op;
  int ops;
};

enum side { INSIDE, OUTSIDE };

/* What ops share. The inside and the outside process have a copy each. */
struct state {
  struct plan *plan;
  pid_t inside;     /* outside: pid of the process that walks the inside ops */
  int root;         /* O_PATH descriptor of the root being made, or -1 before op `root` */
  int system[3];    /* what was mounted at /proc, /sys and /dev, or -1: root_open */
  int channel;      /* to the other side; closed by exec */
  bool entered;     /* the root was pivoted into: paths are the container's */
  int stops;        /* of a monitor: pid 1 writes here when the payload has stopped */
  int users;        /* outside: the user namespace, where its ids are more than the caller's own; else -1 */
  pid_t server;     /* outside: what answers for a FUSE root; else 0 */
  int log;          /* what a detached payload writes to, or -1 */
  int terminal;     /* a terminal of its own: inside the payload's end, outside the monitor's; or -1 */
  int listener;     /* of a monitor: where clients of the terminal connect, or -1 */
  int report;       /* of a detached monitor: closes when the payload runs, after a word; or -1 */
  unsigned long ignored; /* signals that the payload is to ignore, as its caller did: nohup(1) */
  int status;       /* of a monitor: the payload's, once it has ended; before, -1 */
  mode_t umask;     /* the caller's */
  char **environment;
  char **gathered;  /* what becomes the environment, while it is put together: gather.c */
  char **caller;    /* the caller's environment, for hooks */
  char **hidden;    /* paths of the host that no mount may show */
  char *stage;      /* the stage, for lines that come after op `hidden` */
  int rc;           /* a script that starts the payload, in memory; or -1 */
  int services;     /* where pid 1 of a subhost reports what became of its services, or -1 */
};

/* An op function returns 0, or -1 with errno set after `failed(CALL)` named the system call. */
struct verb {
  const char *name;
  enum side side;
  int least, most; /* fields */
  int (*act)(struct state *, struct op *);
  void (*undo)(struct state *, struct op *);
};

extern const struct verb verbs[];
extern const int verb_count;

/* Names the call that failed, for the report; returns -1. */
int failed(const char *call);
/* The same, of a path that becomes the detail. */
int failed_at(const char *call, const char *path);
extern const char *failed_call;
/* What the kernel adds in words, where it does. */
extern char failed_detail[256];

/* wire.c */
const char *wire_parse(char *buffer, size_t size, struct plan *plan);
char *wire_read(const char *path, size_t *size);

/* root.c: paths inside the root, never followed by string */
enum create { CREATE_NONE, CREATE_DIRECTORY, CREATE_FILE, CREATE_OWN /* a directory that is no symlink */ };
int root_open(struct state *, const char *path, int flags);
int root_target(struct state *, const char *path, enum create create, mode_t mode);
int root_parent(struct state *, const char *path, char *name, size_t size);
int existing_parent(struct state *, const char *path, char *name, size_t size);
void root_keep(struct state *, const char *path, int mount);
int remove_tree(const char *path);

/* Functions of ops.def */
#define OP(name, side, least, most, act, undo) int act(struct state *, struct op *);
#include "ops.def"
#ifdef ROOTLING_GUEST
#include "guest/ops.def"
#endif
#undef OP
void undo_upper(struct state *, struct op *);
void undo_temporary(struct state *, struct op *);
void undo_record(struct state *, struct op *);
void undo_cgroup(struct state *, struct op *);
void undo_pasta(struct state *, struct op *);
void undo_cables(struct state *, struct op *);

void undo_serve(struct state *, struct op *);
void undo_disk_file(struct state *, struct op *);
void undo_log(struct state *, struct op *);
void undo_exit_status(struct state *, struct op *);
void undo_listen(struct state *, struct op *);

/* namespaces.c */
bool start_time(unsigned long pid, char *start, size_t size);
bool same_process(unsigned long pid, const char *start);

/* mount.c */
bool has_word(const char *list, const char *word);
int change_mount(struct state *, const char *path, const char *set, const char *clear, bool recursive);

/* lend.c */
ssize_t read_channel(int channel, void *buffer, size_t size);
int send_descriptor(int channel, unsigned long number, int fd);
int take_lent(const char *name);
int send_lent(struct state *, const char *number, int fd);
int lend_tree(struct state *, const char *number, int tree, bool map, bool recursive);

/* journal.c */
int clear_cables(const char *mark);

/* ids.c */
int remove_mapped(struct state *, const char *path);

/* detached.c */
void life_begins(const struct plan *);

/* user.c */
bool own_account(struct state *, char *name, size_t name_size, char *home, size_t home_size, char *shell, size_t shell_size);

/* terminal.c */
int take_terminal(struct state *);

/* timeline.c */
void timeline_prepare(struct plan *plan);
void timeline_show(const struct plan *plan);

/* process.c */
void default_signals(void);
void block_signals(void);
void ignore_signals(unsigned long mask);
int raise_capabilities(void);
int own_stdio(struct state *);
int exec_payload(struct state *, const char *program, char **argv);
void reap_until_exit(pid_t payload, int stops) __attribute__((noreturn));

/* text to number; false if it is not a plain decimal number of at most `most` */
bool parse_number(const char *text, unsigned long most, unsigned long *value);

#endif
