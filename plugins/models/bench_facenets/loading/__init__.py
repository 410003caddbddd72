"""From a weights file to a network with split points, ready for the host."""
