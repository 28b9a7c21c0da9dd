// Brings the charts and tables of a page to life.
function enliven(root) {
  root.querySelectorAll("figure.boxes").forEach((figure) => boxes(figure, root));
}
