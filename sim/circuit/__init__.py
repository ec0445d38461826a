"""Arrays as electrical networks: wires between the cells, and the currents that they leave."""

from sim.circuit.column import Conductances, column_matrix, single_pair

__all__ = ["Conductances", "column_matrix", "single_pair"]
