// Sorting, filtering and folding of a table, with the keys of a tree grid. The page is complete without it.
// `memory` is an object that outlives the table: folding, filter and sorting are kept when the table is rebuilt.
function grid(table, memory = {}) {
  const body = table.tBodies[0];
  const rows = () => [...body.rows];
  // In a flat list the titles of groups are put away, and what was in them is sorted over all.
  const grouped = rows();
  const titles = grouped.filter((row) => row.classList.contains("group"));
  let flat = Boolean(memory.flat) && titles.length > 0;
  const level = (row) => (flat ? 1 : Number(row.dataset.level));
  const childrenOf = (all, row) => {
    const found = [];
    for (let place = all.indexOf(row) + 1; place < all.length && level(all[place]) > level(row); place++) found.push(all[place]);
    return found;
  };
  const nameOf = (row) => row.cells[0].textContent;
  const closed = new Set(rows().filter((row) => memory.closed?.includes(nameOf(row))));
  let wanted = memory.wanted ?? "";
  const parents = new Set(rows().filter((row, place, all) => all[place + 1] && level(all[place + 1]) > level(row)));
  const nested = parents.size > 0;

  const regroup = () => {
    memory.flat = flat;
    body.replaceChildren(...grouped.filter((row) => !flat || !titles.includes(row)));
    table.classList.toggle("flat", flat);
    table.setAttribute("role", nested && !flat ? "treegrid" : "grid");
    rows().forEach((row) => {
      row.tabIndex = -1;
      if (nested && !flat) row.setAttribute("aria-level", String(level(row))); else row.removeAttribute("aria-level");
    });
  };
  const show = () => {
    memory.closed = [...closed].map(nameOf);
    memory.wanted = wanted;
    const all = rows();
    const hits = new Set();
    const above = [];
    for (const row of all) {
      above.length = level(row) - 1;
      above.push(row);
      const hit = nameOf(row).toLowerCase().includes(wanted);
      if (hit) {
        above.forEach((one) => one && hits.add(one));
        childrenOf(all, row).forEach((one) => hits.add(one));
      }
    }
    const hidden = new Set();
    for (const row of flat ? [] : closed) childrenOf(all, row).forEach((one) => hidden.add(one));
    for (const row of all) {
      row.hidden = (wanted && !hits.has(row)) || (!wanted && hidden.has(row));
      if (parents.has(row)) row.setAttribute("aria-expanded", String(Boolean(wanted) || !closed.has(row)));
    }
    const current = all.find((row) => row.tabIndex === 0);
    if (!current || current.hidden) focusable(all.find((row) => !row.hidden));
  };
  const focusable = (row) => {
    rows().forEach((one) => { one.tabIndex = -1; });
    if (row) row.tabIndex = 0;
  };
  const move = (row) => {
    if (row) { focusable(row); row.focus(); row.scrollIntoView({ block: "nearest" }); }
  };
  const fold = (row, close) => {
    if (parents.has(row)) { if (close) closed.add(row); else closed.delete(row); show(); }
  };

  regroup();
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row && parents.has(row) && !event.target.closest("a")) { fold(row, !closed.has(row)); move(row); }
  });
  body.addEventListener("keydown", (event) => {
    const row = event.target.closest("tr");
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const shown = rows().filter((one) => !one.hidden);
    const place = shown.indexOf(row);
    const above = () => shown.slice(0, place).reverse().find((one) => level(one) < level(row));
    const open = parents.has(row) && !closed.has(row);
    const keys = {
      ArrowDown: () => move(shown[place + 1]),
      ArrowUp: () => move(shown[place - 1]),
      Home: () => move(shown[0]),
      End: () => move(shown[shown.length - 1]),
      ArrowRight: () => (parents.has(row) ? (open ? move(shown[place + 1]) : fold(row, false)) : undefined),
      ArrowLeft: () => (open ? fold(row, true) : move(above())),
      Enter: () => {
        const link = row.querySelector("a");
        if (link) link.click(); else fold(row, open);
      },
    };
    if (keys[event.key] && !(event.key === "Enter" && event.target.closest("a"))) {
      event.preventDefault();
      keys[event.key]();
    }
  });

  const number = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.order === undefined ? cell.textContent.trim().toLowerCase() : Number(cell.dataset.order);
  };
  const sort = (column, down) => {
    const compare = (one, other) => {
      const [a, b] = [number(one, column), number(other, column)];
      const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
      return down ? -order : order;
    };
    const all = rows();
    const place = (siblings) => siblings.sort(compare).flatMap((row) => {
      const inside = childrenOf(all, row);
      return [row, ...place(inside.filter((one) => level(one) === level(row) + 1))];
    });
    body.append(...place(all.filter((row) => level(row) === 1)));
  };
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const name = head.querySelector("span");
    const sortable = column === 0 || rows().some((row) => row.cells[column].dataset.order !== undefined);
    if (!name || !sortable) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name.textContent;
    button.title = "Sort by this column";
    name.replaceChildren(button);
    const sorted = (down) => {
      [...head.parentNode.cells].forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      memory.sorted = [column, down];
      sort(column, down);
    };
    button.addEventListener("click", () => {
      sorted(head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : column > 0);
    });
    if (memory.sorted?.[0] === column) sorted(memory.sorted[1]);
  });

  if (rows().length > 12) {
    const tools = document.createElement("div");
    tools.className = "tools";
    const input = document.createElement("input");
    input.type = "search";
    input.placeholder = "Filter operations";
    input.setAttribute("aria-label", "Filter: " + table.caption.textContent);
    input.value = wanted;
    input.addEventListener("input", () => { wanted = input.value.trim().toLowerCase(); show(); });
    tools.append(input);
    if (titles.length) {
      const button = document.createElement("button");
      button.type = "button";
      const name = () => { button.textContent = flat ? "By category" : "Flat list"; };
      name();
      button.addEventListener("click", () => {
        flat = !flat;
        name();
        regroup();
        if (memory.sorted) sort(...memory.sorted);
        show();
      });
      tools.append(button);
    }
    if (nested) {
      for (const [text, close] of [["Collapse all", true], ["Expand all", false]]) {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = text;
        button.addEventListener("click", () => {
          parents.forEach((row) => (close ? closed.add(row) : closed.delete(row)));
          show();
        });
        tools.append(button);
      }
    }
    table.parentNode.before(tools);
  }
  show();
}
