"""Plausible exports of instruments and hands: each is read right, or refused with the remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fitlab.errors import ReadError
from fitlab.io import Options, read_record

UP = 20e-6 + 30e-6 * (1 - np.exp(-np.arange(40) / 15))
G = np.concatenate([UP, 70e-6 - UP])
SIGN = np.repeat([1, -1], 40)
VOLTS = np.where(SIGN > 0, 1.2, -1.1)


def lines(form, scale=1.0, values=G, **extra):
    return "".join(
        form.format(k=k, n=k + 1, v=v, g=g * scale, r=scale / g, s=s, **extra)
        for k, (v, g, s) in enumerate(zip(VOLTS, values, SIGN, strict=True))
    )


ROWS = list(zip(range(len(G)), VOLTS, G, SIGN, strict=True))
SCATTER = 0.1 + 1e-4 * (-1.0) ** np.arange(len(G))
FILES = {
    "semicolon, decimal comma, BOM, read voltage as a column": (
        "Puls Nr.;Spannung [V];Strom [A];Lesespannung [V]\n" + lines("{n};{v:.2f};{g:.6E};0.1\n", 0.1).replace(".", ","),
        "utf-8-sig",
    ),
    "UTF-16, tabs, micro sign, footer": (
        "Pulse\tVpulse (V)\tConductance (µS)\n" + lines("{n}\t{v:.2f}\t{g:.4f}\n", 1e6) + "\nEnd of measurement\nOperator: AB\n",
        "utf-16",
    ),
    "nanosiemens": ("index,pulse_V,G (nS)\n" + lines("{k},{v},{g:.2f}\n", 1e9), "utf-8"),
    "kiloohm": ("pulse number,amplitude (V),R (kohm)\n" + lines("{k},{v},{r:.6f}\n", 1e-3), "utf-8"),
    "negative currents at a negative read voltage": (
        "# Vread = -0.2 V\n# operator: me\nn,Vp (V),I_read (A)\n" + lines("{k},{v},{g:.5e}\n", -0.2),
        "utf-8",
    ),
    "words for directions": (
        "No.;Operation;R / Ohm\n" + lines("{k};{s};{r:.1f}\n").replace(";-1;", ";RESET;").replace(";1;", ";SET;"),
        "utf-8",
    ),
    "tabs and decimal comma in Windows text": (
        "Pulszahl\tWiderstand (Ohm)\tPulsspannung (V)\n" + lines("{n}\t{r:.2f}\t{v:.1f}\n").replace(".", ","),
        "cp1252",
    ),
    "ArC ONE": (
        "session 4\nMon Nov  3 10:22:01 2025\nWordline,Bitline,Resistance,Amplitude (V),Pulse width (s),Tag,ReadTag,ReadVoltage\n"
        + lines("2,3,{r:.2f},{v},1e-06,P,R2,0.2\n"),
        "utf-8",
    ),
    "value first, numbers last": ("G [uS],polarity,#\n" + lines("{g:.4f},{s},{k}\n", 1e6), "utf-8"),
    "a row of units in brackets": ("n;G;Vp\n[-];[uS];[V]\n" + lines("{n};{g:.4f};{v}\n", 1e6), "utf-8"),
    "UTF-16 without its mark": ("pulse,direction,G (uS)\n" + lines("{n},{s},{g:.4f}\n", 1e6), "utf-16-le"),
    "French Windows text": (
        "N° d'impulsion;Conductance (µS);Tension d'impulsion (V)\r\n" + lines("{n};{g:.3f};{v:.1f}\r\n", 1e6).replace(".", ","),
        "cp1252",
    ),
    "a read voltage that was measured": (
        "pulse,direction,Vread (V),I (A)\n"
        + "".join(f"{k},{s},{SCATTER[k]:.5f},{g * SCATTER[k]:.6e}\n" for k, _, g, s in ROWS),
        "utf-8",
    ),
    "pulses and reads as rows with words": (
        "Cycle,Op,V,I\n"
        + "".join(f"1,{'SET' if s > 0 else 'RESET'},{v},{1e-4 * s:.3e}\n1,READ,0.1,{g * 0.1:.6e}\n" for _, v, g, s in ROWS),
        "utf-8",
    ),
    "pulses and reads as rows without words": (
        "V (V),I (A)\n" + "".join(f"{v},{1e-4 * s:.3e}\n0.1,{g * 0.1:.6e}\n" for _, v, g, s in ROWS),
        "utf-8",
    ),
    "names in a comment, columns of blanks": ("% pulse dir G(uS)\n" + lines("  {n:4d}   {s:2d}   {g:9.4f}\n", 1e6), "utf-8"),
    "powers of ten of another program": ("pulse,direction,G (S)\n" + lines("{n},{s},{g:.4f}*^-6\n", 1e6), "utf-8"),
    "times in words, kiloohm": (
        "timestamp,pulse,direction,R (kohm)\n" + lines("2025-11-03 10:22:01.{k:03d},{n},{s},{r:.5f}\n", 1e-3), "utf-8"
    ),
    "signs between thousands in quotes": ("pulse,direction,R (ohm)\n" + lines('{n},{s},"{r:,.2f}"\n'), "utf-8"),
    "units in the cells, two prefixes": (
        "pulse,direction,G\n"
        + "".join(f"{k},{s},{g * 1e6:.4f} uS\n" if k % 2 else f"{k},{s},{g * 1e9:.1f} nS\n" for k, _, g, s in ROWS),
        "utf-8",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_each_is_read_as_it_was_meant(tmp_path, name):
    text, encoding = FILES[name]
    path = tmp_path / "export.csv"
    path.write_bytes(text.encode(encoding))
    record = read_record(path)
    assert record.conductance[0, 0] == pytest.approx(G, rel=2e-3)
    assert record.direction[0, 0].tolist() == SIGN.tolist()


def test_interleaved_devices_are_taken_apart(tmp_path):
    rows = [
        f"{0.1 * k:.2f},{name},{v},{g * scale * 1e5:.5f},0.1\n"
        for k, (v, g) in enumerate(zip(VOLTS, G, strict=True))
        for name, scale in (("A1", 1.0), ("B2", 1.2), ("C3", 0.8))
    ]
    (tmp_path / "log.csv").write_text("time_s,device,pulse_V,current_uA,read_V\n" + "".join(rows))
    record = read_record(tmp_path / "log.csv")
    assert record.devices == ["A1", "B2", "C3"]
    for found, scale in zip(record.conductance[:, 0], (1.0, 1.2, 0.8), strict=True):
        assert found == pytest.approx(scale * G, rel=1e-3)


def test_columns_of_up_and_down_ramps_are_devices(tmp_path):
    rows = "".join(
        f"{k},{a * 1e6:.4f},{b * 1e6:.4f},{a * 1.1e6:.4f},{b * 1.1e6:.4f}\n"
        for k, (a, b) in enumerate(zip(UP, G[40:], strict=True))
    )
    (tmp_path / "wide.csv").write_text("pulse,dev1_up (uS),dev1_down (uS),dev2_up (uS),dev2_down (uS)\n" + rows)
    record = read_record(tmp_path / "wide.csv")
    assert record.devices == ["dev1", "dev2"]
    assert record.conductance[1, 0] == pytest.approx(1.1 * G, rel=1e-3)
    assert record.direction[0, 0].tolist() == SIGN.tolist()
    assert np.flatnonzero(record.restart[0, 0]).tolist() == [0, 40]
    cycles = read_record(tmp_path / "wide.csv", Options(columns="cycles"))
    assert (cycles.devices, cycles.cycles) == (["wide"], [0, 1])


def test_a_buffer_says_its_read_voltage(tmp_path):
    rows = "".join(f"{k + 1},{g * 0.1:.6E},Amp DC,1E-05,0.1,Volt DC\n" for k, g in enumerate(G))
    (tmp_path / "buffer.csv").write_text(
        "Keithley 2450 SMU\nBuffer,defbuffer1\n\nIndex,Reading,Unit,Range Digits,Source Value,Source Unit\n" + rows
    )
    assert read_record(tmp_path / "buffer.csv").conductance[0, 0] == pytest.approx(G, rel=1e-3)


def sheet(folder: Path) -> Path:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.title = "Info"
    book.active["A1"] = "Device A7"
    table = book.create_sheet("Pulse data")
    table["B2"] = "LTP / LTD of device A7"
    table.merge_cells("B2:D2")
    for column, name in enumerate(("Pulse #", "V (V)", "G (uS)"), 2):
        table.cell(3, column, name)
    for k, (v, g) in enumerate(zip(VOLTS, G, strict=True)):
        for column, value in enumerate((k + 1, float(v), float(g * 1e6)), 2):
            table.cell(4 + k, column, value)
    book.save(folder / "merged.xlsx")
    return folder / "merged.xlsx"


def test_a_sheet_with_merged_titles_that_does_not_begin_at_a1(tmp_path):
    record = read_record(sheet(tmp_path))
    assert record.conductance[0, 0] == pytest.approx(G, rel=1e-6)
    assert record.direction[0, 0].tolist() == SIGN.tolist()


_TABLE = "pulse,G (uS)\n" + lines("{k},{g:.4f}\n", 1e6)
REFUSED = {
    "a second table": (
        f"{_TABLE}\nDepression\n{_TABLE}",
        r"x\.csv:84: a second table begins here; save each as a file of its own",
    ),
    "a comma for two things": (
        "pulse,G\n" + lines("{k},{g:.2f}\n", 1e6).replace(".", ","),
        r"x\.csv:2: 3 fields, but the header names 2 columns: the comma may be the separator and the decimal",
    ),
    "a second table with a name of its own": (
        "pulse,G_pot (uS)\n" + lines("{k},{g:.4f}\n", 1e6) + "\npulse,G_dep (uS)\n" + lines("{k},{g:.4f}\n", 1e6),
        r"x\.csv:83: a second table begins here",
    ),
    "codes instead of signs": (
        "pulse,direction,G (uS)\n" + lines("{n},{s},{g:.4f}\n", 1e6).replace(",-1,", ",0,"),
        r"x\.csv:42:2: the conductance falls where '0' stands in column 'direction', which has no negative number; write -1",
    ),
    "changes instead of states": (
        "pulse,direction,dG (uS)\n" + lines("{n},{s},{g:.4f}\n", 1e5),
        r"x\.csv:1:3: column 'dG \(uS\)' holds changes by its name",
    ),
    "retention without its name": (
        "Time (s),R (ohm)\n" + "".join(f"{10 ** (k / 10):.3f},{1e4 * (1 + 0.02 * k):.1f}\n" for k in range(40)),
        r"x\.csv:1:1: the reads are at uneven times .* fit reads over time with --kind retention",
    ),
    "pulses of both directions before a read": (
        "Op,I (A)\n" + "".join(f"SET,1e-4\nRESET,1e-4\nREAD,{g:.4e}\n" for g in UP),
        r"x\.csv:4:1: up and down pulses stand before the read",
    ),
    "a voltage that is none of the two": (
        "V (V),I (A)\n" + "".join(f"{v},{1e-4 * s:.3e}\n{0 if k == 30 else 0.1},{g * 0.1:.6e}\n" for k, v, g, s in ROWS),
        r"x\.csv:63:1: '0' V is neither the voltage of the reads \(0\.1 V\) nor one of the pulses",
    ),
    "an abscissa in disorder beside its values": (
        "".join(f"{2.0**k:.2f},{3e9 / 2.0**k:.3f}\n" for k in range(12)) + "1e-9,2400.1\n",
        r"x\.csv: ",
    ),
    "JSON": ('{"g": [\n1.0,\n2.0\n]}\n', r"x\.csv: this is JSON, not a table"),
    "a logarithm": (
        "pulse,direction,log10(G/S)\n" + lines("{n},{s},-4.5\n"),
        r"x\.csv:1:3: .* 'G/S', which is none of a response",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused_with_the_remedy(tmp_path, name):
    text, message = REFUSED[name]
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ReadError, match=message):
        read_record(tmp_path / "x.csv")


def test_two_sheets_of_a_workbook_are_its_up_and_down_ramp_and_charts_are_none(tmp_path):
    openpyxl = pytest.importorskip("openpyxl", reason="workbooks are read by openpyxl")
    book = openpyxl.Workbook()
    for name, part in (("LTP", UP), ("LTD", G[40:])):
        page = book.create_sheet(name)
        page.append(["pulse", "G (uS)"])
        for k, g in enumerate(part):
            page.append([k + 1, float(g * 1e6)])
    del book["Sheet"]
    chart = openpyxl.chart.LineChart()
    chart.add_data(openpyxl.chart.Reference(book["LTP"], min_col=2, min_row=1, max_row=41), titles_from_data=True)
    book.create_chartsheet("Chart").add_chart(chart)
    book.save(tmp_path / "both.xlsx")
    record = read_record(tmp_path / "both.xlsx")
    assert record.conductance[0, 0] == pytest.approx(G, rel=1e-6)
    assert record.direction[0, 0].tolist() == SIGN.tolist()
    assert record.attrs["source"] == "both.xlsx"
    one = read_record(tmp_path / "both.xlsx", Options(sheet="LTD"))
    assert one.value.shape == (1, 1, 40)


def test_a_pause_between_ramps_is_no_retention(tmp_path):
    rows = "".join(f"{0.1 * k + (60 if k >= 40 else 0):.1f},{g * 1e6:.4f}\n" for k, g in enumerate(G))
    (tmp_path / "paused.csv").write_text("Time (s),G (uS)\n" + rows)
    direction = read_record(tmp_path / "paused.csv").direction[0, 0]
    # the first read of the down ramp lies above the last of the up ramp
    assert direction.tolist() == [1] * 41 + [-1] * 39


def test_what_a_pulse_row_measures_is_no_state_and_it_is_said(tmp_path):
    named = "".join(f"SET,{v:.1f},1e-4\nSET,{v:.1f},1e-4\nREAD,0.1,{g * 0.1:.6e}\n" for v, g in zip(VOLTS[:40], UP, strict=True))
    (tmp_path / "words.csv").write_text("operation,V,I (A)\nREAD,0.1,2e-6\n" + named)
    record = read_record(tmp_path / "words.csv")
    assert record.count[0, 0].tolist() == [0, *[2] * 40]
    assert record.conductance[0, 0, 1:] == pytest.approx(UP, rel=1e-5)
    assert any("80 rows are pulses, 41 are reads" in text for text in record.attrs["assumptions"])


def history(folder: Path, rows: int | None = None) -> Path:
    """A file as arc2control writes it: two crosspoints, tables padded to 1000 rows."""
    h5py = pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    names = [("current", "<f4"), ("voltage", "<f4"), ("pulse_width", "<f4"), ("read_voltage", "<f4"), ("op_type", "<u4")]
    with h5py.File(folder / "session.h5", "w") as file:
        for name, scale in (("W00B03", 1.0), ("W02B01", 1.2)):
            table = np.zeros(1000, names)
            n = len(G) + 1
            table["current"][:n] = -0.2 * scale * np.concatenate([G[:1], G])
            table["voltage"][1:n], table["pulse_width"][1:n] = VOLTS, 1e-6
            table["read_voltage"][:n] = -0.2
            table["op_type"][:n] = [1, *[3] * len(G)]
            data = file.create_dataset(f"crosspoints/{name}/timeseries", data=table)
            data.attrs["NROWS"] = n if rows is None else rows
    return folder / "session.h5"


def test_histories_of_arc_two(tmp_path):
    record = read_record(history(tmp_path))
    assert record.devices == ["W00B03", "W02B01"]
    assert record.attrs["instrument"] == "arc_two"
    assert record.conductance[1, 0, 1:] == pytest.approx(1.2 * G, rel=1e-5)
    assert record.direction[0, 0].tolist() == [0, *SIGN.tolist()]
    assert record.width[0, 0, 1] == pytest.approx(1e-6)


def test_what_is_no_history_is_refused(tmp_path):
    path = history(tmp_path, rows=0)
    with pytest.raises(ReadError, match="no crosspoint was read"):
        read_record(path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ReadError, match="damaged"):
        read_record(path)
