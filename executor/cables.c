/* Virtual cables: veth pairs between the host and the inside's network namespace, and what goes with them. All names
   that are made on the host are in the journal first; links carry an alias, by which they are told from others. */
#include "executor.h"
#include "journal.h"
#include "netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/pkt_sched.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { MAC_SIZE = 6, NSFS_MAGIC = 0x6e736673 };

/* Of a link, before it is made: which alias it will have, and which MAC address it has until then. */
static int note_link(const char *kind, const char *name, const char *alias, const char *mac) {
  const char *words[] = {kind, name, alias, mac};
  return journal_add(words, 4);
}

/* An interface of this name is looked for. */
static int find(const char *name, struct link *link) {
  return link_find(name, link) == 0 ? 0 : failed_at("interface", name);
}

/* ip-netns(8) finds namespaces here: a directory whose mounts are shared with other mount namespaces. */
static int share_directory(void) {
  if (mount("", NETNS_DIRECTORY, "none", MS_SHARED | MS_REC, NULL) == 0) return 0;
  if (errno != EINVAL) return failed("mount");
  if (mount(NETNS_DIRECTORY, NETNS_DIRECTORY, "none", MS_BIND | MS_REC, NULL) != 0 ||
      mount("", NETNS_DIRECTORY, "none", MS_SHARED | MS_REC, NULL) != 0)
    return failed("mount");
  return 0;
}

static bool netns_path(char *path, size_t size, const char *name) {
  return strchr(name, '/') == NULL && (size_t)snprintf(path, size, "%s/%s", NETNS_DIRECTORY, name) < size;
}

/* netns NAME: gives the inside's network namespace a name for ip-netns(8). */
int op_netns(struct state *state, struct op *op) {
  char path[256], source[64], inode[32];
  struct stat status;
  snprintf(source, sizeof source, "/proc/%d/ns/net", state->inside);
  if (stat(source, &status) != 0) return failed_at("stat", source);
  snprintf(inode, sizeof inode, "%lu", (unsigned long)status.st_ino);
  if (!netns_path(path, sizeof path, op->field[0])) {
    errno = EINVAL;
    return failed("netns");
  }
  if (hold_names() != 0 || share_directory() != 0) return -1;
  if (access(path, F_OK) == 0) {
    errno = EEXIST;
    return failed_at("open", path);
  }
  const char *words[] = {"netns", op->field[0], inode};
  if (journal_add(words, 3) != 0) return -1;
  int fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);
  if (fd < 0) return failed_at("open", path);
  close(fd);
  if (mount(source, path, "none", MS_BIND, NULL) != 0) return failed_at("mount", path);
  release_names();
  return 0;
}

/* Only the namespace that was named: another one has another inode, as long as this one is held. */
int netns_remove(const char *name, const char *inode) {
  char path[256], now[32];
  struct stat status;
  struct statfs system;
  if (!netns_path(path, sizeof path, name) || hold_names() != 0) return -1;
  if (lstat(path, &status) == 0 && statfs(path, &system) == 0) {
    bool mounted = system.f_type == NSFS_MAGIC;
    snprintf(now, sizeof now, "%lu", (unsigned long)status.st_ino);
    if (mounted && strcmp(now, inode) == 0 && umount2(path, MNT_DETACH) == 0) unlink(path);
    /* Cut short between the two steps: we hold the lock, and the name was ours to make. */
    if (!mounted && S_ISREG(status.st_mode) && status.st_size == 0 && (status.st_mode & 07777) == 0) unlink(path);
  }
  release_names();
  return 0;
}

static bool read_mac(const char *text, unsigned char *mac) {
  unsigned value[MAC_SIZE];
  if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x", value, value + 1, value + 2, value + 3, value + 4, value + 5) != MAC_SIZE)
    return false;
  for (int i = 0; i < MAC_SIZE; i++) mac[i] = (unsigned char)value[i];
  return true;
}

