"""``fingerprint``: the command line's way in. It says what to install where its extra is missing.

The commands are in ``fingerprint.commands``, which needs ``fingerprint[cli]``. Here is the last resort too: an error
that nobody thought of is told by its type alone, because its text may hold what it was about.
"""

import os
import sys
import traceback

__all__ = ["main"]

_EXTRA = ("typer", "click", "rich", "pyarrow")
_OWN_FAULT = 70  # EX_SOFTWARE


def _hold_standard_streams() -> None:
    """Where 0, 1 or 2 is closed, keep its number from the files opened next, and lose what is told on 2."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(opened)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 (until the end)


def _run() -> None:
    try:
        import fingerprint.campaign_commands
        import fingerprint.serving_commands  # noqa: F401 (they add their commands)
        from fingerprint.commands import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in _EXTRA:
            raise
        print(
            f"fingerprint: the command line needs {error.name}, which is not installed: pip install 'fingerprint[cli]'",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    app(prog_name="fingerprint")


def main() -> None:
    """Run the command line on ``sys.argv`` and exit.

    0: done; 1: records were rejected; 2: nothing was done; 70: a fault of fingerprint.
    """
    _hold_standard_streams()
    try:
        _run()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        if os.environ.get("FINGERPRINT_DEBUG") == "1":
            traceback.print_exc()
        print(f"fingerprint: unexpected {type(error).__name__}; FINGERPRINT_DEBUG=1 shows where", file=sys.stderr)
        raise SystemExit(_OWN_FAULT) from None
