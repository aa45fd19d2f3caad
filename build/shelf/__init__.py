"""Recommendation: from what shoppers did to the models of the ensemble `recommend`, and their evaluation by time."""
