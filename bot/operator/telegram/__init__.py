"""Telegram: a core that decides what an update means and what may be done, and a thin shell on aiogram."""
