// Behaviour of a report's page beyond its tables.
document.querySelectorAll("table[data-kind=grid]").forEach((table) => grid(table));
enliven(document.body);
document.addEventListener("qp-open", (event) => { location.hash = event.detail; });

// Browsers open the fold that a link points into; this does it for older ones.
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
  // A second click on the same link does not change the address.
  if (link && link.hash === location.hash) reveal();
});
addEventListener("beforeprint", () => document.querySelectorAll("details.operation").forEach((one) => { one.open = true; }));
reveal();
