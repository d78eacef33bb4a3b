"""Pack code-switching: English sentences with Spanish or French parts."""
