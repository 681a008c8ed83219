/**
 * What becomes of system calls. The strict profile: which ones a process may make. What is not named does not exist
 * (ENOSYS): libraries then fall back to older calls. What is named but refused says EPERM, as the kernel does without the
 * capability. The compatibility profile: calls that a map of one id makes fail seem to succeed.
 * Names are those of either architecture; seccomp.ts leaves out what one of them does not have.
 */

/** What becomes of a call. `kill`: the process ends by SIGSYS. `success`: it is not done, and answers 0. */
export type Verdict = "allow" | "success" | "kill" | "EPERM" | "ENOSYS" | "EAFNOSUPPORT";

/**
 * True of the low 32 bits of an argument: the kernel takes each argument that is tested here as a 32-bit number, so
 * that higher bits must change nothing (CVE-2019-10063: TIOCSTI + 2^32).
 */
export type Test =
  | { readonly argument: number; readonly oneOf: readonly number[] }
  | { readonly argument: number; readonly anyBitOf: number };

/** A verdict that depends on arguments: the first case all of whose tests are true. */
export interface Rule {
  readonly calls: string;
  readonly cases: readonly { readonly when: readonly Test[]; readonly verdict: Verdict }[];
  readonly otherwise: Verdict;
}

export interface Profile {
  readonly name: string;
  readonly rules: readonly Rule[];
  /** For calls that no rule names. */
  readonly unknown: Verdict;
  /** For calls by way of another architecture's table, such as i386's. */
  readonly foreign: Verdict;
  /** Of calls by the 32-bit table of the same processor; without it they are foreign. */
  readonly narrow?: readonly Rule[];
}

const always = (otherwise: Verdict, calls: string): Rule => ({ calls, cases: [], otherwise });

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET (clone(2)). */
const NEW_NAMESPACES = 0x7e020000;
/** CLONE_NEWTIME, which only unshare takes: for clone it lies in the bits of the exit signal. */
const NEW_TIME = 0x80;

/** Requests by which a terminal or console acts on its other users. */
const TERMINAL_REQUESTS = [
  0x5412, // TIOCSTI: types into the terminal
  0x541c, // TIOCLINUX: pastes a selection into it
  0x541d, // TIOCCONS: takes over the console's output
  0x5423, // TIOCSETD: loads line disciplines
  0x5437, // TIOCVHANGUP
  0x4b47, // KDSKBENT, KDSKBSENT, KDSKBDIACR, KDSKBDIACRUC, KDSETKEYCODE: what keys type later
  0x4b49,
  0x4b4b,
  0x4bfb,
  0x4b4d,
];

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const AF_NETLINK = 16;
const NETLINK_ROUTE = 0;

