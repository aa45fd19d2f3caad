"""What keeps strangers out: certificates, tokens and their roles, signed and encrypted releases."""
