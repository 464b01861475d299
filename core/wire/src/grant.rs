//! What a token grants, and what its holder may do.
