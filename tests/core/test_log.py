import io
import re

from openqwen.core.intervals import mean_interval, t_quantile_95
from openqwen.core.log import MetricStream, Progress, format_bytes, format_duration, read_metrics
from openqwen.core.ngrams import ngrams, units


def test_amounts_are_told_with_units():
    assert [format_duration(s) for s in (0, 59.6, 61, 3661)] == ["0:00", "1:00", "1:01", "1:01:01"]
    assert [format_bytes(n) for n in (12, 1200, 3_400_000)] == ["12 bytes", "1.2 kB", "3.4 MB"]


def test_a_progress_line_has_amount_rate_and_time_left():
    progress = Progress("extract", total=2000, unit="pages", stream=io.StringIO())
    progress.started -= 10
    progress.advance(500, note="dropped 3")
    line = progress.line()
    assert re.search(r"500/2,000 pages   (49|50)/s   0:30 left   dropped 3", line), line
    progress.done = 2000
    assert "left" not in progress.line()


def test_a_resumed_stream_drops_later_rows_and_a_torn_line(tmp_path):
    stream = MetricStream(tmp_path / "m.jsonl")
    for step in (10, 20, 30):
        stream.write({"step": step})
    with stream.path.open("a") as file:
        file.write('{"step": 4')
    assert [r["step"] for r in read_metrics(stream.path)] == [10, 20, 30]
    stream.keep_until(20)
    stream.write({"step": 21})
    assert [r["step"] for r in read_metrics(stream.path)] == [10, 20, 21]


def test_intervals_are_students():
    mean, half = mean_interval([1.0, 2.0, 3.0, 4.0])
    assert mean == 2.5
    assert abs(half - 3.182 * (5 / 3) ** 0.5 / 2) < 1e-3
    assert abs(t_quantile_95(31) - 2.0395) < 1e-3
    assert abs(t_quantile_95(100) - 1.9840) < 1e-3


def test_units_are_words_or_characters():
    assert units("The cat's GPU_2!", "en") == ["the", "cat", "s", "gpu", "2"]
    assert units("猫坐下了。GPU 好", "zh") == ["猫", "坐", "下", "了", "gpu", "好"]
    assert units("ねこ が", "ja") == ["ね", "こ", "が"]
    assert list(ngrams("abcd", 3)) == [("a", "b", "c"), ("b", "c", "d")]
    assert list(ngrams("ab", 3)) == []
