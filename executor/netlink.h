#ifndef ROOTLING_NETLINK_H
#define ROOTLING_NETLINK_H
/* Requests to the kernel's network configuration: rtnetlink(7), in the network namespace that we are in. */
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stddef.h>

struct request {
  union {
    struct nlmsghdr header;
    char bytes[2048];
  };
};

/* What is asked of a link that is there. */
struct link {
  unsigned index, master;
  char alias[128], kind[32];
  char mac[18]; /* as text */
};

void request_begin(struct request *, int type, int flags, const void *body, size_t size);
void request_put(struct request *, int type, const void *data, size_t size);
void request_text(struct request *, int type, const char *text);
void request_number(struct request *, int type, unsigned number);
size_t request_nest(struct request *, int type);
void request_end(struct request *, size_t nest);
/* Sends it and waits for the answer: 0, or -1 with errno, and the kernel's own words as the detail. */
int request_send(struct request *);

/* 0, or -1 with errno ENODEV where there is no link of this name. */
int link_find(const char *name, struct link *);
/* True if some link is a port of the one with this index. */
bool link_has_ports(unsigned index);
int link_delete(unsigned index);
/* Brings it up, with an alias if there is one. */
int link_up(unsigned index, const char *alias);
#endif
