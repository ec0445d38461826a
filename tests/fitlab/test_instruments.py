"""Files of instruments as their manuals and exports write them: what is taken, what is refused."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from fitlab.errors import ReadError
from fitlab.io import Options, read_record
from fitlab.io.formats import formats
from fitlab.io.instruments import instruments

UP = np.round(np.linspace(10.0, 20.0, 12), 3)
TRAIN = np.concatenate([UP, UP[::-1] - 0.3])


def write(folder, text, name="cell.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def book(folder, sheets, name="cell.xlsx"):
    openpyxl = pytest.importorskip("openpyxl")
    file = openpyxl.Workbook()
    file.remove(file.active)
    for title, rows in sheets.items():
        sheet = file.create_sheet(title)
        for row in rows:
            sheet.append(row)
    file.save(folder / name)
    return folder / name


def text_of(record):
    return " ".join([*record.attrs["assumptions"], *record.attrs["warnings"]])


def b1500(values, iteration=4, kind="I/V-t Sampling", repeats=1):
    n = len(values) // repeats
    lines = [
        "", "SetupTitle, pot-dep train", f"PrimitiveTest, {kind}", "TestParameter, Channel.UnitType, SMU, SMU",
        "TestParameter, Channel.IName, Itop, Ibot", "TestParameter, Channel.VName, Vtop, Vbot",
        "TestParameter, Measurement.Bias.Source, 0.1, 0", "MetaData, TestRecord.RecordTime, 03/11/2025 10:12:41",
        "MetaData, TestRecord.TestTarget, D7_r03_c11", f"MetaData, TestRecord.IterationIndex, {iteration}",
        f"Dimension1, {n}, {n}, {n}", f"Dimension2, {repeats}, {repeats}, {repeats}", "DataName, Index, Vtop, Itop,",
    ]  # fmt: skip
    return [*lines, *(f"DataValue, {k % n + 1}, 0.1, {v * 1e-6:.4E}," for k, v in enumerate(values))]


def test_b1500_records_are_cycles_of_their_target(tmp_path):
    text = "\n".join([*b1500(TRAIN, 4), *b1500(TRAIN * 1.01, 5)])
    record = read_record(write(tmp_path, text, "IV [dev(12) ; 3_11_2025 10_12_41 AM].csv"))
    assert (record.devices, record.cycles) == (["D7_r03_c11"], [4, 5])
    assert record.attrs["instrument"] == "b1500"
    assert record.attrs["read_voltage_V"] == 0.1
    np.testing.assert_allclose(record.conductance[0, 0], TRAIN * 1e-5, rtol=1e-4)
    np.testing.assert_array_equal(record.direction[0, 0, [1, 5, 15, 23]], [1, 1, -1, -1])


def test_b1500_families_sweeps_and_cut_runs(tmp_path):
    family = read_record(write(tmp_path, "\n".join(b1500([*TRAIN, *TRAIN], 0, repeats=2))))
    assert family.value.shape == (1, 2, 24)
    with pytest.raises(ReadError, match=r"cell.csv:2: the record is an 'I/V Sweep', a sweep of the voltage"):
        read_record(write(tmp_path, "\n".join(b1500(TRAIN, kind="I/V Sweep"))))
    cut = read_record(write(tmp_path, "\n".join(b1500(TRAIN)[:-3])))
    assert "announces 24 rows and holds 21" in text_of(cut)
    with pytest.raises(ReadError, match="the run was aborted"):
        read_record(write(tmp_path, "\n".join(b1500([]))))


def test_4155_takes_names_and_units_from_their_lines(tmp_path):
    head = ["comment of the user", '"VG=", 0.1, "const"', '"NO.","VR","ID"', '"","V","uA"']
    rows = [f"{k + 1},0.1,{v}" for k, v in enumerate(TRAIN)]
    record = read_record(write(tmp_path, "\n".join([*head, *rows])))
    np.testing.assert_allclose(record.conductance[0, 0], TRAIN * 1e-5)
    assert record.attrs["instrument"] == "hp4155"
    sweep = [head[0], '"VG=", 0, "to", 1, "in", 0.01, "step"', *head[2:], *rows]
    with pytest.raises(ReadError, match="sweep of the voltage"):
        read_record(write(tmp_path, "\n".join(sweep)))


def test_4200_workbook_has_a_run_a_sheet(tmp_path):
    runs = {f"Run{k}": [["DrainI", "DrainV"], *([v * 1e-6 * k, 0.1] for v in TRAIN)] for k in (1, 2)}
    settings = [["Test Name", "train"], ["====="], ["Sweep Delay", 0.1]]
    record = read_record(book(tmp_path, {**runs, "Calc": [], "Settings": settings}))
    assert record.value.shape == (1, 2, 24)
    assert record.attrs["instrument"] == "keithley4200"
    np.testing.assert_allclose(record.conductance[0, 1], TRAIN * 2e-5)


def test_4200_families_are_unstacked_and_settings_below_left_out(tmp_path):
    lines = ["DrainI(1),DrainV(1),DrainI(2),DrainV(2)"]
    lines += [f"{v * 1e-6},0.1,{v * 2e-6},0.1" for v in TRAIN]
    record = read_record(write(tmp_path, "\n".join([*lines, "", "Test Name,train", "Speed,Normal"])))
    assert record.value.shape == (1, 2, 24)
    np.testing.assert_allclose(record.conductance[0, 1], TRAIN * 2e-5)


def test_4200_set_and_reset_resistances_alternate(tmp_path):
    rows = ["NOTE,cycling block 3", "PulseNo,SetR,ResetR,ReadV"]
    rows += [f"{k + 1},{12650 + k},{'#REF' if k == 1 else 48121 + k},0.2" for k in range(10)]
    record = read_record(write(tmp_path, "\n".join(rows)))
    assert record.value.shape == (1, 1, 20)
    np.testing.assert_array_equal(record.direction[0, 0], [1, -1] * 10)
    assert record.flag[0, 0, 3] == 1
    assert record.conductance[0, 0, 0] == pytest.approx(1 / 12650)
    assert record.attrs["read_voltage_V"] == 0.2
    waves = "VMeasCh1,IMeasCh1,TimeCh1,StatusCh1\n" + "".join(f"0.1,{k}e-6,{k}e-9,0\n" for k in range(9))
    with pytest.raises(ReadError, match=r"cell.csv:1: these are waveforms"):
        read_record(write(tmp_path, waves))


def test_sourcemeter_exports(tmp_path):
    names = "Item,Smu1.Time[1][1],Smu1.V[1][1],Smu1.I[1][1],Smu1.R[1][1],"
    rows = [f"{k + 1},{k * 0.1:.1f},0.1,{v}E-06,{-1896 if k == 3 else 1e4}," for k, v in enumerate(TRAIN)]
    record = read_record(write(tmp_path, "\n".join([names, *rows])))
    np.testing.assert_allclose(record.conductance[0, 0], TRAIN * 1e-5)
    np.testing.assert_allclose(record.time[0, 0], np.arange(24) * 0.1)
    curve = [f"{k + 1},{k},{k * 0.1:.1f},{k}E-09,1," for k in range(9)]
    with pytest.raises(ReadError, match=r"cell.csv:1:3: the voltage changes from row to row"):
        read_record(write(tmp_path, "\n".join([names, *curve])))
    buffer = ["Title,run 4", "Index,Reading,Unit,Range Digits,Value,Date"]
    buffer += [f"{k},{v}E-06,Amp DC,8,0.1,11/03/2025" for k, v in enumerate(TRAIN)]
    kept = read_record(write(tmp_path, "\n".join(buffer)))
    np.testing.assert_allclose(kept.conductance[0, 0], TRAIN * 1e-5)
    with pytest.raises(ReadError, match="the readings are in VOLT"):
        read_record(write(tmp_path, "\n".join(buffer).replace("Amp DC", "Volt")))


def test_a_log_with_blanks_in_its_names_and_nan_rows(tmp_path):
    lines = ["Time\tVread (V) \tCurrent (A) ", *(f"{k}\t0.1\t{'nan' if k == 5 else f'{v}E-06'}" for k, v in enumerate(TRAIN))]
    record = read_record(write(tmp_path, "\n".join(lines), "log.txt"))
    assert record.flag[0, 0, 5] == 1
    np.testing.assert_allclose(np.delete(record.conductance[0, 0], 5), np.delete(TRAIN, 5) * 1e-5)


def arc(devices=("4,9", "4,10")):
    lines = [
        "session 17",
        "Mon Nov  3 10:22:01 2025",
        "Wordline,Bitline,Resistance,Amplitude (V),Pulse width (s),Tag,ReadTag,ReadVoltage",
    ]
    for device in devices:
        lines.append(f"{device},15310.2,0.2,0,S R2 V=0.2,R2,0.2")
        for module in range(2):
            for k in range(12):
                sign, letter = (1.1, "i") if k < 6 else (-1.2, "i")
                tag = "FF_s" if k == 0 else "FF_e" if k == 11 else f"FF_{letter}"
                g = 1 + 0.05 * (k + 1 if k < 6 else 12 - k) + module
                lines.append(f"{device},{1e4 / g:.3f},{sign},1e-06,{tag},R2,0.2")
        lines.append(f"{device},9999,0.5,1e-3,CT_i,R2,0.2")
    return lines


@pytest.mark.parametrize("packed", [False, True])
def test_arc_one_sessions(tmp_path, packed):
    text = "\n".join(arc())
    path = tmp_path / ("session.csv.gz" if packed else "session.csv")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    record = read_record(path)
    assert record.devices == ["W4B9", "W4B10"]
    assert record.cycles == [0, 1]
    used = (record.flag & 128) == 0
    assert used.sum(2).tolist() == [[13, 12], [13, 12]]
    np.testing.assert_array_equal(record.direction[0, 0, :13], [0] + [1] * 6 + [-1] * 6)
    assert np.isnan(record.amplitude[0, 0, 0])
    assert record.amplitude[0, 0, 1] == 1.1
    assert record.width[0, 0, 1] == 1e-6
    assert record.conductance[0, 0, 0] == pytest.approx(1 / 15310.2)
    assert record.attrs["read_voltage_V"] == 0.2
    assert "2 lines of the curve tracer" in text_of(record)


@pytest.mark.parametrize(
    "text",
    [
        "x-axis,1,2\nsecond,Volt,Volt\n" + "+1.2345E-03,+1.0E+00,+2.0E-01\n" * 9,
        "Record Length,2500\nSample Interval,4e-9\nTrigger Point,5\n1,2\n",
    ],
)  # fmt: skip
def test_waveforms_are_refused(tmp_path, text):
    with pytest.raises(ReadError, match=r"cell.csv:1: this is a waveform of an oscilloscope"):
        read_record(write(tmp_path, text))


def test_one_line_a_ramp(tmp_path):
    lines = [
        "(3,0,1),tp=2e-4,down,9.8e-07,8.1e-07,6.9e-07,6.0e-07,5.5e-07",
        "(3,0,1),te=1e-4,up,5.6e-07,6.2e-07,7.7e-07,8.3e-07,8.8e-07,9.1e-07",
        "(2,7), erase, 1.1e-9, 2.0e-9, 3.0e-9, 3.5e-9, 3.9e-9",
    ]
    record = read_record(write(tmp_path, "\n".join(lines)))
    assert record.devices == ["(3,0,1)", "(2,7)"]
    np.testing.assert_array_equal(record.direction[0, 0], [-1] * 5 + [1] * 6)
    assert record.restart[0, 0].nonzero()[0].tolist() == [0, 5]
    assert record.width[0, 0, 0] == 2e-4
    with pytest.raises(ReadError, match=r"cell.csv:2:6: 'oops' is not a number"):
        read_record(write(tmp_path, "\n".join([lines[0], lines[1].replace("7.7e-07", "oops"), lines[2]])))


def test_sheets_are_chosen_and_side_notes_left_out(tmp_path):
    data = [[None] * 5, [None, None, "pulse", "G (uS)"], *([None, None, k, v] for k, v in enumerate(TRAIN))]
    data[3] = [*data[3], None, None, "bias of the read: 0.2 V", "note"]
    path = book(tmp_path, {"Übersicht": [["only text"]], "데이터": data, "copy": data})
    with pytest.raises(ReadError, match=r"several sheets: 'Übersicht' \(0 rows of numbers\), '데이터' \(24"):
        read_record(path)
    for sheet in ("데이터", "2"):
        record = read_record(path, Options(sheet=sheet))
        np.testing.assert_allclose(record.conductance[0, 0], TRAIN * 1e-6)
        assert "1 lines beside the table are notes" in text_of(record)
    with pytest.raises(ReadError, match="no such sheet; the sheets are 'Übersicht', '데이터', 'copy'"):
        read_record(path, Options(sheet="9"))
    formulas = book(tmp_path, {"a": [["G (uS)"], *([f"={k}+1"] for k in range(9))]}, "formulas.xlsx")
    with pytest.raises(ReadError, match=r"no row|no column|no rows of numbers|formulas without stored values"):
        read_record(formulas)


@pytest.mark.parametrize(
    ("encoding", "words"),
    [("cp932", "抵抗 測定"), ("gbk", "电导 测量"), ("euc_kr", "전도도 측정"), ("cp1252", "Leitfähigkeit Messplatz µ")],
)
def test_encodings_of_many_countries(tmp_path, encoding, words):
    text = f"# {words}\npulse,direction,G (uS)\n" + "".join(f"{k},{1 if k < 12 else -1},{v}\n" for k, v in enumerate(TRAIN))
    path = write(tmp_path, text, encoding=encoding)
    record = read_record(path)
    np.testing.assert_allclose(record.conductance[0, 0], TRAIN * 1e-6)
    from fitlab.io.text import load

    assert load(path).parts[0].lines[0] == f"# {words}"


def test_a_recipe_says_what_a_headerless_file_holds(tmp_path):
    rows = "".join(f"{d}\t{0.1 * k:.1f}\t{1e6 / v}\t{v * 1e-6}\t3\n" for d in (7, 8) for k, v in enumerate(TRAIN))
    path = write(tmp_path, rows, "array.tsv")
    with pytest.raises(ReadError, match="say it in a recipe"):
        read_record(path)
    text = (
        '[reader]\nlayout = "long"\ncolumns = ["addr", "t (s)", "R (ohm)", "g (S)", "range"]\nvalue = "g (S)"\ndevice = "addr"\n'
        'time = "t (s)"\nread_voltage_V = 0.2\n'
    )
    (tmp_path / "array.recipe.toml").write_text(text)
    record = read_record(path)
    assert record.devices == ["7", "8"]
    np.testing.assert_allclose(record.conductance[1, 0], TRAIN * 1e-6)
    np.testing.assert_allclose(record.time[0, 0], np.arange(24) * 0.1)
    for bad, words in [
        ("[reader]\nlayout = 3", "layout = 3: must be a text"),
        ('[reader]\nlayout = "tall"', "give one of long, wide"),
        ('[reader]\nlayout = "long"\ncolour = "red"', "is no key of a recipe"),
        ("rubbish", "no TOML"),
        ("a = 1", "no table"),
        ('[reader]\nlayout = "long"\nunit = "kg"', "is no unit"),
        ('[reader]\nlayout = "long"\nkind = "x"', "give pulses or retention"),
    ]:
        (tmp_path / "array.recipe.toml").write_text(bad)
        with pytest.raises(ReadError, match=words):
            read_record(path)


def test_units_and_times_that_the_user_gives(tmp_path):
    path = write(tmp_path, "pulse,direction,y\n" + "".join(f"{k},{1 if k < 12 else -1},{v}\n" for k, v in enumerate(TRAIN)))
    record = read_record(path, Options(unit="nS"))
    np.testing.assert_allclose(record.conductance[0, 0], TRAIN * 1e-9)
    with pytest.raises(ReadError, match="--unit kg: give a unit"):
        read_record(path, Options(unit="kg"))


def test_rows_that_stand_twice_are_read_once(tmp_path):
    rows = [f"{d},{k % 12 + 1},{'up' if k < 12 else 'down'},{v}" for d in "ab" for k, v in enumerate(TRAIN)]
    head = "device,pulse,direction,G (uS)"
    once = read_record(write(tmp_path, "\n".join([head, *rows])))
    for doubled in ([*rows, *rows], [row for row in rows for _ in range(2)]):
        twice = read_record(write(tmp_path, "\n".join([head, *doubled])))
        np.testing.assert_array_equal(twice.value, once.value)
        assert "stands twice" in text_of(twice)
    assert "stands twice" not in text_of(once)


def test_missing_values_in_the_first_row_are_no_header(tmp_path):
    rows = "nan,nan\n" + "".join(f"{0.1 * k:.2f},{1 - 0.1 * k:.2f}\n" for k in range(11))
    record = read_record(write(tmp_path, rows))
    assert record.attrs["reader"].startswith("pair")
    assert record.attrs["reads_up"] == 12
    assert record.flag[0, 0, 0] == 1


def test_ambiguous_columns_are_refused_with_both_names(tmp_path):
    text = "".join(f"{1 + 0.1 * k:.2f},{0.9 - 0.07 * k:.2f}\n" for k in range(12))
    with pytest.raises(ReadError, match=r"may be (digitised|pair) .* or (digitised|pair) .*; choose with --format"):
        read_record(write(tmp_path, text))
    assert read_record(write(tmp_path, text), Options(format="pair")).attrs["reads_up"] == 12


def test_every_instrument_and_layout_is_listed_and_documented():
    assert set(instruments()) == {
        "table", "recipe", "b1500", "hp4155", "wgfmu", "keithley4200", "sourcemeter", "arc_one", "arc_two",
        "oscilloscope", "ramps",
    }  # fmt: skip
    assert set(formats()) == {"long", "pair", "trace", "wide", "digitised", "rows"}
    for module in [*instruments().values(), *formats().values()]:
        assert len(module.__doc__) > 40
