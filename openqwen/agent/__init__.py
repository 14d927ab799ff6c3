"""Tools, the ReAct loop, the code interpreter and its sandbox, agents, self-instruct (§3.4)."""
