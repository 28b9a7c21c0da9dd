"""Write a document as one self-contained HTML file: style, script and charts are embedded."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from quantum_pulse._version import __version__
from quantum_pulse.view import html
from quantum_pulse.view.document import Document, plain
from quantum_pulse.view.html import inline


def write(document: Document) -> str:
    """The page. Its content security policy allows its own style and script, by their hashes, and nothing else."""
    style = html.page_style()
    script = html.script("report.js")
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    links = "".join(f'<li><a href="#{one.anchor}">{escape(one.title)}</a></li>' for one in document.sections)
    body = "".join(html.section(one) for one in document.sections)
    title = escape(plain(document.title))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="quantum_pulse {__version__}">
<title>{title} - quantum_pulse</title>
<style>{style}</style>
</head>
<body class="qp">
<a class="skip" href="#operations">Skip to operations</a>
<header><p class="maker">quantum_pulse report</p><h1>{inline(document.title)}</h1>
<p class="subtitle">{inline(document.subtitle)}</p>
<nav aria-label="Sections"><ul>{links}</ul></nav></header>
<main>{body}</main>
<footer><p>Written by quantum_pulse {__version__}. This file is self-contained: it loads nothing.</p></footer>
<script>{script}</script>
</body>
</html>
"""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
