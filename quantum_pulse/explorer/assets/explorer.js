// The explorer in the browser: shows the pages that the kernel writes, and sends the user's steps to it.
const PATIENCE_MS = 2000;
function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "qp explorer";
  el.append(root);
  // The snapshot beside it is for readers without a kernel.
  const hides = document.createElement("style");
  hides.textContent = `.${model.get("picture")} { display: none; }`;
  el.append(hides);

  // Keys belong to the explorer while it has the focus, except those of the browser or the application.
  // JupyterLab reads this attribute of the focused element before anything else handles the key.
  const guard = (event) => {
    if (!root.contains(event.target)) return;
    if (event.ctrlKey || event.metaKey) delete event.target.dataset.lmSuppressShortcuts;
    else event.target.dataset.lmSuppressShortcuts = "true";
  };
  addEventListener("keydown", guard, true);

  const tables = structuredClone(model.get("tables") ?? {});
  let saving;
  const save = () => {
    clearTimeout(saving);
    model.set("tables", structuredClone(tables));
    model.save_changes();
  };
  // Whoever clicks is told if nothing comes of it.
  let unheard;
  const say = (text) => { const status = root.querySelector(".busy"); if (status) status.textContent = text; };
  const step = (asked) => {
    save();
    clearTimeout(unheard);
    unheard = setTimeout(() => {
      say("No answer from the kernel yet: it is busy, or it has ended. After a restart, run the cell again.");
    }, PATIENCE_MS);
    model.send(asked);
  };
  const heard = () => { clearTimeout(unheard); };
  model.on("change:heard", heard);
  const copy = async (text) => {
    try { await navigator.clipboard.writeText(text); say("Copied."); } catch { say(text); }
  };
  const active = () => el.getRootNode().activeElement ?? document.activeElement;

  let visit;
  // The time interval that is being chosen, which outlives a page that is refined.
  let choice = {};
  const show = () => {
    const moved = visit !== model.get("visit");
    const focused = root.contains(active()) ? described(root, active()) : null;
    if (moved) choice = {};
    visit = model.get("visit");
    root.innerHTML = model.get("page");
    const place = root.querySelector("h2")?.textContent ?? "";
    root.querySelectorAll("table[data-kind=grid]").forEach((table) => {
      grid(table, (tables[`${place} / ${table.caption.textContent}`] ??= {}));
    });
    enliven(root);
    root.querySelectorAll("svg.chart[data-begin]").forEach((chart) => {
      chooser(chart, BigInt(model.get("begin")), choice, step);
    });
    if (!focused) return;
    const again = moved ? root.querySelector("h2") : found(root, focused) ?? root.querySelector("h2");
    again?.focus({ preventScroll: !moved });
  };
  let waiting = false;
  const soon = () => {
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => { waiting = false; show(); });
  };
  model.on("change:page", soon);
  model.on("change:visit", soon);

  root.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link?.classList.contains("skip")) {
      event.preventDefault();
      root.querySelector("table[data-kind=grid] tbody tr[tabindex='0']")?.focus();
      return;
    }
    if (link) { event.preventDefault(); step({ to: link.getAttribute("href").slice(1) }); return; }
    const copied = event.target.closest("button.copy");
    if (copied) { copy(copied.dataset.code); return; }
    if (event.target.closest("button.back")) step({ to: "back" });
  });
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.defaultPrevented) {
      const back = root.querySelector("button.back");
      if (back && !back.disabled) { event.preventDefault(); step({ to: "back" }); }
    }
  });
  root.addEventListener("qp-choose", (event) => step(event.detail));
  root.addEventListener("qp-open", (event) => step({ to: event.detail }));
  for (const kind of ["click", "input", "keyup"]) {
    root.addEventListener(kind, () => { clearTimeout(saving); saving = setTimeout(save, 400); });
  }
  show();
  return () => { removeEventListener("keydown", guard, true); clearTimeout(saving); clearTimeout(unheard); model.off("change:heard", heard); model.off("change:page", soon); model.off("change:visit", soon); };
}

