"""JSON of the panel's records. Pydantic makes the bytes, and FastAPI does not check them again."""

import json
import math
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError
from starlette.responses import Response

JSON = "application/json"


def encode(value: Any, kind: Any = None) -> bytes:
    """Return a dataclass as JSON, or a value of the type ``kind``. NaN and infinity become null.

    A PC's text may have half a character of UTF-16 in it, for which UTF-8 has no bytes. It is escaped.
    """
    adapter = _adapter(type(value) if kind is None else kind)
    try:
        text = adapter.dump_json(value)
    except PydanticSerializationError:
        text = b""
    if text and b"NaN" not in text and b"Infinity" not in text:
        return text
    # The rare text above, or NaN or infinity in the data of an event.
    return json.dumps(_plain(adapter.dump_python(value)), separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def answer(value: Any, kind: Any = None, *, status: int = 200) -> Response:
    """Return a record, or a value of the type ``kind``, as an answer."""
    return Response(encode(value, kind), status, media_type=JSON)


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]
