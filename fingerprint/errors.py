"""The errors of fingerprint: what was expected, what came, what to do.

No message ever holds prompt text or a raw account id.
"""

__all__ = ["BundleError", "ExchangeError", "FingerprintError", "OutOfOrderError", "TrafficError", "WindowError"]


class FingerprintError(Exception):
    """Base of every error that fingerprint raises on purpose."""


class ExchangeError(FingerprintError, ValueError):
    """One exchange record does not keep the contract; ``reason`` is the counted reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"exchange record rejected: {reason.replace('_', ' ')}")


class TrafficError(FingerprintError):
    """A traffic file cannot be read at all."""


class OutOfOrderError(TrafficError):
    """An exchange is older than what was already put into windows: read again, holding everything."""


class WindowError(FingerprintError, ValueError):
    """A serialised window is damaged or of another layout."""


class BundleError(FingerprintError):
    """A model bundle is incomplete, changed, or made for another feature set."""
