"""Reading request bodies: bounded in size and time, decoded once, every fault a named 400.

aiohttp's own ``request.json()`` answers 500 to bad UTF-8, deep nesting and huge integers, and waits
for a stalled body for ever (seen with 3.14), hence the raw bytes and msgspec.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec
from aiohttp import StreamReader, web
from aiohttp.http_exceptions import BadHttpMessage

from gateway.problems import BadRequest, BodyTooLarge, RequestTimeout
from mesh.errors import InvalidRequest
from schemas.openai import Body

B = TypeVar("B", bound=Body)

_JSON: Final = "application/json"
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


def check_encoding(headers: Mapping[str, str]) -> None:
    """Accept plain JSON in UTF-8; raises ``BadRequest`` for headers that say otherwise.

    Compressed bodies are refused: no client of this API sends them, and a few kilobytes of them can
    unpack to gigabytes.
    """
    if headers.get("Content-Encoding") is not None:
        raise BadRequest("Send the body uncompressed.", param="Content-Encoding")
    _check_type(headers.get("Content-Type"))


def _check_type(header: str | None) -> None:
    if header is None or header == _JSON:
        return
    kind, _, parameters = header.partition(";")
    kind = kind.strip().lower()
    if kind != _JSON and not (kind.startswith("application/") and kind.endswith("+json")):
        raise BadRequest(f"Send the body as {_JSON}.", param="Content-Type")
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip(' "').lower() not in _CHARSETS:
            raise BadRequest("JSON bodies are encoded in UTF-8.", param="Content-Type")


async def read_body(request: web.BaseRequest, *, limit: int, timeout: float) -> bytes:
    """Return the whole body; raises ``BodyTooLarge``, ``RequestTimeout``, ``BadRequest``."""
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    content = request.content
    try:
        if content.is_eof():  # it came along with the headers: no timer, no waiting
            body = content.read_nowait()
        else:
            async with asyncio.timeout(timeout):
                body = await _gather(content, limit)
    except TimeoutError:
        raise RequestTimeout("The body did not arrive in time.") from None
    except (BadHttpMessage, web.RequestPayloadError):
        content.feed_eof()  # or aiohttp trips over the same error again, and logs it
        raise BadRequest("The body's transfer encoding is broken.") from None
    if len(body) > limit:
        raise _too_large(limit)
    return body


async def _gather(content: StreamReader, limit: int) -> bytes:
    pieces = bytearray()
    while piece := await content.readany():
        pieces += piece
        if len(pieces) > limit:
            break
    return bytes(pieces)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limit} bytes.")


class BodyDecoder(Generic[B]):
    """Decodes one kind of body and names the field at fault in what it raises."""

    def __init__(self, kind: type[B]) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        names = "|".join(re.escape(field.encode_name) for field in msgspec.structs.fields(kind))
        self._keys = re.compile(rf'"({names})"\s*:'.encode())

    def decode(self, body: bytes) -> B:
        """Return the body as a struct; raises ``InvalidRequest`` naming the field."""
        try:
            if not body.isascii():
                body.decode()  # msgspec does not look into fields it skips
            decoded = self._decoder.decode(body)
        except msgspec.ValidationError as error:
            raise _explain(str(error)) from None
        except UnicodeDecodeError:
            raise InvalidRequest("The body is not valid UTF-8.") from None
        except RecursionError:
            raise InvalidRequest("The body is nested too deeply.") from None
        except msgspec.DecodeError as error:
            raise InvalidRequest(f"The body is not valid JSON: {error}.") from None
        self._refuse_duplicates(body)
        return decoded

    def _refuse_duplicates(self, body: bytes) -> None:
        """Raise ``InvalidRequest`` for a field that comes twice.

        JSON parsers disagree on which one counts (msgspec: the last), so two programs on the way
        could read two different requests. The scan is cheap; only where a name appears twice at
        any depth does a slow parser look for the level.
        """
        names = self._keys.findall(body)
        if len(names) == len(set(names)):
            return
        for name, count in Counter(_top_level_names(body)).items():
            if count > 1:
                raise InvalidRequest(f"The field '{name}' is given more than once.", param=name)


def _top_level_names(body: bytes) -> list[str]:
    """Return the keys of the outermost object, repeats included (its hook is called last)."""

    def names(pairs: list[tuple[str, Any]]) -> list[str]:
        return [name for name, _ in pairs]

    skip = float  # int() refuses more than 4300 digits, and no value matters here
    found: list[str] = json.loads(body, object_pairs_hook=names, parse_int=skip)
    return found


_PATH: Final = re.compile(r"^(?P<reason>.*?)(?: - at (?:`key` in )?`\$(?P<path>.*)`)?$", re.DOTALL)
_MISSING: Final = re.compile(r"^Object missing required field `(?P<field>[^`]+)`$")


def _explain(text: str) -> InvalidRequest:
    """Turn msgspec's ``Expected `int`, got `str` - at `$.messages[0].role``` into our words.

    The path is only to be had from the text: msgspec's error carries no attribute for it. Of an
    object with a wrong key it names the object: ``… - at `key` in `$.metadata```.
    """
    match = _PATH.match(text)
    reason, path = (match["reason"], match["path"]) if match else (text, None)
    param = (path or "").removeprefix(".").replace("[...]", "")
    missing = _MISSING.match(reason)
    if missing is not None:
        param = f"{param}.{missing['field']}".removeprefix(".")
        return InvalidRequest(f"The field '{param}' is missing.", param=param)
    if not param:
        return InvalidRequest(f"The body is not a valid request: {reason}.")
    return InvalidRequest(f"Invalid value for '{param}': {reason}.", param=param)
