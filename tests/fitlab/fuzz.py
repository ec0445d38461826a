"""Damaged measurement files, and what must hold for each: `python -m tests.fitlab.fuzz 10000` tries so many.

A harmless change (line ends, encoding, comments, blank lines, trailing separators, quotes) must give the numbers of the whole
file, or a refusal. After any damage, a file is refused in one sentence or read; every number that is read then stands in the
damaged file, and after damage to few lines of the body only the reads of those lines may differ. Nothing may take longer than
`LIMIT` seconds.
"""

from __future__ import annotations

import contextlib
import random
import re
import signal
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

from fitlab.errors import FitlabError
from fitlab.io import Options, read_record
from fitlab.retention import read_retention
from tests.fitlab.shared import ROOT
from tests.fitlab.test_exports import history
from tests.fitlab.test_instruments import TRAIN, arc, b1500

LIMIT = 20
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?")

Base = tuple[str, bytes, Options]


def bases() -> list[Base]:
    """Whole files by name, with the options that they need."""
    head = "pulse,direction,G (uS)"
    signed = [f"{k % 12 + 1},{'up' if k < 12 else 'down'},{v:.3f}" for k, v in enumerate(TRAIN)]
    comma = [f"{k + 1};{'1,2' if k < 12 else '-1,2'};{v:.3f}E-06;0,1".replace(".", ",") for k, v in enumerate(TRAIN)]
    long = [
        f"{d},{c},{k % 12 + 1},{'up' if k < 12 else 'down'},{1e3 / v:.5f}"
        for d in "ab"
        for c in (1, 2)
        for k, v in enumerate(TRAIN)
    ]
    wide = [
        f"{k + 1},{1 if k < 12 else -1},{v:.3f},{v * 1.1:.4f},{'' if k > 20 else f'{v * 1.2:.4f}'}" for k, v in enumerate(TRAIN)
    ]
    pair = [f"{a:.3f},{b:.3f}" for a, b in zip(TRAIN[:12], TRAIN[12:], strict=True)]
    names = "Item,Smu1.Time[1][1],Smu1.V[1][1],Smu1.I[1][1],Smu1.R[1][1],"
    acs = [f"{k + 1},{k * 0.1:.1f},0.1,{v:.3f}E-06,1e4," for k, v in enumerate(TRAIN)]
    ramps = [
        f"({d},1),tp=2e-4,{w}," + ",".join(f"{v:.3f}e-6" for v in part)
        for d in (1, 2)
        for w, part in (("up", TRAIN[:12]), ("down", TRAIN[12:]))
    ]
    spread = ["NO.,VR,ID", ",V,uA", *(f"{k + 1},0.1,{v:.3f}" for k, v in enumerate(TRAIN))]
    blanks = [f"{k % 12 + 1} {1 if k < 12 else -1} {v:.4f}" for k, v in enumerate(TRAIN)]
    halves = list(enumerate(zip(TRAIN[:12], TRAIN[12:], strict=True)))
    turns = [f"{1.2 if k < 12 else -1.1},1e-4\n0.1,{v:.3f}E-06" for k, v in enumerate(TRAIN)]
    words = [f"{'SET,1.2' if k < 12 else 'RESET,-1.1'},1e-4\nREAD,0.1,{v:.3f}E-06" for k, v in enumerate(TRAIN)]
    buffer = [
        "Index,Reading,Unit,Source Value,Source Unit",
        *(f"{k + 1},{v:.4f}E-06,Amp DC,0.1,Volt DC" for k, v in enumerate(TRAIN)),
    ]
    clarius = [f"{k + 1},{1e3 * a:.1f},{1e3 * b:.1f},0.2" for k, (a, b) in halves]
    columns = "index, pulse amplitude (V), R_low (ohm), R_high (ohm)"
    bench = [
        "Setup title\tpulsedAmplitudeSweep_DC", "test date\t02.10.2025", "Device ID\tW12_ID044R800", "Measurement parameters",
        "pulseUnit,startV1,endV1,stepV,pulseWidth,repetitions,", "WGFMU1,0.500000,2.000000,0.250000,0.000001000,2,",
        "Measurement Data", columns,
        *(f"{k:5d},{0.5 + 0.1 * k:7.3f},{1e4 * a:13.3f},{1e4 * b:13.3f}" for k, (a, b) in halves),
    ]  # fmt: skip
    texts = {
        "trace.csv": ([head, *signed], Options()),
        "comma.csv": (["n;Puls [V];I [A];Vread [V]", *comma], Options()),
        "long.csv": (["device,cycle,pulse,direction,R (kohm)", *long], Options()),
        "wide.csv": (["# read at 0.1 V, current in uA", "pulse,direction,d01,d02,d03", *wide], Options(columns="devices")),
        "two.csv": (["up,down", *pair], Options()),
        "bare.csv": (pair, Options(format="pair")),
        "one.csv": ([f"{v:.3f}" for v in [*TRAIN, *TRAIN]], Options()),
        "b1500.csv": ([*b1500(TRAIN), *b1500(TRAIN, 5)], Options()),
        "acs.csv": ([names, *acs], Options()),
        "arc.csv": (arc(), Options()),
        "ramps.csv": (ramps, Options()),
        "4155.csv": (spread, Options()),
        "turns.csv": (["V (V),I (A)", *turns], Options()),
        "words.csv": (["Op,V,I (A)", *words], Options()),
        "named.dat": (["% pulse dir G(uS)", *blanks], Options()),
        "buffer.csv": (["Keithley 2450 SMU", "Buffer,defbuffer1", "", *buffer], Options()),
        "clarius.csv": (["NOTE,cycling block 3", "PulseNo,SetR,ResetR,ReadV", *clarius], Options()),
        "bench.txt": (bench, Options(force=True)),
    }
    out: list[Base] = [(name, ("\n".join(lines) + "\n").encode(), options) for name, (lines, options) in texts.items()]
    out += [(name, data, options) for name, (data, options) in _binary().items()]
    real = [
        ("neurosim_ag_asi/ltp.csv", Options()), ("neurosim_ag_asi/ltd.csv", Options()),
        ("crosssim_sonos_retention/sonos_state_current_nA.csv", Options()),
        ("crosssim_taox_sandia/set.csv", Options(columns="cycles", read_voltage_V=0.1)),
        ("crosssim_taox_sandia/reset.csv", Options(columns="cycles", read_voltage_V=0.1)),
        ("aihwkit_gong2018/gong_et_al.csv", Options(format="pair")),
        *((str(p.relative_to(ROOT)), Options()) for p in sorted(ROOT.glob("sst_digitised*/*.csv"))),
        *((str(p.relative_to(ROOT)), Options()) for p in sorted(ROOT.glob("lbe247*/*/*Amplitude*/*.csv"))[::7]),
    ]  # fmt: skip
    out += [(Path(name).name, (ROOT / name).read_bytes(), options) for name, options in real if (ROOT / name).exists()]
    return out


