"""Sphinx settings of the site. Its pages are written by generate.py, its build is started by build.py."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

project = "Thirty Papers"
author = "Thirty Papers"
project_copyright = "Thirty Papers, MIT licence"
html_title = "Thirty Papers"
language = "en"

extensions = ["myst_nb", "sphinx_design"]
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "attrs_block"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
# The scoreboard's own kind of output is for programs, its table stands beside it.
suppress_warnings = ["mystnb.unknown_mime_type"]

html_theme = "sphinx_book_theme"
html_static_path = [str(HERE / "_static")]
html_extra_path = [str(HERE / "_build" / "extra")]
html_favicon = str(HERE / "_static" / "favicon.svg")
html_context = {"default_mode": "auto"}
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"image_light": str(HERE / "_static" / "favicon.svg"),
             "image_dark": str(HERE / "_static" / "favicon.svg"), "text": "Thirty Papers", "alt_text": ""},
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "extra_footer": "Code and text under the MIT licence. Every number on these pages is computed.",
}

# MathJax is served with the pages: the site needs no other host. Only what the pages use is loaded.
mathjax_path = "mathjax/startup.js"
mathjax_options = {"defer": "defer"}
mathjax3_config = {
    "loader": {"load": ["core", "input/tex", "output/chtml", "a11y/assistive-mml"]},
    "chtml": {"scale": 1.0},
}
