/* measure FILE COMMAND…: runs a command and writes what it and all its descendants took, as one JSON line, to FILE.
   Descendants that left their parents come to us, so that a monitor in the background is counted too. Small, because
   the peak memory of a child cannot be seen below that of the process that forked it. */
#include <errno.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(struct timeval time) { return (double)time.tv_sec + (double)time.tv_usec / 1e6; }

static double clock_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  FILE *out = fopen(argv[1], "we");
  if (out == NULL || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) return 125;
  double begin = clock_now(), end = begin;
  pid_t child = fork();
  if (child < 0) return 125;
  if (child == 0) {
    execvp(argv[2], argv + 2);
    perror(argv[2]);
    _exit(127);
  }
  int status = 125;
  for (;;) {
    int ended;
    pid_t pid = wait(&ended);
    if (pid < 0 && errno == EINTR) continue;
    if (pid < 0) break;
    if (pid != child) continue;
    end = clock_now();
    status = WIFEXITED(ended) ? WEXITSTATUS(ended) : 128 + WTERMSIG(ended);
  }
  struct rusage usage;
  getrusage(RUSAGE_CHILDREN, &usage);
  fprintf(out, "{\"wall\":%.6f,\"user\":%.6f,\"system\":%.6f,\"memory\":%ld,\"status\":%d}\n", end - begin,
          seconds(usage.ru_utime), seconds(usage.ru_stime), usage.ru_maxrss * 1024L, status);
  return fclose(out) == 0 ? status : 125;
}
