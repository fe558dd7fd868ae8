import pytest

from workers.upstream.settings import ApiKey, Dialect, KeyMissing, UpstreamSettings


@pytest.mark.parametrize(
    "url",
    [
        "api.example.com/v1",
        "ftp://api.example.com",
        "https:///v1",
        "https://user:secret@api.example.com/v1",
        "https://api.example.com/v1?key=secret",
    ],
)
def test_refuses_what_is_no_api_root(url: str) -> None:
    """Bad addresses, and those with credentials in them, are refused without being quoted."""
    with pytest.raises(ValueError, match="URL") as refused:
        UpstreamSettings(url=url)

    assert "secret" not in str(refused.value)


def test_a_final_slash_does_not_matter() -> None:
    """Paths are joined with one slash."""
    settings = UpstreamSettings(url="http://127.0.0.1:1/v1/")

    assert settings.endpoint("models") == "http://127.0.0.1:1/v1/models"


@pytest.mark.parametrize(
    ("url", "dialect"),
    [
        ("https://api.openai.com/v1", Dialect.OPENAI),
        ("https://mine.openai.azure.com/openai/v1", Dialect.OPENAI),
        ("https://api.openai.com.example.net/v1", Dialect.COMPATIBLE),
        ("http://127.0.0.1:11434/v1", Dialect.COMPATIBLE),
    ],
)
def test_the_address_tells_the_dialect(url: str, dialect: Dialect) -> None:
    """OpenAI's own hosts speak OpenAI, all others a compatible dialect."""
    assert Dialect.of(url) is dialect


@pytest.mark.parametrize("environ", [{}, {"KEY": ""}, {"KEY": " \n"}])
def test_a_missing_key_stops_the_start(environ: dict[str, str]) -> None:
    """The error names the variable."""
    with pytest.raises(KeyMissing, match="KEY"):
        ApiKey.from_environment("KEY", environ)


def test_a_key_unfit_for_a_header_is_not_quoted() -> None:
    """The error names the variable, not what is in it."""
    with pytest.raises(KeyMissing, match="KEY") as refused:
        ApiKey.from_environment("KEY", {"KEY": "secret\r\nX-Evil: 1"})

    assert "secret" not in str(refused.value)


def test_a_key_shows_in_headers_only() -> None:
    """Its representation hides it."""
    key = ApiKey.from_environment("KEY", {"KEY": " secret\n"})

    assert key.headers() == {"Authorization": "Bearer secret"}
    assert "secret" not in f"{key!r} {key}"


def test_no_variable_means_no_header() -> None:
    """An edge upstream needs no key."""
    assert ApiKey.from_environment(None, {"KEY": "secret"}).headers() == {}
