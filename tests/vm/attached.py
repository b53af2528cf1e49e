"""A PC of its own that attaches exports with nbd-attach, or with nbd-client for comparison.

The PC is QEMU with our kernel and initramfs, a shell on its serial port as /init, and QEMU's user
network: 10.0.2.2 there is the loopback of this machine. So servers on loopback are enough, and no
network interface is needed.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from netboot.boot import cpio
from netboot.lab.machine import accelerator
from tests import ROOT
from tests.attach.test_program import SERVERS as COMMANDS
from tests.support.ports import free_port
from tools import nbd_attach

HOST = "10.0.2.2"  # of QEMU's user network: this machine
START_SECONDS = 60  # of a server, on a busy machine
BOOT_SECONDS = 240  # emulated, on a busy machine
SHELL = "guest# "
SLICES = ("base", "virtio_pci", "mirror")  # of the initramfs: all of it takes too much RAM
INIT = f"""#!/bin/sh
export PATH=/bin:/sbin:/usr/sbin:/usr/bin HOME=/ PS1='{SHELL}'
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /run /tmp
modprobe virtio_pci
modprobe virtio_net
modprobe nbd
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
exec setsid sh -c 'exec sh -i </dev/ttyS0 >/dev/ttyS0 2>&1'
"""


class Guest:
    """A running PC: commands go to its shell."""

    def __init__(self, process: "subprocess.Popen[bytes]", console: Path) -> None:
        self._process = process
        self._console = console
        self._text = ""
        self._lock = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._commands = 0

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._console.open("ab") as log:
            while data := os.read(self._process.stdout.fileno(), 4096):
                log.write(data)
                log.flush()
                with self._lock:
                    self._text += data.decode("utf-8", "replace").replace("\r", "")
                    self._lock.notify_all()

    def text(self) -> str:
        """Return all that the console showed."""
        with self._lock:
            return self._text

    def wait(self, pattern: str, seconds: float, start: int = 0) -> re.Match[str]:
        """Wait until the console shows ``pattern`` after ``start``. Raises TimeoutError."""
        end = time.monotonic() + seconds
        with self._lock:
            while (found := re.compile(pattern, re.MULTILINE).search(self._text, start)) is None:
                left = end - time.monotonic()
                if left <= 0 or self._process.poll() is not None:
                    shown = self._text[max(start, len(self._text) - 2000) :]
                    raise TimeoutError(f"no '{pattern}' within {seconds} s: {shown}")
                self._lock.wait(min(left, 1))
            return found

    def begin(self, command: str) -> Callable[[float], tuple[int, str]]:
        """Start a command in the shell; call the result to wait for its exit status and output."""
        assert self._process.stdin is not None
        self._commands += 1
        mark = f"ended{self._commands}"
        with self._lock:
            start = len(self._text)
        line = f"{command}; echo {mark[:5]}''{mark[5:]}=$?\n"
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()

        def result(seconds: float) -> tuple[int, str]:
            found = self.wait(rf"{mark}=(\d+)$", seconds, start)
            return int(found[1]), self.text()[start : found.start()]

        return result

    def run(self, command: str, seconds: float = 60) -> str:
        """Run a command that has to succeed; return its output."""
        status, output = self.begin(command)(seconds)
        assert status == 0, f"{command}: {status}: {output}"
        return output

    def stop(self) -> None:
        """Switch the PC off."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # of a command that it has not read
                pipe.close()


def with_libraries(program: str) -> Iterator[cpio.Record]:
    """Yield a program of this machine and the libraries that it needs."""
    path = shutil.which(program)
    assert path is not None, program
    yield cpio.file(f"sbin/{program}", Path(path).read_bytes(), executable=True)
    done = subprocess.run(["ldd", path], capture_output=True, text=True, check=True)
    for library in re.findall(r"(/\S+) \(0x", done.stdout):
        content = Path(library).read_bytes()
        yield cpio.file(library.removeprefix("/"), content, executable=True)


