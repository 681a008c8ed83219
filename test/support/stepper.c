/*
 * Runs a command and kills its whole tree of processes at a chosen system call.
 *
 *   stepper RESULT count COMMAND…    lets it run and counts its points
 *   stepper RESULT kill N COMMAND…   SIGKILL to every process of the tree at the entry of point N: the call itself is
 *                                    no longer carried out
 *   stepper RESULT list COMMAND…     like count, and names each point
 *
 * A point is the entry of a system call that changes state on disk, mounts or processes, of any process or thread
 * that descends from the command, in one global order. RESULT is a file that gets one line: `ended POINTS STATUS`,
 * or `killed N NAME PID`. The stepper ends when nothing of the tree is left, with 0 unless it failed itself.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum when { ALWAYS, IF_FILE, IF_OPEN_1, IF_OPEN_2, IF_OPEN_HOW };

struct call {
  long number;
  const char *name;
  enum when when;
};

#define CALL(name, when) {SYS_##name, #name, when}

static const struct call calls[] = {
#ifdef SYS_open
    CALL(open, IF_OPEN_1), CALL(creat, ALWAYS), CALL(rename, ALWAYS), CALL(link, ALWAYS), CALL(unlink, ALWAYS),
    CALL(mkdir, ALWAYS), CALL(rmdir, ALWAYS), CALL(symlink, ALWAYS), CALL(chmod, ALWAYS), CALL(chown, ALWAYS),
    CALL(lchown, ALWAYS), CALL(utime, ALWAYS), CALL(utimes, ALWAYS), CALL(futimesat, ALWAYS), CALL(mknod, ALWAYS),
    CALL(fork, ALWAYS), CALL(vfork, ALWAYS),
#endif
    CALL(openat, IF_OPEN_2), CALL(openat2, IF_OPEN_HOW), CALL(renameat, ALWAYS), CALL(renameat2, ALWAYS),
    CALL(linkat, ALWAYS), CALL(unlinkat, ALWAYS), CALL(mkdirat, ALWAYS), CALL(symlinkat, ALWAYS),
    CALL(mknodat, ALWAYS), CALL(fchmod, ALWAYS), CALL(fchmodat, ALWAYS), CALL(fchown, ALWAYS), CALL(fchownat, ALWAYS),
    CALL(utimensat, ALWAYS), CALL(setxattr, ALWAYS), CALL(lsetxattr, ALWAYS), CALL(fsetxattr, ALWAYS),
    CALL(removexattr, ALWAYS), CALL(lremovexattr, ALWAYS), CALL(fremovexattr, ALWAYS), CALL(truncate, ALWAYS),
    CALL(ftruncate, IF_FILE), CALL(fallocate, IF_FILE), CALL(write, IF_FILE), CALL(writev, IF_FILE),
    CALL(pwrite64, IF_FILE), CALL(pwritev, IF_FILE), CALL(pwritev2, IF_FILE), CALL(copy_file_range, ALWAYS),
    CALL(sendfile, IF_FILE), CALL(splice, ALWAYS), CALL(fsync, ALWAYS), CALL(fdatasync, ALWAYS), CALL(sync, ALWAYS),
    CALL(syncfs, ALWAYS), CALL(sync_file_range, ALWAYS), CALL(mount, ALWAYS), CALL(umount2, ALWAYS),
    CALL(pivot_root, ALWAYS), CALL(chroot, ALWAYS), CALL(open_tree, ALWAYS), CALL(move_mount, ALWAYS),
    CALL(fsopen, ALWAYS), CALL(fsconfig, ALWAYS), CALL(fsmount, ALWAYS), CALL(mount_setattr, ALWAYS),
    CALL(unshare, ALWAYS), CALL(setns, ALWAYS), CALL(clone, ALWAYS), CALL(clone3, ALWAYS), CALL(execve, ALWAYS),
    CALL(execveat, ALWAYS), CALL(kill, ALWAYS), CALL(tkill, ALWAYS), CALL(tgkill, ALWAYS),
    CALL(pidfd_send_signal, ALWAYS),
#ifdef SYS_fchmodat2
    CALL(fchmodat2, ALWAYS),
#endif
};

static void fail(const char *what) {
  fprintf(stderr, "stepper: %s: %s\n", what, strerror(errno));
  exit(125);
}

/* Whether descriptor `fd` of `pid` is a regular file: what goes through pipes and terminals changes nothing. */
static bool is_file(pid_t pid, uint64_t fd) {
  char path[64];
  struct stat found;
  snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, (int)fd);
  return stat(path, &found) == 0 && S_ISREG(found.st_mode);
}

static bool opens_for_writing(uint64_t flags) {
  return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
}

