//! Tokens: LiveKit's JWT, verified and minted.
