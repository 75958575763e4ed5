"""The HTTP contract, told to the whole application on real servers."""
