"""Models: load, batch, predict, calibrate; and the bundle that a trained one is kept in."""
