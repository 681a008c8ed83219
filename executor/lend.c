/* Trees of mounts that the outside prepares and lends to the inside: what only the caller's namespaces may reach or
   map. They pass through the channel as descriptors, and are mounted by op `bind`. */
#include "executor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LENT_MAX = 4096 };

/* By number; 0 is none, since descriptor 0 is the payload's standard input. */
static int lent[LENT_MAX];

union control {
  struct cmsghdr head;
  char space[CMSG_SPACE(sizeof(int))];
};

/* Sends an open file; the other side has it as lent:NUMBER. */
int send_descriptor(int channel, unsigned long number, int fd) {
  union control control = {0};
  struct iovec data = {&number, sizeof number};
  struct msghdr message = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.space};
  struct cmsghdr *head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(head), &fd, sizeof fd);
  ssize_t n;
  do n = sendmsg(channel, &message, 0);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -1 : 0;
}

/* Like read(2) from the channel, but keeps the descriptors that arrive, and goes on to what is a message of words. */
ssize_t read_channel(int channel, void *buffer, size_t size) {
  for (;;) {
    union control control;
    struct iovec data = {buffer, size};
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.space};
    ssize_t n = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *head = n < 0 ? NULL : CMSG_FIRSTHDR(&message);
    if (head == NULL) return n;
    unsigned long number;
    int fd;
    memcpy(&fd, CMSG_DATA(head), sizeof fd);
    if (n != (ssize_t)sizeof number || (memcpy(&number, buffer, sizeof number), number >= LENT_MAX)) close(fd);
    else lent[number] = fd;
  }
}

/* The descriptor behind `lent:NUMBER`, which is used up; 0 where it never came, -1 for what is no such name. */
int take_lent(const char *name) {
  unsigned long number;
  if (strncmp(name, "lent:", 5) != 0 || !parse_number(name + 5, LENT_MAX - 1, &number)) return -1;
  int fd = lent[number];
  lent[number] = 0;
  return fd;
}

/* Owners on disk appear through the container's own id map: 0 on disk is 0 inside. */
static int map_ids(struct state *state, int tree, bool recursive) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/ns/user", state->inside);
  int namespace = open(path, O_RDONLY | O_CLOEXEC);
  if (namespace < 0) return failed("open");
  struct mount_attr attributes = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (unsigned)namespace};
  unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
  int result = (int)syscall(SYS_mount_setattr, tree, "", flags, &attributes, sizeof attributes);
  int error = errno;
  close(namespace);
  errno = error;
  return result == 0 ? 0 : failed("mount_setattr");
}

/* Sends a descriptor to the other side as lent:NUMBER. */
int send_lent(struct state *state, const char *name, int fd) {
  unsigned long number;
  if (!parse_number(name, LENT_MAX - 1, &number)) {
    errno = EINVAL;
    return failed("number");
  }
  return send_descriptor(state->channel, number, fd) == 0 ? 0 : failed("sendmsg");
}

/* Sends a detached tree of mounts, its owners mapped if `map` says so, and closes it. */
int lend_tree(struct state *state, const char *number, int tree, bool map, bool recursive) {
  int result = map ? map_ids(state, tree, recursive) : 0;
  if (result == 0) result = send_lent(state, number, tree);
  int error = errno;
  close(tree);
  errno = error;
  return result;
}

/* lend NUMBER SOURCE WORDS: sends the file or directory to the inside as lent:NUMBER. WORDS: rec; idmap; nofail. */
int op_lend(struct state *state, struct op *op) {
  bool recursive = has_word(op->field[2], "rec");
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0);
  int tree = (int)syscall(SYS_open_tree, AT_FDCWD, op->field[1], flags);
  if (tree < 0) return has_word(op->field[2], "nofail") ? 0 : failed("open_tree");
  return lend_tree(state, op->field[0], tree, has_word(op->field[2], "idmap"), recursive);
}
