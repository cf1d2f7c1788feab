"""Series from files: a column of a CSV file with its calendar, and labelled series in the .ts format.

    table of times and numbers -> the step from each time to the next, which must be one -> values, and times to come
"""
import csv
from calendar import monthrange
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from ..errors import ArgumentError, message
from .datasets import ArrayDataset

MONTHS, MONTH_ENDS, WEEKDAYS = "months", "month ends", "weekdays"
TIMES = "date", "time", "datetime", "timestamp", "month", "quarter", "year", "day"
SEASONS = {(MONTHS, 1): 12, (MONTH_ENDS, 1): 12, (MONTHS, 3): 4, (MONTH_ENDS, 3): 4, (WEEKDAYS, 1): 5,
           ("seconds", 604800): 52, ("seconds", 86400): 7, ("seconds", 3600): 24, ("seconds", 1800): 48,
           ("seconds", 900): 96}


@dataclass(frozen=True)
class Series:
    """Numbers at even intervals.

    Args:
        name: of the column.
        values (T): float64.
        times: of each, as the file writes them, or their numbers.
        step: from one to the next: (unit, how many), of MONTHS, MONTH_ENDS, WEEKDAYS or "seconds"; None: not told.
        season: after how many steps a year, a week or a day begins anew; 1: not told.
    """

    name: str
    values: np.ndarray
    times: tuple
    step: tuple | None = None
    season: int = 1

    def to_come(self, count):
        """The next times, written as the last ones are."""
        if self.step is None:
            return tuple(range(len(self.values), len(self.values) + count))
        when, style = _moment(self.times[-1])
        found = []
        for _ in range(count):
            when = _next(when, self.step)
            found.append(_written(when, style))
        return tuple(found)


# -- calendars ---------------------------------------------------------------------------------

def _moment(text):
    """(datetime, how it is written) of a text: 2001, 2001Q3, 2001-03, or an ISO date or time; None: it is no time."""
    text = text.strip()
    year, middle, rest = text[:4], text[4:].lstrip("-")[:1].upper(), text[4:].lstrip("-")
    try:
        if len(text) == 4 and text.isdigit():
            return datetime(int(text), 1, 1), "year"
        if year.isdigit() and middle == "Q" and rest[1:] in ("1", "2", "3", "4"):
            return datetime(int(year), 3 * int(rest[1:]) - 2, 1), "quarter"
        if len(text) == 7 and year.isdigit() and text[4] == "-":
            return datetime(int(year), int(rest), 1), "month"
        when = datetime.fromisoformat(text.replace("/", "-"))
        when = when if when.tzinfo is None else when.astimezone(UTC).replace(tzinfo=None)
        return when, "time" if ":" in text else "date"
    except (ValueError, OverflowError):
        return None


def _written(when, style):
    forms = {"year": f"{when:%Y}", "quarter": f"{when:%Y}Q{(when.month + 2) // 3}", "month": f"{when:%Y-%m}",
             "date": f"{when:%Y-%m-%d}"}
    return forms.get(style, when.isoformat(" "))


def _next(when, step):
    try:
        return _later(when, *step)
    except (ValueError, OverflowError) as error:
        expected = "times of the calendar, up to the year 9999"
        raise ArgumentError(message("read_series", "time", expected, f"one behind {when}")) from error


def _later(when, unit, count):
    if unit in (MONTHS, MONTH_ENDS):
        months = 12 * when.year + when.month - 1 + count
        year, month = months // 12, months % 12 + 1
        return when.replace(year=year, month=month, day=monthrange(year, month)[1] if unit == MONTH_ENDS else when.day)
    if unit == WEEKDAYS:
        return when + timedelta(3 if when.weekday() == 4 else 1)
    return when + timedelta(seconds=count)


def _step(moments):
    """The step that most times are apart by."""
    unit = MONTH_ENDS if all(m.day == monthrange(m.year, m.month)[1] for m in moments) else MONTHS
    if unit == MONTH_ENDS or len({m.day for m in moments}) == 1:
        months = [12 * m.year + m.month for m in moments]
        usual = Counter(b - a for a, b in zip(months, months[1:])).most_common(1)[0][0]
        if usual:                                      # (or all are of one day)
            return unit, usual
    seconds = Counter(round((b - a).total_seconds()) for a, b in zip(moments, moments[1:]))
    usual = seconds.most_common(1)[0][0]
    if usual == 86400 and seconds[3 * 86400] and all(m.weekday() < 5 for m in moments):
        return WEEKDAYS, 1
    return "seconds", usual


# -- CSV ---------------------------------------------------------------------------------------

def read_series(path, column=None, time=None):
    """A column of numbers of a CSV file, and the calendar that its column of times keeps.

    Args:
        path: of a file with a head line, separated by commas, semicolons or tabs.
        column: its name; None: the only one of numbers.
        time: the name of the column of times; None: the first that holds times, if there is one.

    Returns:
        a Series.

    Raises:
        ArgumentError: no such column, or several; a cell that is no number, a time that is missing, or out of order:
            the line is named.
    """
    path = Path(path)
    head, rows = _table(path)
    time = _time_column(path, head, rows, time, column)
    column = _value_column(path, head, rows, column, time)
    values = [_number(path, line, column, row[head.index(column)]) for line, row in rows]
    if time is None:
        return Series(column, np.array(values), tuple(range(len(values))))
    times, moments = [row[head.index(time)].strip() for _, row in rows], []
    for (line, _), text in zip(rows, times):
        if (found := _moment(text)) is None:
            raise ArgumentError(message("read_series", f"{path}, line {line}, {time}", "a time", repr(text)))
        moments.append(found[0])
    step = _step(moments) if len(moments) > 1 else None
    if step is not None and step[1] <= 0:
        raise ArgumentError(message("read_series", f"{path}, {time}", "times, each behind the one before",
                                    " ".join(times[:3]), "Sort the lines; join columns of a time, as in 1959Q1."))
    for (line, _), before, now, text in zip(rows[1:], moments, moments[1:], times[1:]):
        if now != _next(before, step):
            expected = " behind ".join(_written(when, _moment(text)[1]) for when in (_next(before, step), before))
            raise ArgumentError(message("read_series", f"{path}, line {line}, {time}", expected, repr(text),
                                        "Series go on in even steps: fill gaps, and sort the lines by time."))
    return Series(column, np.array(values), tuple(times), step, SEASONS.get(step, 1))


