from __future__ import annotations

from marsmith.harness.tracebacks import TRACEBACK_LINES, shorten_traceback, tells_of_failure


def test_what_tells_of_a_failure() -> None:
    assert tells_of_failure("Backend worker process died.")
    assert tells_of_failure("Failed to load model digits, exception no such file")
    assert tells_of_failure("Load model digits cuda OOM, exception out of memory")
    assert not tells_of_failure("  Backend worker process died.")


def test_a_long_traceback_is_its_end() -> None:
    frames = [f'  File "/x/deep.py", line {number}, in down' for number in range(99)]
    lines = ["Backend worker process died.", "Traceback (most recent call last):", *frames]
    headline, trace = shorten_traceback([*lines, "RecursionError: too deep"])
    assert headline == "RecursionError: too deep"
    assert (len(trace), trace[-1]) == (TRACEBACK_LINES, headline)


def test_without_an_exception_the_line_that_told_of_it_is_all() -> None:
    said = "Load model digits cpu OOM, exception"
    assert shorten_traceback([said, "some words"]) == (said, ["some words"])


def test_an_import_that_fails_is_not_hidden_by_the_loaders_second_try() -> None:
    lines = [
        "Backend worker process died.",
        "Traceback (most recent call last):",
        '  File "/venv/ts/model_loader.py", line 108, in load',
        "    module = importlib.import_module(module_name)",
        '  File "/tmp/x/models/0123456789abcdef0123456789abcdef/h.py", line 1, in <module>',
        "    import gone",
        "ModuleNotFoundError: No module named 'gone'",
        "",
        "During handling of the above exception, another exception occurred:",
        "",
        "Traceback (most recent call last):",
        '  File "/venv/ts/model_loader.py", line 114, in load',
        "    module = self._load_default_handler(handler)",
        "ModuleNotFoundError: No module named 'ts.torch_handler.h'",
    ]
    headline, trace = shorten_traceback(lines)
    assert headline == "ModuleNotFoundError: No module named 'gone'"
    assert trace == [
        "Traceback (most recent call last):",
        '  File "h.py", line 1, in <module>',
        "    import gone",
        headline,
    ]
