"""OpenAI's Responses API: conversations that the mesh keeps, over the same router as all else."""