def _table(path):
    """(names of columns, [(number of the line, cells)])."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=first.count))
            lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ArgumentError(message("read_series", "path", "a CSV file in UTF-8", f"{path}: {error}")) from error
    if len(lines) < 2:
        raise ArgumentError(message("read_series", "path", "a head line and rows", f"{len(lines)} lines in {path}"))
    head = [name.strip() for name in lines[0][1]]
    for line, row in lines[1:]:
        if len(row) != len(head):
            raise ArgumentError(message("read_series", f"{path}, line {line}", f"{len(head)} cells as in the first",
                                        len(row)))
    return head, lines[1:]


def _time_column(path, head, rows, time, column):
    if time is not None:
        return _known(path, head, "time", time)
    named = [i for i, name in enumerate(head) if name.lower() in TIMES]
    others = [i for i in [*named, 0] if head[i] != column and len(head) > 1]           # (numbers may look like years)
    return next((head[i] for i in others if all(_moment(row[i]) for _, row in rows[:3])), None)


def _value_column(path, head, rows, column, time):
    if column is not None:
        return _known(path, head, "column", column)
    numbers = [name for i, name in enumerate(head) if name != time and _is_number(rows[0][1][i])]
    if len(numbers) != 1:
        raise ArgumentError(message("read_series", "column", "the name of a column of numbers", "none",
                                    f"{path} has {len(numbers)}: {', '.join(numbers)}."))
    return numbers[0]


def _known(path, head, argument, name):
    if name not in head:
        raise ArgumentError(message("read_series", argument, f"one of {', '.join(head)}", repr(name), f"In {path}."))
    return name


def _is_number(text):
    try:
        return np.isfinite(float(text))
    except ValueError:
        return False


def _number(path, line, column, text):
    if not _is_number(text):
        hint = "Fill the gap, or leave the lines up to it out." if not text.strip() else ""
        raise ArgumentError(message("read_series", f"{path}, line {line}, {column}", "a number", repr(text), hint))
    return float(text)


# -- .ts ---------------------------------------------------------------------------------------

def read_ts(path):
    """Labelled series in the .ts format of the UEA and UCR archives.

    Args:
        path: of the file: lines that begin with @, @data, then a series a line: numbers separated by commas, a colon
            between channels and in front of the label.

    Returns:
        ([(C, T) float32], [label]); series may differ in length.

    Raises:
        ArgumentError: a line is not of that kind.

    Source: Bagnall et al. 2018, "The UEA multivariate time series classification archive", arXiv:1811.00075.
    """
    series, labels, begun = [], [], False
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ArgumentError(message("read_ts", "path", "a text file in UTF-8", f"{path}: {error}")) from error
    for line, text in enumerate(lines, 1):
        text = text.strip()
        if not begun or not text:
            begun = begun or text.lower() == "@data"
            continue
        *channels, label = text.split(":")
        try:
            series.append(np.array([[float(v) for v in channel.split(",")] for channel in channels], np.float32))
        except ValueError as error:
            raise ArgumentError(message("read_ts", f"{path}, line {line}", "numbers, channels of one length",
                                        error)) from error
        if series[-1].ndim != 2 or not label:
            raise ArgumentError(message("read_ts", f"{path}, line {line}", "channels and a label", repr(text[:40])))
        if len(series[-1]) != len(series[0]):
            expected = f"{len(series[0])} channels, as in the first series"
            raise ArgumentError(message("read_ts", f"{path}, line {line}", expected, len(series[-1])))
        labels.append(label)
    if not series:
        raise ArgumentError(message("read_ts", "path", "series behind a line @data", f"none in {path}"))
    return series, labels


def padded(series):
    """(array (N, C, T) of series (C, T) of any lengths, zeros behind each; lengths (N)).

    Raises:
        ArgumentError: there is no series, or they differ in their channels.
    """
    channels = sorted({len(one) for one in series})
    if len(channels) != 1:
        got = " and ".join(map(str, channels)) or "none"
        raise ArgumentError(message("padded", "series", "series of as many channels", got))
    lengths = np.array([one.shape[1] for one in series])
    array = np.zeros((len(series), *channels, lengths.max()), np.float32)
    for row, one in zip(array, series):
        row[:, :one.shape[1]] = one
    return array, lengths


def labelled(series, labels, classes=None):
    """A dataset of (x (C, T), length, number of the class) of labelled series, padded.

    Args:
        series, labels: as `read_ts` gives them.
        classes: the labels in their order; None: sorted.

    Raises:
        ArgumentError: a label is none of the classes.
    """
    classes = sorted(set(labels)) if classes is None else classes
    if unknown := sorted(set(labels) - set(classes)):
        raise ArgumentError(message("labelled", "labels", f"of {', '.join(classes)}", ", ".join(unknown)))
    return ArrayDataset(*padded(series), np.array([classes.index(label) for label in labels]), classes=classes)
