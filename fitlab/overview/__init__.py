"""How a device answers to pulses, as the simulator itself has it: numbers, text and figure for any pulsed model."""
