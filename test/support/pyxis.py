"""Starts a container and joins it as Slurm's plugin pyxis does: what it finds is printed, a JSON object a line.

usage: pyxis.py UID GID NAME MOUNT -- TASK... (as root; enroot is found on PATH)
"""
import ctypes
import json
import os
import signal
import sys

uid, gid, name, mount = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
task = sys.argv[sys.argv.index("--") + 1:]
libc = ctypes.CDLL(None, use_errno=True)


def enroot(words, keep=()):
    """Runs enroot as the user, with nothing on its standard input and a log of what it says."""
    log = os.memfd_create("enroot-log")
    pid = os.fork()
    if pid == 0:
        null = os.open("/dev/null", os.O_RDWR)
        for target, fd in ((0, null), (1, log), (2, log)):
            os.dup2(fd, target)
        for fd in keep:
            os.set_inheritable(fd, True)
        os.setgroups([])
        os.setregid(gid, gid)
        os.setreuid(uid, uid)
        os.execvp("enroot", ["enroot", *words])
    return pid, log


def said(log):
    return os.pread(log, 1 << 16, 0).decode()


def wait(words):
    pid, log = enroot(words)
    _, status = os.waitpid(pid, 0)
    if status != 0:
        sys.exit(f"enroot {words}: {status}: {said(log)}")
    return said(log)


conf = os.fdopen(os.memfd_create("conf"), "w+")
conf.write('mounts() {\n\techo "%s"\n}\n' % mount)
conf.flush()
pid, log = enroot(
    ["start", "--rw", "--conf", f"/proc/self/fd/{conf.fileno()}", name, "sh", "-c", "kill -STOP $$ ; exit 0"],
    keep=[conf.fileno()],
)
_, status = os.waitpid(pid, os.WUNTRACED)
if not os.WIFSTOPPED(status) or os.WSTOPSIG(status) != signal.SIGSTOP:
    sys.exit(f"the container did not stop: {status}: {said(log)}")

user = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
mounts = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
cgroups = os.open(f"/proc/{pid}/ns/cgroup", os.O_RDONLY)
cwd = os.open(f"/proc/{pid}/cwd", os.O_RDONLY)
with open(f"/proc/{pid}/environ", "rb") as file:
    environment = dict(line.split(b"=", 1) for line in file.read().split(b"\0") if b"=" in line)
print(json.dumps({"stopped": pid, "environment": {k.decode(): v.decode() for k, v in environment.items()}}), flush=True)


def join():
    for fd, kind in ((user, 0x10000000), (cgroups, 0x02000000), (mounts, 0x00020000)):
        if libc.setns(fd, kind) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    os.fchdir(cwd)


def run_task(number):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(write, 1)
        os.setgroups([])
        os.setregid(gid, gid)
        os.setreuid(uid, uid)
        join()
        os.execve(task[0], [*task, str(number)], {**environment, b"SLURM_PROCID": str(number).encode()})
    os.close(write)
    with os.fdopen(read) as pipe:
        output = pipe.read()
    _, status = os.waitpid(child, 0)
    print(json.dumps({"task": number, "status": os.waitstatus_to_exitcode(status), "output": output}), flush=True)


# The first process may end: what it left open keeps the container.
os.kill(pid, signal.SIGCONT)
_, status = os.waitpid(pid, 0)
print(json.dumps({"ended": os.waitstatus_to_exitcode(status)}), flush=True)
for number in range(2):
    run_task(number)
