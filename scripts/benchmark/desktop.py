"""A desktop that nobody sits at: a screen in memory, a file manager on it, and the moment when its window is whole."""
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

PACKAGES = {"Xvfb": "xvfb", "dbus-run-session": "dbus", "convert": "imagemagick", "unshare": "util-linux", "tumblerd": "tumbler", "gdbus": "libglib2.0-bin"}
"""What is needed beside a file manager; `tumblerd` lies outside of PATH."""
TUMBLERD = "/usr/lib/x86_64-linux-gnu/tumbler-1/tumblerd"

MANAGERS = {"thunar": ["thunar"], "pcmanfm": ["pcmanfm"], "nautilus": ["nautilus", "--new-window"]}
SIZE = "1280x800"
PLACE = "/usr/local/sbin"
"""Where the program is seen on that desktop, and nowhere else."""
QUIET, PATIENCE = 8.0, 240.0


def managers() -> list[str]:
    """The file managers that are installed."""
    return [name for name in MANAGERS if shutil.which(name)]


def missing_packages() -> list[str]:
    """Debian packages that are needed and not here."""
    there = lambda program: shutil.which(program) or (program == "tumblerd" and Path(TUMBLERD).exists())
    return sorted({package for program, package in PACKAGES.items() if not there(program)})


def pictures(number: int, folder: Path) -> tuple[list[bytes], list[dict[str, bytes]]]:
    """`number` different photos of 12 megapixels, and what Immich makes of each: a preview and a thumbnail."""
    folder.mkdir()
    originals, previews = [], []
    for index in range(number):
        hue = 360 * index // number
        photo = folder / "photo.jpg"
        convert("-size", "1000x750", "-seed", str(index), f"plasma:hsl({hue},80%,60%)-hsl({(hue + 60) % 360},80%,30%)", "-resize", "4000x3000!",
                "-attenuate", "0.4", "+noise", "Gaussian", "-fill", "white", "-pointsize", "1600", "-gravity", "center", "-annotate", "0", str(index), "-quality", "90", photo)
        originals.append(photo.read_bytes())
        convert(photo, "-resize", "1440x1440", "-quality", "80", folder / "preview.jpeg")
        convert(photo, "-resize", "250x250^", "-quality", "80", folder / "thumbnail.webp")
        previews.append({kind: (folder / kind).read_bytes() for kind in ("preview.jpeg", "thumbnail.webp")})
    return originals, previews


def convert(*arguments: str | Path) -> None:
    subprocess.run(["convert", *map(str, arguments)], check=True)


class Screen:
    """A screen in memory (Xvfb), which lies in a file."""

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="shoebox-screen-"))
        read, write = os.pipe()
        command = ["Xvfb", "-displayfd", str(write), "-screen", "0", f"{SIZE}x24", "-fbdir", str(self.folder), "-nolisten", "tcp"]
        self.process = subprocess.Popen(command, pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(write)
        with os.fdopen(read) as answer:
            self.display = f":{answer.readline().strip()}"
        return self

    def pixels(self) -> bytes:
        return (self.folder / "Xvfb_screen0").read_bytes()

    def save(self, path: Path) -> None:
        """Keeps what is to be seen as a PNG."""
        convert(f"xwd:{self.folder / 'Xvfb_screen0'}", path)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder)


class Window:
    """A file manager that shows `folder`, as a user would have it who uses it for the first time. It and all that it starts end with this."""

    def __init__(self, manager: str, folder: Path, screen: Screen, thumbnailers: Path | None, program: Path, scratch: Path):
        self.screen, self.home = screen, Path(tempfile.mkdtemp(prefix="home-", dir=scratch))
        if thumbnailers:
            self.install(thumbnailers)
        run = self.home / "run"
        run.mkdir(mode=0o700)
        settings = {
            "HOME": self.home, "XDG_RUNTIME_DIR": run, "DISPLAY": screen.display, "PATH": f"{PLACE}:{os.environ['PATH']}", "LANG": "C.UTF-8",
            "GDK_BACKEND": "x11", "GSK_RENDERER": "cairo", "GST_REGISTRY": scratch / "gst-registry",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "DBUS_", "SHOEBOX_"))}
        # The program lies below /usr, where sandboxes see it. The desktop's thumbnail service runs already, as it does for a user, and
        # has seen to its plugins. A process namespace: whatever D-Bus starts ends with it.
        session = f'mount --bind "$1" {PLACE}; shift; gdbus wait --session --activate org.freedesktop.thumbnails.Thumbnailer1 --timeout 120; : > "$HOME/started"; exec "$@"'
        command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "dbus-run-session", "--", "sh", "-c", session, "sh", str(program.parent), *MANAGERS[manager], str(folder)]
        self.process = subprocess.Popen(command, env={**kept, **{name: str(value) for name, value in settings.items()}}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    def install(self, thumbnailers: Path) -> None:
        """What a user of shoebox has."""
        shared = self.home / ".local/share/thumbnailers"
        shutil.copytree(thumbnailers, shared, ignore=lambda _, names: [name for name in names if not name.endswith(".thumbnailer")])

    def __enter__(self):
        while not (self.home / "started").exists():
            if self.process.poll() is not None:
                raise SystemExit("bench: the desktop session ended")
            time.sleep(0.01)
        self.start = time.perf_counter()
        return self

    def seconds(self) -> float:
        """Seconds from the start until the window was as it stayed, with thumbnails in it."""
        last = self.screen.pixels()
        changed = self.start
        while (now := time.perf_counter()) < self.start + PATIENCE:
            time.sleep(0.05)
            pixels = self.screen.pixels()
            if pixels != last:
                last, changed = pixels, time.perf_counter()
            if now - changed > QUIET and self.thumbnails():
                return changed - self.start
        raise SystemExit("bench: the file manager's window does not come to rest")

    def thumbnails(self) -> int:
        """How many thumbnails are there now."""
        return len(list((self.home / ".cache/thumbnails").rglob("*.png")))

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)
