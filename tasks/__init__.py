"""One Prefect task a step: name, retries, artifact around an operation. Floor 5."""
