"""From a suite to its cells and to the graph of stages that answers them. No torch."""
