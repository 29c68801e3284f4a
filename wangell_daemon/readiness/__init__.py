"""How the daemon learns that a replica accepts connections: LISTEN, or an answered SYN probe."""
