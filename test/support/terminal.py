"""Runs a program on a terminal of its own, types keys once it asks, and prints what became of both, as JSON.

    terminal.py QUESTION KEYS COMMAND...

KEYS are separated by blanks: each is a text, or the name of a signal that COMMAND gets, or `~SECONDS` to wait.
`echo` says whether the terminal shows what is typed: once the question is there, and after each wait.
"""

import json
import os
import pty
import select
import signal
import sys
import termios
import time

question, keys, *command = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)

before = termios.tcgetattr(terminal)
shown = b""


def read(seconds, until=None):
    """Reads what is shown, until there is no more, or the time is over, or `until` was shown."""
    global shown
    end = time.monotonic() + seconds
    while time.monotonic() < end and (until is None or until not in shown):
        if not select.select([terminal], [], [], 0.05)[0]:
            continue
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux says EIO once nobody has the terminal open.
            return
        if not part:
            return
        shown += part


def echoes():
    return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)


read(60, question.encode())
echo = [echoes()]
for key in keys.split(" "):
    if key.startswith("~"):
        read(float(key[1:]))
        echo.append(echoes())
    elif key.startswith("SIG"):
        os.kill(pid, getattr(signal, key))
    else:
        os.write(terminal, key.encode())
deadline = time.monotonic() + 60
status = None
while status is None and time.monotonic() < deadline:
    read(0.05)
    ended, code = os.waitpid(pid, os.WNOHANG)
    if ended:
        status = os.waitstatus_to_exitcode(code)
read(0.2)
after = termios.tcgetattr(terminal)
print(
    json.dumps(
        {
            "shown": shown.decode(errors="replace"),
            "echo": echo,
            "restored": before == after,
            "status": status,
        }
    )
)
