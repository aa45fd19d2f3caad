"""What a shop's interactions say to the people who run it: a report of behaviour with its figures."""
