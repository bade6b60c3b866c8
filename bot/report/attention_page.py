"""One decision of a network: how far each scale counted, where attention fell, and what moved the answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from bot.report import words
from bot.report.frames import F64, I64
from bot.report.page import document
from bot.report.view import Figure, Section, chart, nothing, paragraph, rounded, table, times_ms

# Shape letters in this file: L bar, F feature, H head or horizon, Q level, N token, D decision, S scale.

_FEATURES_MAX = 12
SERIES = 6


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScaleLook:
    """One scale, oldest bar first.

    Attributes:
        own_HL: attention of the newest bar within the scale, a row a head; None where there is none to show.
        fused_N, fused_ns_N: attention of the decision over the scale's tokens, and when those were known; None where
            nothing is fused by attention.
        moved_LF: what each feature of each bar added to the answer, as a log return.
    """

    bar: str
    close_ns_L: I64
    own_HL: F64 | None
    fused_N: F64 | None
    fused_ns_N: I64 | None
    features: tuple[str, ...]
    moved_LF: F64


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DecisionLook:
    """What `render_attention` draws.

    Attributes:
        quantiles_HQ: log returns; no rows where the model forecasts none.
        importance_DS: weight of each scale at this decision, which is the last, and at those before it.
        asked: which answer was taken apart, in words.
        answer, at_zero, lacking: that answer, the one of a market at its training medians, and what the parts lack to
            their difference; log returns.
    """

    model: str
    instrument: str
    decision_ns: int
    horizons_ns: tuple[int, ...]
    levels: tuple[float, ...]
    quantiles_HQ: F64
    importance_DS: F64
    scales: Sequence[ScaleLook]
    asked: str
    answer: float
    at_zero: float
    lacking: float


def render_attention(look: DecisionLook) -> str:
    """Return the page."""
    parts = [_forecast(look), _importance(look)]
    for number, scale in enumerate(look.scales):
        parts += [_attention(number, scale), _moved(number, scale)]
    parts.append(_features(look))
    at = words.utc(look.decision_ns, seconds=True)
    status = f"Decision of {at} UTC. Attention says where the network looked, not what decided."
    head = (
        '<header class="top"><p class="overline">One decision</p>'
        f'<h1>{escape(look.instrument)} <span class="on">{escape(look.model)}</span></h1>'
        f'<p class="status">{escape(status)}</p></header>'
    )
    return document(f"{look.model}, {look.instrument}, {at}", head, parts, to="the charts")


def _forecast(look: DecisionLook) -> Section:
    rows = [
        [words.span(horizon_ns), *(words.number(1e4 * value, 1, signed=True) for value in quantiles)]
        for horizon_ns, quantiles in zip(look.horizons_ns, look.quantiles_HQ.tolist(), strict=True)
    ]
    if not rows:
        return Section(anchor="forecast", title="Forecast", body=nothing("This model forecasts no return."))
    heading = ["Horizon", *(f"{level:g}" for level in look.levels)]
    body = paragraph("Quantiles of the log return from this decision on, in hundredths of a percent.")
    body += table(heading, rows, caption="Quantiles of the forecast", is_compact=True)
    return Section(anchor="forecast", title="Forecast", body=body)


def _importance(look: DecisionLook) -> Section:
    names = [scale.bar for scale in look.scales]
    count = len(look.importance_DS)
    mean, spread = look.importance_DS.mean(axis=0), look.importance_DS.std(axis=0)
    traces = [
        {
            "type": "bar", "name": "this decision", "x": names, "y": rounded(look.importance_DS[-1], 4),
            "marker": {"color": "var(--series-1)"}, "hovertemplate": "%{y:.3f}",
        }
    ]  # fmt: skip
    text = "The weight of each scale at this decision."
    if count > 1:
        text = f"The weight of each scale at this decision, and its mean and deviation over {count} decisions up to it."
        traces.append(
            {
                "type": "bar", "name": f"{count} decisions", "x": names, "y": rounded(mean, 4),
                "error_y": {"type": "data", "array": rounded(spread, 4), "visible": True, "color": "var(--muted)"},
                "marker": {"color": "var(--series-1-soft)"}, "hovertemplate": "%{y:.3f}",
            }
        )  # fmt: skip
    figure: Figure = {
        "data": traces,
        "layout": {
            "barmode": "group",
            "xaxis": {"type": "category"},
            "yaxis": {"title": {"text": "Weight"}, "rangemode": "tozero"},
        },
    }
    body = paragraph(text) + chart("importance", "Weights of the scales", size="small")
    return Section(anchor="scales", title="Scales", body=body, figures={"importance": figure})


def _attention(number: int, scale: ScaleLook) -> Section:
    anchor, title = f"attention-{number}", f"Attention over {scale.bar} bars"
    traces = []
    if scale.own_HL is not None:
        heads = len(scale.own_HL)
        for head, weights_L in enumerate(scale.own_HL):
            traces.append(
                {
                    "type": "scatter", "mode": "lines", "name": f"head {head + 1}" if heads > 1 else "newest bar",
                    "x": times_ms(scale.close_ns_L), "y": rounded(weights_L, 5),
                    "line": {"width": 1.2, "color": f"var(--series-{head % SERIES + 1})"},
                    "hovertemplate": "%{y:.4f}",
                }
            )  # fmt: skip
    if scale.fused_N is not None and scale.fused_ns_N is not None:
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": "the decision, across scales",
                "x": times_ms(scale.fused_ns_N), "y": rounded(scale.fused_N, 5),
                "marker": {"size": 6, "color": "var(--ink)"}, "hovertemplate": "%{y:.4f}",
            }
        )  # fmt: skip
    if not traces:
        return Section(anchor=anchor, title=title, body=nothing("There is no attention over this scale to show."))
    figure: Figure = {
        "data": traces,
        "layout": {
            "hovermode": "x",
            "xaxis": _axis(scale),
            "yaxis": {"title": {"text": "Weight"}, "rangemode": "tozero"},
        },
    }
    body = paragraph(
        "Lines: where the newest bar of the scale looks in the last layer, each head adding to one. Dots: where the "
        "decision looks among the tokens of all scales, adding to one over all of them."
    )
    body += chart(anchor, title, size="small", is_time=True)
    return Section(anchor=anchor, title=title, body=body, figures={anchor: figure})


def _moved(number: int, scale: ScaleLook) -> Section:
    anchor, title = f"moved-{number}", f"What {scale.bar} bars added"
    total_L = 1e4 * scale.moved_LF.sum(axis=1)
    figure: Figure = {
        "data": [
            {
                "type": "bar", "name": "added", "x": times_ms(scale.close_ns_L), "y": rounded(total_L, 5),
                "marker": {"color": ["var(--gain)" if value >= 0 else "var(--loss)" for value in total_L.tolist()]},
                "hovertemplate": "%{y:.4~g}",
            }
        ],
        "layout": {
            "hovermode": "x",
            "xaxis": _axis(scale),
            "yaxis": {"title": {"text": "1e-4 log return"}, "zeroline": True},
        },
    }  # fmt: skip
    share = words.number(float(total_L.sum()), 3, signed=True)
    body = paragraph(f"Integrated gradients by bar, all features together; they add up to {share} here.")
    body += chart(anchor, title, size="small", is_time=True)
    return Section(anchor=anchor, title=title, body=body, figures={anchor: figure})


def _features(look: DecisionLook) -> Section:
    found = [
        (abs(value), scale.bar, name, value)
        for scale in look.scales
        for name, value in zip(scale.features, (1e4 * scale.moved_LF.sum(axis=0)).tolist(), strict=True)
    ]
    found.sort(key=lambda each: (-each[0], each[1], each[2]))
    rows = [[name, bar, words.number(value, 3, signed=True)] for _, bar, name, value in found[:_FEATURES_MAX]]
    text = (
        f"{look.asked}: {words.number(1e4 * look.answer, 3, signed=True)}, in hundredths of a percent. A market at the "
        f"medians of training would be told {words.number(1e4 * look.at_zero, 3, signed=True)}; these parts explain "
        f"the difference but for {words.number(1e4 * look.lacking, 4, signed=True)}."
    )
    body = paragraph(text) + table(
        ["Feature", "Scale", "Added"], rows, text_columns=2, caption="Features by what they added", is_compact=True
    )
    return Section(anchor="features", title="Features", body=body)


def _axis(scale: ScaleLook) -> dict[str, object]:
    first, last = int(scale.close_ns_L[0]), int(scale.close_ns_L[-1])
    margin = max((last - first) // 50, int(1e9))
    return {
        "type": "date",
        "hoverformat": "%-d %b %Y %H:%M:%S",
        "range": [(first - margin) // 1_000_000, (last + margin) // 1_000_000],
    }
