/* System calls that an isolated sandbox must refuse whatever their arguments, and new namespaces of all kinds. */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#define CALL(name, ...) \
  static long call_##name(void) { return syscall(SYS_##name, ##__VA_ARGS__); }

enum { BOGUS_PID = 0x3ffffff };

CALL(mount, "none", "/nonexistent", "tmpfs", 0, NULL)
CALL(umount2, "/nonexistent", 0)
CALL(pivot_root, "/nonexistent", "/nonexistent")
CALL(chroot, "/nonexistent")
CALL(setns, -1, 0)
CALL(open_tree, -1, "nonexistent", 0)
CALL(move_mount, -1, "nonexistent", -1, "nonexistent", 0)
CALL(fsopen, "nonexistent", 0)
CALL(fsconfig, -1, 0, NULL, NULL, 0)
CALL(fsmount, -1, 0, 0)
CALL(fspick, -1, "nonexistent", 0)
CALL(mount_setattr, -1, "nonexistent", 0, NULL, 0)
CALL(quotactl, -1, "nonexistent", 0, NULL)
CALL(swapon, "/nonexistent", 0)
CALL(swapoff, "/nonexistent")
CALL(fanotify_init, ~0U, 0)
CALL(fanotify_mark, -1, 0, 0UL, -1, NULL)
CALL(open_by_handle_at, -1, NULL, 0)
CALL(sethostname, NULL, -1)
CALL(setdomainname, NULL, -1)
CALL(keyctl, 9999)
CALL(add_key, NULL, NULL, NULL, 0, 0)
CALL(request_key, NULL, NULL, NULL, 0)
CALL(ptrace, 1 /* PTRACE_PEEKTEXT */, BOGUS_PID, 0, 0)
CALL(process_vm_readv, BOGUS_PID, NULL, 0, NULL, 0, 0)
CALL(process_vm_writev, BOGUS_PID, NULL, 0, NULL, 0, 0)
CALL(process_madvise, -1, NULL, 0, 0, 0)
CALL(kcmp, BOGUS_PID, BOGUS_PID, 0, 0, 0)
CALL(pidfd_getfd, -1, 0, 0)
CALL(bpf, 9999, NULL, 0)
CALL(perf_event_open, NULL, 0, 0, 0, 0)
CALL(userfaultfd, ~0)
CALL(vmsplice, -1, NULL, 0, 0)
CALL(io_uring_setup, 0, NULL)
CALL(io_uring_enter, -1, 0, 0, 0, NULL, 0)
CALL(io_uring_register, -1, 0, NULL, 0)
CALL(init_module, NULL, 0, NULL)
CALL(finit_module, -1, NULL, 0)
CALL(delete_module, "nonexistent", O_NONBLOCK)
CALL(kexec_load, 0, 99999, NULL, 0)
CALL(reboot, 0, 0, 0, NULL)
CALL(acct, "/nonexistent")
CALL(syslog, 10 /* the size of the log */, NULL, 0)
CALL(clock_adjtime, 99, NULL)
CALL(adjtimex, NULL)
CALL(mbind, 0, 0, 9999, NULL, 0, 0)
CALL(set_mempolicy, 9999, NULL, 0)
CALL(get_mempolicy, NULL, NULL, 0, 0, ~0UL)
CALL(migrate_pages, BOGUS_PID, 0, NULL, NULL)
CALL(move_pages, BOGUS_PID, 0, NULL, NULL, NULL, 0)
CALL(clone3, NULL, 0)
CALL(personality, 0x0040000 /* ADDR_NO_RANDOMIZE */)
static long call_settimeofday(void) {
  struct timeval wrong = {-1, -1};
  return syscall(SYS_settimeofday, &wrong, NULL);
}
static long call_clock_settime(void) {
  long wrong[2] = {-1, -1};
  return syscall(SYS_clock_settime, 0, wrong);
}
static long call_vhangup(void) {
  setsid(); /* so that there is no terminal to hang up */
  return syscall(SYS_vhangup);
}
#ifdef __x86_64__
CALL(iopl, 99)
CALL(ioperm, ~0UL, 1, 0)
CALL(modify_ldt, 99, NULL, 0)
CALL(ustat, 0, NULL)
CALL(sysfs, 99)
/* getpid by i386's table. */
static long call_i386(void) {
  errno = ENOSYS;
  long result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
  /* User-Mode Linux has no such table: there it is a call of x86-64, and filtered as one. */
  return result == getpid() ? 0 : -1;
}
#endif

