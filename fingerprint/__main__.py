"""``python -m fingerprint``: the same as the command ``fingerprint``."""

from fingerprint.cli import main

if __name__ == "__main__":
    main()
