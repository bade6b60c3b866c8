"""The formulas of the catalogue, a module for each kind; `bot.core.features.catalogue` gathers them."""
