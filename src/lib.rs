//! The operator's floors, bottom up. A module imports only lower floors, never a sibling.

pub mod api;
