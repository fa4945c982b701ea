"""How many cases a fuzz test has, the time that each may take, and what counts as an answer."""

import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, settings

from explgraph.errors import ExplgraphError

ALL = os.environ.get("EXPLGRAPH_FUZZ") == "all"
SECONDS = 20  # of the processor for one case; most take milliseconds
WAIT = 15 * SECONDS  # by the clock, on a machine that does other things too
SLACK = 60 * 2**20  # bytes that a case may take whatever it holds
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Hung(BaseException):  # no Exception: code under test that catches those must not hide it
    """A case took longer than its time."""


def cases(everything, *, quick):
    """The seeds of a test: all of them, or the first few."""
    return range(everything if ALL else quick)


def structured(everything, *, quick):
    """Hypothesis' settings: always the same examples, and nothing kept in the checkout."""
    return settings(
        max_examples=everything if ALL else quick,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def limited(seconds=SECONDS):
    """End the block with `Hung` when its time is over."""

    def end(_signal, _frame):
        raise Hung(f"more than {WAIT} s")

    before, started = signal.signal(signal.SIGALRM, end), time.process_time()
    signal.setitimer(signal.ITIMER_REAL, WAIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if time.process_time() - started > seconds:
        raise Hung(f"more than {seconds} s of the processor")


def fault(ask, *names):
    """What is wrong with how a question ends; None if it is answered or refused in words.

    Args:
        ask: the question, a function.
        names: of files, one of which a refusal has to name; any will do if there are none.
    """
    try:
        with limited():
            ask()
    except ExplgraphError as error:
        return fault_of_words(str(error), *names)
    except (Exception, Hung) as error:
        return f"{type(error).__name__}: {error!s:.200}"
    return None


def fault_of_words(text, *names):
    """Why a message does not say what was got and what to do; None if it does."""
    if not text.strip():
        return "refused without a word"
    if names and not any(str(name) in text for name in names):
        return f"does not name the file: {text:.200}"
    # The house's manner: "expected .., got ..", or "what is wrong; what to do".
    if ";" not in text and not any(word in text for word in ("expected", "must", "needs")):
        return f"says no remedy: {text:.200}"
    return None


def peak_memory(ask):
    """Bytes that a question took at its highest, beyond what there was before; None if unknown."""
    if not _RESET.exists():
        ask()
        return None
    _RESET.write_text("5")
    before = _highest()
    ask()
    return _highest() - before


def _highest():
    return 1024 * int(_STATUS.read_text().split("VmHWM:")[1].split()[0])
