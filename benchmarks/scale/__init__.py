"""How many replicas a load needs, and what befalls them: a model, fed by measuring one."""
