//! Private Redis and PostgreSQL servers for local use.
