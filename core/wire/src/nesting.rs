//! How deeply a JSON text nests, found without parsing it.
