"""Kills of a real `bot paper` beside a real `bot emulator`, gathered in a folder over as many runs as it takes.

    python -m tests.support.kill_campaign FOLDER --kills 300 [--faulty] [--seed 5] [--minutes 30] [--only CHAPTER]

A campaign is made of chapters: an emulator with an account of its own, a ledger, a dozen starts that are killed,
and one that ends in order. What is drawn for a kill depends on seed, chapter and number alone; `--only` does a chapter
again. The folder has one line of JSON for each kill and for each end of a chapter; kills count once their chapter has
ended well, so whatever ends a run of this program loses one chapter at most. The chapters' own folders stay.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.app.verify import verify_run
from bot.domain.errors import BotError, DataError
from bot.runtime import logs
from tests.support.paper import KEY, SECRET, Emulator, PipedPaper, bot
from tests.support.truth import Executions, Ledger, Venue, differences

CHAPTER_KILLS = 12
SPARES = 2  # processes that are started before they are wanted
TRADES_PER_DAY = (
    1_200_000  # the newest thousand, which REST tells, reach back to the minute's beginning: no start waits
)
BUSY_TRADES_PER_DAY = 2_000_000  # they do not: a start late in a minute waits for its end
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "lost_ack", "probability": 0.03, "where": {"path": "*order*"}},
    {"kind": "lost_ack", "probability": 0.03, "where": {"op": "order*"}},
    {"kind": "lost_request", "probability": 0.03, "where": {"op": "order*"}},
    {"kind": "late_request", "probability": 0.03, "where": {"op": "order*"}, "delay_ns": 1_500_000_000},
    {"kind": "drop_frame", "probability": 0.02, "where": {"topic": "execution*"}},
    {"kind": "drop_frame", "probability": 0.02, "where": {"topic": "order"}},
    {"kind": "duplicate_frame", "probability": 0.05, "where": {"topic": "execution*"}},
)
NEVER_S = 600.0  # no wait takes so long, however loaded the machine is: what does waits for ever
_SPAN_FIRST_S = 0.4  # from reading the ledger to READY, before it was ever measured
# What is said of a run that was killed before its record's first block was written, half a second after its beginning.
_NO_RECORD = ("no record of a run begins here", "no deliveries were recorded")
_MUST_NOT = {"ORDER_RESURFACED", "CONTENT_DIFFERS", "CONTRADICTION", "UNKNOWN_OF_OURS"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """What is decided about a kill before it happens."""

    number: int
    while_recovering: bool
    share: float  # while recovering: of the time that it takes; above 1 for the first moments after
    entries: int  # while trading: so many are written first
    delay_s: float  # and so long after
    compares: bool  # while trading: venue and ledger have to be seen equal before


def draws(seed: int, chapter: int) -> list[Draw]:
    """Return what is drawn for a chapter's kills: five of twelve while it recovers, for some come after it has."""
    chance = random.Random(f"{seed}/{chapter}")
    kinds = [number < CHAPTER_KILLS * 5 // 12 for number in range(CHAPTER_KILLS)]
    chance.shuffle(kinds)
    return [
        Draw(
            number=number,
            while_recovering=kind,
            share=chance.uniform(0.0, 1.0),
            entries=chance.randint(5, 80),
            delay_s=chance.uniform(0.0, 0.25),
            compares=chance.random() < 0.5,
        )
        for number, kind in enumerate(kinds)
    ]


@dataclass(slots=True)
class Counted:
    """What a campaign's folder holds."""

    kills: int = 0  # of chapters that ended well
    recovering: int = 0  # of these
    executions: int = 0
    verified: int = 0  # runs that came out the same when they were run again, and rows of theirs
    rows: int = 0
    unheard: int = 0  # executions that the venue had at a kill and the ledger had not
    unanswered: int = 0  # orders at a kill that the venue had not answered
    seconds: float = 0.0
    chapters: int = 0
    next_chapter: int = 0
    broken_off: int = 0  # chapters that the trial itself, or the machine, ended
    failed: list[str] = field(default_factory=list)


def count(folder: Path) -> Counted:
    """Return what is in a campaign's folder."""
    counted, open_kills = Counted(), list[dict[str, Any]]()
    path = folder / "kills.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        told = json.loads(line)
        counted.next_chapter = max(counted.next_chapter, told["chapter"] + 1)
        if told["is"] == "begun":
            open_kills = []
        elif told["is"] == "kill":
            open_kills.append(told)
        elif told["is"] == "failed":
            counted.failed.append(f"chapter {told['chapter']}: {told['why']}")
        elif told["is"] == "broken off":
            counted.broken_off += 1
        else:
            counted.chapters += 1
            counted.kills += len(open_kills)
            counted.recovering += sum(each["while"] == "recovering" for each in open_kills)
            counted.unheard += sum(each["unheard"] for each in open_kills)
            counted.unanswered += sum(each["unanswered"] for each in open_kills)
            counted.executions += told["executions"]
            counted.verified += told["verified"]
            counted.rows += told["rows"]
            counted.seconds += told["seconds"]
    return counted


class Chapter:
    """One emulator and its account, from the first start to the end in order.

    Args:
        folder: of the chapter, empty.
        number, seed: which one.
        kills: how many.
        is_faulty: faults are in force.
        note: told of each kill.
    """

    def __init__(
        self,
        folder: Path,
        *,
        number: int,
        seed: int,
        kills: int,
        is_faulty: bool,
        note: Callable[[dict[str, Any]], None],
    ) -> None:
        folder.mkdir(parents=True)
        self._number, self._is_faulty, self._note = number, is_faulty, note
        self._draws = draws(seed, number)[:kills]
        trades = BUSY_TRADES_PER_DAY if number % 4 == 3 else TRADES_PER_DAY
        self._emulator = Emulator(folder, seed=seed * 1_000 + number, trades=trades, seconds=NEVER_S)
        self._venue = Venue(self._emulator.url, KEY, SECRET)
        self._folder, self._where = folder, folder / "ledger"
        self._runs = folder / "runs"
        self._spares: deque[PipedPaper] = deque()
        self._paper: PipedPaper | None = None
        self._started = 0
        self._done: Executions = {}  # what the venue had executed by the last kill
        self._seen_runs: set[Path] = set()
        self._unverified: list[Path] = []  # runs that were killed
        self._verified = self._verified_rows = 0
        self._span_s = _SPAN_FIRST_S

    def run(self, is_over: Callable[[], bool]) -> dict[str, Any]:
        """Kill, start again, compare; return what came of it.

        Args:
            is_over: there is no more time; what was begun is ended in order.

        Raises:
            AssertionError: something was lost, doubled or not right.
        """
        began = time.monotonic()
        try:
            for fault in FAULTS if self._is_faulty else ():
                self._emulator.add_fault(**fault)
            kills = 0
            for draw in self._draws:
                self._note(self._kill(draw))
                kills += 1
                if is_over():
                    break
            executions = self._end(kills)
        finally:
            for process in (self._paper, *self._spares, self._emulator):
                if process is not None:
                    process.end(signal.SIGKILL)
        told = {"executions": executions, "kills": kills, "verified": self._verified, "rows": self._verified_rows}
        return told | {"seconds": round(time.monotonic() - began, 1)}

    # --- one kill -----------------------------------------------------------------------------------------------------

    def _kill(self, draw: Draw) -> dict[str, Any]:
        began = time.monotonic()
        self._paper = paper = self._begin()
        ready_s = None
        if draw.while_recovering:
            paper.until("recovering", NEVER_S)
            self._until(lambda: "ready " in paper.said, "", self._span_s * draw.share)
        else:
            self._until_ready(paper)
            ready_s = round(time.monotonic() - began, 2)
            self._trade(draw)
        phase = "trading" if "ready " in paper.said else "recovering" if "recovering" in paper.said else "starting"
        lived_s = time.monotonic() - began
        paper.end(signal.SIGKILL)
        self._remember_runs()
        before = Ledger(self._where).fills()
        self._done = self._venue.executions()
        told = {"kill": draw.number, "while": phase, "lived_s": round(lived_s, 2)}
        told |= {"unheard": len(self._done.keys() - before.keys()), "unanswered": Ledger(self._where).unanswered()}
        if not draw.while_recovering:
            told |= {"ready_s": ready_s, "entries": draw.entries, "compared": draw.compares}
        return told | {"seconds": round(time.monotonic() - began, 2)}

    def _trade(self, draw: Draw) -> None:
        """Let it trade until the instant that was drawn."""
        ledger = Ledger(self._where)
        if draw.compares:
            self._until_equal()
        first = ledger.last_seq()
        self._until(lambda: ledger.last_seq() >= first + draw.entries, f"{draw.entries} more entries, after {first}")
        self._wait(draw.delay_s)

    def _begin(self) -> PipedPaper:
        """Let a process go on that has been started, and start another in its place."""
        self._start_spares()
        paper = self._spares.popleft()
        paper.go_on(NEVER_S)
        self._start_spares()
        return paper

    def _start_spares(self) -> None:
        while len(self._spares) < SPARES and self._started <= len(self._draws):  # one more than kills: the last
            self._started += 1
            self._spares.append(PipedPaper(self._folder, self._emulator, f"start-{self._started}"))

    def _until_ready(self, paper: PipedPaper) -> None:
        """Wait for READY, verify meanwhile what was killed before, and see that all is there."""
        unverified, self._unverified = self._unverified, []
        for directory in unverified:
            self._verify(directory)
        paper.until("recovering", NEVER_S)
        began = time.monotonic()
        paper.until("ready ", NEVER_S)
        self._span_s = min(time.monotonic() - began, 2 * self._span_s)  # a wait for the market is no recovery
        fills, at_venue = Ledger(self._where).fills(), self._venue.executions()
        lost = {each: (done, fills.get(each)) for each, done in self._done.items() if fills.get(each) != done}
        assert not lost, f"executed before the kill, and not in the ledger at READY: {lost}"
        made_up = {each: fill for each, fill in fills.items() if at_venue.get(each) != fill}
        assert not made_up, f"in the ledger, and not at the venue: {made_up}"

    # --- what must hold -----------------------------------------------------------------------------------------------

    def _until_equal(self) -> None:
        """Wait until ledger and venue agree in everything at some instant."""
        found: list[str] = []

        def is_equal() -> bool:
            found[:] = differences(self._venue, Ledger(self._where))
            return not found

        self._until(is_equal, lambda: f"venue and ledger to be equal: {found}", every_s=0.1)

    def _end(self, kills: int) -> int:
        """Start once more, pause, flatten, end in order, and hold everything against everything."""
        self._emulator.clear_faults()
        self._paper = paper = self._begin()
        self._until_ready(paper)
        ledger = Ledger(self._where)
        first = ledger.last_seq()
        self._until(lambda: ledger.last_seq() >= first + 20, "20 more entries before the end")
        self._until(lambda: len(ledger.fills()) >= kills, lambda: f"{kills} fills; it has {len(ledger.fills())}")
        self._ask("pause")
        self._until_equal()  # with what is held, and what rests
        self._ask("flatten")  # what would rest on might be filled when the bot has gone
        self._until(lambda: not self._venue.open_orders() and not self._venue.positions(), "nothing to be held")
        self._until_equal()
        assert paper.end(signal.SIGTERM, NEVER_S) == 0, paper.said[-2000:]
        found = differences(self._venue, Ledger(self._where))
        assert not found, found
        checked = bot("ledger", "check", str(self._where), seconds=NEVER_S)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        executions = len(self._venue.executions())
        is_proven = self._verified >= kills // 3 or kills < CHAPTER_KILLS
        assert is_proven, f"{self._verified} of {kills} runs had a record that could be run again"
        codes = {entry["code"] for entry in Ledger(self._where).entries("AlertRaised")}
        assert not codes & _MUST_NOT, codes
        left = _processes_of(self._folder, apart_from={each.pid for each in (self._emulator, *self._spares)})
        assert not left, f"processes outlived their bots: {left}"
        return executions

    def _ask(self, command: str) -> None:
        """Give a command as a person does."""
        asked = bot(command, str(self._where), seconds=NEVER_S)
        assert asked.returncode == 0, asked.stdout + asked.stderr

    def _remember_runs(self) -> None:
        new = {path for path in self._runs.glob("*-paper-*") if not path.is_symlink()} - self._seen_runs
        self._seen_runs |= new
        self._unverified += sorted(new)

    def _verify(self, directory: Path) -> None:
        """Run again what a killed run had recorded: it must come out the same."""
        try:
            verified = verify_run(directory, ledger=str(self._where))
        except DataError as error:
            if not any(words in str(error) for words in _NO_RECORD):
                raise
            return
        assert verified.differences == [], f"{directory.name}: {verified.differences}"
        assert any("the run was cut short" in each for each in verified.cautions), verified.cautions
        self._verified_rows += verified.rows
        self._verified += bool(verified.rows)

    # --- waiting ------------------------------------------------------------------------------------------------------

    def _until(
        self,
        is_so: Callable[[], bool],
        what: str | Callable[[], str],
        seconds: float | None = None,
        *,
        every_s: float = 0.02,
    ) -> None:
        """Return once it is so, or at the latest after `seconds`; None: it has to be, however long it takes."""
        assert self._paper is not None
        end = time.monotonic() + (NEVER_S if seconds is None else seconds)
        while not is_so():
            left = end - time.monotonic()
            if left <= 0:
                assert seconds is not None, (
                    f"waited {NEVER_S:.0f} s for {what if isinstance(what, str) else what()}; "
                    f"it said: {self._paper.said[-2000:]}"
                )
                return
            assert self._paper.listen(min(every_s, left)), f"it has gone: {self._paper.said[-2000:]}"

    def _wait(self, seconds: float) -> None:
        self._until(lambda: False, "", seconds)


class Campaign:
    """Chapter after chapter, in a folder.

    Args:
        folder: holds what was done so far, or nothing.
        seed: of everything that is drawn.
        is_faulty: faults are in force; a folder is of one kind.
        tell: told how far it is.
    """

    def __init__(self, folder: Path, *, seed: int, is_faulty: bool, tell: Callable[[str], None]) -> None:
        self._folder, self._seed, self._is_faulty, self._tell = folder, seed, is_faulty, tell

    def gather(self, kills: int, *, minutes: float = 1e9) -> Counted:
        """Go on until the folder has so many kills, or time is up; return what it has.

        Raises:
            AssertionError: something was lost, doubled or not right; the folder says of which chapter.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        until = time.monotonic() + minutes * 60
        has = count(self._folder)
        while has.kills < kills and time.monotonic() < until:
            self.chapter(has.next_chapter, has=has.kills, wanted=kills, until=until)
            has = count(self._folder)
        return has

    def chapter(self, number: int, *, has: int = 0, wanted: int = 0, until: float = float("inf")) -> None:
        """Do one chapter.

        Raises:
            AssertionError: as `gather`.
        """
        wanted = wanted or CHAPTER_KILLS
        began, done = time.monotonic(), 0

        def note(told: dict[str, Any]) -> None:
            nonlocal done
            done += 1
            self._write({"is": "kill", "chapter": number, **told})
            each_s = (time.monotonic() - began) / done
            left_s = each_s * max(0, wanted - has - done)
            self._tell(
                f"chapter {number}: {has + done} of {wanted} kills, {told['while']}, {told['seconds']:.1f} s; "
                f"{each_s:.1f} s each, {left_s / 60:.0f} min left"
            )

        self._write({"is": "begun", "chapter": number, "seed": self._seed, "faulty": self._is_faulty})
        try:
            chapter = Chapter(
                self._folder / f"chapter-{number:03}",
                number=number,
                seed=self._seed,
                kills=min(CHAPTER_KILLS, wanted - has),
                is_faulty=self._is_faulty,
                note=note,
            )
            came = chapter.run(lambda: time.monotonic() >= until)
        except (AssertionError, BotError) as error:
            self._write({"is": "failed", "chapter": number, "kill": done, "why": str(error)[:4000]})
            raise
        except (OSError, subprocess.SubprocessError) as error:
            self._write(
                {"is": "broken off", "chapter": number, "kill": done, "why": f"{type(error).__name__}: {error}"}
            )
            self._tell(f"chapter {number} was broken off after {done} kills: {type(error).__name__}: {error}")
            return
        self._write({"is": "ended", "chapter": number, **came})

    def _write(self, told: dict[str, Any]) -> None:
        with (self._folder / "kills.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(told) + "\n")


def _processes_of(folder: Path, *, apart_from: set[int]) -> list[str]:
    """Return the command lines of processes that have to do with a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in apart_from:
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # it has gone
            if str(folder) in words and "-m bot" in words:
                found.append(words)
    return found


def main() -> int:
    """Gather kills in a folder."""
    parser = argparse.ArgumentParser(description="Kill a paper-trading bot again and again; see the module.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=300, help="how many the folder is to have in the end")
    parser.add_argument("--faulty", action="store_true", help="messages are lost, late and doubled")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=1e9, help="end in order after so long; go on another time")
    parser.add_argument("--only", type=int, help="do this chapter again, in a folder that has none of that number")
    asked = parser.parse_args()
    logs.configure("error")

    def tell(text: str) -> None:
        sys.stderr.write(f"{text}\n")

    campaign = Campaign(asked.folder.resolve(), seed=asked.seed, is_faulty=asked.faulty, tell=tell)
    try:
        if asked.only is not None:
            campaign.chapter(asked.only)
        else:
            campaign.gather(asked.kills, minutes=asked.minutes)
    except (AssertionError, BotError) as error:
        tell(f"FAILED: {error}")
    has = count(asked.folder)
    sys.stdout.write(
        f"{has.kills} kills, {has.recovering} of them while it recovered, in {has.chapters} chapters that ended with "
        f"ledger and venue equal\n{has.executions} executions, {has.unheard} not heard of at a kill; {has.unanswered} "
        f"orders without an answer at a kill\n{has.verified} runs verified, {has.rows} rows; {has.seconds:.0f} s; "
        f"{len(has.failed)} failed, {has.broken_off} broken off\n"
    )
    for each in has.failed:
        sys.stdout.write(f"  {each}\n")
    return 1 if has.failed else 0


if __name__ == "__main__":
    sys.exit(main())
