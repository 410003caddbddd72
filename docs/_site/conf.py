"""How the documentation becomes a site: ``make docs`` runs Sphinx with this file on the folder above it."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from bench import __version__  # noqa: E402

project = "bench"
version = release = __version__
language = "en"
extensions = ["myst_parser", "inserted_parts", "mathml", "scrolled_parts"]
exclude_patterns = ["_site", "images", "design/*.py"]
source_suffix = {".md": "markdown"}
root_doc = "index"
smartquotes = False  # Two hyphens begin an option, and are no dash.

# Headings are link targets under the names that GitHub gives them, so that the same links work in both places.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
myst_fence_as_directive = ["math"]

html_theme = "furo"
html_title = "bench"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
# The summaries of search results are read with requests that browsers refuse to pages on the disk.
html_show_search_summary = False
html_use_index = True
python_display_short_literal_types = True
add_module_names = False
toc_object_entries_show_parents = "hide"