// The element that has the focus, so that it is found again in a refined page.
const focusables = "a, button, input, tr[tabindex], h2, [tabindex='0']";
const words = (element) => element.getAttribute("aria-label") ?? (element.cells ? element.cells[0] : element).textContent;
const described = (root, element) => {
  const alike = [...root.querySelectorAll(focusables)].filter((one) => words(one) === words(element) && one.tagName === element.tagName);
  return { tag: element.tagName, text: words(element), place: alike.indexOf(element) };
};
const found = (root, { tag, text, place }) =>
  [...root.querySelectorAll(focusables)].filter((one) => one.tagName === tag && words(one) === text)[Math.max(place, 0)];

// Chooses a time interval on a chart: by dragging over it, or with two sliders under it.
function chooser(chart, origin, choice, step) {
  const { left, right, top, bottom, columns } = Object.fromEntries(
    Object.entries(chart.dataset).map(([key, value]) => [key, Number(value)]));
  const begin = BigInt(chart.dataset.begin);
  const width = BigInt(chart.dataset.step);
  if (columns < 2) return;
  const at = (column) => left + (right - left) * column / columns;
  const moment = (column) => begin + BigInt(column) * width;
  const decimals = Math.min(Math.max(Math.ceil(-Math.log10(Number(width) / 1e9)), 0), 9);
  const said = (column) => `+${(Number(moment(column) - origin) / 1e9).toFixed(decimals)} s`;

  const mark = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  mark.setAttribute("class", "brush");
  mark.setAttribute("y", top);
  mark.setAttribute("height", bottom - top);
  chart.append(mark);

  const tools = document.createElement("div");
  tools.className = "tools chooser";
  tools.setAttribute("role", "group");
  tools.setAttribute("aria-label", "Choose a time interval");
  const hint = document.createElement("span");
  hint.className = "note";
  hint.textContent = "Drag over the chart, or set the interval:";
  const slider = (name, value) => {
    const input = document.createElement("input");
    Object.assign(input, { type: "range", min: 0, max: columns, step: 1, value });
    input.setAttribute("aria-label", name);
    return input;
  };
  const from = slider("from", choice.from ?? chart.dataset.from ?? Math.floor(columns * 0.4));
  const to = slider("to", choice.to ?? chart.dataset.to ?? Math.ceil(columns * 0.6));
  const go = document.createElement("button");
  go.type = "button";
  const chosen = () => {
    const [low, high] = [Number(from.value), Number(to.value)].sort((one, other) => one - other);
    return low === high ? [Math.max(low - 1, 0), Math.max(low - 1, 0) + 1] : [low, high];
  };
  const update = () => {
    const [low, high] = chosen();
    mark.setAttribute("x", at(low));
    mark.setAttribute("width", at(high) - at(low));
    from.setAttribute("aria-valuetext", said(Number(from.value)));
    to.setAttribute("aria-valuetext", said(Number(to.value)));
    chart.dispatchEvent(new CustomEvent("qp-brush", { detail: [low, high] }));
    go.textContent = `Show ${said(low)} to ${said(high)}`;
  };
  const look = () => {
    const [low, high] = chosen();
    step({ begin: String(moment(low)), end: String(moment(high)) });
  };
  const choose = () => { Object.assign(choice, { from: from.value, to: to.value }); update(); };
  from.addEventListener("input", choose);
  to.addEventListener("input", choose);
  go.addEventListener("click", look);
  tools.append(hint, from, to, go);
  chart.closest("figure").append(tools);
  update();

  const columnOf = (event) => {
    const box = chart.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * chart.viewBox.baseVal.width;
    return Math.min(Math.max((x - left) / (right - left) * columns, 0), columns);
  };
  let start = null;
  chart.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    start = columnOf(event);
    chart.setPointerCapture(event.pointerId);
  });
  chart.addEventListener("pointermove", (event) => {
    if (start === null) return;
    const now = columnOf(event);
    from.value = Math.floor(Math.min(start, now));
    to.value = Math.ceil(Math.max(start, now));
    choose();
  });
  chart.addEventListener("pointerup", (event) => {
    if (start === null) return;
    const dragged = Math.abs(columnOf(event) - start) > columns / 200;
    start = null;
    if (dragged) look();
  });
  chart.addEventListener("pointercancel", () => { start = null; });
}

export default { render };
