"""Equations as MathML, which browsers draw by themselves: no script, no font, no request."""

from __future__ import annotations

import re

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

# In equations of their own, docutils writes the index of a letter with an accent below the letter, like that of a sum.
_INDEXED = re.compile(
    r'<munderover>\s*(<mi>\w</mi>)\s*(<m[in]>\w+</m[in]>)\s*(<mo stretchy="false">[~ˆ]</mo>)\s*</munderover>'
)


def block(tex: str) -> str:
    """Return an equation that stands by itself."""
    return _INDEXED.sub(r'<msub><mover accent="true">\1\3</mover>\2</msub>', tex2mathml(tex, as_block=True))


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _block(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="equation">{block(node.astext())}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer under the name ``mathml``."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
