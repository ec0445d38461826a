"""A study as one HTML page that needs nothing else."""

from __future__ import annotations

import html
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from studies.dataset import open_study
from studies.design import load_study
from studies.errors import StudyError
from studies.folder import Folder, write_text
from studies.sensitivity import index_table, indices
from studies.targets import SPREAD, ranking, targets, unranked
from studies.words import not_learnt, sentences, table_cells

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = ["report", "save_report"]

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;margin:.6rem 0;font-size:.9rem}"
    "td,th{padding:.15rem .7rem .15rem 0;text-align:left;border-bottom:1px solid #ddd;vertical-align:top}"
    "svg{max-width:100%;height:auto}pre{background:#f5f5f5;padding:.8rem;overflow:auto;font-size:.8rem}"
    ".warn{border-left:4px solid #c60;padding-left:.8rem}.small{color:#666;font-size:.85rem}"
)


def report(folder: Folder) -> str:
    """The HTML text.

    Raises
    ------
    StudyError
        When nothing has been run yet.
    """
    from fitlab.plot import style
    from studies.plot import drawings

    data = open_study(folder.path)
    name = str(data.attrs["name"])
    ranked = data.attrs["design"] in SPREAD
    parts = [f"<h1>{_text(name)}</h1>"]
    warning = not_learnt(data)
    if warning:
        parts.append(f'<p class="warn">{_text(warning)}</p>')
    if ranked:
        rows = [(r.label, f"{r.correlation:.3f}", f"{r.low:.3f} to {r.high:.3f}", str(r.points)) for r in ranking(data)]
        parts.append("<h2>Factors by their influence</h2>" + _table(("factor", "Spearman", "95 % interval", "points"), rows))
        if left := unranked(data):
            parts.append(f'<p class="small">Without a rank, as their levels are text: {_text(", ".join(left))}</p>')
        parts.append(_indices(folder, data))
    else:
        parts.append("".join(f"<p>{_text(line)}</p>" for line in sentences(data)))
        parts.append("<h2>Targets</h2>" + _table(*table_cells(targets(data))))
    with style():
        parts += [f"<h2>{_text(title)}</h2>{_svg(figure)}" for title, figure in drawings(data)]
    failures = Counter((str(r["error"]), str(r["message"])) for r in folder.read_failures())
    if failures:
        failed = [(str(count), kind, message) for (kind, message), count in failures.most_common(10)]
        parts.append("<h2>Failures</h2>" + _table(("runs", "error", "message"), failed))
    parts.append(f"<h2>Study file</h2><pre>{_text(folder.study.read_text(encoding='utf-8'))}</pre>")
    runs = json.loads(folder.provenance.read_text(encoding="utf-8")) if folder.provenance.exists() else []
    lines = [
        f"{run['started']} to {run.get('stopped', 'killed')}: {run.get('outcome', 'killed')}; "
        + ", ".join(f"{k} {v}" for k, v in run["versions"].items())
        for run in runs
    ]
    parts.append('<ul class="small">' + "".join(f"<li>{_text(line)}</li>" for line in lines) + "</ul>")
    parts.append(f'<p class="small">Study {_text(data.attrs["study_digest"])}</p>')
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_text(name)}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _indices(folder: Folder, data: xr.Dataset) -> str:
    """Table of indices of sensitivity, where the design is for them."""
    if data.attrs["design"] not in ("saltelli", "morris"):
        return ""
    study = load_study(folder.study)
    try:
        return "<h2>Indices of sensitivity</h2>" + _table(*index_table(study, indices(study, data)))
    except StudyError as error:
        return f'<p class="small">{_text(error)}</p>'


def save_report(folder: Folder, path: Path) -> None:
    """Write the page, whole or not at all."""
    write_text(path, report(folder.require()))


def _text(value: object) -> str:
    return html.escape(str(value))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], mark: str) -> str:
        return "<tr>" + "".join(f"<{mark}>{_text(c)}</{mark}>" for c in cells) + "</tr>"

    return f"<table>{line(header, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()[out.getvalue().index("<svg") :]