def _binary() -> dict[str, tuple[bytes, Options]]:
    """Workbooks, a history of ArC TWO and a compressed table, as far as their libraries are installed."""
    import gzip
    import io
    from importlib.util import find_spec

    head, rows = ["pulse", "direction", "G (uS)"], [[k % 12 + 1, 1 if k < 12 else -1, v] for k, v in enumerate(TRAIN)]
    text = "\n".join(",".join(map(str, r)) for r in [head, *rows]).encode()
    out = {"packed.csv.gz": (gzip.compress(text, mtime=0), Options())}
    if find_spec("openpyxl"):
        import openpyxl

        book = openpyxl.Workbook()
        for row in [head, *rows]:
            book.active.append(row)
        book.create_sheet("Settings").append(["Test Name", "pulses"])
        buffer = io.BytesIO()
        book.save(buffer)
        out["sheet.xlsx"] = (buffer.getvalue(), Options())
    if find_spec("h5py"):
        with tempfile.TemporaryDirectory() as place:
            out["session.h5"] = (history(Path(place)).read_bytes(), Options())
    return out


BINARY = (b"PK\x03\x04", b"\x89HDF", b"\x1f\x8b")


def harmless(rng: random.Random, data: bytes) -> bytes:
    """The same file as another program would write it."""
    text = data.decode()
    end = "\r\n" if "\r\n" in text else "\n"
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    for _ in range(rng.randint(1, 3)):
        kind = rng.randrange(5)
        if kind == 0:
            end = rng.choice(["\n", "\r\n", "\r"])
        elif kind == 1:
            at = rng.randint(1, len(lines))
            lines = [*lines, *[""] * rng.randint(1, 3)] if at > 1 else ["", *lines]
        elif kind == 2:
            lines = ["# " + rng.choice(["made by hand", "Ω µ ü", "run 7", ";;"]), *lines]
        elif kind == 3:
            lines = [line + " " * rng.randint(0, 2) for line in lines]
        else:
            lines = [*lines, ""]
    encoding = rng.choice(["utf-8", "utf-8-sig", "utf-16"])
    return end.join(lines).encode(encoding) + (b"\x00" * rng.randint(0, 3) if encoding == "utf-8" else b"")


