/* The first process of a virtual machine that rootling started: carries out the plan that lies beside it, and reports by
   the second serial line how the payload ended. */
#include "guest.h"
#include "../walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#ifdef __x86_64__
#include <sys/io.h>
#endif
#include <sys/reboot.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static const char CONSOLE[] = "/dev/ttyS0", REPORT[] = "/dev/ttyS1", WIRE[] = "/etc/rootling-wire";

static void make_raw(int line) {
  struct termios settings;
  if (tcgetattr(line, &settings) != 0) return;
  cfmakeraw(&settings);
  tcsetattr(line, TCSANOW, &settings);
}

/* The console as a controlling terminal: ROWSxCOLUMNS, or `raw` where nobody types. */
static int take_console(const char *how) {
  int line = open(CONSOLE, O_RDWR | O_NOCTTY);
  if (line < 0) return failed_at("open", CONSOLE);
  struct winsize window = {0};
  if (sscanf(how, "%hux%hu", &window.ws_row, &window.ws_col) == 2) ioctl(line, TIOCSWINSZ, &window);
  else make_raw(line);
  for (int i = 0; i < 3; i++)
    if (dup2(line, i) < 0) return failed("dup2");
  if (line > 2) close(line);
  return 0;
}

static int read_plan(struct plan *plan) {
  size_t size;
  char *wire = wire_read(WIRE, &size);
  if (wire == NULL) return failed_at("open", WIRE);
  if (wire_parse(wire, size, plan) == NULL) return 0;
  errno = EINVAL;
  return failed_at("reading the plan", WIRE);
}

/* Everything that ends here is reaped; the payload's end is the machine's. */
static int wait_for(pid_t payload) {
  for (int how;;) {
    pid_t pid = wait(&how);
    if (pid == payload) return WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
    if (pid < 0 && errno != EINTR) return STATUS_FAILURE;
  }
}

/* QEMU's device isa-debug-exit: it ends at once, and no last word of the kernel gets onto the console. */
static void ask_emulator(void) {
#ifdef __x86_64__
  enum { PORT = 0x501 /* src/boot/machine-words.ts */ };
  if (ioperm(PORT, 4, 1) == 0) outl(0, PORT);
#endif
}

static void power_off(int status) {
  int line = open(REPORT, O_WRONLY | O_NOCTTY | O_CLOEXEC);
  fflush(NULL);
  tcdrain(1);
  if (line >= 0) {
    make_raw(line);
    dprintf(line, "%d\n", status);
    tcdrain(line);
  }
  sync();
  ask_emulator();
  reboot(RB_POWER_OFF);
}

int tool_machine(int argc, char **argv) {
  struct plan plan = {0};
  bool system = argc > 2 && strcmp(argv[2], "system") == 0;
  if (argc < 2 || getpid() != 1) return tool_usage("machine", "only the first process of a virtual machine does this");
  explain_plainly = explain_here;
  if (op_system_mounts(NULL, NULL) != 0 || take_console(argv[1]) != 0 || read_plan(&plan) != 0) {
    power_off(tool_failure("machine"));
    return STATUS_FAILURE;
  }
  pid_t payload = system ? 0 : fork();
  if (payload == 0) {
    if (!system) {
      setsid();
      ioctl(0, TIOCSCTTY, 0);
    }
    return carry_out(&plan, 0, -1);
  }
  power_off(payload < 0 ? STATUS_FAILURE : wait_for(payload));
  return STATUS_FAILURE;
}
