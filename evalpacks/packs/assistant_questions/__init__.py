"""Pack assistant-questions: spoken questions to the documents of three tenants."""
