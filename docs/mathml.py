"""Formulas as MathML, which every present browser shows without scripts or fonts from elsewhere."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml


def inline(translator: Any, node: nodes.math) -> None:
    """A formula in a line of text."""
    translator.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def display(translator: Any, node: nodes.math_block) -> None:
    """A formula of its own, in several lines where it has line breaks."""
    text = node.astext()
    lines = rf"\begin{{aligned}}{text}\end{{aligned}}" if r"\\" in text and r"\begin" not in text else text
    translator.body.append(f'<div class="formula">{tex2mathml(lines, as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Offer the renderer to ``html_math_renderer``."""
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
