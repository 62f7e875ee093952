"""Figures that show several series: one look a protocol, and labels that can be read."""

import itertools

import pandas as pd
import pytest
from matplotlib.colors import to_hex

from dualrec_utils.analysis import sample_size
from dualrec_utils.analysis.figures import sample_size as sizes
from dualrec_utils.audit import figures as audit
from dualrec_utils.core import config
from dualrec_utils.core.domain import MOVIES, Domain
from dualrec_utils.models import systems
from dualrec_utils.models.baselines import figures as baselines
from dualrec_utils.models.finetuning import figures as finetuning_figures
from dualrec_utils.models.language import figures as zero_shot
from dualrec_utils.report import figure_4
from dualrec_utils.show import charts
from dualrec_utils.show.charts import PROTOCOLS
from dualrec_utils.studies.questions import figures as questions

pytestmark = pytest.mark.usefixtures("figures_closed")


def looks(figure):
    """Name in the legend -> (marker, colour)."""
    handles, names = figure.axes[0].get_legend_handles_labels()
    lines = [getattr(handle, "lines", [handle])[0] for handle in handles]
    return {
        name: (line.get_marker(), to_hex(line.get_color())) for name, line in zip(names, lines, strict=True)
    }


@pytest.mark.parametrize("protocols", [config.PROTOCOLS, config.PROTOCOLS[::-1], ["window_of_five"]])
def test_a_protocol_looks_alike_wherever_it_is_drawn(protocols):
    rows = pd.DataFrame({"protocol": list(protocols), "system": "a", "other": "b"})
    rows = rows.assign(metric="hit_rate@5", value=0.2, difference=0.2, low=0.1, high=0.3)
    wanted = {name: (PROTOCOLS[name]["marker"], PROTOCOLS[name]["color"].lower()) for name in protocols}
    options = {"group": "protocol", "metric": "hit_rate@5", "note": "n"}
    assert looks(baselines.with_intervals(rows, xlabel="HR@5", **options)) == wanted
    assert looks(charts.forest(rows, note="n")) == wanted


def test_language_models_systems_are_named_in_words():
    names = ["movielm_lora", "movielm_lora_permuted"]
    words = ["movielm LoRA", "movielm LoRA, permuted answers"]
    curves = pd.DataFrame({"adapter": names, "epoch": 0, "train_loss": 2.0, "validation_loss": 2.0})
    assert list(looks(finetuning_figures.adapter_losses(curves, note="n"))) == words
    shares = pd.DataFrame({"not readable": [0.1, 0.2]}, index=pd.Index(names, name="system"))
    assert (
        zero_shot.answer_shares(shares, domain=MOVIES, note="n").axes[0].get_legend_handles_labels()[1]
        == words
    )


def test_more_systems_than_colours_are_told_apart():
    """Profile colab: eight adapters, ten systems that answer without one."""
    names = [f"model_{number}" for number in range(12)]
    curves = pd.DataFrame({"adapter": names, "epoch": 0, "train_loss": 2.0, "validation_loss": 2.0})
    assert len(set(looks(finetuning_figures.adapter_losses(curves, note="n")).values())) == len(names)
    shares = pd.DataFrame({"not readable": 0.1}, index=pd.Index(names, name="system"))
    bars = [bar for (bar,) in zero_shot.answer_shares(shares, domain=MOVIES, note="n").axes[0].containers]
    assert len({(bar.get_facecolor(), bar.get_hatch()) for bar in bars}) == len(names)


def test_a_difference_names_both_systems_in_words():
    rows = [("movielm_lora", "lstm", protocol, 0.1, 0.0, 0.2) for protocol in config.PROTOCOLS]
    rows.append(("dualrec_fusion", "movielm alone", "next_item", 0.1, 0.05, 0.2))
    columns = ["system", "other", "protocol", "difference", "low", "high"]
    pairs = pd.DataFrame(rows, columns=columns).assign(metric="hit_rate@5")
    before = pairs.copy()
    figure = charts.forest(pairs, note="n", label=systems.label)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [
        "movielm LoRA\n− LSTM alone (Stage 1)",
        "LSTM and language model fused (ours)\n− movielm alone",
    ]
    pd.testing.assert_frame_equal(pairs, before)
    # Of three differences, one has an interval without zero: its mark is filled.
    marks = [bars.lines[0] for bars in figure.axes[0].containers]
    filled = [mark for mark in marks if mark.get_markerfacecolor() != "white"]
    assert [len(mark.get_xdata()) for mark in filled] == [1, 0]
    with_question = charts.forest(pairs.assign(question="Why?"), note="n")
    assert with_question.axes[0].get_yticklabels()[0].get_text() == "Why?\nmovielm_lora − lstm"


