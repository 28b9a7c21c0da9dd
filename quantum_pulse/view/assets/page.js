// Brings the charts and tables of a page to life.
function enliven(root) {
  charts(root);
  root.querySelectorAll("figure.boxes").forEach((figure) => boxes(figure, root));
}
