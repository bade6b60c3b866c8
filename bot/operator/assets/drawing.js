"use strict";
// The charts: price with fills and the forecast fan, equity with drawdown, the weight of each scale, runs compared.

const Drawing = (() => {
  const L = LightweightCharts;
  const SEEN_S = 10;
  const probe = document.createElement("i");
  probe.hidden = true;
  document.body.append(probe);

  // A canvas knows no CSS variables: ask the page what a colour is now.
  function colour(name) {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  }

  function look() {
    return {
      layout: {
        background: { type: "solid", color: "transparent" },
        textColor: colour("muted"),
        fontFamily: getComputedStyle(document.body).fontFamily,
        fontSize: 11.5,
        attributionLogo: false, // the page's footer names the library
        panes: { separatorColor: colour("rule") },
      },
      grid: { vertLines: { visible: false }, horzLines: { color: colour("grid") } },
      rightPriceScale: { borderVisible: false },
      timeScale: { borderColor: colour("rule"), timeVisible: true, secondsVisible: false, minBarSpacing: 0.02 }, // many bars fit a phone
      crosshair: { vertLine: { labelBackgroundColor: colour("muted") }, horzLine: { labelBackgroundColor: colour("muted") } },
    };
  }

  const fitted = new WeakSet(); // charts that show all they have: until somebody moves one by hand

  function make(id) {
    const place = document.getElementById(id);
    const chart = L.createChart(place, { ...look(), autoSize: true, handleScale: { mouseWheel: false }, handleScroll: { mouseWheel: false, vertTouchDrag: false } });
    place.addEventListener("pointerdown", () => fitted.delete(chart));
    chart.timeScale().subscribeSizeChange(() => fitted.has(chart) && fit(chart));
    return chart;
  }

  function fit(chart) {
    fitted.add(chart);
    chart.timeScale().fitContent();
    requestAnimationFrame(() => margins(chart)); // what it fits to is known by then
  }

  // A little room at both ends, so that no label of the axis is cut.
  function margins(chart) {
    const range = chart.timeScale().getVisibleLogicalRange();
    if (!range || !fitted.has(chart)) return;
    const room = (range.to - range.from) * 0.025;
    chart.timeScale().setVisibleLogicalRange({ from: range.from - room, to: range.to + room });
  }

  // With separators, and without noughts that say nothing.
  const figures = (digits) => ({
    type: "custom",
    minMove: 10 ** -digits,
    formatter: (value) => value.toLocaleString("en", { minimumFractionDigits: Number.isInteger(value) ? 0 : digits, maximumFractionDigits: digits }),
  });

  function points(times, values) {
    const rows = [];
    let last = -Infinity;
    for (let n = 0; n < times.length; n += 1) {
      if (times[n] > last && values[n] !== null && Number.isFinite(values[n])) {
        rows.push({ time: times[n], value: values[n] });
        last = times[n];
      }
    }
    return rows;
  }

  // The fan: each pair of quantiles is a band from the bar's close to every horizon, the outer one fainter.
  class Fan {
    constructor() {
      this.bands = [];
      const view = { zOrder: () => "bottom", renderer: () => this };
      this.views = [view];
    }
    attached({ chart, series, requestUpdate }) {
      this.chart = chart;
      this.series = series;
      this.update = requestUpdate;
    }
    paneViews() { return this.views; }
    updateAllViews() {}
    autoscaleInfo() {
      const all = this.bands.flatMap((band) => band.points);
      if (!all.length) return null;
      return { priceRange: { minValue: Math.min(...all.map((point) => point.low)), maxValue: Math.max(...all.map((point) => point.high)) } };
    }
    show(bands) {
      this.bands = bands;
      if (this.update) this.update();
    }
    draw(target) {
      target.useBitmapCoordinateSpace(({ context, horizontalPixelRatio: rx, verticalPixelRatio: ry }) => {
        const scale = this.chart.timeScale();
        const at = (point, key) => {
          const x = scale.timeToCoordinate(point.time);
          const y = this.series.priceToCoordinate(point[key]);
          return x === null || y === null ? null : [x * rx, y * ry];
        };
        for (const band of this.bands) {
          const upper = band.points.map((point) => at(point, "high")).filter(Boolean);
          const lower = band.points.map((point) => at(point, "low")).filter(Boolean);
          if (upper.length < 2) continue;
          context.beginPath();
          [...upper, ...lower.reverse()].forEach(([x, y], n) => (n ? context.lineTo(x, y) : context.moveTo(x, y)));
          context.closePath();
          context.fillStyle = band.fill;
          context.fill();
        }
      });
    }
  }

  class Price {
    constructor() {
      this.chart = make("price");
      this.chart.timeScale().applyOptions({ maxBarSpacing: 22 }); // few bars are not slabs
      this.candles = this.chart.addSeries(L.CandlestickSeries, { borderVisible: false });
      this.volume = this.chart.addSeries(L.HistogramSeries, { priceScaleId: "", priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false });
      this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.86, bottom: 0 } });
      this.line = this.chart.addSeries(L.LineSeries, { lineWidth: 2, lastValueVisible: true, priceLineVisible: false });
      this.median = this.chart.addSeries(L.LineSeries, { lineWidth: 2, lineStyle: 2, lastValueVisible: false, priceLineVisible: false, crosshairMarkerVisible: false });
      this.fan = new Fan();
      this.median.attachPrimitive(this.fan);
      this.marks = L.createSeriesMarkers(this.candles, []);
      this.lineMarks = L.createSeriesMarkers(this.line, []);
      this.interval = 60;
      this.last = 0;
      this.paint();
    }

    paint() {
      this.chart.applyOptions(look());
      const up = colour("candle-up"), down = colour("candle-down");
      this.candles.applyOptions({ upColor: up, wickUpColor: up, downColor: down, wickDownColor: down, priceLineColor: colour("muted") });
      this.volume.applyOptions({ color: colour("volume") });
      this.line.applyOptions({ color: colour("ink") });
      this.median.applyOptions({ color: colour("accent") });
      if (this.shown) this.showFan(this.shown);
      if (this.fills) this.showFills(this.fills);
    }

    fit() {
      fit(this.chart);
    }

    showBars(data) {
      const { t, o, h, l, c, v } = data.bars;
      this.interval = data.interval;
      this.last = t.length ? t[t.length - 1] : 0;
      const digits = c.length ? Math.max(0, Math.min(8, 5 - Math.floor(Math.log10(Math.abs(c[c.length - 1]) || 1)))) : 2;
      const priceFormat = figures(Math.min(digits, 6));
      for (const series of [this.candles, this.line, this.median]) series.applyOptions({ priceFormat });
      this.candles.setData(t.map((time, n) => ({ time, open: o[n], high: h[n], low: l[n], close: c[n] })));
      this.volume.setData(t.map((time, n) => ({ time, value: v[n] })));
      this.line.setData([]);
      this.showFills(data.fills);
    }

    // Prices as they were seen, every ten seconds: the fan's future then has as much room as the past.
    showLine(times, values) {
      this.interval = SEEN_S;
      this.candles.setData([]);
      this.volume.setData([]);
      const rows = points(times.map((time) => Math.floor(time / SEEN_S) * SEEN_S), values);
      this.last = rows.length ? rows[rows.length - 1].time : 0;
      this.line.setData(rows);
      this.showFills([]);
    }

    addPoint(time, value) {
      const seen = Math.floor(time / SEEN_S) * SEEN_S;
      if (seen < this.last) return;
      this.line.update({ time: seen, value });
      this.last = seen;
    }

    asMarkers(fills) {
      const size = this.interval;
      const found = new Map();
      for (const [time, side] of fills) {
        const at = Math.floor(time / size) * size;
        const key = `${at}${side}`;
        const known = found.get(key);
        if (known) known.count += 1;
        else found.set(key, { time: at, side, count: 1 });
      }
      return [...found.values()].sort((a, b) => a.time - b.time).map(({ time, side, count }) => ({
        time,
        position: side === "buy" ? "belowBar" : "aboveBar",
        shape: side === "buy" ? "arrowUp" : "arrowDown",
        color: colour(side === "buy" ? "gain" : "loss"),
        text: count > 1 ? String(count) : undefined,
      }));
    }

    showFills(fills) {
      this.fills = fills;
      const marks = this.asMarkers(fills);
      this.marks.setMarkers(this.interval === SEEN_S ? [] : marks);
      this.lineMarks.setMarkers(this.interval === SEEN_S ? marks : []);
    }

    // A forecast: close, and quantiles of the log return by horizon, drawn against time as it passes.
    showFan(forecast) {
      this.shown = forecast;
      if (!forecast || !this.last) {
        this.median.setData([]);
        this.fan.show([]);
        return;
      }
      const size = this.interval;
      const start = Math.min(Math.floor((forecast.at - 1) / size) * size, this.last);
      const longest = forecast.horizons[forecast.horizons.length - 1];
      const steps = Math.max(1, Math.min(Math.ceil(longest / size), 400));
      const step = Math.ceil(longest / steps / size) * size;
      const horizons = [0, ...forecast.horizons];
      const rows = forecast.quantiles;
      const quantile = (column, age) => {
        let n = 1;
        while (n < horizons.length - 1 && horizons[n] < age) n += 1;
        const before = n > 1 ? rows[n - 2][column] : 0;
        // A spread grows with the root of time; so it is drawn between two horizons.
        const share = Math.min(1, Math.max(0, (Math.sqrt(age) - Math.sqrt(horizons[n - 1])) / (Math.sqrt(horizons[n]) - Math.sqrt(horizons[n - 1]))));
        return forecast.close * Math.exp(before + (rows[n - 1][column] - before) * share);
      };
      const times = [];
      for (let n = 0; n <= Math.ceil(longest / step); n += 1) times.push(start + n * step);
      const middle = Math.floor(forecast.levels.length / 2);
      this.median.setData(times.map((time) => ({ time, value: quantile(middle, time - start) })));
      const bands = [];
      for (let n = 0; n < middle; n += 1) {
        const other = forecast.levels.length - 1 - n;
        bands.push({
          fill: colour(n ? "accent-soft" : "accent-faint"),
          points: times.map((time) => ({ time, low: quantile(n, time - start), high: quantile(other, time - start) })),
        });
      }
      this.fan.show(bands);
    }
  }

  class Equity {
    constructor() {
      this.chart = make("equity");
      this.equity = this.chart.addSeries(L.LineSeries, { lineWidth: 2, priceFormat: figures(2), priceLineVisible: false });
      const share = { type: "custom", formatter: (value) => `${(value * 100).toFixed(value > -0.01 ? 2 : 1).replace(/^-(0\.0+)$/, "$1")} %`, minMove: 0.00001 };
      this.drawdown = this.chart.addSeries(L.AreaSeries, { lineWidth: 1, priceFormat: share, priceLineVisible: false, invertFilledArea: true }, 1);
      this.chart.panes()[1].setHeight(70);
      this.peak = 0;
      this.first = 0;
      this.last = 0;
      this.step = 1; // seconds between two points
      this.paint();
    }
    // Minutes all look alike where there are only some of them.
    sharpen() {
      const isShort = this.last - this.first < 1800;
      if (isShort !== this.isShort) this.chart.applyOptions({ timeScale: { secondsVisible: isShort } });
      this.isShort = isShort;
    }
    paint() {
      this.chart.applyOptions(look());
      this.isShort = false;
      this.sharpen();
      this.equity.applyOptions({ color: colour("accent") });
      this.drawdown.applyOptions({ lineColor: colour("loss"), topColor: colour("loss-soft"), bottomColor: colour("loss-soft") });
    }
    show({ t, equity, drawdown }) {
      this.equity.setData(points(t, equity));
      this.drawdown.setData(points(t, drawdown));
      this.peak = equity.length ? Math.max(...equity) : 0;
      this.first = t.length ? t[0] : 0;
      this.last = t.length ? t[t.length - 1] : 0;
      this.step = t.length > 1 ? Math.max(1, Math.round((this.last - this.first) / (t.length - 1))) : 1;
      this.sharpen();
      fit(this.chart);
    }
    // Points stand at even steps, whatever time lies between them: news within a step is the last point's.
    addPoint(time, value, peak) {
      if (time <= this.last) return;
      const isNew = time >= this.last + this.step;
      const at = isNew ? time : this.last;
      this.peak = Math.max(this.peak, value, peak || 0);
      this.equity.update({ time: at, value });
      this.drawdown.update({ time: at, value: value / this.peak - 1 });
      this.first = this.first || at;
      this.last = at;
      this.sharpen();
      if (isNew && fitted.has(this.chart)) fit(this.chart);
    }
  }

  // Shares stacked: the whole sum is drawn first, then ever less of it over that.
  class Importance {
    constructor() {
      this.chart = make("importance");
      this.chart.priceScale("right").applyOptions({ scaleMargins: { top: 0.02, bottom: 0 } });
      this.layers = [];
    }
    paint() {
      this.chart.applyOptions(look());
      this.layers.forEach((layer, n) => {
        const fill = colour(`series-${(n % 6) + 1}`);
        layer.applyOptions({ lineColor: fill, topColor: fill, bottomColor: fill });
      });
    }
    show(data) {
      for (const layer of this.layers) this.chart.removeSeries(layer);
      const count = data.weights.length;
      const share = { type: "custom", formatter: (value) => `${Math.round(value * 100)} %`, minMove: 0.01 };
      const range = () => ({ priceRange: { minValue: 0, maxValue: 1 } });
      this.layers = new Array(count);
      for (let top = count - 1; top >= 0; top -= 1) {
        const layer = this.chart.addSeries(L.AreaSeries, { lineWidth: 1, priceFormat: share, priceLineVisible: false, lastValueVisible: false, crosshairMarkerVisible: false, autoscaleInfoProvider: range });
        layer.setData(points(data.t, data.t.map((_, n) => data.weights.slice(0, top + 1).reduce((sum, row) => sum + row[n], 0))));
        this.layers[top] = layer;
      }
      this.paint();
      fit(this.chart);
    }
  }

  class Compare {
    constructor() {
      this.chart = make("compare");
      this.lines = new Map();
    }
    paint() {
      this.chart.applyOptions(look());
      [...this.lines.values()].forEach((line, n) => line.applyOptions({ color: colour(`series-${(n % 6) + 1}`) }));
    }
    set(name, equity) {
      const known = this.lines.get(name);
      if (known) this.chart.removeSeries(known);
      this.lines.delete(name);
      if (equity && equity.t.length) {
        const share = { type: "custom", formatter: (value) => `${(value * 100).toFixed(1)} %`, minMove: 0.0001 };
        const line = this.chart.addSeries(L.LineSeries, { lineWidth: 2, priceFormat: share, priceLineVisible: false, title: name.slice(0, 15) });
        line.setData(points(equity.t, equity.equity.map((value) => value / equity.equity[0] - 1)));
        this.lines.set(name, line);
      }
      this.paint();
      fit(this.chart);
      return this.lines.size;
    }
  }

  return { Price, Equity, Importance, Compare };
})();
