"""The accounts of the panel: names, roles and hashes of passwords, in one file of the state folder.

The command (``netboot panel user``) changes the file while the panel runs, so the panel looks at it
whenever it needs an account. Passwords are hashed with Argon2id (RFC 9106); one check takes about
0.1 s and 32 MiB, so callers limit how many run at a time.
"""

import contextlib
import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from netboot.errors import OperatorError
from netboot.host.files import PRIVATE, create_file, rewrite_file
from netboot.host.state import read_regular

FILE = "panel-accounts.json"
VERSION = 1
OPERATOR = "operator"  # the account of the first start

Role = Literal["viewer", "operator"]
ROLES: tuple[Role, ...] = ("viewer", "operator")
NAME = re.compile(r"[a-z][a-z0-9._-]{0,31}")
MIN_PASSWORD, MAX_PASSWORD = 8, 256  # characters; NIST SP 800-63B asks for 8 or more
MAX_ACCOUNTS = 200

# RFC 9106 asks for 64 MiB where memory is short. The panel has 200 MB, of which two checks may be.
HASHER = PasswordHasher(time_cost=3, memory_cost=32 << 10, parallelism=1)


@dataclass(frozen=True, slots=True)
class Account:
    """One account. ``stamp``: random, new with each password: what was given for the old one ends."""

    name: str
    role: Role
    hash: str
    stamp: str


@dataclass(frozen=True, slots=True)
class _Content:
    key: bytes  # of the marks of known browsers
    accounts: dict[str, Account]


class _NewerError(Exception):
    """The file is a newer release's: it is whole."""


