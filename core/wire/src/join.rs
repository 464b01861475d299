//! The query of a join and the request in it.
