"""Readers: real files as their descriptions say, and every way in which a plain table is written."""

import contextlib

import numpy as np
import pytest

from fitlab.errors import ReadError
from fitlab.io import Options, read, read_record
from fitlab.io.numbers import parse
from fitlab.io.units import parse_header, quantity
from tests.fitlab.shared import measured

UP = np.round(np.linspace(10.0, 20.0, 12), 3)
DOWN = UP[::-1] - 0.3


def write(tmp_path, text, name="cell.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def signed(unit="G (uS)", separator=",", comma=False, directions=("1", "-1")):
    lines = [f"pulse{separator}direction{separator}{unit}"]
    for k, v in enumerate([*UP, *DOWN]):
        word = directions[0] if k < 12 else directions[1]
        number = f"{v:.3f}".replace(".", ",") if comma else f"{v:.3f}"
        lines.append(separator.join([str(k + 1), word, number]))
    return lines


def test_gong_is_read_as_described():
    response = read(measured("aihwkit_gong2018/gong_et_al.csv"))
    assert response.sizes == {"device": 1, "cycle": 1, "pulse": 2000}
    value = response["value"].values[0, 0]
    assert (value[0], value[999], value[1000], value[-1]) == (-0.84444, 1.0667, 0.76667, -1.3556)
    assert (value[:1000].min(), value[:1000].max()) == (-1.2778, 1.4111)
    assert (value[1000:].min(), value[1000:].max()) == (-1.3556, 1.3556)
    assert response.attrs["unit"] == "norm"
    assert not np.isfinite(response["conductance"].values).any()
    assert response["restart"].values[0, 0].nonzero()[0].tolist() == [0, 1000]
    assert (response.attrs["reads_up"], response.attrs["reads_down"], response.attrs["flagged"]) == (1000, 1000, 0)


def test_taox_is_read_as_described():
    paths = [measured("crosssim_taox_sandia/reset.csv"), measured("crosssim_taox_sandia/set.csv")]
    response = read(paths, Options(columns="cycles", read_voltage_V=0.1))
    assert response.sizes["device"] == 1
    assert (response.attrs["reads_up"], response.attrs["reads_down"]) == (7362, 6055)
    g = response["conductance"].values
    assert np.nanmin(g) == pytest.approx(1605.7e-6, rel=1e-4)
    assert np.nanmax(g) == pytest.approx(2485.1e-6, rel=1e-4)
    up = (response["direction"].values > 0).sum(axis=2)[0]
    assert sorted(set(up[:39])) == list(range(185, 193))[: len(set(up[:39]))] or (up[:39].min(), up[:39].max()) == (185, 192)
    down = (response["direction"].values < 0).sum(axis=2)[0]
    assert (down.min(), down.max()) == (149, 153)


def test_neurosim_pair_is_reversed_and_keeps_its_abscissa():
    response = read([measured("neurosim_ag_asi/ltp.csv"), measured("neurosim_ag_asi/ltd.csv")])
    assert response.attrs["unit"] == "S"
    assert any("reversed" in w for w in response.attrs["warnings"])
    value = response["value"].values[0, 0]
    assert len(value) == 91 + 78
    assert np.nanmax(value[:91]) == pytest.approx(41.77e-9, rel=1e-3)
    count = response["count"].values[0, 0]
    assert count[1:91].sum() == 97
    assert value[91] > value[-1]


@pytest.mark.parametrize(
    ("header", "unit", "factor"),
    [
        ("I (A)", "A", 1), ("I[uA]", "A", 1e-6), ("I / A", "A", 1), ("I_A", "A", 1), ("Conductance (µS)", "S", 1e-6),
        ("G (\u03bcS)", "S", 1e-6), ("G (Â\u00b5S)", "S", 1e-6), ("conductance_S", "S", 1), ("R (kOhm)", "ohm", 1e3),
        ("R [MΩ]", "ohm", 1e6), ("resistance (ohm)", "ohm", 1), ("current in nA", "A", 1e-9), ("G (mS)", "S", 1e-3),
        ("value (counts)", "counts", 1), ("pulse", None, 1), ("dev 1", None, 1), ("w (a.u.)", "norm", 1),
    ],
)  # fmt: skip
def test_headers_tell_units(header, unit, factor):
    found = parse_header(header)
    assert found.unit == unit
    assert found.factor == pytest.approx(factor)


@pytest.mark.parametrize(
    ("cell", "comma", "value"),
    [
        ("1.5", False, 1.5), ("-2e-6", False, -2e-6), ("1,5", True, 1.5), ("3,41E-07", True, 3.41e-7), ("1.234,5", True, 1234.5),
        ("1'234.5", False, 1234.5), ("1,234.5", False, 1234.5), ("1.2D-3", False, 1.2e-3), ("\u22121.5", False, -1.5),
        ("1.2k", False, 1200), ("3.3u", False, 3.3e-6), ("2M2", False, 2.2e6), ("470n", False, 470e-9), ("1.5x10^3", False, 1500),
        ("NAI 1.5E-06", False, 1.5e-6), ("+4", False, 4), (".5", False, 0.5),
    ],
)  # fmt: skip
def test_cells_are_numbers(cell, comma, value):
    assert parse(cell, decimal_comma=comma)[0] == pytest.approx(value)


@pytest.mark.parametrize(
    ("cell", "flag"),
    [("", 1), ("NaN", 1), ("#N/A", 1), ("--", 1), ("9.91E+37", 2), ("9.9E37", 8), ("-999", 2), ("7E22", 8), ("inf", 4)],
)
def test_codes_are_no_numbers(cell, flag):
    value, found = parse(cell)
    assert np.isnan(value)
    assert found == flag


def test_text_is_no_number():
    assert parse("abc") is None
    assert parse("1.2.3") is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends_change_nothing(tmp_path, encoding, end):
    text = end.join(["# Meßplatz 3", *signed("G (µS)")])
    response = read(write(tmp_path, text, encoding=encoding))
    np.testing.assert_allclose(response["conductance"].values[0, 0], np.r_[UP, DOWN] * 1e-6)
    assert response.attrs["reader"].startswith("trace")


@pytest.mark.parametrize(
    ("separator", "comma"), [(",", False), (";", False), ("\t", False), (";", True), ("\t", True), (" ", False)]
)
def test_separators_and_decimal_signs_change_nothing(tmp_path, separator, comma):
    unit = "G_uS" if separator == " " else "G (uS)"
    response = read(write(tmp_path, "\n".join(signed(unit, separator, comma))))
    np.testing.assert_allclose(response["conductance"].values[0, 0], np.r_[UP, DOWN] * 1e-6)
    np.testing.assert_array_equal(response["direction"].values[0, 0], np.repeat([1, -1], 12))


@pytest.mark.parametrize("words", [("up", "down"), ("SET", "RESET"), ("P", "D"), ("+1", "-1"), ("LTP", "LTD")])
def test_directions_in_words(tmp_path, words):
    response = read(write(tmp_path, "\n".join(signed(directions=words))))
    np.testing.assert_array_equal(response["direction"].values[0, 0], np.repeat([1, -1], 12))


def test_one_column_takes_its_directions_from_the_response(tmp_path):
    rng = np.random.default_rng(31)
    values = np.r_[np.linspace(0, 1, 60), np.linspace(1, 0.1, 50), np.linspace(0.1, 0.9, 40)] + 0.03 * rng.standard_normal(150)
    response = read(write(tmp_path, "\n".join(f"{v:.5f}" for v in values)))
    direction = response["direction"].values[0, 0]
    expected = np.repeat([1, -1, 1], [60, 50, 40])
    assert np.mean(direction == expected) > 0.95
    assert any("from the response" in a for a in response.attrs["assumptions"])


def test_pulse_voltage_gives_directions_even_if_positive_lowers(tmp_path):
    lines = ["n;Puls [V];I [A];Vread [V]"]
    lines += [f"{k + 1};{'1,2' if k < 12 else '-1,2'};{v:.3f}E-6;0,1".replace(".", ",") for k, v in enumerate([*DOWN, *UP])]
    response = read(write(tmp_path, "\n".join(lines)))
    np.testing.assert_array_equal(response["direction"].values[0, 0], np.repeat([-1, 1], 12))
    np.testing.assert_allclose(response["conductance"].values[0, 0], np.r_[DOWN, UP] * 1e-5)
    assert any("lower the conductance" in w for w in response.attrs["warnings"])


@pytest.mark.parametrize("note", ["# read at 0.1 V, current in A", "# Vread = 100 mV; current in A", "# V_R: 0.1V, current (A)"])
def test_wide_file_with_notes(tmp_path, note):
    lines = [note, "pulse,direction,d01,d02,d03"]
    for k in range(24):
        v = np.r_[UP, DOWN][k] * 1e-6
        last = "" if k > 20 else f"{v * 1.2:.4e}"
        lines.append(f"{k + 1},{1 if k < 12 else -1},{v:.4e},{v * 1.1:.4e},{last}")
    path = write(tmp_path, "\n".join(lines))
    response = read(path, Options(columns="devices"))
    assert list(response["device"].values) == ["d01", "d02", "d03"]
    assert response.attrs["unit"] == "A"
    assert response.attrs["read_voltage_V"] == pytest.approx(0.1)
    np.testing.assert_allclose(response["conductance"].values[1, 0], np.r_[UP, DOWN] * 1.1e-5, rtol=1e-3)
    assert (response["flag"].values[2, 0] == 128).sum() == 3
    cycles = read(path, Options(columns="cycles"))
    assert cycles.sizes["device"] == 1
    assert cycles.sizes["cycle"] == 3


def test_long_file_with_cycles_continues_the_state(tmp_path):
    lines = ["device,cycle,pulse,direction,R (kohm)"]
    for device in ("a", "b"):
        for cycle in (1, 2):
            for k, v in enumerate([*UP, *DOWN]):
                lines.append(f"{device},{cycle},{k % 12 + 1},{'up' if k < 12 else 'down'},{1e3 / v:.5f}")
    response = read(write(tmp_path, "\n".join(lines)))
    assert response.sizes == {"device": 2, "cycle": 2, "pulse": 24}
    np.testing.assert_allclose(response["conductance"].values[1, 1], np.r_[UP, DOWN] * 1e-6, rtol=1e-4)
    assert response["restart"].values.sum() == 2
    assert (response["count"].values == 1).all()


def test_pulses_between_reads_are_counted(tmp_path):
    lines = ["pulse,direction,G (uS)"] + [f"{5 * k},{1 if k else 0},{v}" for k, v in enumerate(UP)]
    response = read(write(tmp_path, "\n".join(lines)))
    np.testing.assert_array_equal(response["count"].values[0, 0, 1:], 5)


def test_columns_are_chosen_by_the_user(tmp_path):
    lines = ["t (s),gate,drain (uS),leak (uS)"] + [
        f"{k},{'up' if k < 12 else 'down'},{v},{0.001 * k}" for k, v in enumerate([*UP, *DOWN])
    ]
    response = read(write(tmp_path, "\n".join(lines)), Options(mapping={"value": "drain (uS)", "direction": "gate"}))
    np.testing.assert_allclose(response["conductance"].values[0, 0], np.r_[UP, DOWN] * 1e-6)


def test_same_bytes_give_the_same_record_and_copies_are_dropped(tmp_path):
    a = write(tmp_path, "\n".join(signed()), "a.csv")
    b = write(tmp_path, "\n".join(signed()), "b (1).csv")
    assert read(a).identical(read(a))
    both = read([a, b])
    assert both.sizes["device"] == 1
    assert any("same content" in w for w in both.attrs["warnings"])


def test_several_files_are_several_devices(tmp_path):
    a = write(tmp_path, "\n".join(signed()), "left.csv")
    b = write(tmp_path, "\n".join([*signed()[:-1], "24,-1,10.5"]), "right.csv")
    assert list(read([a, b])["device"].values) == ["left", "right"]


def test_quantities_are_in_words():
    assert quantity("100 mV", "V", "--read-voltage") == pytest.approx(0.1)
    assert quantity("0.1V", "V", "--read-voltage") == pytest.approx(0.1)
    assert quantity("0.2", "V", "--read-voltage") == 0.2


def rows(count=9, direction="1"):
    """Body of a good file: pulse, direction, value."""
    return "".join(f"{k},{direction},{k}.5\n" for k in range(count))


HEAD = "pulse,direction,G (uS)\n"
BROKEN = {
    "empty": ("", r"cell.csv: the file is empty"),
    "only comments": ("# nothing\n# here\n", r"no table, only comments"),
    "no numbers": ("a,b\nc,d\ne,f\ng,h\ni,j\nk,l\n", r"no rows of numbers"),
    "text in a number": (HEAD + rows() + "9,1,oops\n", r"cell.csv:11:3: 'oops' of column 'G \(uS\)' is not a number"),
    "one pulse": ("pulse,direction,G (uS)\n1,1,10.5\n", r"has 1 read\(s\), at least 5"),
    "four reads": (HEAD + rows(4), r"cell.csv:2:3: the trace has 4 read"),
    "all missing": (HEAD + "".join(f"{k},1,NaN\n" for k in range(9)), r"cell.csv:2:3: column 'G \(uS\)' holds no number"),
    "a third missing": (
        HEAD + "".join(f"{k},1,{'NaN' if k % 3 == 0 else 1.5 + k}\n" for k in range(30)),
        r"10 of 30 reads .* more than a fifth",
    ),
    "wrong unit": ("pulse,direction,G (kg)\n" + rows(), r"cell.csv:1:3: .* unit 'kg'"),
    "capacitance": ("pulse,direction,C (uF)\n" + rows(), r"cell.csv:1:3: .* unit 'uF'"),
    "seconds": ("pulse,direction,G (s)\n" + rows(), r"cell.csv:1:3: .* is in s, which is no response"),
    "beyond floats": (HEAD + "".join(f"{k},1,1e400\n" for k in range(9)), r"cell.csv:2:3: .* codes such as '1e400'"),
    "negative resistance": (
        "pulse,direction,R (ohm)\n" + "".join(f"{k},1,-{k}.5\n" for k in range(9)), r"9 of 9 reads .* resistances not above 0"
    ),
    "pulse number of another column": (HEAD + rows() + "10000000000,1,9.5\n", r"cell.csv:11:1: 1e\+10 pulses since the read"),
    "too many pulses at once": (HEAD + rows(9, "1e9"), r"cell.csv:2:2: 1e9 pulses are more than the 1000000"),
    "not a number of pulses": (HEAD + rows(9, "inf"), r"cell.csv:2:2: 'inf' .* is not a direction"),
    "no pulse": (HEAD + rows(12, "0"), r"device cell has no pulse; give a column with the directions"),
    "a web page": ("<html><body>\n404 not found\n</body></html>\n", r"cell.csv: this is a web page \(HTML\)"),
    "only a header": (HEAD, r"cell.csv:1: no rows of numbers"),
    "bad direction": (
        HEAD + rows(5, "up") + "5,sideways,5.5\n" + rows(9, "up"),
        r"cell.csv:7:2: 'sideways' .* is not a direction",
    ),
    "too many fields": (HEAD + rows() + "9,1,3.5,8,9\n", r"cell.csv:11:4: 5 fields"),
    "header too long": ("a,b,c,d,e\n" + rows(), r"cell.csv:2: 3 fields, but the header names 5"),
    "wide, unsaid": ("d1,d2,d3\n" + "".join(f"{k}.1,{k}.2,{k}.3\n" for k in range(9)), r"--columns devices or --columns cycles"),
    "decimal commas between commas": ("".join(f"0,{k:03d},0,{k + 7:03d}\n" for k in range(20)), r"separator or the decimal sign"),
    "mixed decimal signs": ("".join(f"{k};1,5;2.5\n" for k in range(9)), r"cell.csv:1: .*mixed"),
    "different units": ("d1 (uS),d2 (A),d3 (uS)\n" + "".join(f"{k}.1,{k}.2,{k}.3\n" for k in range(9)), r"have different units"),
    "binary": ("%PDF-1.4 rubbish", r"binary file"),
    "no workbook": ("PK\x03\x04 rubbish", r"this is an archive, no workbook; unpack it"),
    "text column of reads": ("device,value\n" + "a,high\n" * 9, r"no rows of numbers|holds text|no column of reads"),
    "cycle not whole": (
        "cycle,G (uS)\n" + "".join(f"{1.5 if k == 3 else 1},{k}.5\n" for k in range(9)),
        r"cell.csv:5:1: '1.5' .* not a cycle number",
    ),
    "constant": (HEAD + "".join(f"{k},{1 if k < 10 else -1},7.5\n" for k in range(20)), r"constant|no column of reads"),
    "swapped": ("up,down\n" + "".join(f"{20 - k}.5,{k}.5\n" for k in range(20)), r"directions are probably swapped"),
    "too short a column": (
        "up,down\n" + "".join(f"{k}.5,{20 - k}.5\n" for k in range(3)) + "".join(f"{k}.5,\n" for k in range(3, 12)),
        r"the down ramp has 3 read",
    ),
    "milli or mega": ("pulse,direction,R (mohm)\n" + rows(), r"cell.csv:1:3: 'R \(mohm\)' may be milliohm or megaohm"),
    "quoted commas": (
        "pulse,G (uS)\n" + "".join(f'{k},"1,{k:03d}"\n' for k in range(9)), r"cell.csv:2: '1,000' may be 1.000 or 1000"
    ),
    "one suffix": (HEAD + rows() + "9,1,9.5k\n", r"cell.csv:11:3: '9.5k' has a suffix and other numbers"),
    "prefix twice": (
        HEAD + "".join(f"{k},{1 if k < 10 else -1},{k}.5u\n" for k in range(20)), r"suffix and the header .* prefix too"
    ),
    "engineering with a slip": (
        "pulse,direction,R\n" + "".join(f"{k},1,{v}\n" for k, v in enumerate(["900", "950", "1.02k", "1.1k", "1.2", "1.3k"])),
        r"has a suffix and other numbers",
    ),
    "only zeros": ("0\n" * 30, r"constant"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_get_one_sentence(tmp_path, name):
    """Place and remedy, no traceback, from reading and fitting alike."""
    from fitlab.errors import FitlabError
    from fitlab.fit import fit

    text, message = BROKEN[name]
    with pytest.raises(FitlabError, match=message) as caught:
        fit(read(write(tmp_path, text)), "ConstantStep")
    assert "cell.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(mapping={"value": "nope"}), "no column 'nope'; the columns are pulse, direction, G"),
        (Options(mapping={"colour": "pulse"}), "no role 'colour'; roles are device"),
        (Options(format="xls"), "no such format; choose from digitised, long"),
        (Options(format="long", mapping={"value": "direction"}), "up"),
    ],
)
def test_options_that_do_not_fit_the_file(tmp_path, options, message):
    from fitlab.errors import ReadError

    with pytest.raises(ReadError, match=message):
        read(write(tmp_path, "\n".join(signed(directions=("up", "down")))), options)


def test_files_that_are_not_there(tmp_path):
    from fitlab.errors import ReadError

    with pytest.raises(ReadError, match="no such file"):
        read(tmp_path / "none.csv")
    with pytest.raises(ReadError, match="this is a folder"):
        read(tmp_path)


def test_the_dataset_holds_what_the_record_holds(tmp_path):
    from fitlab.io import read_record
    from fitlab.io.record import PulseResponse

    path = write(tmp_path, "\n".join(signed()))
    record, response = read_record(path), read(path)
    assert response["conductance"].attrs["units"] == response["value"].attrs["units"] == "S"
    back = PulseResponse.of(response)
    assert (back.devices, back.cycles, back.attrs) == (record.devices, record.cycles, record.attrs)
    for name in ("value", "conductance", "direction", "count", "restart", "flag"):
        np.testing.assert_array_equal(getattr(back, name), getattr(record, name))
    assert PulseResponse.of(record) is record


def test_columns_of_one_name_are_told_apart(tmp_path):
    text = "pulse,direction,G (uS),G (uS)\n" + "".join(f"{k},{1 if k < 12 else -1},{v},1\n" for k, v in enumerate([*UP, *DOWN]))
    response = read(write(tmp_path, text))
    np.testing.assert_allclose(response["conductance"].values[0, 0], np.array([*UP, *DOWN]) * 1e-6)
    assert "column 'G (uS)' is constant and was taken as a setting, not as reads" in response.attrs["assumptions"]


def test_a_table_without_header_is_read(tmp_path):
    response = read(write(tmp_path, "".join(f"{k},1,{v}\n" for k, v in enumerate(UP))))
    np.testing.assert_array_equal(response["value"].values[0, 0], UP)


def bare(one, other):
    return "".join(f"{a:.10g},{b:.10g}\n" for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("wrong", [0.0, 1e-320, 1e9, -999.0])
@pytest.mark.parametrize("cell", range(16))
def test_an_abscissa_beside_its_values_is_no_pair_of_ramps_whichever_cell_is_wrong(tmp_path, wrong, cell):
    """Values that fall along an abscissa over decades, and whose range is inside that of the abscissa."""
    x = [10.0, 62.0, 605.0, 4230.0, 89300.0, 175000.0, 1.061e6, 1.063e6]
    y = [3.25e5, 3.29e5, 3.33e5, 2.48e5, 2.13e5, 2.12e5, 1.96e5, 2.5e5]
    table = np.array([x, y])
    table.flat[cell] = wrong
    path = write(tmp_path, bare(*table))
    with contextlib.suppress(ReadError):
        assert "digitised" in read_record(path).attrs["reader"]


def test_two_ramps_without_names_share_their_range(tmp_path):
    """A wrong read does not hide a pair; ramps that do not share their range are a pair only once they are said to be."""
    for at in range(12):
        for value in (0.0, 1e4):
            wrong = DOWN.copy()
            wrong[at] = value
            assert read(write(tmp_path, bare(UP, wrong))).sizes["pulse"] == 24
    for one, other in ((UP, DOWN - 8), (DOWN - 8, UP), (-UP, 5 - DOWN)):
        path = write(tmp_path, bare(one, other))
        with pytest.raises(ReadError, match="--format pair"):
            read(path)
        for options in (Options(format="pair"), Options(mapping={"up": "1", "down": "2"})):
            assert read(path, options).sizes["pulse"] == 24
        assert read(path, Options(columns="devices")).sizes["device"] == 2


def test_columns_that_may_be_ramps_or_a_curve_are_refused_with_both_remedies(tmp_path):
    """A ramp over three decades beside one over half of them."""
    one, other = np.geomspace(0.01, 20, 12) ** 1.01, np.geomspace(18, 0.6, 12)
    path = write(tmp_path, bare(one, other))
    with pytest.raises(ReadError, match=r"--format pair or --format digitised|--format digitised or --format pair"):
        read(path)
    assert read(path, Options(format="pair")).sizes["pulse"] == 24


def test_reads_of_few_digits_are_no_outliers(tmp_path):
    """Ramps rounded to three digits, with one read that is off by ten steps: only that one is left out."""
    from fitlab.fit.prepare import prepare
    from fitlab.io import read_record

    values = np.round(np.concatenate([np.linspace(10, 20, 30), np.linspace(20, 10, 30)]), 3)
    values[17] += 3.5
    text = HEAD + "".join(f"{k},{1 if k < 30 else -1},{v}\n" for k, v in enumerate(values))
    _, (device,), _ = prepare(read_record(write(tmp_path, text)))
    assert np.flatnonzero(device.outlier).tolist() == [17]


def written(folder, text):
    path = folder / "trace.csv"
    path.write_text(text)
    return path


def test_rows_out_of_order_are_sorted_by_their_pulse_number_and_it_is_said(tmp_path):
    ramp = [(k, "up", 1 + 0.05 * k) for k in range(1, 31)] + [(k, "down", 2.5 - 0.05 * (k - 30)) for k in range(31, 61)]
    head = "pulse,direction,G (uS)\n"
    rows = [f"{k},{way},{g:.4f}\n" for k, way, g in ramp]
    plain = read(written(tmp_path, head + "".join(rows)))
    mixed = read(written(tmp_path, head + "".join(rows[k] for k in np.random.default_rng(0).permutation(60))))
    np.testing.assert_array_equal(plain["value"].values, mixed["value"].values)
    np.testing.assert_array_equal(plain["direction"].values, mixed["direction"].values)
    assert "sorted by pulse number" in str(mixed.attrs)
    assert "sorted by pulse number" not in str(plain.attrs)


@pytest.mark.parametrize(
    ("numbers", "words"), [([1, 2, 3, 7, 5, 3, 8, 9], "falls from 7 to 5"), ([1, 2, 3, -4, 5, 6, 7, 8], "-4 is below 0")]
)
def test_pulse_numbers_that_cannot_be_put_in_order_are_refused(tmp_path, numbers, words):
    text = "pulse,direction,G (uS)\n" + "".join(f"{k},up,{1 + 0.1 * i:.2f}\n" for i, k in enumerate(numbers))
    with pytest.raises(ReadError, match=words):
        read(written(tmp_path, text))


def test_quoted_decimal_commas_between_commas(tmp_path):
    text = "pulse,G (uS)\n" + "".join(f'{k},"{v:.2f}"\n'.replace(".", ",") for k, v in enumerate([*UP, *DOWN]))
    expected = [float(f"{v:.2f}") * 1e-6 for v in [*UP, *DOWN]]
    np.testing.assert_allclose(read(write(tmp_path, text))["value"].values[0, 0], expected)


def test_a_column_v_beside_reads_in_siemens_is_the_voltage_of_the_pulses(tmp_path):
    rows = [f"{1.2 if k < 12 else -1.1},{v:.3f}" for k, v in enumerate([*UP, *DOWN])]
    response = read(write(tmp_path, "\n".join(["V,G (\u00b5S)", *rows])))
    np.testing.assert_allclose(response["conductance"].values[0, 0], np.concatenate([UP, DOWN]) * 1e-6, rtol=1e-12)
    np.testing.assert_array_equal(np.sign(response["direction"].values[0, 0]), np.repeat([1, -1], 12))
    np.testing.assert_allclose(response["amplitude"].values[0, 0], np.repeat([1.2, -1.1], 12))
    assert any("'V' is the voltage of the pulses" in text for text in response.attrs["assumptions"])


def test_engineering_notation_with_numbers_below_a_thousand(tmp_path):
    ohm = np.round(np.concatenate([UP, DOWN]) * 67, 1)
    cells = [f"{r:.1f}" if r < 1000 else f"{r / 1000:.4f}k" for r in ohm]
    assert any("k" in c for c in cells)
    assert not all("k" in c for c in cells)
    rows = [f"{k},{1 if k < 12 else -1},{c}" for k, c in enumerate(cells)]
    response = read(write(tmp_path, "\n".join(["pulse,direction,R", *rows])))
    assert response.attrs["unit"] == "ohm"
    np.testing.assert_allclose(response["value"].values[0, 0], ohm, rtol=1e-9)


@pytest.mark.parametrize("cell", ["{:.3f}uS", "{:.3f} \u00b5S", "{:.3f} uS"])
def test_cells_with_their_own_unit(tmp_path, cell):
    rows = [f"{k},{1 if k < 12 else -1},{cell.format(v)}" for k, v in enumerate([*UP, *DOWN])]
    response = read(write(tmp_path, "\n".join(["pulse,direction,G", *rows])))
    assert response.attrs["unit"] == "S"
    np.testing.assert_allclose(response["value"].values[0, 0], np.concatenate([UP, DOWN]) * 1e-6, rtol=1e-9)


def test_a_text_after_many_long_numbers_is_found_at_once(tmp_path):
    """Patterns that match a number in more than one way would try all of them for all lines."""
    rows = "\n".join(f"{k},123456789012345" for k in range(500))
    (tmp_path / "cell.csv").write_text(f"pulse,G (uS)\n{rows}\n500,1234567890123x\n", encoding="utf-8")
    with pytest.raises(ReadError, match=r"cell\.csv:502:2: '1234567890123x'"):
        read_record(tmp_path / "cell.csv")


def test_names_that_end_in_a_unit_stay_names(tmp_path):
    rows = [f"{1 + k // 24}A,{1 if k % 24 < 12 else -1},{v:.3f}" for k, v in enumerate([*UP, *DOWN] * 2)]
    response = read(write(tmp_path, "\n".join(["cell,direction,G (uS)", *rows])))
    assert [str(d) for d in response["device"].values] == ["1A", "2A"]
