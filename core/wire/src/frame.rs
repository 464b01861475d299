//! One signalling frame, protobuf or JSON.
