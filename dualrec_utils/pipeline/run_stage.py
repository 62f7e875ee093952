"""`python -m dualrec_utils.pipeline.run_stage data`: run a stage that has no notebook."""

from __future__ import annotations

import argparse

from dualrec_utils.pipeline import params, running, stages


def _work(name: str) -> None:
    settings = params.section(name)
    # Each stage imports its own room: `data` must not wait for torch.
    if name == "data":
        from dualrec_utils.datasets import prepare

        prepare.prepare(**settings)
        print(prepare.describe(settings["dataset"]), flush=True)
    elif name == "movielm":
        from dualrec_utils.models.movielm import model as movielm

        movielm.train_stage(**settings)
    else:
        from dualrec_utils.report import page as report

        report.build_stage(**settings)


def main() -> int:
    """Parse the command line and run the stage; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [stage.name for stage in stages.STAGES if stage.number is None]
    parser.add_argument("stage", choices=names)
    name = parser.parse_args().stage
    return running.carry_out(name, lambda: _work(name))


if __name__ == "__main__":
    raise SystemExit(main())
