"""No secret of a URI is ever shown, whatever characters it is made of."""

import shlex
from urllib.parse import quote

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mvlab.masking import has_credentials, masked, masked_command, redacted

SCHEMES = st.sampled_from(["http", "https", "postgresql", "mysql+pymysql", "mssql+pyodbc", "s3", "HTTP"])
ANYTHING = st.text(min_size=1, max_size=20) | st.text("ab:/@?#&=% '\"\\.", min_size=1, max_size=12)
SECRETS = ANYTHING.filter(lambda text: len(text) >= 4)
PLACE = "host.example:5000/some/path"
EXAMPLES = settings(max_examples=60)
NAMES = st.sampled_from(["token", "password", "access_key", "X-Amz-Signature", "sig", "clientSecret", "auth"])


def of_no_place(secret: str) -> None:
    """It is not by chance a part of what is to be shown."""
    assume(secret not in f"https://***@{PLACE}?a=1&b=2 mysql+pymysql postgresql mssql+pyodbc cannot reach ': no answer")


@EXAMPLES
@given(SCHEMES, ANYTHING | st.just(""), SECRETS)
def test_a_password_is_not_shown(scheme: str, user: str, password: str) -> None:
    of_no_place(password)
    uri = f"{scheme}://{user}:{password}@{PLACE}"
    assert has_credentials(uri)
    assert password not in masked(uri)
    command = masked_command(["job.py", "--tracking-uri", uri, f"--tracking-uri={uri}"])
    assert password not in command
    assert password not in " ".join(shlex.split(command))


@EXAMPLES
@given(SCHEMES, st.text("ab%. ", max_size=5), SECRETS)
def test_an_error_that_quotes_it_does_not_show_it(scheme: str, user: str, password: str) -> None:
    of_no_place(password)
    uri = f"{scheme}://{user}:{password}@{PLACE}"
    for said in (uri, repr(uri), password, repr(password), quote(password, safe=""), quote(uri)):
        shown = redacted(f"cannot reach {said}: no answer", uri)
        assert password not in shown
        assert password not in shown.encode().decode("unicode_escape", errors="replace")


@EXAMPLES
@given(SCHEMES, st.text("ab:/@?#&=%.", min_size=4, max_size=12))
def test_a_text_that_quotes_some_uri_does_not_show_its_password(scheme: str, password: str) -> None:
    of_no_place(password)
    assert password not in redacted(f"cannot reach {scheme}://user:{password}@{PLACE}: no answer")


@EXAMPLES
@given(SCHEMES, NAMES, SECRETS.filter(lambda text: "&" not in text))
def test_a_secret_in_a_query_is_not_shown(scheme: str, name: str, secret: str) -> None:
    of_no_place(secret)
    uri = f"{scheme}://{PLACE}?a=1&{name}={secret}&b=2"
    assert has_credentials(uri)
    assert secret not in masked(uri)
    assert secret not in masked_command(["job.py", uri])
    assert secret not in redacted(f"cannot reach {uri}: no answer", uri)


@EXAMPLES
@given(ANYTHING, SECRETS)
def test_once_masked_it_stays_as_it_is(user: str, password: str) -> None:
    once = masked(f"https://{user}:{password}@{PLACE}?token={password}")
    assert masked(once) == once


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://user:secret@host:5000/x", "http://***@host:5000/x"),
        ("http://user:p@ss/w0rd@host:5000/x", "http://***@host:5000/x"),
        ("https://TOKEN@host", "https://***@host"),
        ("https://TO/KEN@host", "https://***@host"),
        ("user:secret@host:5000", "***@host:5000"),
        ("http://h/x?a=1&token=abc&b=2", "http://h/x?a=1&token=***&b=2"),
        ("http://user:p?a@host", "http://***"),
        ("mssql+pyodbc:///?odbc_connect=PWD%3Dabc", "mssql+pyodbc:///?odbc_connect=***"),
        ("--tracking-uri=http://u:p w@host", "--tracking-uri=http://***@host"),
    ],
)
def test_credentials_are_not_shown(uri: str, shown: str) -> None:
    assert masked(uri) == shown


@pytest.mark.parametrize(
    "uri",
    [
        "http://host:5000",
        "sqlite:////home/me@work/a:b@c/mlflow.db",
        "file:///home/me@work/x",
        "s3://bucket/data@2026/train?endpoint_override=127.0.0.1:9000&scheme=http",
        "abfs://container@account.dfs.core.windows.net/x",
        "hf://datasets/me/digits@main/x",
        "/home/me:x@work",
        "storage/a",
        "8,4,2",
    ],
)
def test_what_holds_no_credentials_is_shown_as_it_is(uri: str) -> None:
    assert not has_credentials(uri)
    assert masked(uri) == uri
    assert masked_command([uri]) == shlex.join([uri])


def test_words_around_uris_stay() -> None:
    text = "see http://h/x?a=1&token=abc or 'http://u:p@h', not mail@h: x"
    assert redacted(text) == "see http://h/x?a=1&token=*** or 'http://***@h', not mail@h: x"
    assert redacted("Max retries exceeded with url: /api?token=abc") == "Max retries exceeded with url: /api?token=***"
