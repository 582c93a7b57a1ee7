"""Mounts: made, asked, and always taken away."""
import os
import subprocess
import time
from pathlib import Path

from .machine import memory

PATIENCE = 60


class Mounted:
    """A mount by a command that stays in the foreground. `seconds` is the time from its start to the first listing of `top` in it."""

    def __init__(self, command: list, point: Path, top: str):
        self.point, self.top = point, point / top
        point.mkdir(exist_ok=True)
        self.device = os.stat(point).st_dev
        self.start = time.perf_counter()
        self.process = subprocess.Popen([str(part) for part in [*command, point]], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)

    def __enter__(self):
        try:
            self.wait()
        except BaseException:
            self.end()
            raise
        return self

    def wait(self) -> None:
        while not self.answers():
            if self.process.poll() is not None or time.perf_counter() - self.start > PATIENCE:
                raise SystemExit(f"bench: {self.process.args[0]} does not mount: {self.errors()}")
            time.sleep(0.0005)
        self.seconds = time.perf_counter() - self.start

    def answers(self) -> bool:
        try:
            return os.stat(self.point).st_dev != self.device and bool(os.listdir(self.top))
        except OSError:
            return False

    def errors(self) -> str:
        self.end()
        return self.process.stderr.read().decode()[-2000:] if self.process.stderr else ""

    def memory(self) -> tuple[float, float]:
        """Resident memory now and at most, MiB."""
        return memory(self.process.pid)

    def end(self) -> None:
        """Unmounts and ends the process, whatever happened."""
        for command in (["fusermount3", "-u", "-q"], ["fusermount3", "-u", "-z", "-q"]):
            if os.path.ismount(self.point):
                subprocess.run([*command, self.point], stderr=subprocess.DEVNULL, check=False)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __exit__(self, *_):
        self.end()


def count(folder: Path) -> tuple[float, int]:
    """Seconds of a `find` over `folder`, and the entries that it told."""
    start = time.perf_counter()
    find = subprocess.run(["find", folder, "-printf", "."], capture_output=True, check=True)
    return time.perf_counter() - start, len(find.stdout)


def read(path: Path, buffer=bytearray(1 << 20)) -> int:
    """Reads a file to its end in pieces of 1 MiB; its bytes."""
    size = 0
    descriptor = os.open(path, os.O_RDONLY)
    try:
        while got := os.readv(descriptor, [buffer]):
            size += got
    finally:
        os.close(descriptor)
    return size


def read_all(paths: list[Path]) -> tuple[float, int]:
    """Seconds of reading files whole, one after the other, and their bytes."""
    start = time.perf_counter()
    size = sum(map(read, paths))
    return time.perf_counter() - start, size
