"use strict";
// The page: asks for a run, draws it, and while its bot runs is told its state each second.

(() => {
  const T = Tables;
  const at = (id) => document.getElementById(id);
  const OLD_S = 5;
  const state = { runs: [], name: "", run: null, span: 604800, view: null, seenAt: 0, ageThen: 0, trouble: "", socket: null, retry: 0, controls: false, oldest: null, readAt: 0, readSeq: -1, fills: [], moments: [], drawnAt: 0, fanAt: 0, chartAt: 0, hasForecasts: false };
  let price, equity, importance, compare;

  // --- asking ----------------------------------------------------------------------------------------------------

  async function ask(path, body) {
    const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    const answer = await fetch(path, options);
    if (answer.status === 401 && path !== "/session") {
      enter();
      throw new Error("no session");
    }
    if (!answer.ok) throw new Error((await answer.text()).trim());
    return answer.json();
  }

  const of = (name, what = "") => `/api/run/${encodeURIComponent(name)}${what}`;
  function enter() {
    at("main").hidden = true;
    at("enter").hidden = false;
    at("token").focus();
  }

  async function open(token) {
    at("refused").textContent = "";
    try {
      await ask("/session", { token });
      at("enter").hidden = true;
      await start();
    } catch (error) {
      enter();
      at("refused").textContent = error.message;
    }
  }

  // --- a run -----------------------------------------------------------------------------------------------------

  async function start() {
    const wanted = new URLSearchParams(location.search).get("run");
    const early = wanted ? look(wanted) : null; // a named run need not wait for the list
    const [about, listed] = await Promise.all([ask("/api/about"), ask("/api/runs")]);
    state.controls = about.controls;
    state.runs = listed;
    at("main").hidden = false;
    if (!price) {
      price = new Drawing.Price();
      equity = new Drawing.Equity();
      importance = new Drawing.Importance();
      price.chart.subscribeClick(({ time }) => time && state.run && state.run.instruments.length && fan(time + price.interval));
    }
    at("run").replaceChildren(
      ...state.runs.map((run) => {
        const option = T.element("option", `${run.live ? "\u25cf " : ""}${run.name}`);
        option.value = run.name;
        return option;
      }),
    );
    const first = state.runs.find((run) => run.name === wanted) || state.runs.find((run) => run.live) || state.runs.find((run) => run.fills) || state.runs[0];
    if (first) await choose(first.name, first.name === wanted ? early : null);
    else problem("There are no runs here yet: make one with bot replay.");
  }

  // What the first look at a run takes, asked for at once.
  function look(name) {
    const asked = { run: ask(of(name)), trades: ask(of(name, "/trades?count=50")), log: ask(of(name, "/log")) };
    for (const each of Object.values(asked)) each.catch(() => {}); // told where it is awaited
    return asked;
  }

  async function choose(name, early) {
    const asked = early || look(name);
    state.name = name;
    state.view = null;
    state.moments = [];
    state.drawnAt = 0;
    state.fanAt = 0;
    state.seenAt = 0;
    state.trouble = "";
    at("run").value = name;
    history.replaceState(null, "", `?run=${encodeURIComponent(name)}`);
    document.title = `${name} \u2013 bot`;
    listen(false);
    try {
      state.run = await asked.run;
    } catch (error) {
      problem(error.message);
      return;
    }
    if (state.name !== name) return;
    for (const part of document.querySelectorAll(".live")) part.hidden = !state.run.live;
    at("controls").hidden = !(state.controls && state.run.live);
    equity.show(state.run.equity);
    strategies(state.run.books, false);
    headline();
    age();
    const names = state.run.instruments;
    document.querySelector(".group").hidden = !names.length;
    for (const id of ["h-price", "h-forecast", "h-importance"]) at(id).closest("section").hidden = !names.length && !state.run.live;
    state.marked = null;
    at("instrument").replaceChildren(...names.map((each) => T.element("option", each)));
    await Promise.allSettled([chart(), trades(false, asked.trades), lines(asked.log)]);
    document.documentElement.dataset.ready = name;
    if (state.run.live) listen(true);
    runs();
  }

  // Where several strategies share the account, what each brought by its own book.
  function strategies(books, isLive) {
    state.isShared = books.length > 0;
    at("h-strategies").closest("section").hidden = !state.isShared || isLive;
    at("held-by").hidden = !state.isShared || !isLive;
    const place = isLive ? "held-by-table" : "strategies"; // beside the positions of a bot that runs
    if (state.isShared) T.table(place, T.strategies(isLive), T.sumBooks(books), "");
  }

  function headline() {
    const run = state.run;
    const about = run.about || {};
    const pill = at("phase");
    if (state.view) return;
    const word = { finished: "finished", interrupted: "cut short", running: run.live ? "connecting" : "not running" }[about.status] || (run.live ? "connecting" : "over");
    pill.textContent = `${run.mode || about.mode || "run"}, ${word}`;
    pill.className = "pill";
    const currency = run.currency || about.currency || "";
    const series = run.equity.equity;
    const end = run.end_equity ?? (series.length ? series[series.length - 1] : null);
    const begin = run.start_equity ?? (about.start_cash === undefined ? null : Number(about.start_cash));
    const change = end === null || begin === null ? null : end / begin - 1;
    T.cards([
      ["Equity", T.number(end), currency],
      ["Return", change === null ? "?" : (change > 0 ? "+" : "") + T.share(change), `from ${T.number(begin, 0)}`, change < 0 ? "loss" : change > 0 ? "gain" : ""],
      ["Max drawdown", T.share(run.max_drawdown ?? (run.equity.drawdown.length ? -Math.min(...run.equity.drawdown) : null)), "below its peak"],
      ["Sharpe", T.number(run.sharpe), "a year"],
      ["Win rate", run.win_rate === null || run.win_rate === undefined ? "?" : T.share(run.win_rate, 0), "of round trips"],
      ["Fills", about.counts ? about.counts.fills.toLocaleString("en") : "?", about.counts ? `${about.counts.decisions.toLocaleString("en")} decisions` : ""],
      ["Fees", run.fees === undefined ? "?" : T.number(run.fees), currency],
    ]);
    if (run.in_sample) problem("In sample: the model was fitted to this market. These figures flatter it.");
  }

  async function chart(isAgain = false) {
    state.chartAt = performance.now();
    const name = state.name, instrument = at("instrument").value;
    if (!instrument) {
      at("price-note").textContent = "This run kept no bars; prices are drawn as they come.";
      price.showLine([], []);
      forecast(null);
      importance.show({ t: [], weights: [] });
      scales([]);
      return;
    }
    const query = `?instrument=${encodeURIComponent(instrument)}&span=${state.span}`;
    const [data, newest] = await Promise.all([ask(of(name, `/chart${query}`)), fanAt(0)]);
    if (state.name !== name) return;
    price.showBars(data);
    if (!isAgain) price.fit();
    const hint = state.run.forecasts.includes(instrument) ? " Click a bar for the forecast made there." : "";
    at("price-note").textContent = `${T.span(data.interval)} bars; ${data.fills.length} fills shown.${hint}`;
    importance.show(data.importance || { t: [], weights: [] });
    scales(data.scales || []);
    forecast(newest);
    state.hasForecasts = Boolean((data.scales || []).length || (newest && newest.horizons));
    for (const id of ["h-forecast", "h-importance"]) at(id).closest("section").hidden = !state.hasForecasts;
    if (!isAgain) price.fit();
  }

  // What a run writes while it goes on is asked for again now and then; its first bars bring the charts.
  async function freshen() {
    state.chartAt = performance.now();
    if (hasBars()) return chart(true);
    const name = state.name, run = await ask(of(name));
    if (state.name === name && run.instruments.length) await choose(name);
  }

  async function fanAt(time) {
    if (!state.run.forecasts.includes(at("instrument").value)) return null; // it kept none
    const query = `?instrument=${encodeURIComponent(at("instrument").value)}&at=${Math.floor(time)}`;
    return ask(of(state.name, `/fan${query}`)).catch(() => null);
  }

  async function fan(time) {
    const name = state.name;
    const made = await fanAt(time);
    if (state.name === name) forecast(made);
  }

  function forecast(made) {
    price.showFan(made);
    if (!made) {
      at("forecast-note").textContent = "";
      at("forecast").replaceChildren(T.element("p", "No forecast.", "nothing"));
      at("weights").replaceChildren();
      return;
    }
    at("forecast-note").textContent = `Made at ${T.when(made.at)}, at ${T.number(made.close)}.`;
    const middle = Math.floor(made.levels.length / 2);
    const wide = made.levels[made.levels.length - 1] - made.levels[0];
    const median = (row) => Number(row.quantiles[middle].toFixed(5)); // as it is shown
    const columns = [
      ["In", (row) => T.span(row.horizon)],
      ["Median", (row) => (median(row) > 0 ? "+" : "") + T.share(median(row), 3), (row) => T.tone(median(row))],
      [`${Math.round(wide * 100)} of 100 between`, (row) => `${T.share(row.quantiles[0])} and ${T.share(row.quantiles[row.quantiles.length - 1])}`, "num"],
    ];
    if (made.coverage) columns.push(["Held so far", (row) => (row.coverage === null || row.coverage === undefined ? "?" : T.share(row.coverage, 0)), "num"]);
    T.table("forecast", columns, made.horizons.map((horizon, n) => ({ horizon, quantiles: made.quantiles[n], coverage: made.coverage ? made.coverage[n] : null })), "");
    T.weights("weights", made.scales, made.importance);
  }

  function scales(list) {
    at("scale-key").replaceChildren(
      ...list.map((scale, n) => {
        const item = T.element("span");
        item.append(T.element("i", "", `swatch s${(n % 6) + 1}`), T.span(scale));
        return item;
      }),
    );
  }

  async function trades(isOlder, asked) {
    const name = state.name;
    const before = isOlder && state.oldest ? `&before=${state.oldest}` : "";
    const rows = await (asked || ask(of(name, `/trades?count=50${before}`)));
    if (state.name !== name) return;
    const columns = state.isShared ? [...T.trades.slice(0, -1), T.owners, T.trades.at(-1)] : T.trades;
    if (isOlder) at("trades").querySelector("tbody").append(...rows.map((row) => T.line(columns, row)));
    else {
      T.table("trades", columns, rows, "No fills yet.");
      state.fills = rows;
    }
    state.oldest = rows.length ? rows[rows.length - 1].seq : state.oldest;
    at("older").hidden = rows.length < 50;
  }

  async function lines(asked) {
    const name = state.name;
    const rows = await (asked || ask(of(name, "/log")));
    if (state.name !== name) return;
    const list = at("log");
    const isAtEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 8;
    list.replaceChildren(
      ...rows.map((row) => {
        const { timestamp, level, event, ...rest } = row;
        const item = T.element("li", null, ["warning", "error", "critical"].includes(level) ? level : "");
        const facts = Object.entries(rest).map(([key, value]) => `${key}=${value}`).join(" ");
        item.append(`${String(timestamp || "").slice(11, 19)} `, T.element("b", event), ` ${facts}`);
        return item;
      }),
    );
    if (isAtEnd) list.scrollTop = list.scrollHeight;
  }

  function runs() {
    const columns = [
      ["", (row) => {
        const box = document.createElement("input");
        box.type = "checkbox";
        box.setAttribute("aria-label", `Compare ${row.name}`);
        box.addEventListener("change", async () => {
          at("compare").hidden = false;
          compare = compare || new Drawing.Compare();
          const data = box.checked ? (await ask(of(row.name))).equity : null;
          at("compare").hidden = !compare.set(row.name, data);
        });
        return box;
      }],
      ["Run", (row) => {
        const link = T.element("a", row.name);
        link.href = `?run=${encodeURIComponent(row.name)}`;
        link.addEventListener("click", (event) => {
          event.preventDefault();
          choose(row.name);
          scrollTo(0, 0);
        });
        return link;
      }],
      ["Mode", (row) => (row.live ? "running" : row.mode || "")],
      ["Return", (row) => (row.total_return === undefined ? "" : T.share(row.total_return)), (row) => T.tone(row.total_return || 0)],
      ["Drawdown", (row) => (row.max_drawdown === undefined ? "" : T.share(row.max_drawdown)), "num"],
      ["Sharpe", (row) => (row.sharpe === undefined ? "" : T.number(row.sharpe)), "num"],
      ["Fills", (row) => row.fills ?? "", "num"],
    ];
    if (at("runs").dataset.count === String(state.runs.length)) return; // ticks stay as they are
    at("runs").dataset.count = String(state.runs.length);
    T.table("runs", columns, state.runs, "No runs.");
  }

  // --- news ------------------------------------------------------------------------------------------------------

  function listen(isWanted) {
    if (state.socket) {
      state.socket.onclose = null;
      state.socket.close();
      state.socket = null;
    }
    clearTimeout(state.retry);
    if (!isWanted) return;
    const name = state.name;
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${of(name, "/news")}`);
    socket.binaryType = "arraybuffer";
    const words = new TextDecoder();
    socket.onmessage = ({ data }) => state.name === name && hear(JSON.parse(words.decode(data)));
    socket.onclose = () => {
      state.trouble = "the dashboard does not answer";
      age();
      state.retry = setTimeout(() => listen(true), 3000);
    };
    state.socket = socket;
  }

  function hear(news) {
    if (news.history) {
      state.moments = news.history;
      for (const [time, value] of news.history) if (value !== null) equity.addPoint(time, value);
      state.drawnAt = 0;
      return;
    }
    state.trouble = news.trouble;
    if (news.age_s !== null) {
      state.ageThen = news.age_s;
      state.seenAt = performance.now();
    }
    if (news.snapshot) show(news.snapshot);
    age();
  }

  const hasBars = () => state.run.instruments.length > 0;
  // Where a run keeps no bars, its charts are of what was seen since somebody looks.
  function seen(view) {
    const names = [...new Set([...view.forecasts, ...view.positions].map((each) => each.instrument))];
    if (at("instrument").options.length !== names.length) at("instrument").replaceChildren(...names.map((each) => T.element("option", each)));
    const name = at("instrument").value;
    const made = view.forecasts.find((each) => each.instrument === name);
    const rows = state.moments.filter((row) => row[2][name] !== undefined);
    if (state.drawnAt !== name) {
      state.drawnAt = name;
      state.fanAt = 0;
      price.showLine(rows.map((row) => row[0]), rows.map((row) => row[2][name]));
    } else if (rows.length) {
      price.addPoint(rows[rows.length - 1][0], rows[rows.length - 1][2][name]);
    }
    if (rows.length && (state.marked !== state.fills || state.markedAt !== name)) {
      const since = rows[0][0];
      const ours = state.fills.filter((each) => each.instrument === name && each.ts_ns / 1e9 >= since);
      price.showFills(ours.map((each) => [Math.floor(each.ts_ns / 1e9), each.side]));
      state.marked = state.fills;
      state.markedAt = name;
    }
    const weighed = rows.filter((row) => row[3][name]);
    if (made && weighed.length && rows.length % 10 === 1) {
      scales(made.scales_ns.map((each) => each / 1e9));
      importance.show({ t: weighed.map((row) => row[0]), weights: made.scales_ns.map((_, n) => weighed.map((row) => row[3][name][n])) });
    }
  }

  function show(view) {
    const before = state.view;
    state.view = view;
    const word = view.is_killed ? "killed" : view.is_paused ? "paused" : view.phase;
    at("phase").textContent = `${view.mode} on ${view.venue}, ${word}`;
    at("phase").className = `pill ${word === "ready" ? "well" : word === "starting" || word === "recovering" ? "" : "ill"}`;
    const troubles = [...view.troubles, ...view.latches.map((each) => `${each.scope}: ${each.state} by ${each.cause}, ${each.detail}`)];
    at("troubles").hidden = !troubles.length;
    const told = troubles.join("\n");
    if (at("troubles").dataset.told !== told) {
      at("troubles").dataset.told = told;
      at("troubles").replaceChildren(...troubles.map((each) => T.element("li", each)));
    }
    const now = view.equity === null ? null : Number(view.equity);
    const day = now === null || view.equity_day_start === null ? null : now - view.equity_day_start;
    const loss = now === null || !Number(view.equity_peak) ? null : 1 - now / view.equity_peak;
    const held = view.positions.filter((each) => Number(each.qty));
    const gross = held.some((each) => each.mark_price === null) ? null : held.reduce((sum, each) => sum + Math.abs(each.qty * each.mark_price), 0);
    const doubts = view.orders.filter((each) => each.is_in_doubt).length;
    T.cards([
      ["Equity", T.number(now), view.currency],
      ["Today", day === null ? "?" : T.signed(day), "since 00:00 UTC", day < 0 ? "loss" : day > 0 ? "gain" : ""],
      ["Below peak", T.share(loss), `peak ${T.number(view.equity_peak)}`, loss > 0.05 ? "loss" : ""],
      ["Exposure", T.number(gross), gross !== null && now ? `${(gross / now).toFixed(2)} times equity` : view.currency],
      ["Orders", String(view.orders.length), doubts ? `${doubts} in doubt` : "none in doubt", doubts ? "loss" : ""],
      ["Decided", ...ago(view, view.last_decision_ns)],
      ["Reconciled", ...ago(view, view.last_reconciled_ns)],
    ]);
    T.table("positions", T.positions(view), held, "Flat.");
    T.table("orders", T.orders(view), view.orders, "None.");
    if (view.books.length) strategies(view.books, true);
    const byAge = [...view.data].sort((a, b) => b.age_ns / b.limit_ns - a.age_ns / a.limit_ns);
    T.table("data", T.data, byAge, "No data is followed.");
    T.table("actors", T.actors(view), view.actors, "");
    T.table("latencies", T.latencies, view.latencies, "");
    const time = Math.floor(view.now_ns / 1e9);
    if (now !== null) equity.addPoint(time, now, Number(view.equity_peak));
    if (!hasBars()) {
      state.moments.push(moment(view, time, now));
      if (state.moments.length > 7200) state.moments.shift();
      seen(view);
    }
    const made = view.forecasts.find((each) => each.instrument === at("instrument").value);
    if (made && made.horizons_ns.length && made.bar_close_ns !== state.fanAt) {
      const seconds = (list) => list.map((each) => each / 1e9);
      forecast({ ...made, at: made.bar_close_ns / 1e9, close: Number(made.close_price), horizons: seconds(made.horizons_ns), scales: seconds(made.scales_ns) });
      price.fit();
      state.fanAt = made.bar_close_ns;
    }
    for (const id of ["h-forecast", "h-importance"]) at(id).closest("section").hidden = !state.hasForecasts && !view.forecasts.length;
    const since = performance.now() - state.readAt;
    if (before && since > 4000 && state.readSeq !== view.ledger_seq) {
      state.readAt = performance.now();
      state.readSeq = view.ledger_seq;
      trades(false).catch(() => {});
      lines().catch(() => {});
    }
    if (performance.now() - state.chartAt > 10000) freshen().catch(() => {});
  }

  function ago(view, then_ns) {
    return then_ns ? [T.span((view.now_ns - then_ns) / 1e9), "ago"] : ["not yet", ""];
  }

  function moment(view, time, now) {
    const marks = {}, weights = {};
    for (const each of view.forecasts) {
      marks[each.instrument] = Number(each.close_price);
      weights[each.instrument] = each.importance;
    }
    for (const each of view.positions) if (each.mark_price !== null) marks[each.instrument] = Number(each.mark_price);
    return [time, now, marks, weights];
  }

  // Old data is said to be old, whatever the reason, and looks old until there is newer.
  function age() {
    const isLive = state.run && state.run.live;
    if (!isLive) {
      at("age").textContent = "";
      return;
    }
    const seconds = state.seenAt ? state.ageThen + (performance.now() - state.seenAt) / 1000 : null;
    at("age").textContent = seconds === null ? "not seen yet" : seconds < 2 ? "seen just now" : `seen ${T.span(Math.round(seconds))} ago`;
    const isOld = seconds === null ? Boolean(state.trouble) : seconds > OLD_S || Boolean(state.trouble);
    if (isOld) problem(`Old: what you see is ${seconds === null ? "not from the bot" : `${T.span(seconds)} old`}${state.trouble ? `; ${state.trouble}` : ""}.`);
    else problem("");
  }

  function problem(text) {
    at("old").hidden = !text;
    if (at("old").textContent !== text) at("old").textContent = text;
  }

  // --- wiring ----------------------------------------------------------------------------------------------------

  const stored = localStorage.getItem("theme");
  if (stored) document.documentElement.dataset.theme = stored;
  function repaint() {
    for (const each of [price, equity, importance, compare]) if (each) each.paint();
  }
  at("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
    repaint();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  at("run").addEventListener("change", () => choose(at("run").value));
  at("instrument").addEventListener("change", () => {
    if (!hasBars()) state.drawnAt = 0;
    else chart().catch((error) => problem(error.message));
  });
  at("older").addEventListener("click", () => trades(true).catch((error) => problem(error.message)));
  for (const button of document.querySelectorAll("[data-span]")) {
    button.addEventListener("click", () => {
      state.span = Number(button.dataset.span);
      for (const each of document.querySelectorAll("[data-span]")) each.setAttribute("aria-pressed", String(each === button));
      if (hasBars()) chart().catch((error) => problem(error.message));
    });
  }
  for (const button of document.querySelectorAll("[data-command]")) button.addEventListener("click", () => {
    const name = state.name;
    Commands.command(button.dataset.command, (what, body) => ask(of(name, what), body));
  });
  at("enter").addEventListener("submit", (event) => {
    event.preventDefault();
    open(at("token").value.trim());
  });
  setInterval(age, 1000);

  const token = location.hash.slice(1);
  if (token && token !== "main") {
    history.replaceState(null, "", location.pathname + location.search);
    open(token);
  } else {
    start().catch((error) => { if (error.message !== "no session") problem(error.message); });
  }
})();
