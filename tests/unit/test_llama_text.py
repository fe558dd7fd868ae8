"""Text leaves in whole tokens, whole characters, and without stop texts."""

from hypothesis import given
from hypothesis import strategies as st

from workers.llama.text import Shown, TextStream, incomplete_tail


def push_all(stream: TextStream, pieces: list[bytes]) -> list[Shown]:
    """Push pieces, numbered as tokens from 0, until the stream stops; then finish."""
    shown: list[Shown] = []
    for token, piece in enumerate(pieces):
        shown.append(stream.push(token, piece))
        if stream.stopped:
            return shown
    return [*shown, stream.finish()]


def joined(shown: list[Shown]) -> str:
    return "".join(piece.text for piece in shown)


def test_plain_text_passes_at_once() -> None:
    """Without stop texts every whole token is shown as it comes."""
    stream = TextStream()
    assert stream.push(1, b"Hello") == Shown("Hello", (1,))
    assert stream.push(2, b" you") == Shown(" you", (2,))
    assert not stream.finish()


def test_a_character_split_over_tokens_waits_until_it_is_whole() -> None:
    """Half a character is held back together with its token id."""
    first, second, third = (bytes([byte]) for byte in "€".encode())
    stream = TextStream()
    assert not stream.push(1, b"a" + first)
    assert not stream.push(2, second)
    assert stream.push(3, third + b"b") == Shown("a€b", (1, 2, 3))


def test_a_character_that_stays_incomplete_is_dropped() -> None:
    """The end of the output never shows half a character, but its token counts."""
    stream = TextStream()
    stream.push(1, b"ok")
    stream.push(2, "😀".encode()[:3])
    assert stream.finish() == Shown("", (2,))


def test_bytes_that_are_no_utf8_are_replaced() -> None:
    """A stray byte becomes a replacement character and does not block the stream."""
    stream = TextStream()
    assert stream.push(1, b"\x80") == Shown("\ufffd", (1,))
    assert not stream.push(2, b"\xe2")
    assert stream.push(3, b"a") == Shown("\ufffda", (2, 3))


def test_a_stop_text_across_tokens_is_cut_out() -> None:
    """What might become a stop text waits; if it does, nothing of it is shown."""
    stream = TextStream(["</end>"])
    assert stream.push(1, b"done") == Shown("done", (1,))
    assert not stream.push(2, b" <")
    assert not stream.push(3, b"/en")
    assert stream.push(4, b"d> more") == Shown(" ", (2,))
    assert stream.stopped
    assert stream.stop == "</end>"


def test_a_false_start_of_a_stop_text_is_shown_in_the_end() -> None:
    """Held text is released as soon as it cannot become a stop text any more."""
    stream = TextStream(["stop"])
    assert not stream.push(1, b"sto")
    assert stream.push(2, b"ne") == Shown("stone", (1, 2))


def test_held_text_is_shown_when_the_output_ends() -> None:
    """An unfinished stop text is ordinary text after all."""
    stream = TextStream(["stop"])
    stream.push(1, b"st")
    assert stream.finish() == Shown("st", (1,))


def test_overlapping_beginnings_are_found() -> None:
    """A stop text that begins inside its own false start is found."""
    assert joined(push_all(TextStream(["aab"]), [b"a", b"a", b"a", b"b", b"c"])) == "a"


def test_the_stop_text_that_completes_first_wins() -> None:
    """Of several stop texts the earliest to complete cuts; of two at once, the longer."""
    assert joined(push_all(TextStream(["longer one", "one"]), [b"a longer one"])) == "a "
    assert joined(push_all(TextStream(["xyz", "b"]), [b"abxyz"])) == "a"


def test_a_very_long_stop_text_is_handled() -> None:
    """Two thousand characters of stop text are held back and found, byte by byte."""
    stop = "ab" * 999 + "ac"
    pieces = [bytes([byte]) for byte in f"ab{stop}".encode()]
    assert joined(push_all(TextStream([stop]), pieces[:-1])) == f"ab{stop}"[:-1]
    assert joined(push_all(TextStream([stop]), pieces)) == "ab"


def test_a_stop_text_of_several_bytes_per_character_is_found() -> None:
    """A stop text outside ASCII is found when tokens split its characters."""
    pieces = [bytes([byte]) for byte in "é→ü".encode()]
    assert joined(push_all(TextStream(["→"]), pieces)) == "é"


@given(st.text(), st.data())
def test_any_split_gives_back_the_text(text: str, data: st.DataObject) -> None:
    """However tokens cut the bytes, the pieces are valid text and make up the whole."""
    pieces = _split(text.encode(), data)
    shown = push_all(TextStream(), pieces)
    assert joined(shown) == text
    assert [token for piece in shown for token in piece.ids] == list(range(len(pieces)))


@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1), max_size=3), st.data())
def test_no_split_lets_a_stop_text_through(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    """The shown text is what comes before the stop text that completes first."""
    shown = joined(push_all(TextStream(stops), _split(text.encode(), data)))
    ends = [(text.index(stop) + len(stop), text.index(stop)) for stop in stops if stop in text]
    assert shown == (text[: min(ends)[1]] if ends else text)


@given(st.binary(max_size=12), st.data())
def test_any_bytes_give_what_decoding_them_at_once_gives(noise: bytes, data: st.DataObject) -> None:
    """Invalid bytes are replaced as in one go, however they are split."""
    shown = joined(push_all(TextStream(), _split(noise, data)))
    whole = noise[: len(noise) - incomplete_tail(noise)]
    assert shown == whole.decode(errors="replace")


def _split(whole: bytes, data: st.DataObject) -> list[bytes]:
    cuts = data.draw(st.lists(st.integers(0, len(whole))))
    ends = sorted({*cuts, len(whole)})
    return [whole[start:end] for start, end in zip([0, *ends], ends, strict=False)]
