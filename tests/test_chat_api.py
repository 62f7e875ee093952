"""How long a provider asks to wait, and what its host is called; requests are in test_hosted.py."""

import base64
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import quote

import pytest
from hypothesis import given, strategies as st

from dualrec_utils.models.backends import chat_api


@given(st.integers(0, 10**6))
def test_seconds_to_wait_reads_seconds_and_dates(seconds):
    assert chat_api.seconds_to_wait(str(seconds)) == seconds
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    assert abs(chat_api.seconds_to_wait(when) - seconds) < 2


@pytest.mark.parametrize("header", [None, "", "soon", "-5", "1e9", "Mon, 99 Foo 2020", "nan"])
def test_unreadable_headers_ask_for_nothing_and_the_past_for_no_wait(header):
    assert chat_api.seconds_to_wait(header) is None
    assert chat_api.seconds_to_wait("Wed, 21 Oct 2015 07:28:00 GMT") == 0


def test_hosts_name_folders():
    assert chat_api.host_of("https://openrouter.ai/api/v1") == "openrouter.ai"
    assert chat_api.host_of("http://localhost:8000/v1") == "localhost_8000"
    assert chat_api.host_of("http://[::1]:8000/v1") == "__1_8000"


def test_what_leads_back_to_this_machine():
    for host in ("127.0.0.1", "127.8.9.1", "[::1]", "[0:0:0:0:0:0:0:1]", "LocalHost"):
        assert chat_api.is_loopback(f"http://{host}:11434/v1")
    for host in ("128.0.0.1", "0.0.0.0", "localhost.example.org", "127.0.0.1.example.org", "[::2]"):
        assert not chat_api.is_loopback(f"http://{host}/v1")


KEY = "sk/or-v1+0123456789=abc.DEF"
PATTERN = chat_api._key_pattern(KEY, loopback=False)
INVISIBLE = st.text(st.characters(categories=["Cc", "Cf", "Zs", "Zl", "Zp", "Mn"]), max_size=2)


@given(
    st.lists(INVISIBLE, min_size=len(KEY), max_size=len(KEY)), st.binary(max_size=5), st.binary(max_size=5)
)
def test_a_key_is_found_however_it_is_written(gaps, before, after):
    """As it is, with the invisible in between, as JSON, in a URL, in HTML, in base64 among other bytes."""
    forms = [
        "".join(c + gap for c, gap in zip(KEY, gaps, strict=True)),
        KEY.replace("/", "\\/"),
        quote(KEY, safe=""),
    ]
    forms += ["".join(pattern % ord(c) for c in KEY) for pattern in ("\\u%04x", "&#%d;", "&#x%X;")]
    for form in forms:
        assert KEY[-3:] not in PATTERN.sub("[API key]", f"- {form} (1999)"), form
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        coded = encode(before + KEY.encode() + after).decode()
        left = PATTERN.sub("|", coded)
        assert "|" in left and len(left) <= 4 * (len(before) + len(after)) // 3 + 12


@given(st.text())
def test_nothing_else_is_taken_for_the_key(text):
    assert PATTERN.sub("", text) == text
    assert chat_api._key_pattern("anything", loopback=True).sub("", "Anything") == "Anything"


def test_hostile_text_is_searched_in_linear_time():
    begun = time.process_time()
    for piece in ("\\", "s ", "s" + "\u200b" * 1000, "&#", "x"):
        PATTERN.sub("", piece * (2**18 // len(piece)))
    assert time.process_time() - begun < 10
