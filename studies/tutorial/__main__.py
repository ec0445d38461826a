"""``python -m studies.tutorial fig8|fig9|fig10|device``: run a figure's study, or fit the device that they share."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from sim.errors import FitlabError
from studies.errors import StudyError

HERE = Path(__file__).parent


def run(figure: str, data: str, out: Path, workers: int | None = None, changes: Sequence[str] = ()) -> None:
    """Run the study of a figure, or what is missing of it; draw it; write its numbers.

    Parameters
    ----------
    figure : str
        ``fig8``, ``fig9`` or ``fig10``.
    data : str
        Folder of MNIST.
    out : Path
        Folder for ``figN.study``, ``figN.png``, ``figN.csv`` and ``figN.json``.
    workers : int, optional
    changes : sequence of str
        ``KEY=VALUE``, as ``--set`` of ``fitlab study run``.

    Raises
    ------
    StudyError
        As of a study; or when it was stopped, or a training failed.
    """
    from studies.cluster import connect
    from studies.dataset import open_study
    from studies.folder import write_text
    from studies.prepare import prepare
    from studies.run import anything_left, run_study
    from studies.tutorial.figures import draw, summary, table

    out.mkdir(parents=True, exist_ok=True)
    resolved, folder = prepare(HERE / f"{figure}.toml", out / f"{figure}.study", changes, data=str(Path(data).resolve()))
    if anything_left(resolved, folder):
        with connect(workers) as client:
            ended = run_study(resolved, folder, client)
        if ended.outcome != "done":
            raise StudyError(f"{folder.path}: {ended.reason or 'some runs failed'}; continue with the same command")
    found = open_study(folder.path)
    write_text(out / f"{figure}.csv", table(found).to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    write_text(out / f"{figure}.json", json.dumps(summary(figure, found), indent=1) + "\n")
    draw(figure, found, out / f"{figure}.png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code 2 for what the user can put right."""
    parser = argparse.ArgumentParser(prog="python -m studies.tutorial", description=__doc__)
    parser.add_argument("what", choices=("fig8", "fig9", "fig10", "device"))
    parser.add_argument("--data", help="folder of MNIST (four IDX files), for the figures")
    parser.add_argument("--measured", type=Path, help="pulse response to fit, for the device: gong_et_al.csv")
    parser.add_argument("--out", type=Path, default=Path("tutorial-output"), help="folder for everything that is made")
    parser.add_argument("--workers", type=int, help="processes; one a processor if not given")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the study; repeatable")
    given = parser.parse_args(arguments)
    try:
        if given.what == "device":
            if given.measured is None:
                raise StudyError("--measured: is missing; give the file of the pulse response")
            from studies.tutorial.device import fitted

            given.out.mkdir(parents=True, exist_ok=True)
            fitted(given.measured).save(given.out / "device.toml")
        elif given.data is None:
            raise StudyError("--data: is missing; give the folder of MNIST (fitlab study fetch mnist FOLDER)")
        else:
            run(given.what, given.data, given.out, given.workers, given.set)
    except FitlabError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 2
    print(f"written: {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
