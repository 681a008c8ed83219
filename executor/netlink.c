/* rtnetlink(7): links, addresses and routes are made without another program's help, which is quick, and says exactly
   what the kernel refuses. */
#include "netlink.h"
#include "executor.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWER_SIZE = 32768 };

/* The smallest place for a header, aligned as the kernel wants it. */
static void append(struct request *request, const void *data, size_t size) {
  size_t at = NLMSG_ALIGN(request->header.nlmsg_len);
  if (at + size > sizeof request->bytes) return; /* Names and addresses are short: a request never fills it. */
  if (size > 0) memcpy(request->bytes + at, data, size);
  request->header.nlmsg_len = (unsigned)(at + size);
}

void request_begin(struct request *request, int type, int flags, const void *body, size_t size) {
  memset(request, 0, sizeof *request);
  request->header = (struct nlmsghdr){.nlmsg_len = NLMSG_HDRLEN, .nlmsg_type = (unsigned short)type,
                                      .nlmsg_flags = (unsigned short)(NLM_F_REQUEST | flags)};
  append(request, body, size);
}

void request_put(struct request *request, int type, const void *data, size_t size) {
  struct rtattr head = {.rta_len = (unsigned short)RTA_LENGTH(size), .rta_type = (unsigned short)type};
  append(request, &head, sizeof head);
  append(request, data, size);
}

void request_text(struct request *request, int type, const char *text) {
  request_put(request, type, text, strlen(text) + 1);
}

void request_number(struct request *request, int type, unsigned number) {
  request_put(request, type, &number, sizeof number);
}

size_t request_nest(struct request *request, int type) {
  size_t at = NLMSG_ALIGN(request->header.nlmsg_len);
  request_put(request, type, NULL, 0);
  return at;
}

void request_end(struct request *request, size_t nest) {
  struct rtattr *head = (struct rtattr *)(void *)(request->bytes + nest);
  head->rta_len = (unsigned short)(request->header.nlmsg_len - nest);
}

static int open_socket(void) {
  int on = 1, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return -1;
  setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  return fd;
}

static void quit(int fd) {
  int error = errno;
  close(fd);
  errno = error;
}

/* The kernel's words follow the head of the request that it answers. */
static void keep_words(const struct nlmsghdr *answer) {
  size_t at = NLMSG_LENGTH(sizeof(struct nlmsgerr));
  if (!(answer->nlmsg_flags & NLM_F_ACK_TLVS)) return;
  while (at + sizeof(struct rtattr) <= answer->nlmsg_len) {
    const struct rtattr *attribute = (const void *)((const char *)answer + at);
    if (attribute->rta_len < sizeof *attribute || at + attribute->rta_len > answer->nlmsg_len) return;
    if ((attribute->rta_type & NLA_TYPE_MASK) == NLMSGERR_ATTR_MSG)
      snprintf(failed_detail, sizeof failed_detail, "%.*s", (int)RTA_PAYLOAD(attribute), (const char *)RTA_DATA(attribute));
    at += NLMSG_ALIGN(attribute->rta_len);
  }
}

/* What is done with a message of an answer; true ends it. */
typedef bool taker(const struct nlmsghdr *, void *data);

/* 0 at the end of the answer, or -1 with errno. */
static int take_answer(int fd, taker *take, void *data) {
  static _Alignas(struct nlmsghdr) char buffer[ANSWER_SIZE];
  for (;;) {
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return -1;
    size_t left = (size_t)n;
    for (const struct nlmsghdr *at = (const void *)buffer; NLMSG_OK(at, left);
         left -= NLMSG_ALIGN(at->nlmsg_len), at = (const void *)((const char *)at + NLMSG_ALIGN(at->nlmsg_len))) {
      if (at->nlmsg_type == NLMSG_DONE) return 0;
      if (at->nlmsg_type == NLMSG_ERROR) {
        errno = -((const struct nlmsgerr *)NLMSG_DATA(at))->error;
        if (errno != 0) keep_words(at);
        return errno == 0 ? 0 : -1;
      }
      if (take != NULL && take(at, data)) return 0;
    }
  }
}

static int converse(struct request *request, taker *take, void *data) {
  int fd = open_socket();
  if (fd < 0) return -1;
  int result = send(fd, request->bytes, request->header.nlmsg_len, 0) < 0 ? -1 : take_answer(fd, take, data);
  quit(fd);
  return result;
}

int request_send(struct request *request) {
  request->header.nlmsg_flags |= NLM_F_ACK;
  return converse(request, NULL, NULL);
}

static void copy_text(char *to, size_t size, const struct rtattr *from) {
  snprintf(to, size, "%.*s", (int)RTA_PAYLOAD(from), (const char *)RTA_DATA(from));
}

static void read_link(const struct nlmsghdr *message, struct link *link) {
  const struct ifinfomsg *info = NLMSG_DATA(message);
  *link = (struct link){.index = (unsigned)info->ifi_index};
  int left = (int)IFLA_PAYLOAD(message);
  for (const struct rtattr *at = IFLA_RTA(info); RTA_OK(at, left); at = RTA_NEXT(at, left)) {
    if (at->rta_type == IFLA_MASTER) memcpy(&link->master, RTA_DATA(at), sizeof link->master);
    if (at->rta_type == IFLA_IFALIAS) copy_text(link->alias, sizeof link->alias, at);
    if (at->rta_type == IFLA_ADDRESS && RTA_PAYLOAD(at) == 6) {
      const unsigned char *mac = RTA_DATA(at);
      snprintf(link->mac, sizeof link->mac, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
    }
    if (at->rta_type != IFLA_LINKINFO) continue;
    int within = (int)RTA_PAYLOAD(at);
    for (const struct rtattr *inner = RTA_DATA(at); RTA_OK(inner, within); inner = RTA_NEXT(inner, within))
      if (inner->rta_type == IFLA_INFO_KIND) copy_text(link->kind, sizeof link->kind, inner);
  }
}

static bool take_link(const struct nlmsghdr *message, void *data) {
  if (message->nlmsg_type == RTM_NEWLINK) read_link(message, data);
  return true;
}

int link_find(const char *name, struct link *link) {
  struct request request;
  struct ifinfomsg all = {0};
  request_begin(&request, RTM_GETLINK, 0, &all, sizeof all);
  request_text(&request, IFLA_IFNAME, name);
  return converse(&request, take_link, link);
}

struct ports {
  unsigned master;
  bool found;
};

static bool take_port(const struct nlmsghdr *message, void *data) {
  struct ports *ports = data;
  struct link link;
  read_link(message, &link);
  ports->found |= link.master == ports->master;
  return false;
}

bool link_has_ports(unsigned index) {
  struct request request;
  struct ifinfomsg all = {0};
  struct ports ports = {.master = index};
  request_begin(&request, RTM_GETLINK, NLM_F_DUMP, &all, sizeof all);
  return converse(&request, take_port, &ports) != 0 || ports.found;
}

int link_delete(unsigned index) {
  struct request request;
  struct ifinfomsg info = {.ifi_index = (int)index};
  request_begin(&request, RTM_DELLINK, 0, &info, sizeof info);
  return request_send(&request);
}

int link_up(unsigned index, const char *alias) {
  struct request request;
  struct ifinfomsg info = {.ifi_index = (int)index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
  request_begin(&request, RTM_NEWLINK, 0, &info, sizeof info);
  if (*alias != '\0') request_put(&request, IFLA_IFALIAS, alias, strlen(alias));
  return request_send(&request);
}
