"""Whether a served release keeps its memory flat."""
