//! Data packets: what a sender may send, to whom, and what the server writes into it.
