// Icicles answer: a click or Enter zooms into a frame, Escape shows all, arrows move between frames, and a search marks them.
(() => {
  "use strict";
  const start = (figure) => {
    if (figure.dataset.ready) return;
    figure.dataset.ready = "1";
    const frames = [...figure.querySelectorAll(".frame")];
    const bar = figure.querySelector(".bar");
    const [search, all, out] = ["input", "button", "output"].map((name) => bar.querySelector(name));
    const boxes = frames.map((node) => ({
      node, x: +node.dataset.x, w: +node.dataset.w, row: +node.dataset.row,
      told: node.getAttribute("aria-label"), name: node.querySelector("text").textContent.toLowerCase(),
    }));
    let current = boxes[0];
    const inside = (one, other) =>
      one.row >= other.row && one.x >= other.x - 1e-6 && one.x + one.w <= other.x + other.w + 1e-6;
    const tell = (one) => { out.textContent = one ? one.told : ""; };
    const zoom = (target) => {
      current = target;
      for (const one of boxes) {
        const isAbove = one.row < target.row && inside(target, one);
        const shown = isAbove || inside(one, target);
        one.node.toggleAttribute("hidden", !shown);
        one.node.setAttribute("display", shown ? "inline" : "none");
        one.node.classList.toggle("above", isAbove);
        one.node.setAttribute("x", `${isAbove ? 0 : ((one.x - target.x) / target.w) * 100}%`);
        one.node.setAttribute("width", `${isAbove ? 100 : (one.w / target.w) * 100}%`);
      }
      all.hidden = target === boxes[0];
      tell(target);
    };
    const focus = (one) => {
      for (const other of boxes) other.node.setAttribute("tabindex", other === one ? "0" : "-1");
      one.node.focus();
    };
    const visible = (one) => one.node.getAttribute("display") !== "none";
    const next = (from, key) => {
      const seen = boxes.filter(visible);
      if (key === "ArrowDown") return seen.find((one) => one.row === from.row + 1 && inside(one, from));
      if (key === "ArrowUp") return seen.findLast((one) => one.row === from.row - 1 && inside(from, one));
      const row = seen.filter((one) => one.row === from.row);
      return row[row.indexOf(from) + (key === "ArrowRight" ? 1 : -1)];
    };
    for (const one of boxes) {
      one.node.addEventListener("click", () => { zoom(one); focus(one); });
      one.node.addEventListener("pointerenter", () => tell(one));
      one.node.addEventListener("focus", () => tell(one));
      one.node.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") zoom(one);
        else if (event.key === "Escape") { zoom(boxes[0]); focus(boxes[0]); }
        else if (event.key.startsWith("Arrow")) { const found = next(one, event.key); if (found) focus(found); }
        else return;
        event.preventDefault();
      });
    }
    figure.querySelector(".frames").addEventListener("pointerleave", () => tell(current));
    all.addEventListener("click", () => { zoom(boxes[0]); search.focus(); });
    search.addEventListener("input", () => {
      const wanted = search.value.trim().toLowerCase();
      const found = boxes.filter((one) => wanted && one.row && one.name.includes(wanted));
      for (const one of boxes) one.node.classList.toggle("faded", Boolean(wanted) && !found.includes(one));
      // Frames in frames of the same name are counted once.
      const outer = found.filter((one) => !found.some((other) => other !== one && other.row < one.row && inside(one, other)));
      const share = outer.reduce((sum, one) => sum + one.w, 0) * 100;
      out.textContent = wanted ? `${found.length} frames, ${share.toFixed(1)} % of the time` : current.told;
    });
    boxes[0].node.setAttribute("tabindex", "0");
    for (const one of boxes.slice(1)) one.node.setAttribute("tabindex", "-1");
    bar.hidden = false;
    tell(boxes[0]);
  };
  document.querySelectorAll(".qp .icicle").forEach(start);
})();
