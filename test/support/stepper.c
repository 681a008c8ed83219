/*
 * Runs a command and kills its whole tree of processes at a chosen system call.
 *
 *   stepper RESULT count COMMAND…    lets it run and counts its points
 *   stepper RESULT kill N COMMAND…   SIGKILL to every process of the tree at the entry of point N: the call itself is
 *                                    no longer carried out
 *   stepper RESULT list COMMAND…     like count, and names each point
 *   stepper RESULT fail N ERRNO COMMAND…    instead of being carried out, point N fails with this error number
 *   stepper RESULT full N ERRNO COMMAND…    so do point N and all later ones that take space
 *
 * For the last two only calls that change files are points, and for `full` only those that can take space.
 *
 * A point is the entry of a system call that changes state on disk, mounts or processes, of any process or thread
 * that descends from the command, in one global order. RESULT is a file that gets one line: `ended POINTS STATUS`,
 * `killed N NAME PID`, or `failed N NAME STATUS`. The stepper ends when nothing of the tree is left, with 0 unless it failed itself.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/user.h>
#include <unistd.h>

/* What a call can do: SPACE takes space on a file system, CHANGE changes one, OTHER is about mounts and processes. */
enum what { SPACE, CHANGE, OTHER };
enum when { ALWAYS, IF_FILE, IF_OPEN_1, IF_OPEN_2, IF_OPEN_HOW };

struct call {
  long number;
  const char *name;
  enum when when;
  enum what what;
};

#define CALL(name, when, what) {SYS_##name, #name, when, what}

static const struct call calls[] = {
#ifdef SYS_open
    CALL(open, IF_OPEN_1, SPACE), CALL(creat, ALWAYS, SPACE), CALL(rename, ALWAYS, SPACE), CALL(link, ALWAYS, SPACE), CALL(unlink, ALWAYS, CHANGE),
    CALL(mkdir, ALWAYS, SPACE), CALL(rmdir, ALWAYS, CHANGE), CALL(symlink, ALWAYS, SPACE), CALL(chmod, ALWAYS, CHANGE), CALL(chown, ALWAYS, CHANGE),
    CALL(lchown, ALWAYS, CHANGE), CALL(utime, ALWAYS, CHANGE), CALL(utimes, ALWAYS, CHANGE), CALL(futimesat, ALWAYS, CHANGE), CALL(mknod, ALWAYS, SPACE),
    CALL(fork, ALWAYS, OTHER), CALL(vfork, ALWAYS, OTHER),
#endif
    CALL(openat, IF_OPEN_2, SPACE), CALL(openat2, IF_OPEN_HOW, SPACE), CALL(renameat, ALWAYS, SPACE), CALL(renameat2, ALWAYS, SPACE),
    CALL(linkat, ALWAYS, SPACE), CALL(unlinkat, ALWAYS, CHANGE), CALL(mkdirat, ALWAYS, SPACE), CALL(symlinkat, ALWAYS, SPACE),
    CALL(mknodat, ALWAYS, SPACE), CALL(fchmod, ALWAYS, CHANGE), CALL(fchmodat, ALWAYS, CHANGE), CALL(fchown, ALWAYS, CHANGE), CALL(fchownat, ALWAYS, CHANGE),
    CALL(utimensat, ALWAYS, CHANGE), CALL(setxattr, ALWAYS, SPACE), CALL(lsetxattr, ALWAYS, SPACE), CALL(fsetxattr, ALWAYS, SPACE),
    CALL(removexattr, ALWAYS, CHANGE), CALL(lremovexattr, ALWAYS, CHANGE), CALL(fremovexattr, ALWAYS, CHANGE), CALL(truncate, ALWAYS, CHANGE),
    CALL(ftruncate, IF_FILE, CHANGE), CALL(fallocate, IF_FILE, SPACE), CALL(write, IF_FILE, SPACE), CALL(writev, IF_FILE, SPACE),
    CALL(pwrite64, IF_FILE, SPACE), CALL(pwritev, IF_FILE, SPACE), CALL(pwritev2, IF_FILE, SPACE), CALL(copy_file_range, ALWAYS, SPACE),
    CALL(sendfile, IF_FILE, SPACE), CALL(splice, ALWAYS, OTHER), CALL(fsync, ALWAYS, SPACE), CALL(fdatasync, ALWAYS, SPACE), CALL(sync, ALWAYS, OTHER),
    CALL(syncfs, ALWAYS, SPACE), CALL(sync_file_range, ALWAYS, CHANGE), CALL(mount, ALWAYS, OTHER), CALL(umount2, ALWAYS, OTHER),
    CALL(pivot_root, ALWAYS, OTHER), CALL(chroot, ALWAYS, OTHER), CALL(open_tree, ALWAYS, OTHER), CALL(move_mount, ALWAYS, OTHER),
    CALL(fsopen, ALWAYS, OTHER), CALL(fsconfig, ALWAYS, OTHER), CALL(fsmount, ALWAYS, OTHER), CALL(mount_setattr, ALWAYS, OTHER),
    CALL(unshare, ALWAYS, OTHER), CALL(setns, ALWAYS, OTHER), CALL(clone, ALWAYS, OTHER), CALL(clone3, ALWAYS, OTHER), CALL(execve, ALWAYS, OTHER),
    CALL(execveat, ALWAYS, OTHER), CALL(kill, ALWAYS, OTHER), CALL(tkill, ALWAYS, OTHER), CALL(tgkill, ALWAYS, OTHER),
    CALL(pidfd_send_signal, ALWAYS, OTHER),
#ifdef SYS_fchmodat2
    CALL(fchmodat2, ALWAYS, CHANGE),
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

/* Processes whose call fails: the error that its exit has to show. */
static struct {
  pid_t pid;
  int error;
} failing[64];

static int *failure_of(pid_t pid) {
  for (size_t i = 0; i < sizeof failing / sizeof *failing; i++)
    if (failing[i].pid == pid && failing[i].error != 0) return &failing[i].error;
  return NULL;
}

/* At the entry of a call: skips it. At its exit: gives it this result. */
static void set_call(pid_t pid, bool entry, long value) {
#if defined(__x86_64__)
  size_t at = entry ? offsetof(struct user_regs_struct, orig_rax) : offsetof(struct user_regs_struct, rax);
  if (ptrace(PTRACE_POKEUSER, pid, at, value) < 0) fail("PTRACE_POKEUSER");
#elif defined(__aarch64__)
  struct user_regs_struct registers;
  int number = -1;
  struct iovec part = {&registers, sizeof registers};
  struct iovec call = {&number, sizeof number};
  if (entry) {
    if (ptrace(PTRACE_SETREGSET, pid, NT_ARM_SYSTEM_CALL, &call) < 0) fail("PTRACE_SETREGSET");
    return;
  }
  if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &part) < 0) fail("PTRACE_GETREGSET");
  registers.regs[0] = value;
  if (ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &part) < 0) fail("PTRACE_SETREGSET");
