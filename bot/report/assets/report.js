"use strict";
// Draws the figures in the colours of the CSS, moves the charts over time together, sorts and filters the trade list.

(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const charts = [...document.querySelectorAll("[data-figure]")];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)");
  const narrow = matchMedia("(max-width: 760px)");
  const onTime = () => charts.filter((chart) => "time" in chart.dataset && chart.data);

  // --- colours ---------------------------------------------------------------------------------------------------

  function token(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  // A copy of a figure in which every `var(--name)` is the colour it stands for now.
  function coloured(value) {
    if (typeof value === "string") {
      const match = /^var\((--[a-z0-9-]+)\)$/.exec(value);
      return match ? token(match[1]) : value;
    }
    if (Array.isArray(value)) {
      return typeof value[0] === "number" ? value : value.map(coloured);
    }
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, coloured(inner)]));
    }
    return value;
  }

  function template() {
    const axis = {
      gridcolor: token("--grid"),
      linecolor: token("--rule"),
      zerolinecolor: token("--rule"),
      zeroline: false,
      automargin: true,
      title: { standoff: 8, font: { size: 12, color: token("--muted") } },
      tickfont: { size: 12, color: token("--muted") },
      ticklabelstandoff: 5,
    };
    return {
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: token("--sans"), size: 13, color: token("--ink") },
        hoverlabel: {
          bgcolor: token("--card"),
          bordercolor: token("--rule"),
          align: "left",
          font: { family: token("--sans"), size: 12.5, color: token("--ink") },
        },
        legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", font: { size: 12, color: token("--muted") } },
        margin: { t: 28, r: 12, b: 36, l: 48 },
        xaxis: { ...axis, showgrid: false, showspikes: false },
        yaxis: { ...axis, fixedrange: true, nticks: 6 },
        dragmode: coarse.matches ? false : "zoom", // a thumb scrolls the page
      },
    };
  }

  // --- drawing ---------------------------------------------------------------------------------------------------

  function draw(chart) {
    const figure = coloured(figures[chart.dataset.figure]);
    const layout = { ...figure.layout, template: template(), autosize: true };
    if ("time" in chart.dataset) layout.margin = { t: 28, r: 12, b: 36, l: narrow.matches ? 58 : 76 }; // they line up
    if (narrow.matches) {
      layout.margin = { r: 4, l: 36, b: 36, ...layout.margin };
      figure.data.forEach(({ marker }) => { if (marker?.size) marker.size *= 0.75; });
    }
    if (chart.layout && "time" in chart.dataset) layout.xaxis.range = chart.layout.xaxis.range; // stay where we are
    const config = { displayModeBar: false, responsive: true, doubleClick: false, showTips: false };
    const isFirst = !chart.data;
    Plotly.react(chart, figure.data, layout, config);
    if (isFirst && "time" in chart.dataset) link(chart);
  }

  // One chart a task, so that the page can be read and scrolled meanwhile.
  function drawAll() {
    const waiting = [...charts];
    const next = () => {
      const chart = waiting.shift();
      if (chart) {
        draw(chart);
        setTimeout(next);
      }
    };
    next();
  }

  // --- charts over time ------------------------------------------------------------------------------------------

  // All of them begin with one range; null stands for that.
  const wholeRange = (chart) => figures[chart.dataset.figure].layout.xaxis.range;
  let isMoving = false;

  async function moveAll(range) {
    if (isMoving) return;
    isMoving = true;
    await Promise.all(onTime().map((chart) => {
      const update = { "xaxis.range": [...(range ?? wholeRange(chart))] };
      const fitted = range && fittedRange(chart, range);
      if (fitted) update["yaxis.range"] = fitted;
      else update["yaxis.autorange"] = true;
      return Plotly.relayout(chart, update);
    }));
    isMoving = false;
  }

  // Plotly answers with numbers or with text such as "2024-03-04 12:30:00.5", UTC.
  function milliseconds(at) {
    const text = String(at).replace(" ", "T");
    return typeof at === "number" ? at : Date.parse(text.includes("T") ? `${text}Z` : text);
  }

  // The least and greatest value within a stretch of time, with some air; prices and equity are read at any zoom.
  function fittedRange(chart, [from, to]) {
    const name = chart.dataset.figure;
    if (name !== "equity" && !name.startsWith("price")) return null;
    let least = Infinity;
    let greatest = -Infinity;
    for (const trace of figures[name].data.filter(({ yaxis }) => !yaxis)) {
      trace.x.forEach((x, n) => {
        if (x === null || x < from || x > to) return;
        least = Math.min(least, (trace.low ?? trace.y)[n]);
        greatest = Math.max(greatest, (trace.high ?? trace.y)[n]);
      });
    }
    const air = 0.06 * (greatest - least) || 1;
    return least <= greatest ? [least - air, greatest + air] : null;
  }

  function link(chart) {
    chart.on("plotly_relayout", (change) => {
      const from = change["xaxis.range[0]"];
      const to = change["xaxis.range[1]"];
      if (from !== undefined) moveAll([from, to].map(milliseconds));
      else if (change["xaxis.autorange"]) moveAll(null);
    });
    chart.on("plotly_doubleclick", () => moveAll(null));
    if (!chart.dataset.figure.startsWith("price")) return;
    chart.on("plotly_hover", ({ points: [point] }) => mark(point.customdata));
    chart.on("plotly_unhover", () => mark(null));
    chart.on("plotly_click", ({ points: [point] }) => {
      const row = point.customdata && rowOf(point.customdata);
      if (row) select(row, true);
    });
  }

  // Shade the time of one round trip in every chart over time.
  let marked = null;

  function mark(n) {
    const row = n ? rowOf(n) : null;
    if (row === marked) return;
    marked = row;
    const shapes = row ? [{
      type: "rect", xref: "x", yref: "paper", y0: 0, y1: 1, layer: "below", line: { width: 0 },
      x0: Number(row.dataset.from), x1: Number(row.dataset.to), fillcolor: token("--span"),
    }] : [];
    onTime().forEach((chart) => Plotly.relayout(chart, { shapes }));
  }

  // --- the trade list --------------------------------------------------------------------------------------------

  const list = document.getElementById("trade-rows");
  const rows = list ? [...list.tBodies[0].rows] : [];
  const rowOf = (n) => rows.find((row) => row.dataset.n === String(n));

  function select(row, isWanted) {
    rows.forEach((other) => other.classList.toggle("shown", other === row));
    if (isWanted) row.scrollIntoView({ block: "center" });
  }

  function show(row) {
    const from = Number(row.dataset.from);
    const to = Number(row.dataset.to);
    const around = Math.max(2 * (to - from), 6 * 3600e3);
    select(row, false);
    moveAll([from - around, to + around]);
    mark(row.dataset.n);
    document.getElementById("price").scrollIntoView();
  }

  function sortBy(header) {
    const isDescending = header.getAttribute("aria-sort") !== "descending";
    const column = header.cellIndex;
    const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
    const isNumber = rows.every((row) => "v" in row.cells[column].dataset);
    rows.sort((a, b) => (isNumber ? key(a) - key(b) : key(a).localeCompare(key(b))) * (isDescending ? -1 : 1));
    [...header.parentNode.cells].forEach((cell) => cell.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", isDescending ? "descending" : "ascending");
    list.tBodies[0].append(...rows);
  }

  function filter(form) {
    const text = form.elements.text.value.trim().toLowerCase();
    const side = form.elements.side.value;
    const outcome = form.elements.outcome.value;
    let kept = 0;
    for (const row of rows) {
      const fits = (!side || row.dataset.side === side) && (!outcome || row.dataset.outcome === outcome)
        && (!text || row.textContent.toLowerCase().includes(text));
      row.hidden = !fits;
      kept += fits;
    }
    document.getElementById("trade-count").textContent = `${kept} of ${rows.length}`;
  }

  if (list) {
    const form = document.getElementById("trade-controls");
    form.addEventListener("input", () => filter(form));
    form.addEventListener("submit", (event) => event.preventDefault());
    filter(form);
    list.addEventListener("click", ({ target }) => {
      if (target.matches(".sort")) sortBy(target.closest("th"));
      if (target.matches(".show")) show(target.closest("tr"));
    });
  }

  // --- the page --------------------------------------------------------------------------------------------------

  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", () => {
      navigator.clipboard?.writeText(button.previousElementSibling.textContent)
        .then(() => { button.textContent = "Copied"; }, () => { button.textContent = "Select it"; });
    });
  }

  const links = new Map([...document.querySelectorAll(".contents a")].map((link) => [link.hash.slice(1), link]));
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      links.get(target.id).classList.toggle("here", isIntersecting);
    }
  }, { rootMargin: "-15% 0px -80% 0px" });
  document.querySelectorAll("main > section").forEach((section) => watcher.observe(section));

  dark.addEventListener("change", drawAll);
  narrow.addEventListener("change", drawAll);
  drawAll();
})();
