"""``fingerprint``: the command line's way in. It says what to install where its extra is missing.

The commands are in ``fingerprint.commands``, which needs ``fingerprint[cli]``.
"""

import sys

__all__ = ["main"]

_EXTRA = ("typer", "click", "rich", "pyarrow")


def main() -> None:
    """Run the command line on ``sys.argv`` and exit: 0 done, 1 records were rejected, 2 nothing was done."""
    try:
        from fingerprint.commands import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in _EXTRA:
            raise
        print(
            f"fingerprint: the command line needs {error.name}, which is not installed: pip install 'fingerprint[cli]'",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    app(prog_name="fingerprint")
