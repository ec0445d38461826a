"""The simulator: device models, configurations, presets, the compiled core and the analog layers on it."""
