// Values under the pointer and under the keyboard's cursor, with a line at the same moment and duration in all charts of a page.
function charts(root) {
  const SVG = "http://www.w3.org/2000/svg";
  const tip = tipOf(root);
  const all = [];
  const numberOf = (value) => (value >= 1e6 ? `${(value / 1e6).toFixed(1)} M` : value >= 1e4 ? `${(value / 1e3).toFixed(1)} k`
    : String(Math.round(value * 10) / 10));
  const parsed = (value) => (value ? JSON.parse(value) : []);

  // What a chart is: where durations and moments lie in it, and what is said at a place.
  const known = (svg) => {
    const data = svg.dataset;
    const own = Object.fromEntries(["left", "right", "top", "bottom", "low", "high", "middle", "columns", "lane", "step"].map((key) => [key, Number(data[key])]));
    const log = (ns, from, to) => from + Math.log(Math.min(Math.max(ns, own.low), own.high) / own.low) / Math.log(own.high / own.low) * (to - from);
    if ("edges" in data) {
      const edges = parsed(data.edges);
      const calls = parsed(data.calls);
      const sum = calls.reduce((one, other) => one + other, 0) || 1;
      return {
        count: calls.length, isTime: false, edges, calls, own,
        x: (ns) => log(ns, own.left, own.right),
        place: (x) => {
          const ns = own.low * (own.high / own.low) ** Math.min(Math.max((x - own.left) / (own.right - own.left), 0), 1);
          const bin = Math.min(Math.max(edges.findLastIndex((edge) => edge <= ns), 0), calls.length - 1);
          return { bin, ns };
        },
        middle: (bin) => ({ bin, ns: Math.sqrt(edges[bin] * edges[bin + 1]) }),
        told: ({ bin }) => `${duration(edges[bin])} to ${duration(edges[bin + 1])}\n${numberOf(calls[bin])} calls, ${(calls[bin] / sum * 100).toFixed(1)} %`,
        chosen: ({ bin }) => (calls[bin] > 0 ? { low: String(edges[bin]), high: String(edges[bin + 1]) } : null),
      };
    }
    const begin = BigInt(data.begin);
    const width = BigInt(data.step);
    const at = (column) => own.left + (own.right - own.left) * (column + 0.5) / own.columns;
    const after = (column) => moment(column * own.step, own.step);
    const lanes = parsed(data.lanes);
    const lines = parsed(data.lines);
    const strips = parsed(data.strips);
    const rows = parsed(data.rows).map(([edge, packed]) => [edge, packed.flatMap((one) => (one < 0 ? new Array(-one).fill(0) : [one]))]);
    const time = (column) => ({ begin: String(begin + BigInt(column) * width), end: String(begin + BigInt(column + 1) * width) });
    const row = (y) => (rows.length && y >= own.top && y < own.middle
      ? rows.findLastIndex(([edge]) => edge <= own.low * (own.high / own.low) ** ((own.middle - y) / (own.middle - own.top))) : -1);
    return {
      count: own.columns, isTime: true, lanes, rows, own, begin,
      x: at, y: (ns) => (rows.length ? log(ns, own.middle, own.top) : null),
      column: (ns) => Number((ns - begin) / width), ns: (column) => begin + BigInt(column) * width,
      place: (x, y) => {
        const bin = Math.min(Math.max(Math.floor((x - own.left) / (own.right - own.left) * own.columns), 0), own.columns - 1);
        const found = row(y);
        const lane = lanes.length ? Math.floor((y - own.top) / own.lane) : -1;
        return { bin, row: found, ns: found >= 0 ? rows[found][0] : null, lane: lane >= 0 && lane < lanes.length ? lane : -1 };
      },
      middle: (bin) => ({ bin, row: -1, ns: null, lane: -1 }),
      told: ({ bin, row: chosen, lane }) => {
        const said = [after(bin)];
        if (lane >= 0) said.push(`${lanes[lane][0]}: p99 ${lanes[lane][1][bin] === null ? "–" : duration(lanes[lane][1][bin])}`);
        if (chosen >= 0) said.push(`${duration(rows[chosen][0])} to ${duration(rows[chosen + 1]?.[0] ?? own.high)}: ${numberOf(rows[chosen][1][bin])} calls`);
        for (const [name, values] of lines) if (values[bin] !== null) said.push(`${name}: ${duration(values[bin])}`);
        for (const [name, values] of strips) if (values[bin] !== null) said.push(`${name}: ${numberOf(values[bin])}`);
        return said.join("\n");
      },
      chosen: ({ bin, row: picked, lane }) => {
        if (lane >= 0) return lanes[lane][2] ? { ...time(bin), to: lanes[lane][2] } : null;
        if (picked < 0 || !rows[picked][1][bin]) return null;
        return { ...time(bin), low: String(rows[picked][0]), high: String(rows[picked + 1]?.[0] ?? Math.ceil(own.high)) };
      },
    };
  };
  const line = (svg, kind) => {
    const node = document.createElementNS(SVG, "path");
    node.setAttribute("class", `cursor ${kind}`);
    svg.append(node);
    return node;
  };
  // Draws the cursor of one chart in all of them.
  const point = (from, place) => {
    const when = from.is.isTime ? from.is.ns(place.bin) : null;
    for (const one of all) {
      const { is } = one;
      let x = null;
      if (is.isTime && when !== null) {
        const column = is.column(when);
        if (column >= 0 && column < is.own.columns) x = is.x(column);
      } else if (!is.isTime && place.ns) x = is.x(place.ns);
      const y = is.isTime && place.ns ? is.y(place.ns) : null;
      one.upright.setAttribute("d", x === null ? "" : `M${x.toFixed(1)} ${is.own.top}V${is.own.bottom}`);
      one.level?.setAttribute("d", y === null ? "" : `M${is.own.left} ${y.toFixed(1)}H${is.own.right}`);
    }
  };
  const clear = () => {
    tip.hide();
    for (const one of all) { one.upright.setAttribute("d", ""); one.level?.setAttribute("d", ""); }
  };
  // Of the calls in some columns of a heat map, the distribution, over that of all of them: from what the page has.
  const brushed = (event) => {
    const source = all.find((one) => one.svg === event.target);
    if (!source?.is.rows?.length) return;
    const [low, high] = event.detail;
    for (const { svg, is } of all) {
      if (is.isTime) continue;
      const heights = new Array(is.calls.length).fill(0);
      for (const [edge, counts] of source.is.rows) {
        const bin = is.edges.findLastIndex((one) => one <= edge * 1.000001);
        if (bin >= 0 && bin < heights.length) for (let column = low; column < high; column++) heights[bin] += counts[column];
      }
      const most = Math.max(...is.calls, 1);
      const { bottom, top } = is.own;
      const outline = heights.map((count, bin) => `L${is.x(is.edges[bin]).toFixed(1)} ${(bottom - count / most * (bottom - top)).toFixed(1)}H${is.x(is.edges[bin + 1]).toFixed(1)}`);
      let shape = svg.querySelector(".selected");
      if (!shape) {
        shape = document.createElementNS(SVG, "path");
        shape.setAttribute("class", "selected");
        (svg.querySelector(".area") ?? svg.lastChild).after(shape);
      }
      shape.setAttribute("d", `M${is.x(is.edges[0]).toFixed(1)} ${bottom}${outline.join("")}V${bottom}Z`);
    }
  };
  root.querySelectorAll("svg.chart[data-edges], svg.chart[data-begin]").forEach((svg) => {
    const one = { svg, is: known(svg), upright: line(svg, "upright"), level: null };
    if (one.is.rows?.length) one.level = line(svg, "level");
    all.push(one);
    const frame = svg.closest(".scroll");
    const out = document.createElement("output");
    out.className = "hidden";
    out.setAttribute("aria-live", "polite");
    svg.closest("figure").append(out);
    const placeOf = (event) => {
      const box = svg.getBoundingClientRect();
      const scale = svg.viewBox.baseVal.width / box.width;
      return one.is.place((event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
    };
    const choose = (place) => {
      const chosen = one.is.chosen(place);
      if (chosen) svg.dispatchEvent(new CustomEvent("qp-choose", { bubbles: true, composed: true, detail: chosen }));
    };
    let pressed = 0;
    svg.addEventListener("pointerdown", (event) => { pressed = event.clientX; });
    svg.addEventListener("pointermove", (event) => {
      const place = placeOf(event);
      point(one, place);
      tip.show(one.is.told(place), event.clientX, event.clientY);
    });
    svg.addEventListener("pointerleave", clear);
    svg.addEventListener("click", (event) => { if (Math.abs(event.clientX - pressed) < 4) choose(placeOf(event)); });
    svg.addEventListener("qp-brush", brushed);
    let bin = Math.floor(one.is.count / 2);
    frame.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key in steps) {
        bin = Math.min(Math.max(bin + steps[event.key], 0), one.is.count - 1);
        const place = one.is.middle(bin);
        point(one, place);
        out.textContent = one.is.told(place).replaceAll("\n", ", ");
        const box = svg.getBoundingClientRect();
        const x = one.is.isTime ? one.is.x(bin) : one.is.x(place.ns);
        tip.show(one.is.told(place), box.left + x * box.width / svg.viewBox.baseVal.width, box.top + 20);
      } else if (event.key === "Enter") choose(one.is.middle(bin));
      else return;
      event.preventDefault();
    });
    frame.addEventListener("blur", clear);
  });
}
