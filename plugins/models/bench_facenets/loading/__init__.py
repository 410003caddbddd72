"""Loading: from a weights file to a network with split points that implements `bench.Network`."""
