/* The client of a container's terminal: the caller's terminal becomes the container's until one of them ends, or the
   detach keys are typed. A guardian gives the terminal its modes back should the client be killed. */
#include "terminal.h"
#include "walk.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static struct {
  int server;
  bool starter;
  bool terminal;           /* standard input is one */
  struct termios original;
  pid_t guardian;
  int leash;               /* ends with us, and with that the guardian's waiting */
  unsigned char keys[32];  /* the detach sequence */
  size_t key_count, typed; /* how many of them were typed */
} us = {.guardian = -1, .leash = -1};

static void send_server(char kind, const void *data, size_t size) {
  char packet[PACKET_MAX + 1];
  packet[0] = kind;
  memcpy(packet + 1, data, size);
  while (send(us.server, packet, size + 1, MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

/* A job in the background must not touch the terminal: it stops, as reading or writing there would have it do. */
static void await_foreground(void) {
  for (pid_t owner; us.terminal && (owner = tcgetpgrp(0)) > 0 && owner != getpgrp();) raise(SIGSTOP);
}

static void set_raw(void) {
  struct termios raw = us.original;
  if (!us.terminal) return;
  await_foreground();
  cfmakeraw(&raw);
  tcsetattr(0, TCSADRAIN, &raw);
}

/* Waits for our end and then restores the terminal. In a session of its own, no signal to our process group ends both;
   a process that is not of the terminal's session may set its modes. */
static void guard(int leash) {
  char released;
  block_signals();
  setsid();
  close(us.server);
  close(1);
  close(2);
  if (read(leash, &released, 1) != 1) tcsetattr(0, TCSANOW, &us.original);
  _exit(0);
}

static void start_guardian(void) {
  int pair[2];
  if (!us.terminal || pipe2(pair, O_CLOEXEC) != 0) return;
  if (us.leash >= 0) close(us.leash);
  us.guardian = fork();
  if (us.guardian == 0) {
    close(pair[1]);
    guard(pair[0]);
  }
  close(pair[0]);
  us.leash = pair[1];
}

/* Gives the terminal back, and ends. */
static void leave(int status, const char *words) {
  if (us.terminal) {
    tcsetattr(0, TCSADRAIN, &us.original);
    if (us.leash >= 0) write(us.leash, "", 1);
  }
  if (words != NULL) fprintf(stderr, "%srootling: %s\n", us.terminal ? "\n" : "", words);
  exit(status);
}

static void send_window(void) {
  struct winsize size;
  if (!us.terminal || ioctl(0, TIOCGWINSZ, &size) != 0) return;
  unsigned short window[2] = {size.ws_row, size.ws_col};
  send_server(WINDOW, window, sizeof window);
}

/* Takes the detach keys out of what was typed; the rest goes to the container. */
static void send_input(const unsigned char *data, size_t size) {
  char passed[PACKET_MAX];
  size_t count = 0;
  for (size_t i = 0; i < size; i++) {
    if (us.key_count > 0 && data[i] == us.keys[us.typed]) {
      if (++us.typed < us.key_count) continue;
      if (count > 0) send_server(INPUT, passed, count);
      send_server(LEAVE, "", 0);
      leave(0, "detached");
    }
    for (size_t key = 0; key < us.typed; key++) passed[count++] = (char)us.keys[key];
    us.typed = us.key_count > 0 && data[i] == us.keys[0];
    if (us.typed == 0) passed[count++] = (char)data[i];
  }
  if (count > 0) send_server(INPUT, passed, count);
}

/* False at the end of standard input. */
static bool take_input(void) {
  unsigned char data[PACKET_MAX / 2]; /* Held-back keys come on top. */
  ssize_t n = read(0, data, sizeof data);
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  if (n < 0 && errno == EIO && us.terminal && tcgetpgrp(0) > 0 && tcgetpgrp(0) != getpgrp()) {
    set_raw();
    return true;
  }
  if (n <= 0 && us.terminal) leave(128 + SIGHUP, NULL); /* It was hung up. */
  if (n > 0) send_input(data, (size_t)n);
  return n > 0;
}

static void show(const char *data, size_t size) {
  while (size > 0) {
    ssize_t n = write(1, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      struct pollfd out = {.fd = 1, .events = POLLOUT};
      poll(&out, 1, -1);
      continue;
    }
    if (n < 0) leave(STATUS_FAILURE, NULL);
    data += n;
    size -= (size_t)n;
  }
}

static void take_packet(void) {
  char packet[PACKET_MAX + 1];
  ssize_t n = recv(us.server, packet, sizeof packet, 0);
  /* A monitor that ended without having read all that we sent: said once, before what it has sent (unix(7)). */
  if (n < 0 && (errno == EINTR || errno == ECONNRESET)) return;
  if (n <= 0) leave(STATUS_FAILURE, "the container's monitor has gone");
  if (packet[0] == OUTPUT) show(packet + 1, (size_t)n - 1);
  if (packet[0] == ENDED && n == 2) leave((unsigned char)packet[1], NULL);
  if (packet[0] == LEAVE) leave(0, "another client has taken over");
}

static void take_signal(int number) {
  char byte = (char)number;
  switch (number) {
  case SIGWINCH:
    return send_window();
  case SIGCHLD: /* The guardian was killed: another one. */
    if (waitpid(us.guardian, NULL, WNOHANG) == us.guardian) start_guardian();
    return;
  case SIGTSTP:
  case SIGTTIN:
  case SIGTTOU:
    if (us.terminal) tcsetattr(0, TCSADRAIN, &us.original);
    raise(SIGSTOP);
    return;
  case SIGCONT: /* Another program may have had the terminal in the meantime. */
    set_raw();
    return send_window();
  case SIGPIPE:
    return;
  case SIGHUP:
    leave(128 + SIGHUP, NULL);
    return;
  default: /* What ends a guest would end the payload, were it the terminal's own process. */
    if (us.starter) send_server(SIGNAL, &byte, 1);
    else leave(128 + number, NULL);
  }
}

/* Hexadecimal bytes. */
static void read_keys(const char *text) {
  char pair[3] = "";
  for (; text[0] && text[1] && us.key_count < sizeof us.keys; text += 2) {
    memcpy(pair, text, 2);
    us.keys[us.key_count++] = (unsigned char)strtoul(pair, NULL, 16);
  }
}

/* Returns never but for a socket that nobody answers. `keys`: hexadecimal; `starter`: our end hangs up. */
int client(const char *path, const char *keys, bool starter) {
  sigset_t all;
  us.server = socket_at(path, false);
  if (us.server < 0) fatal("connecting to the container's terminal");
  us.starter = starter;
  us.terminal = tcgetattr(0, &us.original) == 0;
  read_keys(keys);
  block_signals();
  memset(&all, 0xff, sizeof all);
  int signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0) fatal("signalfd");
  char hello = starter;
  send_server(HELLO, &hello, 1);
  send_window();
  start_guardian();
  set_raw();
  bool reading = true;
  for (;;) {
    struct signalfd_siginfo info;
    struct pollfd poll_for[] = {{.fd = signals, .events = POLLIN},
                                {.fd = us.server, .events = POLLIN},
                                {.fd = reading ? 0 : -1, .events = POLLIN}};
    if (poll(poll_for, 3, -1) < 0) continue;
    while (read(signals, &info, sizeof info) == (ssize_t)sizeof info) take_signal((int)info.ssi_signo);
    if (poll_for[2].revents) reading = take_input();
    if (poll_for[1].revents) take_packet();
  }
}
