"""The HTTP side of the mesh: the OpenAI surface over the router."""
