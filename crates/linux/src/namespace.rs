//! Network namespaces: making, entering and running programs in them.
