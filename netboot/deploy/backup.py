"""A backup of a server in one file: its secret, its state and its profile; and the way back.

The file is a gzipped tar, so that any system can look into it. Its first member lists the others with
sizes and SHA-256. It is read whole before anything is written, and nothing of it names a place: each
member has one of the names below, and the places are this machine's.
"""

import gzip
import hashlib
import io
import json
import os
import socket
import struct
import tarfile
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netboot import __version__
from netboot.errors import OperatorError
from netboot.feed.protocol import SOCKET_FILE
from netboot.host.files import PRIVATE, READABLE, replace_file
from netboot.host.state import MAX_BYTES, read_regular
from netboot.pages.leasefile import APART_FILE
from netboot.pages.stores import memory
from netboot.pages.stores.folder import find_kept
from netboot.pages.upgrade import server_of
from netboot.profile import file as profile_file
from netboot.profile.stores import parse_store
from netboot.roots.uses import USES_FILE
from netboot.serve import draining, next_boot, own_keys
from netboot.serve.room_pages import pages_name
from netboot.serve.secret import SECRET_FILE, Secrets, alone, load_secrets
from netboot.serve.services import CLOCK_FILE, LEASES_FILE

VERSION = 1
LIST_FILE = "netboot-backup.json"  # the first member
PROFILE_FILE = "profile.yaml"
FOLDER = "state/"  # before the names of the state's files
STATE_FILES = (
    SECRET_FILE,
    APART_FILE,
    LEASES_FILE,
    USES_FILE,
    next_boot.FILE,
    draining.FILE,
    CLOCK_FILE,
    *own_keys.FILES,
)
NAMES = (PROFILE_FILE, *(FOLDER + name for name in STATE_FILES))
# Of all members together. 1,000 seats with ten areas each have 6 MB of leases.
MOST_BYTES = MAX_BYTES
GROUP_READABLE = 0o640
DAMAGED = "take another copy of the backup: nothing was changed"


