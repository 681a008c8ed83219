"""Runs a program on a real pseudo terminal, as the leader of its session.

usage: session.py ROWS COLUMNS COMMAND [ARGUMENT...]
Reads commands, a JSON value a line: {"send": TEXT}, {"size": [ROWS, COLUMNS]}, {"modes": true}, {"hangup": true}.
Writes events the same way: {"pid": N, "attributes": TEXT} as the terminal was before the start, {"output": BASE64},
{"modes": {...}, "attributes": TEXT}, {"exit": STATUS or -SIGNAL}.
"""

import base64
import fcntl
import json
import os
import select
import struct
import sys
import termios


def tell(**event):
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def set_size(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def modes_of(slave):
    local = termios.tcgetattr(slave)[3]
    names = {"canonical": termios.ICANON, "echo": termios.ECHO, "signals": termios.ISIG}
    return {name: bool(local & bit) for name, bit in names.items()}


def start(rows, columns, words):
    master, slave = os.openpty()
    set_size(master, rows, columns)
    before = repr(termios.tcgetattr(slave))
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for fd in range(3):
            os.dup2(slave, fd)
        os.closerange(3, 64)
        os.execvp(words[0], words)
    # The terminal's modes are asked of the slave: they stay readable when the program has ended.
    tell(pid=pid, attributes=before)
    return pid, master, slave


def obey(command, master, slave):
    if "send" in command:
        os.write(master, command["send"].encode())
    if "size" in command:
        set_size(master, *command["size"])
    if "modes" in command:
        tell(modes=modes_of(slave), attributes=repr(termios.tcgetattr(slave)))


def main():
    rows, columns, *words = sys.argv[1:]
    pid, master, slave = start(int(rows), int(columns), words)
    pending = b""
    over = False
    while True:
        ready, _, _ = select.select([0] + ([] if master is None else [master]), [], [], 0.05)
        if master is not None and master in ready:
            try:
                tell(output=base64.b64encode(os.read(master, 65536)).decode())
            except OSError:
                pass
        elif not over:
            ended, how = os.waitpid(pid, os.WNOHANG)
            if ended == pid:
                over = True
                tell(exit=os.waitstatus_to_exitcode(how))
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                command = json.loads(line)
                if "hangup" in command:
                    os.close(slave)
                    os.close(master)
                    master = slave = None
                else:
                    obey(command, master, slave)


main()
