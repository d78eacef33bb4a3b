"""One folder a pack: its card (pack.yaml), where it comes from and how it is built."""
