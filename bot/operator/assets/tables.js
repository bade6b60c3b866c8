"use strict";
// Tables and words. Whatever comes from outside is put in as text, never as markup.

const Tables = (() => {
  const element = (tag, text, name) => {
    const made = document.createElement(tag);
    if (text !== undefined && text !== null) made.textContent = String(text);
    if (name) made.className = name;
    return made;
  };

  // columns: [title, value of a row, class or function of a row]; a value that is a node is put in as it is.
  function table(place, columns, rows, nothing) {
    const box = typeof place === "string" ? document.getElementById(place) : place;
    if (!rows.length) {
      box.replaceChildren(element("p", nothing, "nothing"));
      return;
    }
    const made = document.createElement("table");
    const head = made.createTHead().insertRow();
    for (const [title, , name] of columns) {
      const kind = typeof name === "function" ? name(rows[0]) : name;
      const cell = element("th", title, kind && kind.includes("num") ? "num" : kind && kind.includes("apart") ? "apart" : "");
      cell.scope = "col";
      head.append(cell);
    }
    const body = made.createTBody();
    for (const row of rows) body.append(line(columns, row));
    box.replaceChildren(made);
  }

  function line(columns, row) {
    const made = document.createElement("tr");
    for (const [, value, name] of columns) {
      const given = value(row);
      const cell = element("td", given instanceof Node ? "" : given, typeof name === "function" ? name(row) : name);
      if (given instanceof Node) cell.append(given);
      made.append(cell);
    }
    return made;
  }

  const number = (value, digits = 2) =>
    value === null || value === undefined || !Number.isFinite(Number(value))
      ? "?"
      : Number(value).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const plain = (text) => (text === null || text === undefined ? "?" : String(text).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, ""));
  const average = (text) => (Number(text) ? plain(Number(text).toPrecision(9)) : plain(text)); // of several fills
  const signed = (value, digits = 2) => (Number(value) > 0 ? "+" : "") + number(value, digits);
  const share = (value, digits = 2) => (value === null || value === undefined || !Number.isFinite(Number(value)) ? "?" : `${(Number(value) * 100).toFixed(digits).replace(/^-(0\.?0*)$/, "$1")} %`);
  const tone = (value) => (Number(value) > 0 ? "num gain" : Number(value) < 0 ? "num loss" : "num");
  const when = (seconds) => new Date(seconds * 1000).toISOString().replace("T", " ").slice(0, 19);

  function span(seconds) {
    for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "m"]]) {
      if (seconds >= size) return `${Number((seconds / size).toFixed(seconds >= 10 * size ? 0 : 1))} ${unit}`;
    }
    if (seconds >= 1) return `${Number(seconds.toFixed(1))} s`;
    return seconds >= 1e-3 ? `${Number((seconds * 1e3).toFixed(1))} ms` : `${(seconds * 1e6).toFixed(0)} \u00b5s`;
  }

  function cards(rows) {
    document.getElementById("cards").replaceChildren(
      ...rows.map(([label, value, note, name]) => {
        const card = element("div", null, "card");
        card.append(element("div", label, "label"), element("div", value, `value ${name || ""}`), element("div", note, "note"));
        return card;
      }),
    );
  }

  // Of a running bot each book has a position, since the ledger began; of a ledger's part it is sums, since the run did.
  function sumBooks(books) {
    const sums = new Map();
    for (const each of books) {
      const held = each.position || each;
      const sum = sums.get(each.strategy) || { strategy: each.strategy, realized: 0, unrealized: 0, fees: 0, funding: 0, fills: 0, crossings: 0, holds: [] };
      sum.realized += Number(held.realized_pnl);
      sum.unrealized = each.position && (held.mark_price !== null || !Number(held.qty)) && sum.unrealized !== null ? sum.unrealized + Number(held.unrealized_pnl) : null;
      sum.fees += Number(held.fees);
      sum.funding += Number(held.funding);
      sum.fills += each.fills || 0;
      sum.crossings += each.crossings || 0;
      if (Number(held.qty)) sum.holds.push(`${plain(held.qty)} ${held.instrument}`);
      sums.set(each.strategy, sum);
    }
    return [...sums.values()].map((each) => ({ ...each, booked: each.realized - each.fees + each.funding }));
  }

  const net = (row) => (row.unrealized === null ? null : row.booked + row.unrealized);
  const strategies = (isLive) => [
    ["Strategy", (row) => row.strategy],
    ...(isLive ? [["Net", (row) => (net(row) === null ? "?" : signed(net(row))), (row) => tone(net(row))]] : []),
    [isLive ? "Of it booked" : "Net, booked", (row) => signed(row.booked), (row) => tone(row.booked)],
    ["Realized", (row) => signed(row.realized), "num"],
    ["Fees", (row) => number(row.fees), "num"],
    ["Funding", (row) => signed(row.funding), "num"],
    ...(isLive ? [] : [["Fills", (row) => row.fills.toLocaleString("en"), "num"], ["Met here", (row) => row.crossings.toLocaleString("en"), "num"]]),
    [isLive ? "Holds" : "Held at the end", (row) => row.holds.join(", ") || "nothing", "apart"],
  ];

  const owners = ["Whose", (row) => (row.owners.length === 1 ? row.owners[0][0] : row.owners.map(([name, qty]) => `${name} ${plain(qty)}`).join(", ")), "apart"];
  function weights(id, scales, importance) {
    const row = (scale, n) => {
      const made = element("div"), meter = element("span", null, "meter"), filled = element("i");
      const weight = Math.min(Math.max(importance[n] || 0, 0), 1);
      filled.style.width = `${weight * 100}%`;
      meter.append(filled);
      const told = { role: "meter", "aria-label": span(scale), "aria-valuemin": "0", "aria-valuemax": "1", "aria-valuenow": weight.toFixed(2) };
      for (const [name, value] of Object.entries(told)) meter.setAttribute(name, value);
      made.append(element("span", span(scale)), meter, element("span", share(importance[n], 0)));
      return made;
    };
    document.getElementById(id).replaceChildren(...scales.map(row));
  }

  const trades = [
    ["Time", (row) => when(row.ts_ns / 1e9)],
    ["Instrument", (row) => row.instrument],
    ["Side", (row) => row.side, (row) => (row.side === "buy" ? "gain" : "loss")],
    ["Quantity", (row) => plain(row.qty), "num"],
    ["Price", (row) => plain(row.price), "num"],
    ["Fee", (row) => number(row.fee), "num"],
    ["Realized", (row) => (Number(row.realized_pnl) ? signed(row.realized_pnl) : ""), (row) => tone(row.realized_pnl)],
    ["Holds then", (row) => plain(row.position_qty), "num"],
    ["Why", (row) => row.cause ? `the venue: ${row.cause.replaceAll("_", " ")}` : row.reason || row.trigger, (row) => (row.cause ? "why apart wrong" : "why apart")],
  ];

  const positions = (view) => [
    ["Instrument", (row) => row.instrument],
    ["Quantity", (row) => plain(row.qty), (row) => tone(row.qty)],
    ["Entry", (row) => average(row.entry_price), "num"],
    ["Mark", (row) => plain(row.mark_price), "num"],
    ["Unrealized", (row) => signed(row.unrealized_pnl), (row) => tone(row.unrealized_pnl)],
    ["Realized", (row) => signed(row.realized_pnl), (row) => tone(row.realized_pnl)],
    ["Fees", (row) => number(row.fees), "num"],
    ["Funding", (row) => signed(row.funding), (row) => tone(row.funding)],
    ["Stop", (row) => (row.stop_loss === null ? "none" : plain(row.stop_loss)), "num"],
    ["In " + view.currency, (row) => (row.mark_price === null ? "?" : number(row.qty * row.mark_price)), "num"],
  ];

  const orders = (view) => [
    ["Order", (row) => row.client_order_id],
    ["Instrument", (row) => row.instrument],
    ["Side", (row) => row.side, (row) => (row.side === "buy" ? "gain" : "loss")],
    ["Type", (row) => row.order_type],
    ["Filled", (row) => `${plain(row.filled_qty)} of ${plain(row.qty)}`, "num"],
    ["Limit", (row) => (row.limit_price === null ? "market" : plain(row.limit_price)), "num"],
    ["Status", (row) => (row.is_in_doubt ? "in doubt" : row.status), (row) => (row.is_in_doubt ? "wrong" : "")],
    ["Sent", (row) => `${span((view.now_ns - row.sent_ns) / 1e9)} ago`],
  ];

  const data = [
    ["Data", (row) => row.topic],
    ["Age", (row) => span(row.age_ns / 1e9), "num"],
    ["Limit", (row) => span(row.limit_ns / 1e9), "num"],
    ["", (row) => (row.age_ns > row.limit_ns ? "stale" : row.is_trusted ? "ok" : "gap"), (row) => (row.age_ns > row.limit_ns || !row.is_trusted ? "wrong" : "gain")],
  ];

  const actors = (view) => [
    ["Actor", (row) => row.name],
    ["Inbox", (row) => (row.bound ? `${row.queued} of ${row.bound}` : "none"), (row) => (row.queued * 2 > row.bound ? "num wrong" : "num")],
    ["Last", (row) => (row.last_served_ns ? `${span((view.now_ns - row.last_served_ns) / 1e9)} ago` : row.bound ? "not yet" : ""), "num"],
    ["", (row) => (row.is_alive ? "alive" : "ended"), (row) => (row.is_alive ? "gain" : "wrong")],
  ];

  const latencies = [
    ["Latency", (row) => row.stage.replaceAll("_", " ")],
    ["Median", (row) => span(row.p50_ns / 1e9), "num"],
    ["99 of 100", (row) => span(row.p99_ns / 1e9), "num"],
    ["Worst", (row) => span(row.worst_ns / 1e9), "num"],
  ];

  return { element, table, line, cards, number, plain, signed, share, tone, when, span, sumBooks, strategies, owners, weights, trades, positions, orders, data, actors, latencies };
})();
