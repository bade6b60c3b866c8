"""Bars to model input: formulas as data, evaluated by one scan that training, replay and live trading share."""
