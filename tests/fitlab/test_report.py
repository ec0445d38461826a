"""The report: one file, everything in it, and advice that follows the worst parameter."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from fitlab.errors import FitlabError
from fitlab.fit import fit, parameter_set
from fitlab.io import Options, read_record
from fitlab.parameters import Estimate
from fitlab.report import advice, report, save_report

EXAMPLE = "data/reram_8cells.csv"


class Names(HTMLParser):
    """Tags and addresses of a document."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]


@pytest.fixture(scope="module")
def made(request):
    result = fit(read_record(request.config.rootpath / EXAMPLE, Options(columns="devices")), "SoftBounds")
    return result, parameter_set(result)


def test_one_file_holds_everything(made):
    result, document = made
    text = report(result, document)
    names = Names()
    names.feed(text)
    assert names.tags.count("svg") == 4
    assert all(address.startswith(("#", "data:")) for address in names.addresses), "nothing is fetched"
    for word in (document.name, document.source.sha256, "Next measurement", "Population", "dw_min_dtod", "ΔAICc"):
        assert word in text
    for name in document.parameters:
        assert f"<td>{name}</td>" in text
    assert text == report(result, document)


def test_advice_follows_the_worst_parameter(made):
    _, document = made
    parameters = {n: e.model_copy(update={"value": 1.0, "error": 0.001}) for n, e in document.parameters.items()}
    parameters["w_max"] = Estimate(value=1.0, error=0.9)
    changed = document.model_copy(update={"parameters": parameters, "symmetry_point": Estimate(value=0.0, error=0.001)})
    assert advice(changed)[0] == "w_max"
    assert "up ramps" in advice(changed)[1]
    unsaid = document.model_copy(update={"symmetry_point": Estimate(reason="only one direction")})
    assert advice(unsaid)[0] in {"symmetry_point", *(n for n, e in document.parameters.items() if e.error is None)}
    known = {**parameters, "w_max": Estimate(value=1.0, error=0.001)}
    few = changed.model_copy(update={"parameters": known, "protocol": document.protocol.model_copy(update={"devices": 2})})
    assert advice(few) == ("spreads between devices", "measure at least 8 devices; this set rests on 2")


def test_text_from_files_is_escaped(made):
    result, document = made
    changed = document.model_copy(update={"name": "<script>alert(1)</script>", "warnings": ["a < b & c"]})
    text = report(result, changed)
    assert "<script>" not in text
    assert "a &lt; b &amp; c" in text


def test_a_report_replaces_only_reports(tmp_path):
    from typer.testing import CliRunner

    from fitlab.cli import app

    def run(target):
        result = CliRunner().invoke(app, ["report", str(tmp_path / "cell.csv"), "-o", str(target)])
        raise result.exception

    other = tmp_path / "notes.html"
    other.write_text("mine")
    with pytest.raises(FitlabError, match="exists and is no report"):
        run(other)
    with pytest.raises(FitlabError, match=r"written as \.html or \.pdf"):
        run(tmp_path / "a.txt")


def test_the_pdf_says_the_same_and_repeats(made, tmp_path):
    result, document = made
    save_report(result, document, tmp_path / "a.pdf")
    data = (tmp_path / "a.pdf").read_bytes()
    assert data.startswith(b"%PDF")
    # pages of text, then the fit, the check, the population and the simulated device
    assert data.count(b"/Type /Page\n") + data.count(b"/Type /Page ") >= 5
    save_report(result, document, tmp_path / "b.pdf")
    assert (tmp_path / "b.pdf").read_bytes() == data
