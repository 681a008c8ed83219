/* Swaps two names by renameat2(RENAME_EXCHANGE) until it is ended, or COUNT times; prints how often it did. The names
   are below directories that it opened at first. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static volatile sig_atomic_t over;

static void end(int number) {
  (void)number;
  over = 1;
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  long most = argc > 3 ? atol(argv[3]) : 0, done = 0;
  signal(SIGTERM, end);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  puts("swapping");
  fflush(stdout);
  while (!over && (most == 0 || done < most)) {
    if (syscall(SYS_renameat2, AT_FDCWD, argv[1], AT_FDCWD, argv[2], RENAME_EXCHANGE) != 0) {
      perror("renameat2");
      return 1;
    }
    done++;
  }
  printf("%ld\n", done);
  return 0;
}
