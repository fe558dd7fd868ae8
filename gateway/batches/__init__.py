"""OpenAI's batches: the requests of a file, each a durable job of the mesh."""
