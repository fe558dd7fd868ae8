"""API keys as they are made."""

import re

from mesh.keys import digest, new_id, new_key


def test_a_key_is_32_random_bytes_in_base62() -> None:
    """Every key has the same form, and no two are equal."""
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(re.fullmatch(r"mesh-[0-9A-Za-z]{43}", key) for key in keys)


def test_an_id_tells_nothing_about_the_key() -> None:
    """Ids are made apart from keys, and differ."""
    assert len({new_id() for _ in range(100)}) == 100


def test_a_digest_takes_any_header() -> None:
    """What a client sends need not be text; its digest is 64 hexadecimal digits all the same."""
    assert re.fullmatch(r"[0-9a-f]{64}", digest("\udcff"))
