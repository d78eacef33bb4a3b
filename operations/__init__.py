"""The steps as plain functions: read documents, call rooms, append to the ledger. Floor 4: no Prefect here."""
