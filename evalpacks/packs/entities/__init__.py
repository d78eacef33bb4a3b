"""Pack entities: sentences with numbers, amounts, names, addresses, dates and times."""
