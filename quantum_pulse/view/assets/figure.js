// A figure by itself, in the output of a cell.
document.querySelectorAll(".qp.fragment").forEach((one) => enliven(one));