def damaged(rng: random.Random, data: bytes) -> tuple[bytes, int | None]:
    """The file after something went wrong with it, and the reads that may differ, where that can be said."""
    touched: int | None = 0
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        kind = rng.randrange(13)
        size = max(1, len(data))
        at = rng.randrange(size)
        lines = data.split(b"\n")
        row = rng.randrange(len(lines))
        in_body = kind in (1, 2, 3, 4, 5, 7) and at > 0.4 * size and row > 0.4 * len(lines)
        width = lines[row].count(b",") + 1
        touched = touched + 3 * width if in_body and touched is not None else None
        if kind == 0:
            data = data[:at]
        elif kind == 1:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        elif kind == 2:
            data = data[:at] + bytes(rng.randrange(256) for _ in range(rng.randint(1, 8))) + data[at:]
        elif kind == 3:
            data = data[:at] + data[at + rng.randint(1, 40) :]
        elif kind == 4:
            data = b"\n".join([*lines[:row], *lines[row + 1 :]])
        elif kind == 5:
            data = b"\n".join([*lines[:row], lines[row], *lines[row:]])
        elif kind == 6:
            rng.shuffle(lines)
            data = b"\n".join(lines)
        elif kind == 7:
            cells = lines[row].split(b",")
            cells[rng.randrange(len(cells))] = rng.choice(
                [
                    b"",
                    b"nan",
                    b"-",
                    b"1e999",
                    b"9.91E37",
                    b"x",
                    b"1,5",
                    b"-999",
                    b"\xb5",
                    b'"',
                    b"=A1",
                    b"0",
                    b"1e-320",
                    b"#REF",
                    b"12:30",
                    b"1.2.3",
                ]
            )
            data = b"\n".join([*lines[:row], b",".join(cells), *lines[row + 1 :]])
        elif kind == 8:
            data = data.replace(b",", rng.choice([b";", b"\t", b" ", b", ", b",,", b"|"]), rng.choice([-1, 3]))
        elif kind == 9:
            data = data.replace(
                rng.choice([b".", b"e-", b"E", b"1", b"(", b"up", b"S", b"\n"]),
                rng.choice([b"", b",", b"-", b"0", b" "]),
                rng.randint(1, 50),
            )
        elif kind == 10:
            data = data + data[at:] if rng.random() < 0.5 else data[at:] + data
        elif kind == 11:
            data = (
                rng.choice([b"\xff\xfe", b"\xef\xbb\xbf", b"PK\x03\x04", b"\x1f\x8b", b"\xd0\xcf\x11\xe0", b"\x00", b"# "]) + data
            )
        else:
            data = b"\n".join(line + b"," * rng.randint(0, 3) for line in lines)
    return data, touched


class Slow(Exception):  # noqa: N818  # no error of the program
    """A file took too long."""


