#ifndef ROOTLING_TERMINAL_H
#define ROOTLING_TERMINAL_H
#include "executor.h"

/* What passes between a client and the monitor, a packet each: its first byte, then the data. */
enum packet {
  HELLO = 'h',  /* client: one byte, 1 if it started the container: its end hangs the terminal up */
  INPUT = 'i',  /* client: bytes typed */
  WINDOW = 'w', /* client: rows and columns, 16 bits each */
  SIGNAL = 's', /* client: one byte, for the payload */
  LEAVE = 'd',  /* client: it goes, and the terminal stays; monitor: another client has come */
  OUTPUT = 'o', /* monitor: bytes to show */
  ENDED = 'x',  /* monitor: one byte, the payload's exit status */
};
enum { PACKET_MAX = 4096 };

/* Bytes on their way to a descriptor that does not take them yet. */
struct chunk {
  char data[PACKET_MAX];
  size_t at, size;
};

/* terminal.c: the monitor's part */
struct relay {
  struct state *state;
  int client;
  bool starter; /* the client's end hangs up */
  bool met;     /* a client has been there */
  struct chunk input, output;
};
void relay_begin(struct relay *, struct state *);
void relay_wait(struct relay *, int signals);
void relay_end(struct relay *, int status);

/* client.c */
int client(const char *socket, const char *keys, bool starter);
int socket_at(const char *path, bool listening);
#endif
