"""Workers: the agent on the bus, and the engines that compute."""
