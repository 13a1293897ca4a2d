"""The making of the grid: inputs, synthesis with PySME, its calibration on the Sun."""
