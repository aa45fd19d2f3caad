"""What finding candidates costs as the catalogue grows."""
