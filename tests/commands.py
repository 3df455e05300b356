"""Command lines, run in this process."""

import contextlib
import io

from vaekit.cli import main


def call(*words):
    """Exit code, stdout and stderr of a command line, run in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code
    return code, out.getvalue(), err.getvalue()


def assert_refused(words, message, progress, *, d, run):
    """A wrong command line gets exit code 2 and one line, after lines of progress at most, and leaves nothing behind.

    words may name the folders `d`, of data, and `run`; what is to be written nowhere goes to `{d}/never`.
    """
    code, out, err = call(*words.format(d=d, run=run).split())
    *lines, error = err.splitlines()
    assert code == 2 and out == "" and error.startswith("vaekit: error: ") and message in error
    assert all(line.startswith(progress) for line in lines)
    assert not (d / "never").exists(), "what never began leaves nothing"
