"""From measurements to parameter sets: reading, fitting, figures, and the command line."""
