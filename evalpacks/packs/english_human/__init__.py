"""Pack english-human: the Asterisk voice prompts, spoken by a person, from Debian packages."""
