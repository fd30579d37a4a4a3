"""The whole WebStore in one process, on a PostgreSQL of its own."""