/* Adds ADDRESS/PREFIX; one that is there already stays. */
static int add_address(unsigned index, const char *text) {
  char address[64];
  unsigned char bytes[16];
  unsigned long prefix;
  struct request request;
  snprintf(address, sizeof address, "%s", text);
  char *slash = strchr(address, '/');
  bool six = strchr(address, ':') != NULL;
  if (slash != NULL) *slash = '\0';
  if (slash == NULL || !parse_number(slash + 1, six ? 128 : 32, &prefix) ||
      inet_pton(six ? AF_INET6 : AF_INET, address, bytes) != 1) {
    errno = EINVAL;
    return failed_at("address", text);
  }
  /* Nobody else has it, so that nobody is waited for. */
  struct ifaddrmsg info = {.ifa_family = six ? AF_INET6 : AF_INET, .ifa_prefixlen = (unsigned char)prefix,
                           .ifa_flags = six ? IFA_F_NODAD : 0, .ifa_index = index};
  request_begin(&request, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
  request_put(&request, IFA_LOCAL, bytes, six ? 16 : 4);
  request_put(&request, IFA_ADDRESS, bytes, six ? 16 : 4);
  return request_send(&request) == 0 || errno == EEXIST ? 0 : failed("address");
}

static int add_addresses(const char *name, char **address, int count) {
  struct link link;
  if (find(name, &link) != 0) return -1;
  for (int i = 0; i < count; i++)
    if (add_address(link.index, address[i]) != 0) return -1;
  return link_up(link.index, "") == 0 ? 0 : failed("link");
}

/* interface NAME ADDRESS…: gives it addresses and brings it up. host-interface: the same on the host. */
int op_interface(struct state *state, struct op *op) {
  (void)state;
  return add_addresses(op->field[0], op->field + 1, op->fields - 1);
}

static int make_bridge(const char *name, const char *mac, const char *alias) {
  struct request request;
  struct link link;
  struct ifinfomsg info = {0};
  unsigned char bytes[MAC_SIZE];
  request_begin(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
  request_text(&request, IFLA_IFNAME, name);
  /* Its own, else it would be that of the port that has the least, and change as they come and go. */
  if (read_mac(mac, bytes)) request_put(&request, IFLA_ADDRESS, bytes, sizeof bytes);
  size_t nest = request_nest(&request, IFLA_LINKINFO);
  request_text(&request, IFLA_INFO_KIND, "bridge");
  request_end(&request, nest);
  if (request_send(&request) != 0) return failed("bridge");
  return find(name, &link) != 0 ? -1 : link_up(link.index, alias) == 0 ? 0 : failed("link");
}

/* bridge NAME MAC ALIAS ADDRESS…: makes it where there is none. The names are held until the cable hangs on it, so
   that nobody finds it without ports and removes it. */
int op_bridge(struct state *state, struct op *op) {
  struct link link;
  (void)state;
  if (hold_names() != 0 || note_link("bridge", op->field[0], op->field[2], op->field[1]) != 0) return -1;
  if (link_find(op->field[0], &link) != 0) {
    failed_detail[0] = '\0';
    if (make_bridge(op->field[0], op->field[1], op->field[2]) != 0) return -1;
  } else if (strcmp(link.kind, "bridge") != 0) {
    errno = ENOTUNIQ;
    return failed("bridge");
  }
  return add_addresses(op->field[0], op->field + 3, op->fields - 3);
}

/* A locally administered address (IEEE 802c). */
static int random_mac(unsigned char *mac, char *text, size_t size) {
  if (getrandom(mac, MAC_SIZE, 0) != MAC_SIZE) return failed("getrandom");
  mac[0] = (unsigned char)((mac[0] & 0xfc) | 2);
  snprintf(text, size, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
  return 0;
}

static int make_pair(const struct op *op, pid_t inside, unsigned master) {
  struct request request;
  struct ifinfomsg info = {0};
  unsigned char mac[MAC_SIZE];
  char text[18];
  if (random_mac(mac, text, sizeof text) != 0 || note_link("link", op->field[0], op->field[5], text) != 0) return -1;
  unsigned long mtu = 0;
  parse_number(op->field[4], 65535, &mtu);
  request_begin(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
  request_text(&request, IFLA_IFNAME, op->field[0]);
  request_put(&request, IFLA_ADDRESS, mac, sizeof mac);
  if (mtu > 0) request_number(&request, IFLA_MTU, (unsigned)mtu);
  if (master > 0) request_number(&request, IFLA_MASTER, master);
  size_t about = request_nest(&request, IFLA_LINKINFO);
  request_text(&request, IFLA_INFO_KIND, "veth");
  size_t data = request_nest(&request, IFLA_INFO_DATA);
  size_t peer = request_nest(&request, VETH_INFO_PEER);
  memcpy(request.bytes + request.header.nlmsg_len, &info, sizeof info);
  request.header.nlmsg_len += sizeof info;
  request_text(&request, IFLA_IFNAME, op->field[1]);
  if (read_mac(op->field[2], mac)) request_put(&request, IFLA_ADDRESS, mac, sizeof mac);
  if (mtu > 0) request_number(&request, IFLA_MTU, (unsigned)mtu);
  request_number(&request, IFLA_NET_NS_PID, (unsigned)inside);
  request_end(&request, peer);
  request_end(&request, data);
  request_end(&request, about);
  return request_send(&request) == 0 ? 0 : failed("veth");
}

/* cable NAME INSIDE MAC BRIDGE MTU ALIAS: a veth pair; its host end is NAME, and a port of BRIDGE. Empty: not said. */
int op_cable(struct state *state, struct op *op) {
  const char *name = op->field[0], *bridge = op->field[3];
  struct link master = {0}, link;
  if (*bridge != '\0' && find(bridge, &master) != 0) return -1;
  if (make_pair(op, state->inside, master.index) != 0) return -1;
  if (find(name, &link) != 0) return -1;
  if (link_up(link.index, op->field[5]) != 0) return failed("link");
  release_names();
  return 0;
}

/* vlan NAME PARENT ID ALIAS: an interface for frames of PARENT that have this tag (IEEE 802.1Q). */
int op_vlan(struct state *state, struct op *op) {
  (void)state;
  struct link parent, link;
  struct request request;
  struct ifinfomsg info = {0};
  unsigned long id;
  if (!parse_number(op->field[2], 4094, &id)) {
    errno = EINVAL;
    return failed("vlan");
  }
  /* Without its alias it goes with the link below, whose MAC address it has. */
  if (find(op->field[1], &parent) != 0 || note_link("link", op->field[0], op->field[3], "-") != 0) return -1;
  request_begin(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
  request_text(&request, IFLA_IFNAME, op->field[0]);
  request_number(&request, IFLA_LINK, parent.index);
  size_t about = request_nest(&request, IFLA_LINKINFO);
  request_text(&request, IFLA_INFO_KIND, "vlan");
  size_t data = request_nest(&request, IFLA_INFO_DATA);
  uint16_t tag = (uint16_t)id;
  request_put(&request, IFLA_VLAN_ID, &tag, sizeof tag);
  request_end(&request, data);
  request_end(&request, about);
  if (request_send(&request) != 0) return failed("vlan");
  if (find(op->field[0], &link) != 0) return -1;
  return link_up(link.index, op->field[3]) == 0 ? 0 : failed("link");
}

/* ifup IFUP IFDOWN NAME: an attempt; the link is up anyhow. Undone by IFDOWN. */
int op_ifup(struct state *state, struct op *op) {
  (void)state;
  const char *down[] = {"run", op->field[1], op->field[2]};
  if (*op->field[1] != '\0' && journal_add(down, 3) != 0) return -1;
  char *words[] = {op->field[0], op->field[2], NULL};
  int status = run_program(words, NULL);
  if (status != 0)
    fprintf(stderr, "rootling: ifup %s ended with %d%s%s\n", op->field[2], status, *failed_detail ? ": " : "", failed_detail);
  failed_detail[0] = '\0';
  return 0;
}

/* route GATEWAY INTERFACE: the way to all that is not near. */
int op_route(struct state *state, struct op *op) {
  (void)state;
  struct link link;
  struct request request;
  unsigned char bytes[16];
  bool six = strchr(op->field[0], ':') != NULL;
  if (find(op->field[1], &link) != 0) return -1;
  if (inet_pton(six ? AF_INET6 : AF_INET, op->field[0], bytes) != 1) {
    errno = EINVAL;
    return failed_at("route", op->field[0]);
  }
  struct rtmsg info = {.rtm_family = six ? AF_INET6 : AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_STATIC,
                       .rtm_scope = RT_SCOPE_UNIVERSE, .rtm_type = RTN_UNICAST, .rtm_flags = RTNH_F_ONLINK};
  request_begin(&request, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
  request_put(&request, RTA_GATEWAY, bytes, six ? 16 : 4);
  request_number(&request, RTA_OIF, link.index);
  return request_send(&request) == 0 ? 0 : failed("route");
}

/* rate NAME BYTES: a token bucket (tc-tbf(8)) for what leaves by NAME, with a tenth of a second's worth of it at once. */
int op_rate(struct state *state, struct op *op) {
  (void)state;
  struct link link;
  struct request request;
  unsigned long rate;
  if (!parse_number(op->field[1], UINT32_MAX, &rate) || rate == 0) {
    errno = EINVAL;
    return failed("rate");
  }
  if (find(op->field[0], &link) != 0) return -1;
  unsigned burst = (unsigned)(rate / 10 < 16384 ? 16384 : rate / 10);
  struct tc_tbf_qopt options = {.limit = burst * 2, .rate = {.rate = (unsigned)rate, .linklayer = 1 /* Ethernet */}};
  struct tcmsg info = {.tcm_family = AF_UNSPEC, .tcm_ifindex = (int)link.index, .tcm_parent = TC_H_ROOT};
  request_begin(&request, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, &info, sizeof info);
  request_text(&request, TCA_KIND, "tbf");
  size_t nest = request_nest(&request, TCA_OPTIONS);
  request_put(&request, TCA_TBF_PARMS, &options, sizeof options);
  request_number(&request, TCA_TBF_BURST, burst);
  request_end(&request, nest);
  return request_send(&request) == 0 ? 0 : failed("tbf");
}

/* host-sysctl PATH VALUE: below /proc/sys/net, of the network namespace that we are in. */
int op_host_sysctl(struct state *state, struct op *op) {
  (void)state;
  int fd = open(op->field[0], O_WRONLY | O_CLOEXEC);
  if (fd < 0) return failed_at("open", op->field[0]);
  size_t length = strlen(op->field[1]);
  int result = write(fd, op->field[1], length) == (ssize_t)length ? 0 : failed_at("write", op->field[0]);
  int error = errno;
  close(fd);
  errno = error;
  return result;
}

/* nft PROGRAM REMOVAL TEXT: loads tables of nft(8); REMOVAL, in the same words, takes them away at the end. */
int op_nft(struct state *state, struct op *op) {
  (void)state;
  char *words[] = {op->field[0], "-f", "-", NULL};
  const char *undo[] = {"run", op->field[0], op->field[1]};
  if (journal_add(undo, 3) != 0) return -1;
  int status = run_program(words, op->field[2]);
  if (status == 0) return 0;
  if (status > 0) errno = EPROTO;
  return status < 0 ? -1 : failed("nft");
}
