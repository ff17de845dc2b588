//! Floor 4: the kinds. A kind is one room: its spec, what it looks at, and the pure plan that follows.

pub mod app;
