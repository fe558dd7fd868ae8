"""``POST /v1/completions``: one request of the mesh per prompt, answered as one."""
