"""Steps of nbgrader's pipelines that are this course's own."""

import time

from nbformat.v4 import new_output
from nbgrader.converters import Autograde, GenerateAssignment
from nbgrader.preprocessors import ClearSolutions, Execute, NbGraderPreprocessor
from traitlets import Float, Integer

from classroom.stub import stub

CUT = "\n[output cut: the cell printed more than {} characters]\n"


class TakeOut(NbGraderPreprocessor):
    """In place of nbgrader's ClearSolutions: the functions named in a cell's metadata become stubs."""

    def preprocess_cell(self, cell, resources, cell_index):
        if names := cell.metadata.get("solutions"):
            cell.source = stub(cell.source, names)
        return cell, resources


class LimitedExecute(Execute):
    """nbgrader's executor with a cap on output, and less patience once a notebook has used its time."""

    max_characters = Integer(200_000, help="text that is kept of one cell").tag(config=True)
    patience = Float(400, help="seconds for the notebook; then each cell gets `hurried`").tag(config=True)
    # A cell that was interrupted has this long to come to an end; else the submission is given up.
    iopub_timeout = Integer(20).tag(config=True)
    hurried = Integer(2, help="seconds for a cell of a notebook that has used its time").tag(config=True)

    def preprocess(self, nb, resources=None, km=None):
        self.began, self.printed = time.monotonic(), {}
        self.timeout_func = self.seconds_for
        return super().preprocess(nb, resources, km)

    def seconds_for(self, cell) -> int:
        late = time.monotonic() - self.began > self.patience
        return min(self.hurried, self.timeout) if late else self.timeout

    def output(self, outs, msg, display_id, cell_index):
        """Keep what a cell prints up to max_characters; a picture or value that is larger is dropped."""
        content = msg["content"]
        left = self.max_characters - self.printed.get(cell_index, 0)
        if msg["msg_type"] == "stream":
            size = len(content["text"])
        else:
            size = sum(len(str(value)) for value in content.get("data", {}).values())
            left += 20 * self.max_characters                     # a figure is long as text
        self.printed[cell_index] = self.printed.get(cell_index, 0) + size
        if size <= left:
            return super().output(outs, msg, display_id, cell_index)
        if left > 0:
            kept = content["text"][:left] if msg["msg_type"] == "stream" else ""
            outs.append(new_output("stream", name=content.get("name", "stdout"),
                                   text=kept + CUT.format(self.max_characters)))
        return None


def instead(converter: type, trait: str, old: type, new: type) -> list[type]:
    """The steps of a converter of nbgrader with one of them exchanged."""
    steps = converter.class_traits()[trait].default()
    return [new if step is old else step for step in steps]


def generate_steps() -> list[type]:
    return instead(GenerateAssignment, "preprocessors", ClearSolutions, TakeOut)


def autograde_steps() -> list[type]:
    return instead(Autograde, "autograde_preprocessors", Execute, LimitedExecute)
