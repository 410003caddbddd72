"""How the numbers look: the HTML page of a run, its charts, exported tables and figures, and comparisons."""
