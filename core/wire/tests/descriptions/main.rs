//! Session descriptions against what real clients write: reading offers, and sessions of many offers.
#![cfg(test)]

mod clients;
mod negotiation;
mod offer;
