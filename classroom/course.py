"""The folders of the course, and nbgrader's API on them.

source/NN_slug/     teachers' copies, made from notebooks/ and the marks in them
release/NN_slug/    students' copies
restored/, autograded/, gradebook.db, grades.csv    what grading leaves
"""

import os
import sys
from pathlib import Path

from nbgrader.apps import NbGraderAPI
from traitlets.config import PyFileConfigLoader

COURSE = Path(__file__).resolve().parent


def at(root: Path = COURSE, **sections: dict) -> NbGraderAPI:
    """nbgrader with the course's configuration, all folders and the gradebook below root.

    sections: further settings by class, such as LimitedExecute={"timeout": 30}.
    """
    # A new gradebook asks the command `alembic`, which stands beside this Python.
    beside = str(Path(sys.executable).parent)
    if beside not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([beside, os.environ["PATH"]])
    config = PyFileConfigLoader("nbgrader_config.py", path=str(COURSE)).load_config()
    root.mkdir(parents=True, exist_ok=True)
    root = root.resolve()
    config.CourseDirectory.root = str(root)
    config.CourseDirectory.db_url = f"sqlite:///{root / 'gradebook.db'}?timeout=60"
    for section, settings in sections.items():
        config[section].update(settings)
    return NbGraderAPI(config=config)