export const STRICT: Profile = {
  name: "strict",
  unknown: "ENOSYS",
  // A second door to the kernel, through which socketcall hides its arguments from every filter.
  foreign: "kill",
  rules: [
    // Files
    always("allow", "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek close close_range"),
    always("allow", "open openat openat2 creat access faccessat faccessat2 stat lstat fstat newfstatat statx"),
    always("allow", "statfs fstatfs getdents getdents64 getcwd chdir fchdir readlink readlinkat truncate ftruncate"),
    always("allow", "rename renameat renameat2 link linkat symlink symlinkat unlink unlinkat mkdir mkdirat rmdir"),
    always("allow", "mknod mknodat chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat umask utime utimes"),
    always("allow", "futimesat utimensat fallocate fadvise64 readahead sync fsync fdatasync syncfs sync_file_range"),
    always("allow", "copy_file_range sendfile splice tee fcntl flock dup dup2 dup3 pipe pipe2 memfd_create cachestat"),
    always("allow", "getxattr lgetxattr fgetxattr setxattr lsetxattr fsetxattr listxattr llistxattr flistxattr"),
    always("allow", "removexattr lremovexattr fremovexattr setxattrat getxattrat listxattrat removexattrat"),
    always("allow", "inotify_init inotify_init1 inotify_add_watch inotify_rm_watch name_to_handle_at"),
    always("allow", "io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents"),
    // Waiting
    always("allow", "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait"),
    always("allow", "epoll_pwait2 epoll_ctl_old epoll_wait_old eventfd eventfd2 signalfd signalfd4 nanosleep"),
    always("allow", "clock_nanosleep futex futex_waitv futex_wake futex_wait futex_requeue restart_syscall pause"),
    // Memory
    always("allow", "mmap munmap mremap mprotect madvise brk msync mincore mlock mlock2 munlock mlockall munlockall"),
    always("allow", "remap_file_pages membarrier mseal memfd_secret pkey_alloc pkey_free pkey_mprotect"),
    always("allow", "map_shadow_stack process_mrelease"),
    // Processes, threads, signals
    always("allow", "fork vfork execve execveat exit exit_group wait4 waitid kill tkill tgkill pidfd_open"),
    always("allow", "pidfd_send_signal rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait"),
    always("allow", "rt_sigqueueinfo rt_tgsigqueueinfo rt_sigsuspend sigaltstack getpid gettid getppid getpgid"),
    always("allow", "setpgid getpgrp getsid setsid set_tid_address set_robust_list get_robust_list rseq arch_prctl"),
    always("allow", "set_thread_area get_thread_area prctl getpriority setpriority ioprio_get ioprio_set sched_yield"),
    always("allow", "sched_getparam sched_setparam sched_getscheduler sched_setscheduler sched_get_priority_max"),
    always("allow", "sched_get_priority_min sched_rr_get_interval sched_setaffinity sched_getaffinity"),
    always("allow", "sched_setattr sched_getattr getcpu getrlimit setrlimit prlimit64 getrusage times sysinfo uname"),
    // Ids: what the map and the empty capability sets leave of them
    always("allow", "getuid geteuid getresuid getgid getegid getresgid getgroups setuid setgid setreuid setregid"),
    always("allow", "setresuid setresgid setfsuid setfsgid setgroups capget capset"),
    // What makes the cage narrower
    always("allow", "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self"),
    // Time
    always(
      "allow",
      "time gettimeofday clock_gettime clock_getres alarm getitimer setitimer timer_create timer_settime",
    ),
    always("allow", "timer_gettime timer_getoverrun timer_delete timerfd_create timerfd_settime timerfd_gettime"),
    // Sockets and System V IPC, of the network and ipc namespace
    always("allow", "bind listen accept accept4 connect getsockname getpeername getsockopt setsockopt shutdown"),
    always("allow", "sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg"),
    always("allow", "shmget shmat shmctl shmdt semget semop semtimedop semctl msgget msgsnd msgrcv msgctl"),
    always("allow", "mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr"),
    // Randomness
    always("allow", "getrandom"),

    {
      calls: "ioctl",
      cases: [{ when: [{ argument: 1, oneOf: TERMINAL_REQUESTS }], verdict: "EPERM" }],
      otherwise: "allow",
    },
    {
      // VSOCK leads to the hypervisor; ALG, PACKET, XDP, BLUETOOTH and their kin are kernel code that few need.
      calls: "socket socketpair",
      cases: [
        { when: [{ argument: 0, oneOf: [AF_UNIX, AF_INET, AF_INET6] }], verdict: "allow" },
        {
          when: [
            { argument: 0, oneOf: [AF_NETLINK] },
            { argument: 2, oneOf: [NETLINK_ROUTE] },
          ],
          verdict: "allow",
        },
      ],
      otherwise: "EAFNOSUPPORT",
    },
    {
      calls: "clone",
      cases: [{ when: [{ argument: 0, anyBitOf: NEW_NAMESPACES }], verdict: "EPERM" }],
      otherwise: "allow",
    },
    // Its flags lie in memory, out of a filter's sight; libraries fall back to clone.
    always("ENOSYS", "clone3"),
    {
      calls: "unshare",
      cases: [{ when: [{ argument: 0, anyBitOf: NEW_NAMESPACES | NEW_TIME }], verdict: "EPERM" }],
      otherwise: "allow",
    },
    {
      // Ordinary, and the question what it is; others switch protections of memory off.
      calls: "personality",
      cases: [{ when: [{ argument: 0, oneOf: [0, 0xffffffff] }], verdict: "allow" }],
      otherwise: "EPERM",
    },

    // Mounts and namespaces
    always("EPERM", "mount umount2 pivot_root chroot setns open_tree move_mount fsopen fsconfig fsmount fspick"),
    always("EPERM", "mount_setattr open_tree_attr quotactl quotactl_fd swapon swapoff fanotify_init fanotify_mark"),
    always("EPERM", "open_by_handle_at sethostname setdomainname"),
    // Keys are those of the user, not of the container
    always("EPERM", "keyctl add_key request_key"),
    // Other processes' memory and descriptors
    always("EPERM", "ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd"),
    // What has let programs out of sandboxes again and again; io_uring is said not to exist, so that event loops fall back
    always("EPERM", "bpf perf_event_open userfaultfd vmsplice modify_ldt"),
    always("ENOSYS", "io_uring_setup io_uring_enter io_uring_register"),
    // The machine
    always("EPERM", "init_module finit_module delete_module create_module query_module get_kernel_syms kexec_load"),
    always("EPERM", "kexec_file_load reboot acct syslog settimeofday clock_settime clock_adjtime adjtimex iopl ioperm"),
    always("EPERM", "vhangup lookup_dcookie nfsservctl uselib ustat sysfs _sysctl"),
    always("EPERM", "mbind set_mempolicy get_mempolicy set_mempolicy_home_node migrate_pages move_pages"),
  ],
};

/** What setfsuid and setfsgid take as the question for the id that they have. */
const NO_ID = 0xffffffff;
const NO_NARROW_ID = 0xffff;

/** They answer with the id that there was before, and root's is 0. */
const pretendFileId = (calls: string, question: readonly number[]): Rule => ({
  calls,
  cases: [{ when: [{ argument: 0, oneOf: question }], verdict: "allow" }],
  otherwise: "success",
});

/**
 * For maps of one id: there is nobody else whom a file could be given to, or whom a process could become. Package managers
 * want both, and are content with the answer. Nothing is hindered by it, nor made possible.
 */
export const COMPAT: Profile = {
  name: "compat",
  unknown: "allow",
  foreign: "allow",
  rules: [
    always("success", "chown fchown lchown fchownat setuid setgid setreuid setregid setresuid setresgid setgroups"),
    pretendFileId("setfsuid setfsgid", [NO_ID]),
  ],
  narrow: [
    always("success", "chown fchown lchown fchownat setuid setgid setreuid setregid setresuid setresgid setgroups"),
    always("success", "chown32 fchown32 lchown32 setuid32 setgid32 setreuid32 setregid32 setresuid32 setresgid32"),
    always("success", "setgroups32"),
    pretendFileId("setfsuid32 setfsgid32", [NO_ID]),
    pretendFileId("setfsuid setfsgid", [NO_ID, NO_NARROW_ID]),
  ],
};

/** By what they are called. */
export const PROFILES = { strict: STRICT, compat: COMPAT } as const;
