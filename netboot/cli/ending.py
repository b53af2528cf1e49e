"""The end of a command: its exit status, and one line for each error that is no fault of netboot.

An error of the operating system (a full disk, a missing file, too many open files) is such an error,
wherever it comes from. Any other exception is a bug: its traceback is shown, with what to do.
"""

import codecs
import contextlib
import errno
import io
import json
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from netboot.errors import Exit, FailedError, OperatorError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

OUTPUT = "standard output"
ESCAPES = "netboot.escapes"  # the name of a way to encode
REPORT = "please report it with the lines above"
OPTION = "--json"
VARIABLE = "NETBOOT"  # the beginning of the variables that stand for options
NO = ("", "0", "false", "f", "no", "n", "off")  # of a variable that stands for a switch
HINTS = {
    errno.EACCES: "run the command as root (sudo), or as a user who may do that",
    errno.EPERM: "run the command as root (sudo), or as a user who may do that",
    errno.EMFILE: "allow more open files: ulimit -n 4096",
    errno.ENFILE: "end other programs, or raise the sysctl fs.file-max",
    errno.ENOSPC: "free some space there (df -h, df -i)",
    errno.EDQUOT: "free some space there, or ask for a larger quota",
    errno.EROFS: "name another folder, or mount that file system writable",
    errno.ENOMEM: "end other programs, or use a machine with more RAM",
    errno.EADDRINUSE: "stop the other program, or choose another port (ss -lntup shows who has it)",
}


def wants_json(words: Sequence[str], variables: Mapping[str, str]) -> bool:
    """Return True if a command line or a variable asks for JSON, also if the line is wrong."""
    end = words.index("--") if "--" in words else len(words)
    if OPTION in words[:end]:
        return True
    name, names = VARIABLE, [f"{VARIABLE}_JSON"]
    for word in words[:end]:
        name = f"{name}_{word.replace('-', '_').upper()}"
        names.append(f"{name}_JSON")
    return any(variables.get(each, "").lower() not in NO for each in names)


def finish(work: Callable[[], object], *, as_json: bool = False) -> int:
    """Run ``work`` with sound standard streams, and return the exit status of the command.

    Prints the reason of a failure to standard error, with ``as_json`` as one object on one line.
    ``work`` may end by SystemExit.
    """
    open_streams()
    try:
        status = _status(work)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has enough: `| head`
        discard_output()
        return Exit.FAILED
    except OperatorError as error:
        return _tell(error, as_json=as_json)
    except OSError as error:
        return _tell(as_mistake(error), as_json=as_json)
    except MemoryError:
        mistake = as_mistake(OSError(errno.ENOMEM, "not enough memory"))
        return _tell(mistake, as_json=as_json)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001 # the last resort
        traceback.print_exc()
        if as_json:
            fault = FailedError(f"this is a fault of netboot: {error!r}", hint=REPORT)
            return _tell(fault, as_json=True)
        print(f"netboot: this is a fault of netboot; {REPORT}", file=sys.stderr)
        return Exit.FAILED
    return status


def as_mistake(error: OSError) -> OperatorError:
    """Return an error of the operating system in one line, with a remedy if one is known."""
    if isinstance(error, shutil.Error):
        error = _first_of(error)
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if _is_name(name)]
    cause = error.strerror or str(error) or type(error).__name__
    problem = " and ".join(names) if names else "the system refused"
    verb = " cannot be written" if names == [OUTPUT] else ""
    return FailedError(f"{problem}{verb}: {cause}", hint=HINTS.get(error.errno or 0, ""))


def _first_of(error: shutil.Error) -> OSError:
    """Return the first failure of those that a copied tree had, each in three texts."""
    match error.args:
        case ([(source, target, why), *_],):
            found = re.match(r"\[Errno ([0-9]+)\]", str(why))
            number = int(found[1]) if found is not None else errno.EIO
            return OSError(number, os.strerror(number), str(source), None, str(target))
        case _:
            return error


def _is_name(name: object) -> bool:
    return isinstance(name, str | bytes | os.PathLike) and bool(name)


def _status(work: Callable[[], object]) -> int:
    try:
        work()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return Exit.FAILED
        return end.code or Exit.DONE
    return Exit.DONE


def _tell(error: OperatorError, *, as_json: bool) -> int:
    try:
        sys.stdout.flush()  # what was printed before the mistake comes before it
    except OSError:
        discard_output()
    print(json.dumps(error.as_json()) if as_json else error.text(), file=sys.stderr)
    return error.exit


class _Output(io.FileIO):
    """Standard output. Its errors say that it is that."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = OUTPUT
            raise


class _Errors(io.FileIO):
    """Standard error. A line that nobody can get must not end the command."""

    def write(self, data: "ReadableBuffer", /) -> int:
        with contextlib.suppress(OSError):
            return super().write(data)
        return len(bytes(data))


def open_streams() -> None:
    """Make the standard streams sound, however the command was started.

    A closed descriptor (`>&-`) becomes /dev/null: otherwise the next file or socket gets its number,
    and with it all that is printed. Characters that the terminal lacks are shown as escapes, and so
    are bytes of the command line that are not UTF-8.
    """
    codecs.register_error(ESCAPES, _escaped)
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    sys.stdout = _text(_Output(1, "wb", closefd=False), sys.stdout)
    sys.stderr = _text(_Errors(2, "wb", closefd=False), sys.stderr)


def _text(raw: io.FileIO, before: TextIO | None) -> io.TextIOWrapper:
    """Return the stream of ``raw`` in place of ``before``, which is None if it was closed."""
    at_once = raw.fileno() == 2 or raw.isatty() or getattr(before, "write_through", False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before else "utf-8",
        errors=ESCAPES,
        line_buffering=at_once,
    )


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Return the escapes of what cannot be encoded, and the position behind it."""
    assert isinstance(error, UnicodeEncodeError)
    wrong = error.object[error.start : error.end]
    # os.fsdecode gives a byte 0xe9 as U+DCE9.
    bare = (f"\\x{ord(c) - 0xDC00:02x}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in wrong)
    return "".join(bare).encode("ascii", "backslashreplace").decode(), error.end


def discard_output() -> None:
    """Point standard output to nowhere: Python flushes it once more when it ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
