"""Pack english-synthetic: English sentences spoken by a synthesiser, where english-human cannot be had."""
