"""Room of evaluation: what shoppers would see of a candidate."""
