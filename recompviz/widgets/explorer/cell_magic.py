"""The cell magic ``%%mempeak``: run a cell of a notebook, and show what is alive at its memory peak, and why."""

from __future__ import annotations

from typing import Any

from recompviz.core.base.errors import RecompvizError
from recompviz.core.reports.memory_report import MemoryReport

USAGE = "%%mempeak [-n RUNS] [NAME]"


class BadMagic(RecompvizError, ValueError):
    """The line of ``%%mempeak`` cannot be read."""


def define(shell: Any) -> None:
    """Define ``%%mempeak`` in a shell of IPython.

    Parameters
    ----------
    shell : IPython.core.interactiveshell.InteractiveShell
    """

    def mempeak(line: str, cell: str) -> MemoryReport:
        """Run the cell and show what is alive at its memory peak, and why.

        %%mempeak             runs the cell once
        %%mempeak -n 3        runs it three times, and shows memory that grows; two more runs find what holds it
        %%mempeak report      stores the report in the variable `report` too

        If the cell raises an error, the report shows the peak until then.
        """
        return report_of_cell(shell, line, cell)

    shell.register_magic_function(mempeak, "cell", "mempeak")


def options_of(line: str) -> tuple[int, str]:
    """Read the options of ``%%mempeak``: return the number of runs, and the name of the variable for the report.

    The name is empty if the line has none.

    Raises
    ------
    BadMagic
        If the line has a second name, a word that is neither an option nor a name, or ``-n`` without a number above 0.

    Examples
    --------
    >>> options_of("-n 3 report"), options_of("")
    ((3, 'report'), (1, ''))
    """
    words, runs, name = line.split(), 1, ""
    while words:
        word = words.pop(0)
        if word == "-n" and words and words[0].isdigit() and int(words[0]):
            runs = int(words.pop(0))
        elif word.isidentifier() and not name:
            name = word
        else:
            raise BadMagic(f"{word!r} is not an option, expected {USAGE}, for example %%mempeak -n 3 report")
    return runs, name


def report_of_cell(shell: Any, line: str, cell: str) -> MemoryReport:
    """Run the text of a cell in the user's namespace, and return the memory report.

    Parameters
    ----------
    shell : IPython.core.interactiveshell.InteractiveShell
    line : str
        The options: the text after ``%%mempeak`` in its line.
    cell : str
        The lines below this line.

    Raises
    ------
    BadMagic
        As for :func:`options_of`.
    Exception
        The error that the cell raises. If the report is finished by then, its text is printed first.
    """
    from recompviz.pytorch.debugging.loop_session import LoopSession

    runs, name = options_of(line)
    source = shell.transform_cell(cell)
    code = shell.compile(source, shell.compile.cache(source, shell.execution_count), "exec")
    observed = LoopSession(None, None, runs, "cell", [shell.user_ns])
    try:
        with observed:
            for _ in range(runs + 2 if runs > 1 else 1):
                exec(code, shell.user_ns)  # as the shell itself runs a cell
                observed.step()
                if observed.done:
                    break
    except BaseException:  # also an interrupt: a finished report is shown, then the error
        if observed.done:
            print(observed.report.text)
        raise
    if name:
        shell.user_ns[name] = observed.report
    return observed.report
