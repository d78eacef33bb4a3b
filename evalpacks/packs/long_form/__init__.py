"""Pack long-form: dictation of half a minute to three minutes without a break."""
