// What the page of a report does beyond its tables.
document.querySelectorAll("table[data-kind=grid]").forEach((table) => grid(table));

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
