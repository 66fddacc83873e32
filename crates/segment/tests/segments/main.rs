//! Segments as their users see them: what goes in comes out, and what is not a segment is refused.

mod allocations;
mod cells;
mod hostile;
mod round_trip;
mod shapes;
