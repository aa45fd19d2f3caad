"""How many instances a shop needs where and when, from measured curves, its demand and prices."""