#define REFUSED(name) refused("call." #name, EPERM, call_##name)
#define MISSING(name) refused("call." #name, ENOSYS, call_##name)

void calls(void) {
  REFUSED(mount), REFUSED(umount2), REFUSED(pivot_root), REFUSED(chroot), REFUSED(setns);
  REFUSED(open_tree), REFUSED(move_mount), REFUSED(fsopen), REFUSED(fsconfig), REFUSED(fsmount), REFUSED(fspick);
  REFUSED(mount_setattr), REFUSED(quotactl), REFUSED(swapon), REFUSED(swapoff);
  REFUSED(fanotify_init), REFUSED(fanotify_mark), REFUSED(open_by_handle_at);
  REFUSED(sethostname), REFUSED(setdomainname), REFUSED(keyctl), REFUSED(add_key), REFUSED(request_key);
  REFUSED(ptrace), REFUSED(process_vm_readv), REFUSED(process_vm_writev), REFUSED(process_madvise);
  REFUSED(kcmp), REFUSED(pidfd_getfd), REFUSED(bpf), REFUSED(perf_event_open), REFUSED(userfaultfd);
  REFUSED(vmsplice), MISSING(io_uring_setup), MISSING(io_uring_enter), MISSING(io_uring_register);
  REFUSED(init_module), REFUSED(finit_module), REFUSED(delete_module), REFUSED(kexec_load), REFUSED(reboot);
  REFUSED(acct), REFUSED(syslog), REFUSED(settimeofday), REFUSED(clock_settime), REFUSED(clock_adjtime);
  REFUSED(adjtimex), REFUSED(vhangup), REFUSED(mbind), REFUSED(set_mempolicy), REFUSED(get_mempolicy);
  REFUSED(migrate_pages), REFUSED(move_pages), MISSING(clone3), REFUSED(personality);
#ifdef __x86_64__
  REFUSED(iopl), REFUSED(ioperm), REFUSED(modify_ldt), REFUSED(ustat), REFUSED(sysfs);
  int status = tried(call_i386);
  fact(status != 0, "call.i386", status == -1 ? "killed" : status == 0 ? "allowed" : "no such table");
#endif
}

static int flag;
static long make_by_unshare(void) { return syscall(SYS_unshare, flag); }
static long make_by_clone(void) {
  long child = syscall(SYS_clone, flag | SIGCHLD, NULL, NULL, NULL, 0L);
  if (child == 0) _exit(0);
  return child;
}

void new_namespaces(void) {
  static const struct { const char *name; int flag; } kinds[] = {
      {"user", CLONE_NEWUSER}, {"mnt", CLONE_NEWNS}, {"pid", CLONE_NEWPID}, {"net", CLONE_NEWNET},
      {"ipc", CLONE_NEWIPC},   {"uts", CLONE_NEWUTS}, {"cgroup", CLONE_NEWCGROUP}, {"time", 0x80},
  };
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    char name[64];
    /* With a user namespace every other can be had as well. */
    flag = kinds[i].flag | CLONE_NEWUSER;
    snprintf(name, sizeof name, "unshare.%s", kinds[i].name);
    refused(name, EPERM, make_by_unshare);
    if (kinds[i].flag == 0x80) continue; /* not of clone */
    snprintf(name, sizeof name, "clone.%s", kinds[i].name);
    refused(name, EPERM, make_by_clone);
  }
}
