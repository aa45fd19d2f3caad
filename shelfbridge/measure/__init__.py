"""How good rankings are, how sure a figure is, and how a measurement is reported: once for all programs that measure.

Building and load testing import it; serving does not. It needs the packages of the extra `build`.
"""
