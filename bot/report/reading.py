"""The end of the page: what identifies the run, how to check it, and how far to believe it."""

import shlex
from html import escape

import msgspec

from bot.report import words
from bot.report.bracket_page import how_filled
from bot.report.view import View, command, paragraph, table

_FILLS = {
    "paper": (
        "Paper fills come from a test venue or an emulator. Its liquidity is not the market's: expect fills to be "
        "easier here, or stranger, than with real money."
    ),
    "live": "These fills are the venue's own. The chart of prices is drawn from the market data that the bot received.",
}

_NOTES = (
    (
        "Drawdown",
        (
            "It is measured at every bar close, not at the samples of the ratios, from the highest equity so far. Its "
            "longest spell runs from a high until it was reached again, or until the end."
        ),
    ),
    (
        "Buy and hold",
        (
            "The start cash, split evenly over the instruments, bought at the first open and kept: without leverage, "
            "fees or funding."
        ),
    ),
    (
        "Round trips",
        (
            "From flat to flat, one instrument at a time; a fill that turns the position over ends one and begins the "
            "next. Win rate and profit factor count closed ones, after fees and funding."
        ),
    ),
    (
        "Slippage",
        (
            "The distance from the mark price at the decision to the fill, times the quantity. For an order that "
            "rested it includes what the market did meanwhile, so it can be a gain."
        ),
    ),
)
_IN_SAMPLE = (
    "The model has seen this period, in fitting, in selection or in calibration. Compare nothing on this page with "
    "another strategy; run it on later data."
)
_AGAIN = (
    "The same data, config and seed give the same ledger, byte for byte: the ledger hash of a second run must equal "
    "the one above."
)
_VERIFY = "Verify runs the recorded deliveries again; it must find the very same decisions, orders and fills."
_REST = "Fills after the last bar do this; anything else is an error: check the ledger."
FORECAST_CAVEAT = (
    "Forecasts made every few minutes about the next day nearly all watch the same day: the samples that do not "
    "overlap are the honest count, and the error bars rest on them. The constant is the best unchanging forecast, "
    "chosen in hindsight; a model below it has learned something. Treat a direction right more than "
    "56\N{NARROW NO-BREAK SPACE}% of the time as a leak until it is disproved."
)


def identity(view: View) -> str:
    """Return the hashes and settings of the run, and the commands that check them."""
    run = view.data.run
    names = (
        ("Run", "run_id"),
        ("Status", "status"),
        ("Mode", "mode"),
        ("Strategy", "strategy"),
        ("Seed", "seed"),
        ("Config", "config_hash"),
        ("Market data", "data_hash"),
        ("Model", "model_id"),
        ("Ledger", "ledger_hash"),
        ("Tape", "tape_hash"),
    )
    facts = "".join(
        f'<div><dt>{label}</dt><dd class="mono">{escape(_fact(run[key]))}</dd></div>' for label, key in names
    )
    return (
        f'<dl class="facts">{facts}</dl>{_parameters(run["parameters"])}'
        f"<h3>Run it again, check the books</h3>{paragraph(_AGAIN if run['mode'] == 'replay' else _VERIFY)}"
        f"{''.join(command(line) for line in _commands(str(run['mode']), str(run['run_id'])))}"
    )


def reading(view: View) -> str:
    """Return how to read the page, with what this very run makes doubtful first."""
    metrics = view.metrics
    ratios = (
        f"Sharpe and Sortino are annualised {metrics['annualisation']}, against a risk-free rate of zero. The standard "
        "error supposes independent returns; real ones cluster, so the truth is less certain still."
    )
    items = [
        *_doubts(view),
        ("How fills were made", _FILLS.get(str(metrics["mode"])) or how_filled(view)),
        ("Ratios", ratios),
        *_NOTES,
    ]
    return f'<div class="notes">{"".join(_note(title, text) for title, text in items)}</div>'


def _note(title: str, text: str) -> str:
    return f"<div><h3>{escape(title)}</h3><p>{escape(text)}</p></div>"


def _doubts(view: View) -> list[tuple[str, str]]:
    """Return what this run in particular makes doubtful."""
    metrics = view.metrics
    doubts = []
    if metrics["in_sample"]:
        doubts.append(("In sample", _IN_SAMPLE))
    if metrics["round_trips"]:
        doubts.append(("Sample size", _sample_size(view)))
    if abs(metrics["unexplained_pnl"]) > max(1e-6 * abs(metrics["start_equity"]), 0.01):
        rest = words.amount(metrics["unexplained_pnl"], view.currency, signed=True)
        doubts.append(("Books and tape differ", f"Round trips explain all but {rest} of the change in equity. {_REST}"))
    if metrics["fills_without_mark"]:
        fills = words.count(metrics["fills_without_mark"], "fill")
        doubts.append(("Slippage is incomplete", f"{fills} carried no mark price and count as no slippage."))
    return doubts


def _sample_size(view: View) -> str:
    metrics = view.metrics
    mean, error = metrics["round_trip_return_mean"], metrics["round_trip_return_standard_error"]
    text = f"{words.count(metrics['round_trips'], 'closed round trip')} is the whole sample. "
    if error is None:
        return text + "One trade proves nothing."
    verdict = (
        "more than two standard errors from zero, which one strategy in twenty shows by luck alone"
        if abs(mean) > 2 * error
        else "within two standard errors of zero: luck explains it as well as skill"
    )
    return (
        f"{text}On average one returned {words.share(mean, 3, signed=True)} of its entry value, with a standard error "
        f"of {words.share(error, 3)}: {verdict}. Every variant that was tried before this one makes luck more likely."
    )


def _parameters(text: object) -> str:
    """Return the strategy's parameters as a table; whatever is no JSON object as it is."""
    try:
        parameters = msgspec.json.decode(str(text))
    except msgspec.DecodeError:
        parameters = None
    if not isinstance(parameters, dict):
        return f'<h3>Parameters</h3><p class="mono">{escape(_fact(text))}</p>'
    if not parameters:
        return ""
    body = [[str(name), _plain(value)] for name, value in parameters.items()]
    listed = table(["Name", "Value"], body, text_columns=2, caption="Parameters of the strategy", is_compact=True)
    return f"<h3>Parameters</h3>{listed}"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _fact(value: object) -> str:
    return "none" if value is None or value == "" else str(value)


def _commands(mode: str, run_id: str) -> tuple[str, ...]:
    place = shlex.quote(f"runs/{run_id}")
    again = f"bot replay --config {shlex.quote(f'runs/{run_id}/config.toml')}"
    return again if mode == "replay" else f"bot verify {place}", f"bot ledger check {place}"
