"""Every notebook as an assignment: stubs, checks that explain, and grading."""
