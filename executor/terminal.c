/* A terminal of the payload's own, and the monitor between it and its clients. */
#include "terminal.h"
#include "walk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* The number under which the inside lends the terminal to the outside: lend.c. */
#define NUMBER 4095
#define NUMBER_TEXT "lent:4095"

/* The mount is checked, and nobody can make a name in a devpts: ptmx there is what it seems. */
static int open_master(struct state *state) {
  struct statfs status;
  int directory = root_open(state, "/dev/pts", O_PATH | O_DIRECTORY);
  if (directory < 0) return failed("openat2");
  if (fstatfs(directory, &status) != 0 || status.f_type != DEVPTS_SUPER_MAGIC) {
    close(directory);
    errno = ENODEV;
    return failed("file system check");
  }
  int master = openat(directory, "ptmx", O_RDWR | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
  int error = errno;
  close(directory);
  errno = error;
  return master >= 0 ? master : failed("openat");
}

/* terminal ROWS COLUMNS: opened in the container's own devpts, so that programs find its name there. */
int op_terminal(struct state *state, struct op *op) {
  unsigned long rows, columns;
  if (!parse_number(op->field[0], 65535, &rows) || !parse_number(op->field[1], 65535, &columns)) {
    errno = EINVAL;
    return failed("size");
  }
  struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
  int unlocked = 0, master = open_master(state);
  if (master < 0) return -1;
  if (ioctl(master, TIOCSPTLCK, &unlocked) != 0 || ioctl(master, TIOCSWINSZ, &size) != 0) return failed("ioctl");
  /* By descriptor (Linux 4.13): a path could lead elsewhere by now. */
  state->terminal = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (state->terminal < 0) return failed("ioctl");
  if (send_descriptor(state->channel, NUMBER, master) != 0) return failed("sendmsg");
  close(master);
  return 0;
}

/* Outside: the terminal that the inside has sent, or -1. */
int take_terminal(struct state *state) {
  (void)state;
  int master = take_lent(NUMBER_TEXT);
  if (master <= 0) return -1;
  fcntl(master, F_SETFL, O_NONBLOCK);
  return master;
}

/* A socket bound or connected to `path`, however long that is; -1 with errno. */
int socket_at(const char *path, bool listening) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  char above[4096];
  const char *name = strrchr(path, '/');
  if (name == NULL || (size_t)snprintf(above, sizeof above, "%.*s/", (int)(name - path), path) >= sizeof above) {
    errno = EINVAL;
    return -1;
  }
  int directory = open(above, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return -1;
  snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d%s", directory, name);
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  int (*join)(int, const struct sockaddr *, socklen_t) = listening ? bind : connect;
  mode_t former = umask(0177);
  int result = fd < 0 ? -1 : join(fd, (struct sockaddr *)&address, sizeof address);
  if (result == 0 && listening) result = listen(fd, 4);
  int error = errno;
  umask(former);
  close(directory);
  if (result != 0 && fd >= 0) close(fd);
  errno = error;
  return result == 0 ? fd : -1;
}

/* listen PATH: where clients of the terminal connect; removed at the end. */
int op_listen(struct state *state, struct op *op) {
  state->listener = socket_at(op->field[0], true);
  return state->listener >= 0 ? 0 : failed("bind");
}

void undo_listen(struct state *state, struct op *op) {
  (void)state;
  unlink(op->field[0]);
}

void relay_begin(struct relay *relay, struct state *state) {
  memset(relay, 0, sizeof *relay);
  relay->state = state;
  relay->client = -1;
}

static void hang_up(struct relay *relay) {
  if (relay->state->terminal >= 0) close(relay->state->terminal);
  relay->state->terminal = -1;
}

static void lose_client(struct relay *relay) {
  close(relay->client);
  relay->client = -1;
  relay->input.size = relay->output.size = 0;
  if (relay->starter) hang_up(relay);
  relay->starter = false;
}

/* Sends without waiting; false if the client does not take it yet. */
static bool send_packet(struct relay *relay, char kind, const char *data, size_t size) {
  char packet[PACKET_MAX + 1];
  packet[0] = kind;
  memcpy(packet + 1, data, size);
  if (send(relay->client, packet, size + 1, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return true;
  if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS) return false;
  lose_client(relay);
  return true;
}

/* A new client takes the place of the old one. Only our own user's, and root's, are let in. */
static void accept_client(struct relay *relay) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  int fd = accept4(relay->state->listener, NULL, NULL, SOCK_CLOEXEC);
  if (fd < 0) return;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || (peer.uid != geteuid() && peer.uid != 0)) {
    close(fd);
    return;
  }
  if (relay->client >= 0) {
    relay->starter = false;
    send_packet(relay, LEAVE, "", 0);
    if (relay->client >= 0) lose_client(relay);
  }
  relay->client = fd;
  relay->met = true;
}

