"""The audit log: one line per request that the gateway judged, without personal data, that nobody can alter unseen."""
