"""What tests of the protocol are written in: a network of virtual time, and keys to use on it."""
