"""Pack tts-prompts: what a voice is asked to say, and how a reference voice says it."""
