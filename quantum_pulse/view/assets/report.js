// Sorting, filtering and folding of the tables, with the keys of a tree grid. The page is whole without it.
(() => {
  "use strict";
  const level = (row) => Number(row.dataset.level);
  const childrenOf = (rows, row) => {
    const found = [];
    for (let place = rows.indexOf(row) + 1; place < rows.length && level(rows[place]) > level(row); place++) {
      found.push(rows[place]);
    }
    return found;
  };

  function grid(table) {
    const body = table.tBodies[0];
    const rows = () => [...body.rows];
    const closed = new Set();
    let wanted = "";
    const parents = new Set(rows().filter((row, place, all) => all[place + 1] && level(all[place + 1]) > level(row)));
    const nested = parents.size > 0;

    const show = () => {
      const all = rows();
      const hits = new Set();
      const above = [];
      for (const row of all) {
        above.length = level(row) - 1;
        above.push(row);
        const hit = row.cells[0].textContent.toLowerCase().includes(wanted);
        if (hit) {
          above.forEach((one) => one && hits.add(one));
          childrenOf(all, row).forEach((one) => hits.add(one));
        }
      }
      const hidden = new Set();
      for (const row of closed) childrenOf(all, row).forEach((one) => hidden.add(one));
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

    table.setAttribute("role", nested ? "treegrid" : "grid");
    rows().forEach((row) => { row.tabIndex = -1; if (nested) row.setAttribute("aria-level", String(level(row))); });
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
      button.title = "sort by this";
      name.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : column > 0;
        [...head.parentNode.cells].forEach((one) => one.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        sort(column, down);
      });
    });

    if (rows().length > 8) {
      const tools = document.createElement("div");
      tools.className = "tools";
      const input = document.createElement("input");
      input.type = "search";
      input.placeholder = "Find an operation";
      input.setAttribute("aria-label", "Find in: " + table.caption.textContent);
      input.addEventListener("input", () => { wanted = input.value.trim().toLowerCase(); show(); });
      tools.append(input);
      if (nested) {
        for (const [text, close] of [["Fold all", true], ["Unfold all", false]]) {
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

  document.querySelectorAll("table[data-kind=grid]").forEach(grid);

  // Browsers open what a link points into; older ones are helped.
  const reveal = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let one = target.closest("details"); one; one = one.parentNode.closest("details")) one.open = true;
    target.scrollIntoView();
    if (target.tabIndex === -1) target.focus({ preventScroll: true });
  };
  addEventListener("hashchange", reveal);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    // The same place once more changes no address.
    if (link && link.hash === location.hash) reveal();
  });
  addEventListener("beforeprint", () => document.querySelectorAll("details.operation").forEach((one) => { one.open = true; }));
  reveal();
})();