static void take_packet(struct relay *relay) {
  char packet[PACKET_MAX + 1];
  ssize_t n = recv(relay->client, packet, sizeof packet, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return lose_client(relay);
  unsigned short window[2];
  switch (packet[0]) {
  case HELLO:
    relay->starter = n == 2 && packet[1] == 1;
    break;
  case LEAVE:
    relay->starter = false;
    break;
  case INPUT:
    relay->input = (struct chunk){.size = (size_t)n - 1};
    memcpy(relay->input.data, packet + 1, (size_t)n - 1);
    break;
  case WINDOW:
    if (n != 1 + (ssize_t)sizeof window) break;
    memcpy(window, packet + 1, sizeof window);
    struct winsize size = {.ws_row = window[0], .ws_col = window[1]};
    if (relay->state->terminal >= 0) ioctl(relay->state->terminal, TIOCSWINSZ, &size);
    break;
  case SIGNAL:
    if (n == 2) kill(relay->state->inside, packet[1]);
    break;
  }
}

static void write_input(struct relay *relay) {
  struct chunk *chunk = &relay->input;
  ssize_t n = write(relay->state->terminal, chunk->data + chunk->at, chunk->size - chunk->at);
  if (n > 0) chunk->at += (size_t)n;
  else if (errno != EAGAIN && errno != EINTR) chunk->at = chunk->size;
  if (chunk->at == chunk->size) chunk->size = 0;
}

/* False when there is nothing (more) to read. */
static bool read_output(struct relay *relay) {
  struct chunk *chunk = &relay->output;
  ssize_t n = read(relay->state->terminal, chunk->data, sizeof chunk->data);
  if (n <= 0) return false;
  if (relay->state->log >= 0) write(relay->state->log, chunk->data, (size_t)n);
  chunk->size = (size_t)n;
  if (relay->client < 0 || send_packet(relay, OUTPUT, chunk->data, chunk->size)) chunk->size = 0;
  return true;
}

/* Waits until something happens, and passes on what can be passed on. */
void relay_wait(struct relay *relay, int signals) {
  enum { FIRST_CLIENT = 30 * 1000 /* milliseconds */ };
  struct state *state = relay->state;
  struct chunk *input = &relay->input, *output = &relay->output;
  /* Before the first client has come, output waits in the terminal, unless there is a log that takes it. */
  bool reads = output->size == 0 && (relay->met || state->log >= 0);
  struct pollfd poll_for[] = {
      {.fd = signals, .events = POLLIN},
      {.fd = state->listener, .events = POLLIN},
      {.fd = relay->client,
       .events = (short)((input->size == 0 ? POLLIN : 0) | (output->size > 0 ? POLLOUT : 0))},
      {.fd = input->size > 0 || reads ? state->terminal : -1,
       .events = (short)((reads ? POLLIN : 0) | (input->size > 0 ? POLLOUT : 0))},
  };
  bool expected = !relay->met && state->log < 0;
  int ready = poll(poll_for, 4, expected ? FIRST_CLIENT : -1);
  if (ready == 0 && expected) { /* Whoever started us is gone. */
    relay->met = true;
    hang_up(relay);
  }
  if (ready <= 0) return;
  if (poll_for[2].revents & POLLOUT && send_packet(relay, OUTPUT, output->data, output->size)) output->size = 0;
  if (relay->client >= 0 && poll_for[2].revents & (POLLIN | POLLHUP | POLLERR)) take_packet(relay);
  if (state->terminal >= 0 && poll_for[3].revents & POLLOUT) write_input(relay);
  /* A terminal that nobody has open reports POLLHUP for ever: it may be opened again, so a little patience. */
  if (state->terminal >= 0 && reads && poll_for[3].revents & (POLLIN | POLLHUP) && !read_output(relay)) usleep(10000);
  if (poll_for[1].revents & POLLIN) accept_client(relay);
}

/* Sends what has to arrive: waits for the client, but not for one that never reads. */
static void send_last(struct relay *relay, char kind, const char *data, size_t size) {
  struct timeval patience = {.tv_sec = 10};
  char packet[PACKET_MAX + 1];
  packet[0] = kind;
  memcpy(packet + 1, data, size);
  setsockopt(relay->client, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (send(relay->client, packet, size + 1, MSG_NOSIGNAL) >= 0) return;
  close(relay->client);
  relay->client = -1;
}

/* The payload has ended: what it wrote last, and its status, go to the client. */
void relay_end(struct relay *relay, int status) {
  enum { LAST_MAX = 1024 /* packets: something else may have the terminal open, and write for ever */ };
  struct state *state = relay->state;
  if (!relay->met && state->log < 0) { /* It was faster than its own client. */
    struct pollfd coming = {.fd = state->listener, .events = POLLIN};
    if (poll(&coming, 1, 30 * 1000) > 0) accept_client(relay);
  }
  relay->starter = false;
  if (relay->client >= 0 && relay->output.size > 0)
    send_last(relay, OUTPUT, relay->output.data, relay->output.size);
  for (int packets = 0; state->terminal >= 0 && packets < LAST_MAX; packets++) {
    char data[PACKET_MAX];
    ssize_t n = read(state->terminal, data, sizeof data);
    if (n <= 0) break;
    if (state->log >= 0) write(state->log, data, (size_t)n);
    if (relay->client >= 0) send_last(relay, OUTPUT, data, (size_t)n);
  }
  char end = (char)status;
  if (relay->client >= 0) send_last(relay, ENDED, &end, 1);
}
