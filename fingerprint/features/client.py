"""Client spread: from how many places and programs one account is used. Never which ones."""

import math

import numpy as np

from fingerprint._jit import inner
from fingerprint.features import _statistics as stat
from fingerprint.features._feature import Feature
from fingerprint.kernels.layout import AGENT_REGISTERS, AT, IP_REGISTERS

__all__ = ["FEATURES", "compute"]

FEATURES = (
    Feature("networks", "log2 prefixes", 0, 32, "no address prefix known", "One key used from many addresses."),
    Feature(
        "networks_per_exchange", "ratio", 0, 1, "no address prefix known", "A new address for every request: proxies."
    ),
    Feature("user_agents", "log2 programs", 0, 32, "no user agent known", "One key used by many programs."),
)

_IP_N, _AGENT_N, _IPS, _AGENTS = AT["ip_n"], AT["agent_n"], AT["ip_reg"], AT["agent_reg"]


@inner
def compute(window, out, at):  # type: ignore[no-untyped-def]
    """Write this family's features of one window to ``out[at:]``, in the order of ``FEATURES``."""
    networks = max(stat.distinct(window, _IPS, IP_REGISTERS), 1.0)
    agents = max(stat.distinct(window, _AGENTS, AGENT_REGISTERS), 1.0)
    out[at] = math.log2(networks) if window[_IP_N] > 0 else np.nan
    out[at + 1] = min(networks / window[_IP_N], 1.0) if window[_IP_N] > 0 else np.nan
    out[at + 2] = math.log2(agents) if window[_AGENT_N] > 0 else np.nan
