//! The cloudwatcher room: who may do what where, devices' requests, parts and stock, orders and their approval
//! (seed 004).
