"""Every message of the bus and every HTTP body, as msgspec structs; nothing else."""
