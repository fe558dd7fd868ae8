"""OpenAI's files: contents that the mesh keeps at its broker, per tenant."""