#else
#error "not ported to this architecture"
#endif
}

static void let_fail(pid_t pid, int error) {
  for (size_t i = 0; i < sizeof failing / sizeof *failing; i++)
    if (failing[i].error == 0) {
      failing[i].pid = pid;
      failing[i].error = error;
      set_call(pid, true, -1);
      return;
    }
}

static void say(const char *path, const char *line) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0 || write(fd, line, strlen(line)) < 0 || close(fd) < 0) fail(path);
}

int main(int count, char **words) {
  bool kills = count > 4 && strcmp(words[2], "kill") == 0;
  bool lists = count > 3 && strcmp(words[2], "list") == 0;
  bool once = count > 5 && strcmp(words[2], "fail") == 0;
  bool full = count > 5 && strcmp(words[2], "full") == 0;
  if (!kills && !lists && !once && !full && (count < 4 || strcmp(words[2], "count") != 0)) {
    fprintf(stderr, "usage: stepper RESULT count|list|kill N|fail N ERRNO|full N ERRNO COMMAND…\n");
    return 2;
  }
  const char *result = words[1];
  long last = kills || once || full ? atol(words[3]) : 0;
  int error = once || full ? atoi(words[4]) : 0;
  char **command = words + (once || full ? 5 : kills ? 4 : 3);

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
  const char *failed = NULL;
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
      if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof info, &info) <= 0) info.op = PTRACE_SYSCALL_INFO_NONE;
      int *pending = failure_of(pid);
      if (pending != NULL && info.op == PTRACE_SYSCALL_INFO_EXIT) {
        set_call(pid, false, -*pending);
        *pending = 0;
      }
      if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
        const struct call *call = find(info.entry.nr);
        uint64_t args[6];
        for (int i = 0; i < 6; i++) args[i] = info.entry.args[i];
        bool wanted = call != NULL && (once ? call->what != OTHER : full ? call->what == SPACE : true);
        if (wanted && *line == 0 && is_point(call, pid, args)) {
          points++;
          if (lists) fprintf(stderr, "%ld %d %s\n", points, (int)pid, call->name);
          if ((once && points == last) || (full && points >= last)) {
            if (failed == NULL) failed = call->name;
            let_fail(pid, error);
          }
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
  if (failed != NULL) snprintf(line, sizeof line, "failed %ld %s %d\n", last, failed, ended);
  else if (*line == 0) snprintf(line, sizeof line, "ended %ld %d\n", points, ended);
  say(result, line);
  return 0;
}
