"""Whether a built site loads everything from itself: ``python -m tests.docs.offline build/site``."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

#: What a browser loads by itself when it opens a page: elements, and the attribute that says from where.
_LOADED = {
    "script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src", "embed": "src",
    "object": "data",
}  # fmt: skip
_LOADED_LINKS = {"stylesheet", "icon", "preload", "modulepreload", "preconnect", "dns-prefetch", "manifest"}
_IN_STYLES = re.compile(r"""(?:@import|url\()\s*["']?((?:https?:)?//[^"')\s]+)""")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        target = values.get(_LOADED.get(tag, ""), "")
        if tag == "link" and _LOADED_LINKS & set(values.get("rel", "").split()):
            target = values.get("href", "")
        if target.startswith(("http:", "https:", "//")):
            self.found.append(f"<{tag}> {target}")


def loaded_from_elsewhere(site: Path) -> list[str]:
    """What pages and styles of a site load from other hosts, one line each."""
    found = []
    for file in sorted(site.rglob("*.html")):
        page = _Page()
        text = file.read_text(encoding="utf-8")
        page.feed(text)
        styles = _IN_STYLES.findall(" ".join(re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL)))
        found += [f"{file.relative_to(site)}: {one}" for one in [*page.found, *styles]]
    for file in sorted(site.rglob("*.css")):
        found += [f"{file.relative_to(site)}: {one}" for one in _IN_STYLES.findall(file.read_text(encoding="utf-8"))]
    return found


def main() -> int:
    """Print what is loaded from elsewhere. The exit code is 1 where there is something."""
    site = Path(sys.argv[1])
    if not (site / "index.html").is_file():
        print(f"{site} holds no site", file=sys.stderr)
        return 1
    found = loaded_from_elsewhere(site)
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
