//! The field's words and LiveKit's enums, each as the other.
