"""The documents that rooms exchange: frozen, validated, digestible. No I/O, no other room is imported here."""