class Accounts:
    """The accounts in the state folder ``folder``. All methods may raise OperatorError."""

    def __init__(self, folder: Path, *, hasher: PasswordHasher = HASHER) -> None:
        self.path = folder / FILE
        self._hasher = hasher
        self._nobody = hasher.hash(secrets.token_hex(16))
        self._seen: tuple[int, int, int] | None = None
        self._content = _Content(b"", {})

    def begin(self) -> str | None:
        """Make the account ``operator`` if there is no file. Return its password then, once."""
        with self._locked():
            if self.path.exists():
                self._read()
                return None
            password = secrets.token_urlsafe(12)
            first = self._account(OPERATOR, "operator", password)
            self._save(_Content(secrets.token_bytes(32), {first.name: first}))
            return password

    def all(self) -> list[Account]:
        """Return all accounts by name."""
        return [account for _, account in sorted(self._read().accounts.items())]

    def find(self, name: str) -> Account | None:
        """Return an account, None if there is none of that name."""
        return self._read().accounts.get(name)

    @property
    def key(self) -> bytes:
        """The key that marks known browsers (``netboot.panel.login.lockout``)."""
        return self._read().key

    def check(self, name: str, password: str) -> Account | None:
        """Return the account if that is its password. Takes as long for a name that does not exist."""
        account = self.find(name)
        try:
            self._hasher.verify(account.hash if account else self._nobody, password)
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return None
        return account

    def check_new(self, name: str) -> None:
        """Raise the error that ``add`` would, before somebody types a password."""
        if not NAME.fullmatch(name):
            raise OperatorError(
                f"name of an account: expected a small letter, then up to 31 of a-z 0-9 . _ -, "
                f"found {name!r}"
            )
        accounts = self._read().accounts
        if name in accounts:
            hint = f"netboot panel user passwd {name}"
            raise OperatorError(f"there is an account {name!r} already", hint=hint)
        if len(accounts) >= MAX_ACCOUNTS:
            raise OperatorError(f"there are {MAX_ACCOUNTS} accounts already, the most there can be")

    def known(self, name: str) -> Account:
        """Return an account that must exist."""
        return _known(self._read().accounts, name)

    def add(self, name: str, role: Role, password: str) -> None:
        """Make an account."""
        with self._changing() as accounts:
            self.check_new(name)
            accounts[name] = self._account(name, role, password)

    def set_password(self, name: str, password: str) -> None:
        """Give an account another password; its sessions and its delays end."""
        with self._changing() as accounts:
            account = _known(accounts, name)
            accounts[name] = self._account(name, account.role, password)

    def set_role(self, name: str, role: Role) -> None:
        """Give an account another role, from its next request on."""
        with self._changing() as accounts:
            accounts[name] = replace(_known(accounts, name), role=role)

    def delete(self, name: str) -> None:
        """Remove an account; its sessions end."""
        with self._changing() as accounts:
            del accounts[_known(accounts, name).name]

    def _account(self, name: str, role: Role, password: str) -> Account:
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise OperatorError(
                f"password: expected {MIN_PASSWORD} to {MAX_PASSWORD} characters, "
                f"found {len(password)}"
            )
        try:
            return Account(name, role, self._hasher.hash(password), secrets.token_hex(8))
        except UnicodeEncodeError:
            raise OperatorError("password: expected text in UTF-8, found other bytes") from None

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Account]]:
        with self._locked():
            content = self._read()
            accounts = dict(content.accounts)
            yield accounts
            if not any(account.role == "operator" for account in accounts.values()):
                raise OperatorError(
                    "the panel needs an operator: this is the last account with that role",
                    hint="netboot panel user add NAME --role operator",
                )
            self._save(_Content(content.key or secrets.token_bytes(32), accounts))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from changing the file. The lock is the folder's: no file remains."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise _failed(self.path.parent, error) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _save(self, content: _Content) -> None:
        data = {
            "version": VERSION,
            "key": content.key.hex(),
            "accounts": [asdict(account) for account in content.accounts.values()],
        }
        text = json.dumps(data, indent=1) + "\n"
        try:
            if self.path.exists():
                rewrite_file(self.path, text)
            else:
                create_file(self.path, text, mode=PRIVATE)
                if os.geteuid() == 0:  # the panel's user must read what root made in its folder
                    folder = self.path.parent.stat()
                    os.chown(self.path, folder.st_uid, folder.st_gid)
        except OSError as error:
            raise _failed(self.path, error) from None

    def _read(self) -> _Content:
        """Return the file's content, read again if the file is another one than before."""
        try:
            status = self.path.stat()
            now = (status.st_ino, status.st_mtime_ns, status.st_size)
            if now != self._seen:
                self._content = _parsed(read_regular(self.path))
                self._seen = now
        except FileNotFoundError:
            self._content, self._seen = _Content(b"", {}), None
        except OSError as error:
            raise _failed(self.path, error) from None
        except _NewerError as error:
            raise OperatorError(
                f"{self.path}: made by a newer release: {error}, expected {VERSION}",
                hint="update this one; without the file all accounts are lost",
            ) from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise OperatorError(
                f"{self.path}: damaged: {error}",
                hint=f"restore it, or remove it: the next start of the panel makes {OPERATOR!r} again",
            ) from None
        return self._content


def _parsed(data: bytes) -> _Content:
    content: dict[str, Any] = json.loads(data)
    version = content["version"]
    if isinstance(version, int) and version > VERSION:
        raise _NewerError(f"version {version}")
    if version != VERSION:
        raise ValueError(f"version {version}, expected {VERSION}")
    accounts = [Account(**each) for each in content["accounts"]]
    for account in accounts:
        if account.role not in ROLES:
            raise ValueError(f"role {account.role!r} of {account.name!r}, expected {ROLES}")
    return _Content(bytes.fromhex(content["key"]), {each.name: each for each in accounts})


def _known(accounts: dict[str, Account], name: str) -> Account:
    if name not in accounts:
        names = ", ".join(sorted(accounts)) or "none: start the panel once"
        raise OperatorError(f"there is no account {name!r}", hint=f"accounts: {names}")
    return accounts[name]


def _failed(path: Path, error: OSError) -> OperatorError:
    return OperatorError(
        f"{path}: {error.strerror}", hint="netboot panel user needs --state and sudo"
    )
