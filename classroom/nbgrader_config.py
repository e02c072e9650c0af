"""The course as nbgrader sees it: run `nbgrader` in this folder, or `make assignments` and `make grade`."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))                     # where the package `classroom` is

from classroom.preprocessors import autograde_steps, generate_steps  # noqa: E402

c = get_config()  # noqa: F821 - nbgrader gives it

c.CourseDirectory.root = str(HERE)
c.CourseDirectory.course_id = "thirty-papers"
# Two workers write into one gradebook: each waits for the other's lock.
c.CourseDirectory.db_url = f"sqlite:///{HERE / 'gradebook.db'}?timeout=60"
c.GenerateAssignment.preprocessors = generate_steps()
c.Autograde.autograde_preprocessors = autograde_steps()
c.IncludeHeaderFooter.enabled = False
c.ClearHiddenTests.enforce_metadata = True
