"""The progress line: text, terminal and file modes, stage times."""

import io

from stereotalker_core.commands.talking.progress import ProgressLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_text_tells_what_is_done_and_what_is_left():
    assert ProgressLine.text("render", 25, 100, 10.0).endswith("25/100  25 %  eta 0:30")
    assert ProgressLine.text("render", 1, 1000, 1.0).endswith("eta 16:39")
    assert ProgressLine.text("render", 100, 100, 12.34).endswith("done in 12.3 s")
    assert ProgressLine.text("render", 0, 100, 0.0).endswith("...")


def test_a_terminal_sees_one_line_a_stage():
    out = Terminal()
    line = ProgressLine(out)
    for stage in ("fit", "render"):
        for done in range(5):
            line(stage, done, 4)
    assert out.getvalue().count("\n") == 2
    assert all(part.startswith("\x1b[K") for part in out.getvalue().split("\r")[1:])


def test_a_file_sees_the_end_of_each_stage_only_when_all_is_fast():
    out = io.StringIO()
    line = ProgressLine(out)
    for stage in ("fit", "render"):
        for done in range(5):
            line(stage, done, 4)
    assert [text.split("  ")[0] for text in out.getvalue().splitlines()] == ["fitting the portrait", "rendering"]


def test_a_file_sees_a_long_stage_now_and_then(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("stereotalker_core.commands.talking.progress.time.perf_counter", lambda: now[0])
    out = io.StringIO()
    line = ProgressLine(out)
    for done in range(60):
        now[0] = float(done)
        line("render", done, 60)
    assert 3 <= len(out.getvalue().splitlines()) <= 6


def test_quiet_still_measures(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("stereotalker_core.commands.talking.progress.time.perf_counter", lambda: now[0])
    out = io.StringIO()
    line = ProgressLine(out, enabled=False)
    line("fit", 0, 1)
    now[0] = 2.0
    line("fit", 1, 1)
    now[0] = 3.0
    line("render", 0, 2)
    now[0] = 7.5
    line("render", 2, 2)
    assert out.getvalue() == "" and line.seconds == {"fit": 2.0, "render": 4.5}
