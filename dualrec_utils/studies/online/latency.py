"""What `make latency` and `make load` measured of the service, as notebook 14 shows it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dualrec_utils.core import config, files

TABLE = config.study_dir("online") / "latency.csv"
ABOUT = config.study_dir("online") / "latency.json"
LOAD = config.study_dir("online") / "load.json"
# What is asked, and what it is called.
LABELS = {
    "event": "an event, on disk",
    "lstm": "a list, LSTM",
    "language_model": "a list, language model",
    "fusion": "a list, fusion",
    "rating_hybrid": "a list, rating hybrid",
    "search": "titles as typed",
}


def read() -> pd.DataFrame:
    """The table of the last `make latency`; empty before the first."""
    return pd.read_csv(TABLE) if TABLE.is_file() else pd.DataFrame()


def note() -> str:
    """Caption of the figure: machine and how long each was measured."""
    about = files.read_json(ABOUT)
    machine = about["machine"]
    return (
        f"{about['dataset']}, {machine['cpu']}, {machine['cores']} cores shared by server and clients;"
        f" {about['seconds_each']:.0f} seconds each, clients ask without a pause"
    )


def in_words() -> str:
    """What was measured, in sentences; what to run where nothing was."""
    table = read()
    if table.empty:
        return "Not measured yet: `make latency`, after `make repro`."
    about = files.read_json(ABOUT)
    process = about["in_process"]
    lines = [
        f"- In process, an event about a new item, on disk, and a fresh list of the LSTM take"
        f" {process['p50_ms']:.1f} ms in half of the cases and {process['p99_ms']:.1f} ms in 99 of 100."
        " About an item that the history has already, all of it is read anew:"
        f" {process['again_p50_ms']:.1f} and {process['again_p99_ms']:.1f} ms.",
        f"- The server starts in {about['start_seconds']:.1f} s and holds {about['memory_mb']:,.0f} MB.",
    ]
    for row in table[table["clients"] == 1].itertuples():
        lines.append(
            f"- {LABELS[row.what].capitalize()}, one client: {row.p50_ms:.1f} ms in half of the cases,"
            f" {row.per_second:,.0f} a second; {1 - row.inside_share:.0%} of the time is network and HTTP."
        )
    return "\n".join(lines)


def load_in_words() -> str:
    """What `make load` found, in sentences; what to run before the first."""
    measured = files.read_json(LOAD, missing={})
    if not measured:
        return "Not measured yet: `make load`, after `make repro`."
    kills, load = measured["kills"], measured["load"]
    growth = load["memory_mb_after"] / load["memory_mb_before"] - 1
    lines = [
        f"- Killed {kills['kills']} times at random moments of a stream of events: of"
        f" {kills['acknowledged']:,} events that it acknowledged, {kills['kept']:,} were there in the end"
        f" as acknowledged, and {kills['twice']:,} twice. {kills['sent_again']:,} had no answer at first"
        " and were sent again.",
        f"- {load['clients']} clients for {load['minutes']:g} minutes: {load['n']:,} answers,"
        f" {load['per_second']:,.0f} a second, {load['errors']:,} errors. Memory went from"
        f" {load['memory_mb_before']:,.0f} to {load['memory_mb_after']:,.0f} MB ({growth:+.1%}).",
        f"- {load['equal']:,} of {load['compared']:,} answers among and after the load were those that the"
        " same requests had got alone, letter by letter.",
    ]
    return "\n".join(lines)


def at_scale(sizes: pd.DataFrame, *, n_users: int = 1_000_000, events_a_day: int = 20) -> str:
    """What many users would take, computed from what was measured.

    Args:
        sizes: of a user's state, from :func:`studies.online.ways.memory`.
        events_a_day: of a user, each with a fresh list.
    """
    gib = n_users * sizes["bytes"].iloc[len(sizes) // 2] / 2**30
    rate = n_users * events_a_day / 86_400
    text = (
        f"**A million users**, computed: {gib:.1f} GiB of states; with {events_a_day} events of a user a"
        f" day, each with a fresh list, {rate:,.0f} requests a second on average."
    )
    table = read()
    if len(table):
        best = table[table["what"] == "lstm"]["per_second"].max()
        n_servers = int(np.ceil(rate / best))
        text += (
            f" One server of this machine gives {best:,.0f} lists a second, so it takes {n_servers:,}"
            f" {'server' if n_servers == 1 else 'servers'} like it, each with the users whose states it"
            " holds. Several workers on one log are built in (`dualrec serve --workers`). Several machines"
            " would need a shared store of states and events, such as Redis, which is not built in."
        )
    return text
