"""A program in a pseudo-terminal, and what the minikernel's prompt answers on it. Used by the tests beside it."""
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

PROMPT = "mm> "


class Broken(Exception):
    pass


class Console:
    """Every wait has a limit; whatever was started is gone when the block is left."""

    def __init__(self, command, seconds):
        self.end = time.monotonic() + seconds
        self.seen = ""  # not asked for yet
        master, slave = pty.openpty()
        self.fd = master
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave,
                                        start_new_session=True)
        os.close(slave)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        os.close(self.fd)

    def read(self):
        """False at the end of the output."""
        left = self.end - time.monotonic()
        if left <= 0 or not select.select([self.fd], [], [], left)[0]:
            raise Broken(f"no answer in time; last came:\n{self.seen[-500:]}")
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # Linux says EIO when the last user of the other side is gone
            data = b""
        text = data.decode(errors="replace")
        sys.stdout.write(text.replace("\r\n", "\n"))
        self.seen = (self.seen + text).replace("\r\n", "\n")  # a read may end between the two
        return bool(data)

    def until(self, text):
        """All that comes before `text`."""
        while text not in self.seen:
            if not self.read():
                raise Broken(f"the end came before {text!r}")
        before, self.seen = self.seen.split(text, 1)
        return before

    def send(self, text):
        os.write(self.fd, text.encode())

    def ask(self, line):
        """What the kernel answers to a line, after its echo."""
        self.send(line + "\r")
        self.until("\n")
        return self.until(PROMPT)

    def finish(self):
        """The exit status, when all output has come."""
        while self.read():
            pass
        return self.process.wait(max(self.end - time.monotonic(), 0.1))


def want(condition, what):
    if not condition:
        raise Broken(f"not so: {what}")


def found(pattern, text):
    """The match of `pattern`, which must occur."""
    match = re.search(pattern, text, re.MULTILINE)
    want(match, f"{pattern!r} occurs in\n{text}")
    return match


def found_all(pattern, text):
    """What `pattern` finds, which must be something."""
    found(pattern, text)
    return re.findall(pattern, text, re.MULTILINE)


def has(text, *pieces):
    for piece in pieces:
        want(piece in text, f"{piece!r} is in\n{text}")


def judge(test):
    """Run a test and leave with its verdict."""
    try:
        test()
    except (Broken, FileNotFoundError, subprocess.TimeoutExpired) as reason:
        sys.exit(f"\nFAIL: {reason}")
    print("\nok")
