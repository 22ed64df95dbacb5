//! What everybody on a request's way shares: facts, heads, bodies, refusals, faults, outcomes, trail.
