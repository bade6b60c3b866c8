"""Wires the parts: the one room that knows them all."""
