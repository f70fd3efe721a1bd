"""Request shape: ceilings, sampling, what is switched on, how answers stop, how uniform requests are."""

from fingerprint._jit import inner
from fingerprint.features import _statistics as stat
from fingerprint.features._feature import Feature
from fingerprint.kernels.layout import AT, SMALL_TABLE

__all__ = ["FEATURES", "compute"]

FEATURES = (
    Feature(
        "ceiling_p50",
        "log4 tokens",
        2,
        8,
        "max_tokens unknown",
        "Harvests of traces ask for long answers, labelling for short.",
    ),
    Feature("temperature_mean", "bin 0-5", 0, 5, "temperature unknown", "Sampling for variety against greedy answers."),
    Feature("temperature_zero_share", "share", 0, 1, "temperature unknown", "Greedy decoding: evaluation, extraction."),
    Feature("several_share", "share", 0, 1, "n unknown", "Several completions of one prompt."),
    Feature("logprobs_share", "share", 0, 1, "logprobs unknown", "Token probabilities are soft labels."),
    Feature(
        "reasoning_share", "share", 0, 1, "reasoning unknown", "Thinking output is what reasoning harvests are after."
    ),
    Feature("stream_share", "share", 0, 1, "stream unknown", "Interfaces stream, batch clients rarely."),
    Feature("tools_share", "share", 0, 1, "tools unknown", "Tools offered: agents, and harvests of tool use."),
    Feature("stop_ceiling_share", "share", 0, 1, "stop reason unknown", "Answers cut at the ceiling."),
    Feature("stop_tool_share", "share", 0, 1, "stop reason unknown", "Answers that call a tool."),
    Feature("stop_refusal_share", "share", 0, 1, "stop reason unknown", "Refusals: elicitation that is turned away."),
    Feature(
        "request_collision",
        "probability",
        0,
        1,
        "fewer than two exchanges",
        "The same parameters in every request: one client.",
    ),
    Feature(
        "system_collision",
        "probability",
        0,
        1,
        "fewer than two system prompts",
        "One fixed prompt injected into every request.",
    ),
    Feature("model_collision", "probability", 0, 1, "fewer than two model names", "One model, or several compared."),
)

_MAX, _TEMPERATURE, _FLAGS, _STOP = AT["max_tokens_hist"], AT["temperature_hist"], AT["several"], AT["stop_hist"]
_SYSTEM, _REQUEST, _MODEL = AT["system_table"], AT["request_table"], AT["model_table"]


@inner
def compute(window, out, at):  # type: ignore[no-untyped-def]
    """Write this family's features of one window to ``out[at:]``, in the order of ``FEATURES``."""
    out[at] = stat.quantile(window, _MAX, 6, 0.5, 2.0, 1.0)
    warm, known, stops = 0, 0, 0
    for j in range(6):
        known += window[_TEMPERATURE + j]
        warm += j * window[_TEMPERATURE + j]
    out[at + 1] = stat.share(warm, known)
    out[at + 2] = stat.share(window[_TEMPERATURE], known)
    for j in range(5):
        out[at + 3 + j] = stat.share(window[_FLAGS + 2 * j], window[_FLAGS + 2 * j + 1])
    for j in range(5):
        stops += window[_STOP + j]
    for j in range(3):
        out[at + 8 + j] = stat.share(window[_STOP + 1 + j], stops)
    out[at + 11] = stat.collision(window, _REQUEST, SMALL_TABLE)
    out[at + 12] = stat.collision(window, _SYSTEM, SMALL_TABLE)
    out[at + 13] = stat.collision(window, _MODEL, SMALL_TABLE)