@dataclass(frozen=True, slots=True)
class Backup:
    """The content of a backup: files by their names in it, of the ``release`` and the time ``made``."""

    files: dict[str, bytes]
    release: str
    made: float

    def serialize(self) -> bytes:
        """Return the content of the file."""
        rows = [
            {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in self.files.items()
        ]
        listed = {"version": VERSION, "release": self.release, "made": self.made, "files": rows}
        members = {LIST_FILE: json.dumps(listed, indent=1).encode(), **self.files}
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for name, data in members.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode, member.mtime = len(data), PRIVATE, int(self.made)
                archive.addfile(member, io.BytesIO(data))
        return gzip.compress(packed.getvalue(), mtime=int(self.made))


def take(profile: Path, state: Path) -> Backup:
    """Return a backup of the server with this profile and state folder, which may run.

    Raises OperatorError if a part cannot be read, or the profile has mistakes.
    """
    if not any(state.glob(f"*{SECRET_FILE}*")):
        raise OperatorError(
            f"{state / SECRET_FILE}: there is no secret",
            hint="a server makes it at its first start; --state FOLDER names the folder of another one",
        )
    secrets = load_secrets(state / SECRET_FILE, make=False)
    profile_file.load(profile)
    files = {PROFILE_FILE: read_regular(profile)}
    for name in STATE_FILES:
        try:
            # The spaces behind it are room for later saves (netboot.host.state).
            files[FOLDER + name] = read_regular(state / name).rstrip(b" ")
        except FileNotFoundError:  # of another mode, or not needed so far
            continue
        except ValueError as error:
            raise OperatorError(f"{state / name}: {error}") from None
    # Its own clock counts for the previous secret: the clock of another machine need not agree.
    own = Secrets(secrets.current, secrets.previous, secrets.left)
    files[FOLDER + SECRET_FILE] = own.serialize()
    if (size := sum(map(len, files.values()))) > MOST_BYTES:
        raise OperatorError(f"{state}: {size >> 20} MiB, expected at most {MOST_BYTES >> 20} MiB")
    return Backup(files, __version__, time.time())


def read(path: Path) -> Backup:
    """Return the backup in a file that may be hostile. Raises OperatorError: one line."""
    try:
        return parse(read_regular(path))
    except ValueError as error:
        raise OperatorError(f"{path}: {error}", hint=DAMAGED) from None


def parse(content: bytes) -> Backup:
    """Return the backup that ``content`` is. Raises ValueError."""
    members = _members(_unpacked(content))
    if next(iter(members), "") != LIST_FILE:
        raise ValueError(f"no backup of netboot: it does not begin with {LIST_FILE}")
    listed = _listed(members.pop(LIST_FILE))
    rows = listed["files"]
    if [row["name"] for row in rows] != list(members):
        raise ValueError("damaged: it has other files than its list")
    for row in rows:
        data = members[row["name"]]
        if (len(data), hashlib.sha256(data).hexdigest()) != (row["size"], row["sha256"]):
            raise ValueError(f"damaged: {row['name']} is not what its list says (SHA-256)")
    for name in (PROFILE_FILE, FOLDER + SECRET_FILE):
        if name not in members:
            raise ValueError(f"damaged: it has no {name}")
    Secrets.parse(members[FOLDER + SECRET_FILE])
    return Backup(members, listed["release"], listed["made"])


def _unpacked(content: bytes) -> bytes:
    """Return the tar in a gzip file, of a bounded size whatever that says. Raises ValueError."""
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    most = MOST_BYTES + (1 << 20)  # with the list, headers and padding
    try:
        data = unpacker.decompress(content, most)
    except zlib.error:
        raise ValueError("no backup of netboot: it is not gzipped, or damaged") from None
    if unpacker.unconsumed_tail:
        raise ValueError(f"too large: more than {most >> 20} MiB, which no backup has")
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("damaged: its end is missing, or something is behind it")
    return data


def _members(data: bytes) -> dict[str, bytes]:
    """Return the plain files of a tar with our names, in their order. Raises ValueError."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                name = member.name
                if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
                    raise ValueError(f"refused: {name[:100]!a} is no plain file")
                if name not in (LIST_FILE, *NAMES):
                    raise ValueError(f"refused: {name[:100]!a} is no file of a backup")
                if name in found:
                    raise ValueError(f"refused: {name} is in it twice")
                file = archive.extractfile(member)
                assert file is not None, "a plain file"
                found[name] = file.read()
                if len(found[name]) != member.size:
                    raise ValueError(f"damaged: {name} is cut off")
    except (tarfile.TarError, OverflowError, RecursionError, EOFError, struct.error):
        raise ValueError("no backup of netboot: it is no tar, or damaged") from None
    return found


def _listed(data: bytes) -> dict[str, Any]:
    """Return the list of a backup, of the expected shape. Raises ValueError."""
    try:
        listed = json.loads(data)
        version = listed["version"]
        if version != VERSION:
            raise ValueError(f"of another form: version {version!a:.40}, expected {VERSION}")
        rows = [
            {"name": str(row["name"]), "size": int(row["size"]), "sha256": str(row["sha256"])}
            for row in listed["files"]
        ]
        return {"release": str(listed["release"]), "made": float(listed["made"]), "files": rows}
    except (KeyError, TypeError, RecursionError, OverflowError, UnicodeError, json.JSONDecodeError):
        raise ValueError(f"damaged: {LIST_FILE} cannot be read") from None


def restore(backup: Backup, state: Path, profile: Path, *, replace: bool = False) -> list[Path]:
    """Write the files of a backup to their places; return those that changed, durably.

    Raises OperatorError before anything is written: if a server runs with that state, if the profile
    has mistakes, or without ``replace`` if there is other state. After an interruption call it again.
    """
    text = backup.files[PROFILE_FILE]
    try:
        room = profile_file.parse(text.decode("utf-8-sig"), f"the backup's {PROFILE_FILE}")
    except UnicodeDecodeError:
        raise OperatorError(f"the backup's {PROFILE_FILE}: not UTF-8 text", hint=DAMAGED) from None
    own = parse_store(room.swap.store).directory
    check_free(state, [memory.TMPFS, *([own] if own is not None else [])])
    places = {FOLDER + name: state / name for name in STATE_FILES} | {PROFILE_FILE: profile}
    wanted = {places[name]: data for name, data in backup.files.items()}
    others = [path for path in places.values() if _content(path) not in (None, wanted.get(path))]
    if others and not replace:
        raise OperatorError(
            f"there is other content already: {', '.join(map(str, others))}",
            hint="back it up, then give --replace; or name other places: --state, --profile",
        )
    for folder in (state, profile.parent):
        folder.mkdir(mode=0o700 if folder == state else 0o755, parents=True, exist_ok=True)
    changed = [path for path, data in wanted.items() if _content(path) != data]
    with alone(state / SECRET_FILE):
        for path in places.values():
            if path in wanted and path in changed:
                _write(path, wanted[path], state, is_profile=path == profile)
            elif path not in wanted and path in others:
                path.unlink()  # of another server: its leases do not fit this secret
            if path != profile:
                path.with_name(f".{path.name}.spare").unlink(missing_ok=True)
    return changed


def _content(path: Path) -> bytes | None:
    """Return what a file has; None if there is none. Something else than a file is other content."""
    try:
        content = read_regular(path)
    except FileNotFoundError:
        return None
    except ValueError:
        return b""
    return content if path.name == SECRET_FILE else content.rstrip(b" ")


def _write(path: Path, data: bytes, state: Path, *, is_profile: bool) -> None:
    """Write a file for the owner of the state folder. A profile may have hashes of passwords."""
    owner = state.stat()
    if not is_profile:
        replace_file(path, data, mode=PRIVATE, durable=True)
    else:
        secret = b"hash" in data or b"password" in data
        replace_file(path, data, mode=GROUP_READABLE if secret else READABLE, durable=True)
    if os.geteuid() == 0:
        os.chown(path, 0 if is_profile else owner.st_uid, owner.st_gid)


def check_free(state: Path, parents: Iterable[Path]) -> None:
    """Raise OperatorError if a server runs with this state folder, and name it.

    ``parents`` are folders in which it may keep pages. A server that only starts has no socket yet.
    """
    server = _at_socket(state / SOCKET_FILE)
    owners = {0, os.geteuid(), *([state.stat().st_uid] if state.exists() else [])}
    for parent in parents:
        for owner in owners:
            kept = find_kept(parent, pages_name(state), owner) if parent.is_dir() else None
            server = server or (server_of(kept) if kept is not None else "")
    if server:
        raise OperatorError(
            f"{state}: a running server has this state: {server}",
            hint="stop it first (systemctl stop netboot), then restore",
        )


def _at_socket(path: Path) -> str:
    """Return the server that listens at a socket; an empty text if none does."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(1.0)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY) if path.parent.is_dir() else -1
        try:
            if folder < 0:
                return ""
            sock.connect(f"/proc/self/fd/{folder}/{path.name}")  # unix(7): 107 bytes
        except (FileNotFoundError, ConnectionRefusedError):
            return ""
        finally:
            if folder >= 0:
                os.close(folder)
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, _, _ = struct.unpack("3i", credentials)
    return f"process {pid}"


def told(names: Sequence[str]) -> str:
    """Return the parts of a backup in one line."""
    return ", ".join(name.removeprefix(FOLDER) for name in names)
