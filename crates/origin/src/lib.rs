//! Pools, balancing, health, connections, retries: fetches a response from a customer's server.
