// Durations as `view/numbers.py` writes them, and round steps as `view/scales.py` chooses them.
const UNITS = [["ns", 1, 1e3], ["µs", 1e3, 1e6], ["ms", 1e6, 1e9], ["s", 1e9, 60e9], ["min", 60e9, 3600e9], ["h", 3600e9, Infinity]];
function duration(ns, decimals) {
  const size = Math.abs(ns);
  const sign = ns < 0 ? "−" : "";
  for (const [unit, factor, limit] of UNITS) {
    const value = size / factor;
    const places = decimals ?? (factor === 1 || Math.round(value * 10) >= 1000 ? 0 : 1);
    if (Number(value.toFixed(places)) < limit / factor) return `${sign}${value.toFixed(places)} ${unit}`;
  }
  return "∞";
}
function roundStep(value) {
  const decade = 10 ** Math.floor(Math.log10(value));
  return decade * [1, 2, 5, 10].find((one) => one * decade >= value * 0.999999);
}
// A moment after the beginning, exact to `step`.
function moment(ns, step) {
  if (ns === 0) return "0";
  const [unit, factor] = UNITS.findLast(([, size]) => Math.abs(ns) >= size) ?? UNITS[0];
  const places = Math.min(Math.max(Math.ceil(-Math.log10(step / factor) - 1e-9), 0), 6);
  return `${ns < 0 ? "−" : "+"}${(Math.abs(ns) / factor).toFixed(places)} ${unit}`;
}
