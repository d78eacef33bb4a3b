"""Pack multilingual-human: people who speak Spanish, French, Italian and Russian, from Debian packages."""
