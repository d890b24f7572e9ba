//! Ringmail sim.
