"""The study's one command: `dualrec --help`, or `python -m dualrec_utils --help`.

It starts what is asked for and turns a :class:`core.errors.StudyError`, and an error of the operating
system such as a full disk, into one message and status 2. Everything is imported when it is needed: help
comes at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from dualrec_utils.core.errors import StudyError, explained
from dualrec_utils.service import commands as service

_DEFAULT_RUN = "of the default run, or of the profile in whose folder the command is started"


def run(stage: str) -> int:
    """Run one stage as DVC does: alone, watched, timed."""
    from dualrec_utils.core import config
    from dualrec_utils.core.domain import Domain
    from dualrec_utils.models.language import pretrained
    from dualrec_utils.pipeline import params, running, stages

    notebook = stages.find(stage).notebook
    whole = params.load()
    settings = params.settings(whole, stage)
    domain = Domain(**whole.domain.model_dump())
    with running.supervised(stage):
        for name in pretrained.named(whole, stage):
            pretrained.written_out(name)
        if notebook:
            from dualrec_utils.pipeline import notebooks

            page = config.NOTEBOOK_REPORTS / notebook.replace(".ipynb", ".html")
            source, dataset = config.NOTEBOOKS / notebook, settings["dataset"]
            if lacking := stages.lacking(stages.find(stage), dataset):
                reason = f"the interactions of {dataset} have no {lacking}, which this notebook works on."
                notebooks.leave_out(source, reason, page=page, stage=stage, dataset=dataset)
                print(f"{stage}: left out: {reason}", flush=True)
                return 0
            try:
                notebooks.run(source, page=page, cwd=config.ROOT, domain=domain)
            except notebooks.NotebookFailed as error:
                print(f"dualrec: {stage}: {error}", file=sys.stderr, flush=True)
                return 1
        elif stage == "data":
            from dualrec_utils.datasets import prepare

            summary = prepare.prepare(**settings, domain=domain)
            print(prepare.describe(settings["dataset"], summary), flush=True)
        elif stage == "movielm":
            from dualrec_utils.models.movielm import model

            model.train_stage(**settings)
        else:
            from dualrec_utils.report import page as report

            report.build_stage(**settings, trial=whole.trial, domain=domain)
    return 0


def check_params() -> int:
    """Check all of params.yaml, before DVC takes the old outputs of a first stage away."""
    from dualrec_utils.pipeline import old_layout, params, profiles

    profiles.tell_dvc_of_git()
    for line in old_layout.tidy():
        print(f"dualrec: {line}", flush=True)
    values = params.load()
    # Baselines and rating models know what their settings may be, the analysis how much it claims.
    import numpy as np

    from dualrec_utils.analysis import claims, significance
    from dualrec_utils.models import baselines
    from dualrec_utils.models.ratings import settings as rating_settings

    significance.check_draws(
        claims.LARGEST_FAMILY,
        n_permutations=values.intervals.n_permutations,
        alpha=1 - values.intervals.confidence,
    )
    for name, hyperparameters in values.baselines.models.items():
        with _named(f"baselines.models.{name}"):
            baselines.build(name, np.array([1]), seed=0, **hyperparameters)  # type: ignore[arg-type]
    for name, chosen in values.rating_hybrids.models.items():
        with _named(f"rating_hybrids.models.{name}"):
            rating_settings.check(chosen)
    return 0


@contextmanager
def _named(place: str) -> Iterator[None]:
    """A complaint about values of `params.yaml` says where they stand."""
    from dualrec_utils.core import config

    try:
        yield
    except StudyError as error:
        raise StudyError(f"{config.PARAMS_FILE} has values that cannot be used: {place}: {error}") from None


def verify(against_worktree: bool) -> int:
    """Does a forced rerun give the committed metrics again?"""
    from dualrec_utils.pipeline import verify as verifying

    return 0 if verifying.verify(against_worktree=against_worktree) else 1


def profile(folder: str) -> int:
    """Give the folder of a new profile what DVC needs."""
    from dualrec_utils.pipeline import profiles

    print(profiles.set_up(folder))
    return 0


def finetune(models: list[str]) -> int:
    """Train the adapters of lora_finetuning, under `accelerate launch` on several GPUs."""
    from dualrec_utils.models.finetuning import adapters
    from dualrec_utils.pipeline import params

    adapters.train_all(params.section(adapters.STAGE), names=models)
    return 0


# Studies beside the pipeline: words of the command -> (function, help, its arguments). An argument that
# ends in `s` takes one value or more, in `s*` none or more.
_STUDIES = {
    ("search",): (
        "search.search:run_all",
        "search the settings of baselines, lstm and movielm",
        ("models",),
    ),
    ("seeds",): ("seeds:run_all", "run again from other seeds of order and training", ()),
    ("seed-values",): ("seeds:write_values", "write a seed's values, user by user", ()),
    ("ratings",): ("ratings:run_all", "rating models: seeds, ablations, shares of the data", ("parts*",)),
    ("variants",): ("variants:run_all", "train the published sizes of the rating data", ()),
    ("latency",): ("online.measuring:run_all", "measure the service, over this machine's own network", ()),
    ("load",): ("online.load:run_all", "kill the service, and ask it for ten minutes", ()),
    ("order",): ("order:run_all", "measure what the order inside a second does", ("models*",)),
    ("knowledge",): ("knowledge.run:run_all", "little data, cold items, knowledge or form", ("parts*",)),
    ("domains",): ("domains.run:run_all", "does it carry to music, games and a shop", ("parts*",)),
    ("shards",): ("shards.run:run_all", "answers of a model by several workers", ("model", "workers*")),
    ("nir",): ("nir.experiment:run_study", "reproduce NIR", ()),
    ("peers", "export"): ("peers.recbole:export_data", "write the data for RecBole", ()),
    ("peers", "ours"): ("peers.ours:run_seeds", "run one baseline of ours with every seed", ("model",)),
    ("peers", "report"): ("peers.recbole:write_report", "write the comparison", ()),
    ("peers", "folds"): ("peers.surprise:export_folds", "write the folds for Surprise", ()),
    ("peers", "ratings"): ("peers.surprise:write_table", "write how far off Surprise is", ()),
    ("loo", "run"): ("leave_one_out.run:run_models", "fit and measure baselines", ("dataset", "models")),
    ("loo", "ties"): ("leave_one_out.ties:run_ties", "what the order of equal times does", ()),
    ("loo", "tables"): ("leave_one_out.tables:print_tables", "write the tables", ()),
    ("questions", "lstm"): ("questions.lstm:run_setting", "train the LSTM another way", ("setting",)),
    ("questions", "sizes"): ("questions.sizes:run_size", "train movielm in another size", ("size",)),
    ("questions", "suggestions"): ("questions.suggestions:run_system", "replace suggestions", ("system",)),
    ("questions", "notebook"): ("questions.settings:run_notebook", "run notebook 09", ()),
}
_GROUPS = {
    "peers": "baselines beside RecBole's, and rating models beside Surprise's",
    "loo": "the leave-one-out track",
    "questions": "questions that the paper leaves open",
}


def _calling(target: str) -> Callable[..., int]:
    """The command that calls `module:function` of the package."""

    def call(**arguments: Any) -> int:
        module, function = target.split(":")
        return getattr(import_module(f"dualrec_utils.{module}"), function)(**arguments) or 0

    return call


def _add_studies(commands: Any) -> None:
    groups = {}
    for words, (target, help_text, arguments) in _STUDIES.items():
        place = commands
        for word in words[:-1]:
            if word not in groups:
                group = place.add_parser(word, help=_GROUPS[word])
                groups[word] = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
            place = groups[word]
        command = place.add_parser(words[-1], help=help_text)
        command.set_defaults(function=_calling(f"studies.{target}"), name=" ".join(words))
        for argument in arguments:
            many = {"s": "+", "*": "*"}.get(argument[-1])
            command.add_argument(argument.rstrip("*"), nargs=many)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dualrec",
        description="The DUALRec study. `make repro` runs all of it; each command below is one part.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, function: Callable[..., int], help_text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help_text, description=function.__doc__ or help_text)
        command.set_defaults(function=function)
        if name != "run":
            command.set_defaults(name=name)
        return command

    command = add("run", run, f"run one stage of the pipeline {_DEFAULT_RUN}")
    command.add_argument("stage", help="data, eda, lstm, baselines, ... as in dvc.yaml")
    add("params", check_params, f"check params.yaml {_DEFAULT_RUN}")
    add("colab", _calling("pipeline.colab:run_checks"), f"check a rented machine for a run {_DEFAULT_RUN}")
    add("results", _calling("report.text:print_results"), "print the results and where the report lies")
    add("site", _calling("site.build:run"), "write report, executed notebooks and docs as a web site")
    command = add("verify", verify, "run everything again and compare with the committed metrics")
    command.add_argument(
        "--against-worktree",
        action="store_true",
        help="run nothing; compare the metrics that lie here with those committed",
    )
    command = add("profile", profile, "set up the folder of a new profile")
    command.add_argument("folder", help="a folder of profiles/ that holds a params.yaml")
    command = add("finetune", finetune, "train the LoRA adapters of params.yaml")
    command.add_argument(
        "models", nargs="*", metavar="MODEL", help="of lora_finetuning.models; default all"
    )
    command = add(
        "bench", _calling("studies.bench.lstm:run_sections"), "measure speeds side by side (15 min)"
    )
    command.add_argument(
        "sections", nargs="*", metavar="SECTION", help="lstm, generation, ...; default all"
    )
    command.add_argument("--short", action="store_true", help="train the LSTM for one pass only")
    command = add(
        "bench-gpu", _calling("studies.bench.gpu:run_bench"), "measure random 0.5B to 7B models on this GPU"
    )
    command.add_argument("--dtype", default="bfloat16", help="of the weights; float16 on a T4 or V100")
    command = add(
        "weights", _calling("models.language.pretrained:write_all"), "fetch pretrained language models"
    )
    command.add_argument("names", nargs="*", metavar="NAME", help="smollm2, qwen, ...; default all")
    service.add_preprocess(
        add("preprocess", service.preprocess, "filter a MovieLens folder and cut off test ratings")
    )
    service.add_train(add("train", service.train, "train a rating model on prepared data"))
    service.add_evaluate(add("evaluate", service.evaluate, "measure a trained rating model"))
    service.add_recommend(add("recommend", service.recommend, "recommend items to a user, or somebody new"))
    service.add_serve(add("serve", service.serve, "serve the page and the API of a finished run"))
    studies = commands.add_parser("study", help="run a study beside the pipeline")
    _add_studies(studies.add_subparsers(title="studies", metavar="STUDY", required=True))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, do it, and return the exit status.

    That is 0, 1 where something that ran has failed, 2 after a message that a reader can act on, and 130
    after Ctrl-C. Every other exception keeps its traceback: it is a bug.
    """
    chosen = vars(_parser().parse_args(arguments))
    function = chosen.pop("function")
    name = chosen.pop("name", chosen.get("stage"))
    # The backend of a shell that runs in a notebook, or one that needs a screen, draws no figure here.
    os.environ.pop("MPLBACKEND", None)
    try:
        from dualrec_utils.pipeline import profiles

        profiles.check_place()
        status = function(**chosen)
        # What cannot be written fails here, where it can be said, and not when the program ends.
        sys.stdout.flush()
        return status
    except StudyError as error:
        return _complain(name, str(error))
    except BrokenPipeError:
        # Whoever reads the output, such as `head`, has seen enough.
        _drop_output()
        return 1
    except OSError as error:
        _drop_output()
        return _complain(name, explained(error))
    except KeyboardInterrupt:
        print(f"dualrec: {name}: interrupted; the same command goes on from there", file=sys.stderr)
        return 130


def _complain(name: str, message: str) -> int:
    """Print one message and return its exit status."""
    # What a file or a value is called must not reach a terminal as a command.
    shown = "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode()
        for one in message
    )
    print(f"dualrec: {name}: {shown}", file=sys.stderr, flush=True)
    return 2


def _drop_output() -> None:
    """Where output cannot be written, Python would try again at the end and say so once more."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    raise SystemExit(main())