static bool is_point(const struct call *call, pid_t pid, const uint64_t args[6]) {
  switch (call->when) {
    case ALWAYS: return true;
    case IF_FILE: return is_file(pid, args[0]);
    case IF_OPEN_1: return opens_for_writing(args[1]);
    case IF_OPEN_2: return opens_for_writing(args[2]);
    case IF_OPEN_HOW: {
      struct open_how how = {0};
      struct iovec here = {&how, sizeof how};
      struct iovec there = {(void *)(uintptr_t)args[2], sizeof how};
      return process_vm_readv(pid, &here, 1, &there, 1, 0) < 8 || opens_for_writing(how.flags);
    }
  }
  return true;
}

static const struct call *find(uint64_t number) {
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
    if ((uint64_t)calls[i].number == number) return &calls[i];
  return NULL;
}

static pid_t *tree;
static size_t members;

static void add(pid_t pid) {
  for (size_t i = 0; i < members; i++)
    if (tree[i] == pid) return;
  tree = realloc(tree, (members + 1) * sizeof *tree);
  if (tree == NULL) fail("realloc");
  tree[members++] = pid;
}

static void drop(pid_t pid) {
  for (size_t i = 0; i < members; i++)
    if (tree[i] == pid) tree[i--] = tree[--members];
}

static void say(const char *path, const char *line) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0 || write(fd, line, strlen(line)) < 0 || close(fd) < 0) fail(path);
}

int main(int count, char **words) {
  bool kills = count > 4 && strcmp(words[2], "kill") == 0;
  bool lists = count > 3 && strcmp(words[2], "list") == 0;
  if (!kills && !lists && (count < 4 || strcmp(words[2], "count") != 0)) {
    fprintf(stderr, "usage: stepper RESULT count|list|kill N COMMAND…\n");
    return 2;
  }
  const char *result = words[1];
  long last = kills ? atol(words[3]) : 0;
  char **command = words + (kills ? 4 : 3);

  pid_t first = fork();
  if (first < 0) fail("fork");
  if (first == 0) {
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0 || raise(SIGSTOP) != 0) _exit(125);
    execvp(*command, command);
    _exit(127);
  }
  int status;
  if (waitpid(first, &status, __WALL) != first || !WIFSTOPPED(status)) fail("waitpid");
  long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
                 PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
  if (ptrace(PTRACE_SETOPTIONS, first, 0, options) < 0) fail("PTRACE_SETOPTIONS");
  add(first);
  if (ptrace(PTRACE_SYSCALL, first, 0, 0) < 0) fail("PTRACE_SYSCALL");

  long points = 0;
  int ended = 0;
  char line[256] = "";
  for (;;) {
    pid_t pid = waitpid(-1, &status, __WALL);
    if (pid < 0) {
      if (errno == EINTR) continue;
      if (errno == ECHILD) break;
      fail("waitpid");
    }
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      drop(pid);
      if (pid == first) ended = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      continue;
    }
    add(pid);
    int stopped = WSTOPSIG(status);
    int event = status >> 16;
    long deliver = 0;
    if (stopped == (SIGTRAP | 0x80)) {
      struct __ptrace_syscall_info info;
      if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof info, &info) > 0 && info.op == PTRACE_SYSCALL_INFO_ENTRY) {
        const struct call *call = find(info.entry.nr);
        uint64_t args[6];
        for (int i = 0; i < 6; i++) args[i] = info.entry.args[i];
        if (call != NULL && *line == 0 && is_point(call, pid, args)) {
          points++;
          if (lists) fprintf(stderr, "%ld %d %s\n", points, (int)pid, call->name);
          if (kills && points == last) {
            snprintf(line, sizeof line, "killed %ld %s %d\n", points, call->name, (int)pid);
            for (size_t i = 0; i < members; i++) kill(tree[i], SIGKILL);
            continue;
          }
        }
      }
    } else if (event == PTRACE_EVENT_EXEC) {
      /* A thread that executes a program takes its process's id: its own is free for others. */
      unsigned long former;
      if (ptrace(PTRACE_GETEVENTMSG, pid, 0, &former) == 0 && (pid_t)former != pid) drop((pid_t)former);
    } else if (event == 0 && stopped != SIGTRAP) {
      /* A new process begins with a SIGSTOP of ptrace's own; all others are the program's. */
      deliver = stopped == SIGSTOP ? 0 : stopped;
    }
    /* A process that was killed meanwhile is gone: ESRCH. One that appears only now dies with the others. */
    if (*line != 0) kill(pid, SIGKILL);
    else ptrace(PTRACE_SYSCALL, pid, 0, deliver);
  }
  if (*line == 0) snprintf(line, sizeof line, "ended %ld %d\n", points, ended);
  say(result, line);
  return 0;
}
