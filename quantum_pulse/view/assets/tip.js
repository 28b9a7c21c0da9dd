// One tooltip for the charts of a page. What it says is text, whatever a name contains.
function tipOf(root) {
  if (root.qpTip) return root.qpTip;
  const node = document.createElement("div");
  node.className = "tip";
  node.setAttribute("aria-hidden", "true");
  node.hidden = true;
  root.append(node);
  const show = (text, x, y) => {
    // A page that is refined replaces what is in it.
    if (!node.isConnected) root.append(node);
    node.textContent = text;
    node.hidden = !text;
    if (!text) return;
    const box = node.getBoundingClientRect();
    const left = x + 14 + box.width > innerWidth - 4 ? x - box.width - 10 : x + 14;
    const top = y + 18 + box.height > innerHeight - 4 ? y - box.height - 10 : y + 18;
    node.style.left = `${Math.max(left, 4)}px`;
    node.style.top = `${Math.max(top, 4)}px`;
  };
  root.qpTip = { show, hide: () => { node.hidden = true; } };
  return root.qpTip;
}