def check(name: str, data: bytes, options: Options, truth: np.ndarray, may_differ: int | None, folder: Path) -> str:
    """Read a file; what came of it in a word. AssertionError, or whatever the reader lets through, if a rule is broken."""
    path = folder / name
    path.write_bytes(data)
    signal.signal(signal.SIGALRM, _late)
    signal.alarm(LIMIT)
    try:
        record = read_record(path, options)
    except FitlabError as error:
        text = str(error)
        assert name in text, text
        assert "\n" not in text, text
        return "refused"
    finally:
        signal.alarm(0)
    with contextlib.suppress(FitlabError):
        assert np.isfinite(read_retention(path, unit="uS").g).all()
    values = record.value[np.isfinite(record.value)]
    if may_differ == 0:
        np.testing.assert_array_equal(np.sort(values), truth)
    elif may_differ is not None:
        new = sum((Counter(values.tolist()) - Counter(truth.tolist())).values())
        assert new <= may_differ, f"{new} values are not those of the whole file, {values[:4]} against {truth[:4]}"
    assert set(np.unique(record.direction)) <= {-1, 0, 1}
    assert int(record.count.min()) >= 0
    if name.endswith((".gz", ".xlsx", ".h5")):
        return "read"  # numbers do not stand in such a file as text
    _stand_in_file(values, data)
    return "read"


def _stand_in_file(values: np.ndarray, data: bytes) -> None:
    """Every value is a number of the file times a power of ten of its unit."""
    for encoding in ("utf-8-sig", "utf-16", "cp1252", "cp932"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            text = data.decode(encoding, errors="replace")
        text = text.replace("\u2212", "-").replace("D", "e")
        written = [
            *NUMBER.findall(text),
            *NUMBER.findall(text.replace(",", ".")),
            *NUMBER.findall(text.replace(",", "").replace("'", "")),
        ]
        numbers = np.array([float(n.replace("d", "e")) for n in written]) if written else np.zeros(1)
        numbers = numbers[np.isfinite(numbers) & (numbers != 0)]
        if _all_there(np.abs(values[values != 0]), np.abs(numbers)):
            return
    raise AssertionError(f"values that stand nowhere in the file: {values[:5]} ...")


def _all_there(values: np.ndarray, numbers: np.ndarray) -> bool:
    """Whether every mantissa of the values is one of the numbers'."""
    if not len(values):
        return True
    if not len(numbers):
        return False

    def mantissa(x: np.ndarray) -> np.ndarray:
        log = np.log10(x)
        return log - np.floor(log + 1e-11)

    known = np.sort(mantissa(numbers))
    wanted = mantissa(values)
    at = np.clip(np.searchsorted(known, wanted), 0, len(known) - 1)
    near = np.minimum(np.abs(known[at] - wanted), np.abs(known[np.maximum(at - 1, 0)] - wanted))
    return bool((near < 1e-9).all())


def _late(*_: object) -> None:
    raise Slow


def run(cases: int, seed: int, found: list[tuple[str, bytes, Options]] | None = None) -> tuple[Counter[str], list[str]]:
    """Try so many files: what came of them, and the faults."""
    rng = random.Random(seed)
    files = found or bases()
    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        truths, known = [], []
        for name, data, options in files:
            (folder / name).write_bytes(data)
            try:
                value = read_record(folder / name, options).value
            except FitlabError:
                continue  # what is refused whole has no truth
            known.append((name, data, options))
            truths.append(np.sort(value[np.isfinite(value)]))
        files = known
        for case in range(cases):
            k = rng.randrange(len(files))
            name, data, options = files[k]
            mild = rng.random() < 0.25 and not data.startswith(BINARY)
            try:
                changed, differ = (harmless(rng, data), 0) if mild else damaged(rng, data)
                if data.startswith(BINARY):
                    differ = None
                word = check(name, changed, options, truths[k], differ, folder)
                outcomes[("harmless " if mild else "damaged ") + word] += 1
            except Exception as error:
                kept = Path(tempfile.gettempdir()) / f"fuzz-{seed}-{case}-{name}"
                kept.write_bytes(changed)
                where = traceback.extract_tb(error.__traceback__)[-1]
                faults.append(
                    f"{kept}: {type(error).__name__} {str(error)[:200]!r} at {Path(where.filename).name}:{where.lineno}"
                )
    return outcomes, faults


if __name__ == "__main__":
    results, broken = run(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(dict(results))  # noqa: T201
    print(f"{len(broken)} faults", *broken[:40], sep="\n")  # noqa: T201
