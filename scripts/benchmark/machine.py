"""The machine: cold caches, processors kept awake, commands that are timed, and the conditions that a reader must know."""
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

PACKAGES = {"mksquashfs": "squashfs-tools", "squashfuse_ll": "squashfuse", "fusermount3": "fuse3"}
LOOPS = 2_000_000


@dataclass
class Run:
    """How a command went."""

    seconds: float
    peak_mib: float
    out: str


def missing_packages() -> list[str]:
    """Debian packages of programs that are needed and not here."""
    return sorted({package for program, package in PACKAGES.items() if not shutil.which(program)})


def is_root() -> bool:
    return os.geteuid() == 0


def go_cold() -> None:
    """Drops the kernel's caches of files, names and inodes. Only root may; without it a cold figure is a warm one."""
    os.sync()
    if is_root():
        Path("/proc/sys/vm/drop_caches").write_text("3")


def run(*command: str | Path, sync: bool = False, keep_output: bool = False) -> Run:
    """Runs a command to its end, with a `sync` counted in if asked. A failure stops the benchmark."""
    start = time.perf_counter()
    out = subprocess.PIPE if keep_output else subprocess.DEVNULL
    with subprocess.Popen([str(part) for part in command], stdout=out, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        try:
            peak = watch(process)
            text, errors = process.communicate()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise SystemExit(f"bench: {' '.join(map(str, command))} ended with {process.returncode}: {errors.decode()[-2000:]}")
    if sync:
        os.sync()
    return Run(time.perf_counter() - start, peak, (text or b"").decode())


def watch(process: subprocess.Popen) -> float:
    """Waits for a command that prints little; the most memory it held, MiB. (`ru_maxrss` would count what *this* process held when it forked.)"""
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, memory(process.pid)[1])
        time.sleep(0.004)
    return peak


def memory(pid: int) -> tuple[float, float]:
    """Resident memory of a process and the most that it was, MiB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    values = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return int(values.get("VmRSS", 0)) / 1024, int(values.get("VmHWM", 0)) / 1024


class Awake:
    """Keeps every processor awake with a loop that gives way to any real work.

    On a virtual machine waking a halted processor costs some 50 microseconds, and a FUSE request wakes two: without
    this a mount's figures say how busy somebody else keeps the machine.
    """

    def __enter__(self):
        self.loops = [self.loop(cpu, os.getpid()) for cpu in sorted(os.sched_getaffinity(0))]
        return self

    def loop(self, cpu: int, parent: int) -> int:
        pid = os.fork()
        if pid:
            return pid
        os.sched_setaffinity(0, {cpu})
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        while os.getppid() == parent:
            for _ in range(LOOPS):
                pass
        os._exit(0)

    def __exit__(self, *_):
        for pid in self.loops:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def conditions(folder: Path) -> str:
    """What the figures depend on, in one paragraph."""
    kind = subprocess.run(["stat", "--file-system", "--format=%T", folder], capture_output=True, text=True, check=True).stdout.strip()
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    processor = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    cold = "" if is_root() else " Not root: caches could not be dropped, so rows that say cold are warm."
    return (
        f"{len(os.sched_getaffinity(0))} cores ({processor}), {memory_gb:.0f} GB of memory, Linux {os.uname().release}, {kind}; sources, "
        f"repositories and copies on the one disk. Load average {load} at the end, of which the loops that keep the processors awake are "
        f"{len(os.sched_getaffinity(0))}.{cold}"
    )
