"""The official containers on a host with a GPU: engines built in one, served by the other, both of one tag.

No image could be built and no engine run where this was written: only the files are tested.
"""
