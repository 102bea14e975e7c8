from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mir_ops.executor import ExecutorFailedError, check_outcome, clear_outputs, follow_monitor
from mir_ops.executor.monitor import parse_monitor


def test_record_of_the_contract_is_read() -> None:
    progress = parse_monitor("t1\t1663934682.123456\t0.25\t2\t0\thalf way\nmore\n")
    assert progress is not None
    assert (progress.percent, progress.state, progress.message) == (25.0, "running", "half way")
    assert (progress.timestamp, progress.details) == ("1663934682.123456", ("more",))


@pytest.mark.parametrize(
    "text", ["", "t\t1\t0.5", "t\t1\tx\t2", "t\t1\tnan\t2", "t\t1\t0.5\t9", "garbage \x00"]
)
def test_half_written_record_is_no_progress_yet(text: str) -> None:
    assert parse_monitor(text) is None


@given(st.text())
def test_any_text_is_progress_or_nothing(text: str) -> None:
    progress = parse_monitor(text)
    assert progress is None or 0.0 <= progress.percent <= 100.0


def test_control_characters_do_not_reach_the_reader(prepare) -> None:
    job = prepare()
    clear_outputs(job)
    job.monitor_path.write_text("t\t1\t1.0\t4\t300201\t\x1b[31mred\x07 alert\u202e\n")
    job.log_path.write_bytes(b"one\n\x1b]0;title\x07two\x1b[2J\n\xff\xfe\n" + b"x" * 100_000)

    with pytest.raises(ExecutorFailedError) as caught:
        check_outcome(job, 1, None)

    text = str(caught.value)
    assert "code 300201: red alert" in text
    assert not any(char < " " and char != "\n" for char in text)
    assert len(text) < 4000
    assert caught.value.executor_code == 300201


def test_state_4_fails_even_with_exit_0(prepare) -> None:
    job = prepare()
    clear_outputs(job)
    job.monitor_path.write_text("t\t1\t1.0\t4\t0\tno luck\n")
    with pytest.raises(ExecutorFailedError) as caught:
        check_outcome(job, 0, None)
    assert str(caught.value) == "Executor `sample` reported an error: no luck"


def test_linked_monitor_and_log_are_not_followed(prepare, tmp_path) -> None:
    job = prepare()
    clear_outputs(job)
    (tmp_path / "secret").write_text("t\t1\t1.0\t4\t0\tsecret\n")
    os.symlink(tmp_path / "secret", job.monitor_path)
    os.symlink(tmp_path / "secret", job.log_path)

    assert follow_monitor(job) is None
    with pytest.raises(ExecutorFailedError) as caught:
        check_outcome(job, None, None)
    assert str(caught.value) == "Executor `sample` vanished"
