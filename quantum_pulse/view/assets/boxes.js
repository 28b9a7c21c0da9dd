// Icicles and waterfalls: hover, search, zoom and pan by mouse, wheel and keyboard. They are complete without it.
function boxes(figure, root) {
  if (figure.dataset.live) return;
  figure.dataset.live = "true";
  const SVG = "http://www.w3.org/2000/svg";
  const { begin, end, low, high } = Object.fromEntries(
    ["begin", "end", "low", "high"].map((key) => [key, Number(figure.dataset[key])]));
  const isTime = "time" in figure.dataset;
  const frames = figure.querySelector("svg.frames");
  const bar = figure.querySelector(".bar");
  const search = bar.querySelector("input");
  const out = bar.querySelector("output");
  const buttons = Object.fromEntries([...bar.querySelectorAll("[data-do]")].map((one) => [one.dataset.do, one]));
  const ticks = figure.querySelector(".ticks");
  const marked = figure.querySelector(".marked");
  const tip = tipOf(root);
  const all = [...figure.querySelectorAll(".frame")].map((node) => {
    const title = node.querySelector("title");
    const told = title.textContent;
    // The tooltip of the page takes the place of the browser's.
    title.remove();
    node.setAttribute("aria-label", told);
    const row = Number(node.getAttribute("aria-level")) - 1;
    return { node, told, name: told.toLowerCase(), b: Number(node.dataset.b), e: Number(node.dataset.e), row };
  });
  const of = new Map(all.map((one) => [one.node, one]));
  if (!all.length) return;
  let view = [begin, end];
  let waiting = false;
  const width = () => frames.getBoundingClientRect().width || 1;
  const percent = (share) => `${(share * 100).toFixed(4)}%`;

  const paint = () => {
    waiting = false;
    const [from, to] = view;
    const length = to - from;
    const least = 1 / width();
    const place = (node, b, e) => {
      const left = (Math.max(b, from) - from) / length;
      node.setAttribute("x", percent(left));
      node.setAttribute("width", percent(Math.max((Math.min(e, to) - from) / length - left, least)));
    };
    for (const one of all) {
      const shown = one.e >= from && one.b <= to && !(one.e === from && one.b < from) && !(one.b === to && one.e > to);
      if (shown !== (one.node.getAttribute("display") !== "none")) {
        if (shown) one.node.removeAttribute("display"); else one.node.setAttribute("display", "none");
      }
      if (shown) place(one.node, one.b, one.e);
    }
    if (marked) place(marked, Number(marked.dataset.b), Number(marked.dataset.e));
    if (isTime) axis(from, length);
    buttons.all.disabled = from === begin && to === end;
  };
  const axis = (from, length) => {
    const step = roundStep(length / Math.max(width() / 130, 2));
    const parts = [];
    for (let at = Math.ceil(from / step) * step; at <= from + length; at += step) {
      const x = percent((at - from) / length);
      const line = document.createElementNS(SVG, "line");
      for (const [key, value] of [["x1", x], ["x2", x], ["y1", 16], ["y2", "100%"]]) line.setAttribute(key, value);
      const text = document.createElementNS(SVG, "text");
      const share = (at - from) / length;
      for (const [key, value] of [["x", x], ["y", 12], ["text-anchor", share < 0.03 ? "start" : share > 0.95 ? "end" : "middle"]]) {
        text.setAttribute(key, value);
      }
      text.textContent = moment(Math.abs(at) < step / 2 ? 0 : at, step);
      parts.push(line, text);
    }
    ticks.replaceChildren(...parts);
  };
  const look = (from, to) => {
    const least = Math.max((high - low) * 1e-7, isTime ? 10 : 1e-6);
    const limits = [Math.min(low, begin), Math.max(high, end)];
    const length = Math.min(Math.max(to - from, least), limits[1] - limits[0]);
    const middle = (from + to) / 2;
    const left = Math.min(Math.max(middle - length / 2, limits[0]), limits[1] - length);
    view = [left, left + length];
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(paint);
  };
  const zoom = (factor, share = 0.5) => {
    const [from, to] = view;
    const fixed = from + (to - from) * share;
    look(fixed - (fixed - from) * factor, fixed + (to - fixed) * factor);
  };
  const pan = (share) => { const by = (view[1] - view[0]) * share; look(view[0] + by, view[1] + by); };
  const reset = () => { look(begin, end); view = [begin, end]; };
  const zoomTo = (one) => {
    const margin = isTime ? (one.e - one.b) * 0.05 : 0;
    look(one.b - margin, one.e + margin);
    if (!isTime) view = [one.b, one.e];
  };

  let current = all[0];
  const tell = (one) => { out.textContent = one ? one.told : ""; };
  const focus = (one) => {
    for (const other of all) if (other !== one) other.node.setAttribute("tabindex", "-1");
    one.node.setAttribute("tabindex", "0");
    current = one;
    // What is out of sight is brought into it.
    if (one.e < view[0] || one.b > view[1]) { const length = view[1] - view[0]; look(one.b - length / 4, one.b + length * 3 / 4); }
    one.node.focus({ preventScroll: false });
    tell(one);
  };
  const next = (from, key) => {
    if (key === "ArrowRight" || key === "ArrowLeft") {
      const row = all.filter((one) => one.row === from.row).sort((one, other) => one.b - other.b);
      return row[row.indexOf(from) + (key === "ArrowRight" ? 1 : -1)];
    }
    const down = key === "ArrowDown";
    const touching = (row) => all.filter((one) => one.row === row && one.e > from.b && one.b < from.e);
    const rows = [...new Set(all.map((one) => one.row))].sort((one, other) => (down ? one - other : other - one));
    for (const row of rows.filter((one) => (down ? one > from.row : one < from.row))) {
      const found = touching(row);
      if (found.length) return found.reduce((one, other) => (other.e - other.b > one.e - one.b ? other : one));
    }
    return undefined;
  };
  const keys = {
    Enter: () => zoomTo(current), " ": () => zoomTo(current),
    Escape: () => { if (buttons.all.disabled) return false; reset(); focus(isTime ? current : all[0]); return true; },
    "+": () => zoom(0.6), "=": () => zoom(0.6), w: () => zoom(0.6), "-": () => zoom(1 / 0.6), s: () => zoom(1 / 0.6),
    a: () => pan(-0.2), d: () => pan(0.2), 0: () => reset(), Home: () => reset(),
    o: () => { const link = current.node.dataset.link; if (link) figure.dispatchEvent(new CustomEvent("qp-open", { bubbles: true, composed: true, detail: link })); },
  };
  frames.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const own = of.get(event.target.closest(".frame"));
    if (own) current = own;
    if (event.key.startsWith("Arrow")) {
      const found = event.shiftKey ? undefined : next(current, event.key);
      if (found) focus(found);
      else if (event.shiftKey) pan(event.key === "ArrowRight" ? 0.2 : event.key === "ArrowLeft" ? -0.2 : 0);
    } else if (!keys[event.key] || keys[event.key]() === false) return;
    event.preventDefault();
    event.stopPropagation();
  });

  // Dragging pans; a click that was no drag chooses.
  let drag = null;
  frames.addEventListener("pointerdown", (event) => {
    if (event.button === 0) drag = { x: event.clientX, view: [...view], moved: false };
  });
  frames.addEventListener("pointermove", (event) => {
    if (drag && (drag.moved || Math.abs(event.clientX - drag.x) > 4)) {
      if (!drag.moved) frames.setPointerCapture(event.pointerId);
      drag.moved = true;
      const by = (event.clientX - drag.x) / width() * (drag.view[1] - drag.view[0]);
      look(drag.view[0] - by, drag.view[1] - by);
      tip.hide();
      return;
    }
    const one = of.get(event.target.closest(".frame"));
    if (one) tip.show(one.told, event.clientX, event.clientY); else tip.hide();
  });
  const release = (event) => {
    const was = drag;
    drag = null;
    if (!was || was.moved) return;
    const one = of.get(event.target.closest?.(".frame"));
    if (!one) return;
    if (!isTime) zoomTo(one);
    focus(one);
  };
  frames.addEventListener("pointerup", release);
  frames.addEventListener("pointercancel", () => { drag = null; });
  frames.addEventListener("dblclick", (event) => {
    const one = of.get(event.target.closest(".frame"));
    if (one && isTime) zoomTo(one);
  });
  frames.addEventListener("pointerleave", () => { tip.hide(); });
  frames.addEventListener("focusin", (event) => { const one = of.get(event.target.closest(".frame")); if (one) { current = one; tell(one); } });
  frames.addEventListener("wheel", (event) => {
    const box = frames.getBoundingClientRect();
    // A pinch of a trackpad comes as a wheel with Ctrl. The wheel alone scrolls the page.
    if (event.ctrlKey || event.metaKey) zoom(Math.exp(Math.max(Math.min(event.deltaY, 60), -60) * 0.006), (event.clientX - box.left) / box.width);
    else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan((event.deltaX || event.deltaY) / box.width);
    else return;
    event.preventDefault();
    tip.hide();
  }, { passive: false });

  buttons.in.addEventListener("click", () => zoom(0.6));
  buttons.out.addEventListener("click", () => zoom(1 / 0.6));
  buttons.all.addEventListener("click", () => { reset(); tell(all[0]); });
  search.addEventListener("input", () => {
    const wanted = search.value.trim().toLowerCase();
    const isHit = (one) => wanted && one.name.includes(wanted) && (isTime || one.row > 0);
    const found = all.filter(isHit);
    for (const one of all) one.node.classList.toggle("faded", Boolean(wanted) && !isHit(one));
    // Of frames in frames that were found too, the outer ones are counted.
    const inside = (one, other) => other !== one && other.row < one.row && other.b <= one.b && other.e >= one.e;
    const outer = isTime ? [] : found.filter((one) => !found.some((other) => inside(one, other)));
    const share = outer.reduce((sum, one) => sum + one.e - one.b, 0) / (end - begin) * 100;
    out.textContent = !wanted ? current.told
      : isTime ? `${found.length} calls` : `${found.length} frames, ${share.toFixed(1)} % of the time`;
  });
  search.addEventListener("keydown", (event) => {
    const hit = event.key === "Enter" && all.find((one) => search.value.trim() && !one.node.classList.contains("faded"));
    if (hit) { event.preventDefault(); focus(hit); }
  });
  const first = all.find((one) => one.node.classList.contains("call")) ?? all[0];
  for (const one of all) one.node.setAttribute("tabindex", one === first ? "0" : "-1");
  current = first;
  bar.hidden = false;
  tell(first);
  new ResizeObserver(() => { if (!waiting) { waiting = true; requestAnimationFrame(paint); } }).observe(frames);
}
