"""A computer whose screen others show: a real VNC server, and a real RDP server for the same screen.

It lives on the virtual network of a test, and ends with the test's namespaces.
"""

import asyncio
import contextlib
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

SENTENCE = "This window is on the server of the room."
VNC_PORT, RDP_PORT = 5901, 3389
DISPLAY = ":71"
SIZE = "1024x768"
WAIT_SECONDS = 60
USER, PASSWORD = "anna", "secret"
# The password as both servers keep it: DES with VNC's fixed key, and NTLM's hash.
_VNC_PASSWORD = bytes.fromhex("2e2dbf576eb06c9e")
_NTLM_HASH = "878d8014606cda29677a44efa1353fc7"
SHADOWS = ("freerdp-shadow-cli", "freerdp-shadow-cli3")  # of Debian 12 and 13


@dataclass
class Computer:
    """One computer. ``folder`` is its home, with the output of its programs."""

    folder: Path
    address: str
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def certificate(self, name: str) -> str:
        """Make a certificate for the RDP server; return its fingerprint."""
        place = self.folder / f".config/freerdp/shadow-{name}"
        place.mkdir(parents=True)
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=room"]
        files: list[str | Path] = ["-keyout", place / "shadow.key", "-out", place / "shadow.crt"]
        subprocess.run([*command, *files], check=True, capture_output=True)
        shown = subprocess.run(
            ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", place / "shadow.crt"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        return shown.partition("=")[2].strip()

    async def start(self, certificate: str = "", *, asks: bool = False) -> None:
        """Start the VNC server with a window; with a certificate an RDP server, too.

        ``asks``: for a password (VNC), or for a name and a password before a connection (NLA).
        """
        self.kill()  # what an interrupted test left behind
        words = ["Xtigervnc", DISPLAY, "-rfbport", str(VNC_PORT), "-interface", self.address]
        (self.folder / "vnc").write_bytes(_VNC_PASSWORD)
        (self.folder / "sam").write_text(f"{USER}:::{_NTLM_HASH}:::\n")
        security = ("VncAuth", "-PasswordFile", str(self.folder / "vnc")) if asks else ("None",)
        self._spawn(*words, "-AlwaysShared", "-geometry", SIZE, "-SecurityTypes", *security)
        await self._until(VNC_PORT)
        font = ["-fa", "DejaVu Sans Mono", "-fs", "20", "-bg", "#ffffff", "-fg", "#000000"]
        shell = f"echo; echo '{SENTENCE}'; exec sleep 1000000"
        self._spawn("xterm", *font, "-geometry", "60x20+0+0", "-e", "sh", "-c", shell)
        if certificate:
            place = self.folder / ".config/freerdp/shadow"
            place.unlink(missing_ok=True)
            place.symlink_to(f"shadow-{certificate}")
            words = [f"/bind-address:{self.address}", f"/port:{RDP_PORT}"]
            sam = f"/sam-file:{self.folder / 'sam'}"
            words += ["/sec:nla", "+auth", sam] if asks else ["/sec:tls", "-auth"]
            self._spawn(next(filter(_is_there, SHADOWS)), *words)
            await self._until(RDP_PORT)

    def kill(self) -> None:
        """Kill all its programs at once."""
        for process in self._running:
            process.kill()
        for process in self._running:
            process.wait()
        self._running.clear()
        for left in (f"/tmp/.X{DISPLAY[1:]}-lock", f"/tmp/.X11-unix/X{DISPLAY[1:]}"):
            Path(left).unlink(missing_ok=True)

    def silence(self, *, on: bool) -> None:
        """Drop all that the servers send, or no longer do so: as if a cable were unplugged."""
        rules = f"tcp sport {{ {VNC_PORT}, {RDP_PORT} }} drop"
        chain = f"chain out {{ type filter hook output priority 0; {rules}; }}"
        text = f"table inet silence {{ {chain}; }}" if on else "delete table inet silence"
        subprocess.run(["nft", text], check=True)

    def _spawn(self, *words: str) -> None:
        environment = os.environ | {"DISPLAY": DISPLAY, "HOME": str(self.folder)}
        with (self.folder / f"{words[0]}.log").open("ab") as output:
            process = subprocess.Popen(words, stdout=output, stderr=output, env=environment)
        self._running.append(process)

    async def _until(self, port: int) -> None:
        """Wait until a port is open. Raises TimeoutError, AssertionError if a program has ended."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                assert all(process.poll() is None for process in self._running), self._running
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(self.address, port)
                    writer.close()
                    return
                await asyncio.sleep(0.2)


def _is_there(program: str) -> bool:
    return any(os.access(Path(folder, program), os.X_OK) for folder in os.get_exec_path())
