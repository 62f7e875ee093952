"""How long a provider asks to wait, and what its host is called; requests are in test_hosted.py."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, strategies as st

from dualrec_utils.models.backends import chat_api


@given(st.integers(0, 10**6))
def test_seconds_to_wait_reads_seconds_and_dates(seconds):
    assert chat_api.seconds_to_wait(str(seconds)) == seconds
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    assert abs(chat_api.seconds_to_wait(when) - seconds) < 2


@pytest.mark.parametrize("header", [None, "", "soon", "-5", "1e9", "Mon, 99 Foo 2020", "nan"])
def test_unreadable_headers_ask_for_nothing(header):
    assert chat_api.seconds_to_wait(header) is None


def test_a_date_in_the_past_asks_for_no_wait():
    assert chat_api.seconds_to_wait("Wed, 21 Oct 2015 07:28:00 GMT") == 0


def test_hosts_name_folders():
    assert chat_api.host_of("https://openrouter.ai/api/v1") == "openrouter.ai"
    assert chat_api.host_of("http://localhost:8000/v1") == "localhost_8000"
    assert chat_api.host_of("http://[::1]:8000/v1") == "__1_8000"