def test_figure_4_has_the_looks_of_the_protocols():
    for protocol, look in PROTOCOLS.items():
        assert look.items() <= figure_4._LOOKS[protocol].items()


@pytest.fixture
def rungs():
    """Three rungs of two systems; on the first, one of them stands on fewer users."""
    names = (("as released", "window_of_five"), ("counted", "window_of_five"), ("one target", "next_item"))
    pairs = itertools.product(names, ("lstm", "movielm_lora_reranked"), ("hit_rate@1", "hit_rate@5"))
    rows = [(*rung, system, metric, 142) for rung, system, metric in pairs]
    frame = pd.DataFrame(rows, columns=["rung", "protocol", "system", "metric", "n_users"])
    few = (frame["rung"] == "as released") & (frame["system"] == "movielm_lora_reranked")
    frame.loc[few, "n_users"] = 105
    return frame.assign(value=0.2, low=0.1, high=0.3)


def test_the_ladder_names_fewer_users_and_the_protocols(rungs):
    best = {"the paper's best": {"hit_rate@1": 0.18, "hit_rate@5": 0.22}}
    figure = audit.ladder(rungs, paper=best, domain=MOVIES, note="n")
    left, right = ([text.get_text() for text in axes.texts] for axes in figure.axes)
    assert left == ["n = 105", "window_of_five ↑", "next_item ↓"] and right == ["n = 105"]
    same = rungs.assign(n_users=142, protocol="next_item")
    figure = audit.ladder(same, paper=best, domain=MOVIES, note="n")
    assert not any(axes.texts for axes in figure.axes)


def test_rungs_take_the_words_of_the_data(rungs):
    games = Domain(item="game", items="games", verb="bought", history="", details="")
    rungs = rungs.assign(rung=rungs["rung"].replace("counted", "movies already rated left out"))
    best = {"the paper's best": {"hit_rate@1": 0.18, "hit_rate@5": 0.22}}
    figure = audit.ladder(rungs, paper=best, domain=games, note="rated movies kept")
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["0. as released", "1. games already bought left out", "2. one target"]
    assert figure.get_supxlabel() == "bought games kept"


def test_values_of_the_paper_on_a_ladder_can_be_told_apart(rungs):
    theirs = {name: {"hit_rate@1": 0.03 * n, "hit_rate@5": 0.1 * n} for n, name in enumerate("ab", 1)}
    figure = audit.ladder(rungs, paper=theirs, domain=MOVIES, note="n")
    for axes, metric in zip(figure.axes, ("hit_rate@1", "hit_rate@5"), strict=True):
        lines = {line.get_label(): line for line in axes.lines}
        assert {name: lines[name].get_xdata()[0] for name in "ab"} == {
            name: theirs[name][metric] for name in "ab"
        }
        assert lines["a"].get_linestyle() != lines["b"].get_linestyle()


def test_sizes_close_to_each_other_keep_their_labels_apart():
    table = pd.DataFrame({"size": ["32x1", "64x1", "64x2", "128x2"], "loss_per_title": 5.0})
    table["n_parameters"] = [138_336, 303_296, 350_528, 889_472]
    for name in ("history_hit_rate@5", "zero_shot_hit_rate@5"):
        table = table.assign(**{name: 0.1, f"{name}_low": 0.05, f"{name}_high": 0.16})
    figure = questions.sizes(table, note="n")
    figure.canvas.draw()
    for axes in figure.axes:
        labels = axes.get_xticklabels()
        # Those that stand lower begin with empty lines.
        for lower in (True, False):
            row = [label for label in labels if label.get_text().startswith("\n") == lower]
            one, other = (label.get_window_extent() for label in row)
            assert not one.overlaps(other)
        assert axes.get_legend() is None, "a legend inside covers an interval"


@pytest.mark.parametrize(
    "n_users, marks", [(142, ["this run: 142", "ml-1m: 904"]), (904, ["this run: 904"])]
)
def test_a_run_of_as_many_users_as_the_papers_is_marked_once(n_users, marks):
    table = pd.DataFrame({"protocol": list(config.PROTOCOLS), "metric": "hit_rate@5", "n_users": n_users})
    table = table.assign(variance_paired=0.1, variance_independent=0.2)
    figure, _ = sizes.draw_power(table, metric="hit_rate@5", alpha=0.05, power=0.8, lead="ml-100k")
    for axes in figure.axes:
        assert [text.get_text() for text in axes.texts] == marks
    assert figure.get_supxlabel().startswith("ml-100k, test users") and sample_size.PAPER_USERS == 904