@contextmanager
def guest(images: Path, folder: Path, *, memory: int, more: list[cpio.Record]) -> Iterator[Guest]:
    """Boot a PC with ``memory`` MiB, nbd-attach, memload and ``more`` files; wait for its shell."""
    memload = folder / "memload"
    source = ROOT / "initramfs/lab/memload.c"
    subprocess.run(["musl-gcc", "-Os", "-static", "-o", str(memload), str(source)], check=True)
    records = [
        cpio.file("init", INIT.encode(), executable=True),
        cpio.file("sbin/nbd-attach", nbd_attach.program(folder).read_bytes(), executable=True),
        cpio.file("bin/memload", memload.read_bytes(), executable=True),
        *more,
    ]
    initrd = folder / "guest.img"
    # The kernel unpacks archives one after the other, and a later file replaces an earlier one.
    archives = b""
    for name in SLICES:
        archives += (images / f"amd64/initramfs-{name}.img").read_bytes()
        archives += bytes(-len(archives) % 4)
    initrd.write_bytes(archives + cpio.archive(records))
    command = [
        *("qemu-system-x86_64", "-nodefaults", "-no-reboot", "-display", "none"),
        *("-accel", accelerator("qemu-system-x86_64"), "-m", str(memory), "-smp", "1"),
        *("-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="),
        *("-serial", "stdio", "-monitor", "none"),
        *("-kernel", str(images / "amd64/vmlinuz"), "-initrd", str(initrd)),
        # A PC that waits for a CPU misses ticks. Linux would panic over such a timer.
        *("-append", "console=ttyS0 quiet loglevel=1 panic=-1 no_timer_check"),
    ]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    machine = Guest(process, folder / "guest.console")
    try:
        machine.wait(SHELL, BOOT_SECONDS)
        yield machine
    finally:
        machine.stop()


class Program:
    """A server that a test starts, kills and stops. ``{port}`` in a word is its port on loopback.

    A server that goes into the background writes its process's number to ``pid_file``.
    """

    def __init__(
        self, *words: str, file: Path = Path("/dev/null"), pid_file: Path | None = None
    ) -> None:
        self.port = free_port()
        self.file = file
        self._command = [word.replace("{port}", str(self.port)) for word in words]
        self._pid_file = pid_file
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until its port answers."""
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, start_new_session=True
        )
        end = time.monotonic() + START_SECONDS
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5):
                return
            assert time.monotonic() < end, self._command
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        """Send a signal to the server and to the processes that it has for connections."""
        assert self._process is not None
        group = self._process.pid
        if self._pid_file is not None:
            group = os.getpgid(int(self._pid_file.read_text()))
        os.killpg(group, number)

    def stop(self) -> None:
        """Kill it; it may be started again."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            self._process.wait()
        self._process = None


@contextmanager
def servers(
    folder: Path, mib: int, *, only: str = "", options: str = ""
) -> Iterator[dict[str, Program]]:
    """Start the four servers, or the ``only`` one, each with a file of ``mib`` MiB called ``area``.

    ``options`` are lines of nbd-server's configuration.
    """
    running = {}
    for name, command in COMMANDS.items():
        if only not in ("", name):
            continue
        file, config, pid = (folder / f"{name}.{kind}" for kind in ("img", "conf", "pid"))
        file.touch()
        os.truncate(file, mib << 20)
        words = command.format(port="{port}", file=file, config=config, pid=pid).split()
        server = Program(*words, file=file, pid_file=pid if name == "nbd-server" else None)
        lines = ["[generic]", f"port = {server.port}", "listenaddr = 127.0.0.1", "allowlist = true"]
        lines += ["[area]", f"exportname = {file}", "trim = true", "flush = true", options, ""]
        config.write_text("\n".join(lines))
        running[name] = server
    try:
        for server in running.values():
            server.start()
        yield running
    finally:
        for server in running.values():
            server.stop()
