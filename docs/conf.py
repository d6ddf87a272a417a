"""Sphinx configuration. ``make docs`` builds the pages into docs/_build/html; a warning is an error."""

import logging
import os
import sys
import tempfile
from pathlib import Path

from airflow_provider_cij import __version__

# Airflow is imported for the reference: it writes its configuration into its home.
os.environ.setdefault("AIRFLOW_HOME", str(Path(tempfile.gettempdir(), "airflow-for-docs")))
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

for name in ("airflow.configuration", "airflow.settings"):
    logging.getLogger(name).setLevel(logging.WARNING)

project = "airflow-provider-cij"
author = "The authors of airflow-provider-cij"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "generated"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
add_module_names = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 80

html_theme = "furo"
html_title = f"airflow-provider-cij {__version__}"
html_static_path: list[str] = []
html_show_copyright = False

# External links are checked by `make docs-links`.
linkcheck_timeout = 20
linkcheck_retries = 2
