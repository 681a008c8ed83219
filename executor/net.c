/* Network namespaces. */
#include "executor.h"

#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* loopback: brings up the one interface that a new network namespace has. */
int op_loopback(struct state *state, struct op *op) {
  (void)state, (void)op;
  struct ifreq request = {0};
  strcpy(request.ifr_name, "lo");
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return failed("socket");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  int result = ioctl(fd, SIOCSIFFLAGS, &request) == 0 ? 0 : failed("ioctl");
  close(fd);
  return result;
}
