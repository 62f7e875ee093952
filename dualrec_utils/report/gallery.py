"""The notebooks as a table with pictures: of README and site, each said once."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from dualrec_utils.core import config, files
from dualrec_utils.report import runs

BEGIN, END = "<!-- notebooks:begin -->", "<!-- notebooks:end -->"
# Pixels of a thumbnail: twice of what a page shows, for screens with small ones.
SIZE = (320, 200)
SHOWN_WIDTH = 160
LARGEST = 15_000
# Colours of its palette: as many as fit.
_COLOURS = (64, 32, 16, 8)


@dataclass(frozen=True)
class Entry:
    """A notebook as readers choose it.

    Attributes:
        name: of its file, without ending.
        title: a word or two.
        question: what it answers, one sentence.
        figure: the picture that stands for it, below `reports/`, without ending.
    """

    name: str
    title: str
    question: str
    figure: str

    @property
    def number(self) -> str:
        """The two digits that its name begins with."""
        return self.name[:2]


ENTRIES = (
    Entry("01_eda", "EDA", 'What does "order" mean here?', "figures/eda/order"),
    Entry("02_lstm", "LSTM", "How well does the sequence alone predict?", "figures/lstm/figure_3"),
    Entry(
        "03_baselines",
        "Baselines",
        "What do rivals without a language model reach?",
        "figures/baselines/hit_rate_at_5",
    ),
    Entry(
        "04_zero_shot_llm",
        "Zero-shot",
        "What does a prompted language model name?",
        "figures/zero_shot_llm/answers",
    ),
    Entry(
        "05_lora_finetuning",
        "LoRA",
        "Does fine-tuning help, beyond teaching the format?",
        "figures/lora_finetuning/differences",
    ),
    Entry(
        "06_rerank_ablation",
        "Re-ranking, fusion",
        "What do re-ranking, fusion and diversity do?",
        "figures/rerank_ablation/fusion_pairs",
    ),
    Entry("07_results", "Results", "Which differences are real?", "figures/results/claims"),
    Entry(
        "08_audit",
        "Audit",
        "What separates the paper's numbers from ours?",
        "figures/audit/ladder",
    ),
    Entry(
        "09_questions",
        "Questions",
        "What would readers ask next?",
        "studies/questions/suggestions",
    ),
    Entry(
        "10_knowledge",
        "Knowledge",
        "When does reading the world help?",
        "studies/knowledge/ml-100k/little_data",
    ),
    Entry(
        "11_rating_hybrids",
        "Rating hybrids",
        "What do two published hybrids reach without a leak?",
        "figures/rating_hybrids/errors",
    ),
    Entry(
        "12_cold_start",
        "Cold start",
        "What is said to somebody new, and why?",
        "figures/cold_start/items_rmse",
    ),
    Entry("13_domains", "Domains", "Does it carry beyond films?", "studies/domains/claims"),
    Entry("14_online", "Online", "What is keeping up with events worth?", "figures/online/over_time"),
)


def thumbnail(entry: Entry) -> Path:
    """Where the thumbnail of a notebook lies, if its figure is there."""
    return config.figures_dir("report") / "thumbs" / f"{entry.name}.png"


def write_thumbnails() -> None:
    """Write the thumbnails of all figures that are there; the same bytes for the same figure."""
    for entry in ENTRIES:
        figure = config.REPORTS / f"{entry.figure}.png"
        if figure.is_file():
            with files.replacing(thumbnail(entry)) as temporary:
                temporary.write_bytes(reduced(Image.open(figure)))


def reduced(figure: Image.Image) -> bytes:
    """A picture as a PNG of :data:`SIZE`, whole, on white; of at most :data:`LARGEST` bytes if it can."""
    small = ImageOps.pad(figure.convert("RGB"), SIZE, Image.Resampling.LANCZOS, color="white")
    for n_colours in _COLOURS:
        packed = io.BytesIO()
        small.quantize(n_colours, dither=Image.Dither.NONE).save(packed, format="PNG", optimize=True)
        if packed.tell() <= LARGEST:
            break
    return packed.getvalue()


def executed(entry: Entry) -> Path:
    """Where the run leaves the notebook with its outputs."""
    return config.NOTEBOOK_REPORTS / f"{entry.name}.ipynb"


def block() -> str:
    """The table of a README: each notebook with its outputs, or its source where no run has left them.

    Below it stand the profiles whose notebooks with outputs are there too.
    """
    rows = ["| notebook | question | |", "|---|---|---|"]
    for entry in ENTRIES:
        copy, picture = executed(entry), thumbnail(entry)
        link = _from_root(copy if copy.is_file() else config.NOTEBOOKS / copy.name)
        shown = "not run yet"
        if picture.is_file():
            image = f'<img src="{_from_root(picture)}" width="{SHOWN_WIDTH}" alt="">'
            shown = f'<a href="{link}">{image}</a>'
        rows.append(f"| [{entry.number} {entry.title}]({link}) | {entry.question} | {shown} |")
    others = [
        f"[{name}]({_from_root(folder)})"
        for name, run in runs.others().items()
        if any((folder := run.reports / "notebooks").glob("*.ipynb"))
    ]
    if others:
        rows += ["", f"With other data: {', '.join(others)}."]
    return "\n".join(rows)


def _from_root(path: Path) -> str:
    return Path(os.path.relpath(path, config.ROOT)).as_posix()
